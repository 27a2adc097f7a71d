"""Movements: transposes, reshapes, slices and repetitions that follow each other become one."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import (
    inline_producer,
    inlining_needs_guard,
    merge_operands,
    rewire,
    why_not_inlined,
)
from graphc.ops.compose import index_arithmetic, is_identity_read, is_permutation, remap_of
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
    nodes: list[Node] = []
    for original in graph.nodes:
        node = merge_operands(rewire(original, same))
        for v in dict.fromkeys(node.inputs):
            if v in movers:
                node = _through(node, movers[v])
        if remap_of(node.formula) is not None:
            source = node.inputs[0]
            unchanged = source.type == node.output.type and is_identity_read(
                node.formula, node.formula.operands[0]
            )
            if unchanged and node.output not in results:
                same[node.output] = source
            movers[node.output] = node
        nodes.append(node)
    moved = graph.with_nodes(tuple(nodes))
    return graph if moved is graph else eliminate_dead_code(moved)


def _through(node: Node, mover: Node) -> Node:
    """The node reading the mover's source, where that is cheap."""
    into_movement = remap_of(node.formula) is not None
    if not into_movement and not is_permutation(mover.formula):
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
