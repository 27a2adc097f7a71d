"""Recomputation: large values that cost little are computed again in the backward part instead of being kept for it.

    a = relu(f·z + b);  far away  g = (a <= 0 ? 0 : d),  w = Σ a·e
    ->                            g = (relu(f·z + b) <= 0 ? 0 : d),  a' = relu(f·z + b),  w = Σ a'·e

The operands must be kept anyway and as long. What reads such a value in place computes it for itself; for other
readers it is stored again, right before the first of them. A minimum cut (`mincut`) would choose more: it counts what
crosses from forward to backward, but not that a chain of recomputed values has to be alive at once.
Chen, Xu, Zhang, Guestrin: Training deep nets with sublinear memory cost, 2016.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph.analysis.liveness import liveness, size_in_bytes
from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.analysis.recurrences import members, settled
from graphc.graph.analysis.topology import descendants
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.rewriting import inline_producer, inlining_needs_guard, rewire, why_not_inlined
from graphc.ops.cost import operations
from graphc.ops.structure import reads_identity
from graphc.passes import remark

TYPICAL_BATCH = 64
LARGE = 1 << 20
"""Bytes from which a value counts: smaller ones stay in the second-level cache."""
SOURCES, CYCLES = 2, 16
"""At most so many large operands, and so much work for each element: then memory is what it costs."""
WORTH = 0.9
"""The peak must fall below this part of what it was."""


def recompute(graph: Graph) -> Graph:
    """The graph with cheap large values computed again by the backward part, where that lowers the peak of memory."""
    later = {node.output for node in backward_nodes(graph)}
    again = _choice(graph, later)
    if not again:
        return graph
    changed = _rewritten(graph, later, again)
    before, after = (liveness(g).peak_bytes(TYPICAL_BATCH) for g in (graph, changed))
    if after >= WORTH * before:
        return graph
    for v in again:
        remark(str(v), "computed again in the backward part, which lowers the peak of memory")
    return changed


def _choice(graph: Graph, later: set[Value]) -> dict[Value, Node]:
    """What is computed again, each with the node that computes it from values that are kept."""
    last = {v: interval.last for v, interval in liveness(graph).intervals.items()}
    forward = {node.output: node for node in graph.nodes if node.output not in later}
    recurrent = members(graph)
    needed = {v for node in graph.nodes if node.output in later for v in node.inputs if v in forward}
    needed |= set(graph.results)
    again: dict[Value, Node] = {}
    for v in forward:
        if v not in needed or v in graph.results or v in recurrent or not _large(v):
            continue
        node = _from_kept(forward[v], forward, needed - set(again))
        sources = [u for u in node.inputs if _large(u)]
        if (
            node.formula.is_pointwise
            and 0 < len(sources) <= SOURCES
            and operations(node.formula.body).cycles <= CYCLES
            and all(u not in forward or (u in needed and u not in again) for u in sources)
            and all(last[u] >= last[v] for u in sources)
            and all(_follows(graph, u, node) for u in sources)
        ):
            again[v] = node
    return again


def _large(v: Value) -> bool:
    return size_in_bytes(v, TYPICAL_BATCH) >= LARGE


def _from_kept(node: Node, forward: dict[Value, Node], kept: set[Value]) -> Node:
    """The node with the formulas of its large operands in place of those that are not kept."""
    for v in node.inputs:
        producer = forward.get(v)
        if producer is None or v in kept or not _large(v) or not producer.formula.is_pointwise:
            continue
        if why_not_inlined(node, producer) is None and not inlining_needs_guard(node, producer):
            return _from_kept(inline_producer(node, producer), forward, kept)
    return node


def _follows(graph: Graph, source: Value, node: Node) -> bool:
    """Whether another operand of the node is computed from the source: then no kernel that makes the source can make
    the node's value as well, and keep it."""
    return bool(descendants(graph, [source]) & set(node.inputs) - {source})


def _rewritten(graph: Graph, later: set[Value], again: dict[Value, Node]) -> Graph:
    """The graph whose backward part reads the values of `again` no more."""
    fresh, call = graph.next_id(), graph.next_call()
    copies: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        for v in dict.fromkeys(node.inputs) if node.output in later else ():
            if v not in again:
                continue
            if _in_place(node, v):
                node = inline_producer(node, replace(again[v], output=v))
                continue
            if v not in copies:
                copies[v] = replace(v, id=fresh)
                nodes.append(replace(again[v], output=copies[v], origin=v.id, call=call))
                fresh, call = fresh + 1, call + 1
            node = rewire(node, copies)
        nodes.append(node)
    return settled(graph.with_nodes(tuple(nodes)))


def _in_place(node: Node, v: Value) -> bool:
    """Whether a pointwise node reads a value at its own indices only."""
    (operand,) = (o for o, u in zip(node.formula.operands, node.inputs, strict=True) if u == v)
    return node.formula.is_pointwise and reads_identity(node.formula, operand)
