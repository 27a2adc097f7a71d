"""Topological order of anything that is numbered, deterministic: the lowest number that is ready goes first."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from graphc.errors import VerificationError


def stable_order(count: int, edges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """An order of 0..count-1 in which every edge (a, b) has a before b. Raises VerificationError on a cycle.

    Kahn's algorithm (Topological sorting of large networks, 1962) with a heap of the numbers that are ready.
    """
    followers: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for a, b in set(edges):
        followers[a].append(b)
        waiting[b] += 1
    ready = [k for k in range(count) if not waiting[k]]
    heapify(ready)
    order = []
    while ready:
        order.append(first := heappop(ready))
        for k in followers[first]:
            waiting[k] -= 1
            if not waiting[k]:
                heappush(ready, k)
    if len(order) < count:
        stuck = [k for k in range(count) if waiting[k]]
        raise VerificationError(f"the order has a cycle: {stuck} wait for each other or for those that do")
    return tuple(order)
