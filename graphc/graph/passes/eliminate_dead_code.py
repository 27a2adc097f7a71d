"""Dead code: nodes on which no output and no update depends."""

from __future__ import annotations

from graphc.graph.analysis.topology import ancestors
from graphc.graph.ir import Graph


def eliminate_dead_code(graph: Graph) -> Graph:
    """The graph without the nodes whose results nobody needs; inputs and parameters stay."""
    live = ancestors(graph, graph.results)
    return graph.with_nodes(tuple(node for node in graph.nodes if node.output in live))
