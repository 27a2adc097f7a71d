"""The graph as a directed graph of values: order, levels, reachability, longest path.

Order, levels and paths are those within one step of time: what is delayed was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import networkx as nx

from graphc.errors import GraphError
from graphc.graph.ir import Graph, Node, Value


def digraph(graph: Graph, *, delayed: bool = True) -> nx.DiGraph:
    """One vertex for each value, an edge from each operand to the result, `node` on computed values."""
    view = nx.DiGraph()
    view.add_nodes_from(graph.values)
    for node in graph.nodes:
        view.nodes[node.output]["node"] = node
        view.add_edges_from((v, node.output) for v in node.inputs if delayed or v not in node.delayed)
    return view


@dataclass(frozen=True, slots=True)
class Topology:
    """order: operands before results, ties by definition; level: longest distance from a leaf."""

    order: tuple[Value, ...]
    level: dict[Value, int]

    @property
    def depth(self) -> int:
        """The number of nodes on the longest chain."""
        return max(self.level.values(), default=0)


def topology(graph: Graph) -> Topology:
    """Topological order and levels. Raises GraphError when the graph has a cycle."""
    view = digraph(graph, delayed=False)
    position = {v: k for k, v in enumerate(graph.values)}
    try:
        order = tuple(nx.lexicographical_topological_sort(view, key=position.__getitem__))
    except nx.NetworkXUnfeasible:
        cycle = " -> ".join(str(a) for a, _ in nx.find_cycle(view))
        raise GraphError(f"the graph has a cycle: {cycle}") from None
    level: dict[Value, int] = {}
    for v in order:
        level[v] = max((level[u] + 1 for u in view.predecessors(v)), default=0)
    return Topology(order, level)


def ancestors(graph: Graph, values: Iterable[Value]) -> frozenset[Value]:
    """Every value that one of `values` is computed from, themselves included."""
    producers = graph.producers()
    found: set[Value] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            pending.extend(producers[value].inputs if value in producers else ())
    return frozenset(found)


def descendants(graph: Graph, values: Iterable[Value]) -> frozenset[Value]:
    """Every value that is computed from one of `values`, themselves included."""
    view = digraph(graph)
    found: set[Value] = set()
    for value in values:
        if value not in found:
            found |= {value, *nx.descendants(view, value)}
    return frozenset(found)


def longest_path(graph: Graph, weight: Callable[[Node], float]) -> tuple[Node, ...]:
    """The chain of nodes with the largest total weight: what no parallelism between nodes can shorten."""
    view = digraph(graph, delayed=False)
    for _, v, edge in view.edges(data=True):
        edge["weight"] = weight(view.nodes[v]["node"])
    path = nx.dag_longest_path(view, weight="weight", default_weight=0)
    producers = graph.producers()
    return tuple(producers[v] for v in path if v in producers)
