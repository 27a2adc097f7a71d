"""Topological order of anything that is numbered, deterministic: the lowest number that is ready goes first."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from graphc.errors import VerificationError


def stable_order(count: int, edges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """An order of 0..count-1 in which every edge (a, b) has a before b. Raises VerificationError on a cycle."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges)
    try:
        return tuple(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        raise VerificationError(f"the order has a cycle: {nx.find_cycle(graph)}") from None
