"""Common subexpressions: nodes that compute the same formula of the same values."""

from __future__ import annotations

from graphc.graph.ir import Graph, Value
from graphc.graph.rewriting import exchange, rewire
from graphc.ops.compose import wired


def eliminate_common_subexpressions(graph: Graph) -> Graph:
    """The graph with one node for each formula of values: the first stays, later ones are dropped.

    Two nodes are the same when their formulas differ only in the names of axes and operands, commuted
    operands included, and their results have one type.
    """
    first: dict[object, Value] = {}
    same: dict[Value, Value] = {}
    for node in graph.nodes:
        now = rewire(node, same)
        key = (wired(now.formula, tuple(v.id for v in now.inputs)), now.output.type)
        known = first.setdefault(key, node.output)
        if known != node.output:
            same[node.output] = known
    if not same:
        return graph
    merged = exchange(graph, same)
    return merged.with_nodes(tuple(n for n in merged.nodes if n.output not in same))
