"""Movements: transposes, reshapes, slices and repetitions that follow each other become one."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import (
    exchange,
    inline_producer,
    inlining_needs_guard,
    merge_operands,
    rewire,
    why_not_inlined,
)
from graphc.ops.compose import index_arithmetic, is_identity_read, is_permutation, remap_of
from graphc.ops.recurrence import places
from graphc.passes import remark


def canonicalise(graph: Graph) -> Graph:
    """The graph with movements composed, no-op movements gone and each operand of a node given once.

    A permutation of axes is read through by every consumer, for it costs a contraction nothing to walk its
    operand in another order. Any other movement is composed with a movement that follows it, if the indices
    do not get longer; in front of arithmetic it stays, so that a reshape before a contraction is done once.
    """
    movers: dict[Value, Node] = {}
    same: dict[Value, Value] = {}
    results = set(graph.results)
    leaves = {*graph.inputs, *graph.parameters}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = _through_all(merge_operands(rewire(original, same)), movers)
        if remap_of(node.formula) is not None:
            movers[node.output] = node
            source = node.inputs[0]
            if _is_copy(node) and not (node.output in results and source in leaves):
                same[node.output] = source
        nodes.append(node)
    moved = exchange(graph.with_nodes(tuple(nodes)), same)
    return graph if moved == graph else eliminate_dead_code(moved)


def _is_copy(node: Node) -> bool:
    """Whether a movement leaves every element where it is."""
    unchanged = node.inputs[0].type == node.output.type
    return unchanged and is_identity_read(node.formula, node.formula.operands[0])


def _whole(mover: Node) -> bool:
    """Whether a permutation moves all elements of its source: of a part of it, the adjoint would be a whole."""
    extents = {a.name: a.extent for a in mover.formula.axes}
    ((_, index),) = places(mover.formula)
    return all(
        extent == (1 if place is None else extents[place[0]])
        for place, extent in zip(index, mover.inputs[0].type.shape, strict=True)
    )


def _through_all(node: Node, movers: dict[Value, Node]) -> Node:
    """The node reading through one movement after the other, as long as that is cheap."""
    refused: set[Value] = set()
    while pending := [v for v in node.inputs if v in movers and v not in refused]:
        after = _through(node, movers[pending[0]])
        if after is node:
            refused.add(pending[0])
        node = after
    return node


def _through(node: Node, mover: Node) -> Node:
    """The node reading the mover's source, where that is cheap."""
    into_movement = remap_of(node.formula) is not None
    if not into_movement and not (is_permutation(mover.formula) and _whole(mover)):
        return node
    reason = why_not_inlined(node, mover)
    if reason is None and inlining_needs_guard(node, mover):
        reason = "it is read outside its box"
    if reason is not None:
        remark(str(node.output), f"movement {mover.output} not composed: {reason}")
        return node
    together = inline_producer(node, mover)
    before = index_arithmetic(node.formula) + index_arithmetic(mover.formula)
    if index_arithmetic(together.formula) > before:
        remark(str(node.output), f"movement {mover.output} not composed: its indices would get longer")
        return node
    return together
