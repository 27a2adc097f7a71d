"""What was measured, and what follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.tasks import Task

OURS = "graphc"


@dataclass(slots=True)
class Row:
    """One task in one mode with so many threads: bursts by framework, in seconds."""

    task: Task
    mode: str
    threads: int
    medians: dict[str, list[float]] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)
    disturbed: int = 0

    def add(self, framework: str, burst: Mapping[str, float]) -> None:
        """Count one burst."""
        self.medians.setdefault(framework, []).append(burst["median"])
        self.fastest[framework] = min(burst["fastest"], self.fastest.get(framework, float("inf")))

    def median(self, framework: str) -> float:
        """The median of the bursts' medians."""
        return statistics.median(self.medians[framework])

    @property
    def peers(self) -> list[str]:
        """Everything that graphc is compared with."""
        return [f for f in self.medians if f != OURS]

    @property
    def best_peer(self) -> str:
        """The fastest of them by median."""
        return min(self.peers, key=self.median)

    def ratio_to(self, peer: str) -> float:
        """How many times longer a peer takes: the median over the rounds."""
        pairs = zip(self.medians[peer], self.medians[OURS], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    @property
    def ratio(self) -> float:
        """How many times longer the best peer takes."""
        return self.ratio_to(self.best_peer)

    @property
    def ratio_of_fastest(self) -> float:
        """The same of the fastest calls, which others disturb least."""
        return min(self.fastest[f] for f in self.peers) / self.fastest[OURS]

    @property
    def target(self) -> float | None:
        """The wanted ratio."""
        return self.task.targets.get(self.mode)

    @property
    def rate(self) -> float:
        """Floating-point operations of graphc in a second."""
        return self.task.flops[self.mode] / self.median(OURS)


@dataclass(slots=True)
class Comparison:
    """Everything that one run of the comparison found.

    `seconds` until the first result are by (task, mode) and framework, `again` those of graphc in a second process;
    `memory` is in bytes by framework; `left_out` says why a framework is missing; `peak` are the operations that one
    core can do in a second; `products` is what products.py printed.
    """

    rounds: int
    peak: float = 0.0
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    again: dict[tuple[str, str], float] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    products: str = ""
