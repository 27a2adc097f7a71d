"""When each value is needed, and how much memory is alive at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from graphc.graph.analysis.recurrences import recurrences
from graphc.graph.ir import Graph, Value


@dataclass(frozen=True, slots=True)
class Interval:
    """Positions in `graph.nodes`: the definition (-1 for inputs and parameters) and the last read.

    Results are read by the position after the last node; a value that nobody reads dies where it is defined. What a
    recurrence computes or reads is alive from its first member to its last.
    """

    first: int
    last: int

    def overlaps(self, other: Interval) -> bool:
        """Whether both values are alive at the same node."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class Liveness:
    """The interval of every value, in order of definition."""

    intervals: dict[Value, Interval]
    length: int

    def alive(self, position: int) -> tuple[Value, ...]:
        """The values that memory must hold while node `position` runs."""
        return tuple(v for v, i in self.intervals.items() if i.first <= position <= i.last)

    def bytes_at(self, position: int, batch: int) -> int:
        """Bytes of the computed values that are alive at a node; inputs and parameters do not count."""
        return sum(size_in_bytes(v, batch) for v in self.alive(position) if self.intervals[v].first >= 0)

    def peak_bytes(self, batch: int) -> int:
        """The most bytes of computed values that are alive at once: a lower bound for any arena."""
        change = [0] * (self.length + 2)
        for v, i in self.intervals.items():
            if i.first >= 0:
                change[i.first] += size_in_bytes(v, batch)
                change[min(i.last, self.length) + 1] -= size_in_bytes(v, batch)
        peak = alive = 0
        for difference in change:
            alive += difference
            peak = max(peak, alive)
        return peak


def size_in_bytes(value: Value, batch: int) -> int:
    """Bytes of a dense tensor once the batch size is known."""
    return prod(value.type.concrete(batch)) * value.type.dtype.bytes


def liveness(graph: Graph) -> Liveness:
    """The live interval of every value of a graph."""
    first = {v: -1 for v in (*graph.inputs, *graph.parameters)}
    first |= {node.output: k for k, node in enumerate(graph.nodes)}
    last = dict(first)
    for k, node in enumerate(graph.nodes):
        for v in node.inputs:
            last[v] = k
    for recurrence in recurrences(graph):
        start, end = (first[node.output] for node in (recurrence.nodes[0], recurrence.nodes[-1]))
        for node in recurrence.nodes:
            first[node.output] = start
            for v in (node.output, *node.inputs):
                last[v] = max(last[v], end)
    for v in graph.results:
        last[v] = len(graph.nodes)
    return Liveness({v: Interval(first[v], last[v]) for v in graph.values}, len(graph.nodes))
