"""Dead code: nodes on which no output and no update depends."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node


def eliminate_dead_code(graph: Graph) -> Graph:
    """The graph without the nodes whose results nobody needs; inputs and parameters stay."""
    live = set(graph.results)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in live:
            live.update(node.inputs)
            kept.append(node)
    return graph if len(kept) == len(graph.nodes) else graph.with_nodes(tuple(reversed(kept)))
