"""The cost of nodes and of whole graphs, as polynomials in the batch size."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.analysis.topology import longest_path
from graphc.graph.ir import Graph, Node
from graphc.ops.cost import Cost, formula_cost


@dataclass(frozen=True, slots=True)
class GraphCost:
    """The cost of each node in order, of all together, and the chain of nodes with the most operations."""

    nodes: tuple[tuple[Node, Cost], ...]
    total: Cost
    critical_path: tuple[Node, ...]

    def scope(self, scope: str) -> Cost:
        """The cost of the nodes of one layer and of the layers inside it."""
        inside = [c for n, c in self.nodes if n.scope == scope or n.scope.startswith(f"{scope}/")]
        return sum(inside, Cost())


def node_cost(node: Node) -> Cost:
    """Operations and bytes of one node, operands that are given twice read once."""
    operands = [v.type for v in dict.fromkeys(node.inputs)]
    return formula_cost(node.formula, operands, node.output.type)


def cost(graph: Graph, batch: int = 32) -> GraphCost:
    """The cost of a graph; `batch` decides only which chain is the critical one."""
    nodes = tuple((node, node_cost(node)) for node in graph.nodes)
    flops = {node.output: c.flops(batch) for node, c in nodes}
    path = longest_path(graph, lambda node: flops[node.output])
    return GraphCost(nodes, sum((c for _, c in nodes), Cost()), path)
