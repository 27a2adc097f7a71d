"""Common subexpressions: nodes that compute the same formula of the same values."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.rewriting import exchange, rewire
from graphc.ops.compose import wired


def eliminate_common_subexpressions(graph: Graph) -> Graph:
    """The graph with one node for each formula of values: the first stays, later ones are dropped.

    Two nodes are the same when their formulas differ only in the names of axes and operands, commuted
    operands included, and their results have one type.
    """
    alike: dict[object, list[Node]] = {}
    same: dict[Value, Value] = {}
    for node in graph.nodes:
        now = rewire(node, same)
        seen = alike.setdefault((frozenset(now.inputs), now.output.type, now.formula.reduction), [])
        twin = next((other for other in seen if _key(other) == _key(now)), None)
        if twin is None:
            seen.append(now)
        else:
            same[node.output] = twin.output
    if not same:
        return graph
    merged = exchange(graph, same)
    return merged.with_nodes(tuple(n for n in merged.nodes if n.output not in same))


def _key(node: Node) -> object:
    """Equal for nodes that compute the same."""
    return wired(node.formula, tuple(v.id for v in node.inputs))
