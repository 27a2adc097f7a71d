"""How far to go along a direction: the strong Wolfe conditions.

Source: Nocedal and Wright 2006, "Numerical Optimization", algorithms 3.5 and 3.6, with cubic interpolation (3.59).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A length, φ and φ' there, and what they were computed from."""

    length: float
    value: float
    slope: float
    point: Any = None

    @property
    def finite(self) -> bool:
        """Whether the function has a value and a slope here."""
        return isfinite(self.value) and isfinite(self.slope)


Phi = Callable[[float], Trial]


@dataclass(frozen=True, slots=True)
class Wolfe:
    """φ(a) ≤ φ(0) + c₁·a·φ'(0)  and  |φ'(a)| ≤ c₂·|φ'(0)|.

    Values closer than `noise`, relatively, count as equal: that is how exactly a loss is known. A trial without a
    finite value is too long.
    """

    decrease: float = 1e-4
    curvature: float = 0.9
    trials: int = 25
    noise: float = 0.0

    def search(self, phi: Phi, start: Trial, length: float) -> Trial | None:
        """A trial that meets both conditions, or the best that lowers φ; None if nothing does."""
        low, slack = start, self.noise * abs(start.value)

        def decreases(trial: Trial) -> bool:
            return trial.finite and trial.value <= start.value + self.decrease * trial.length * start.slope + slack

        for count in range(self.trials):
            trial = phi(length)
            if not decreases(trial) or (count and trial.value >= low.value + slack):
                return self._zoom(phi, start, low, trial, self.trials - count - 1, decreases)
            if abs(trial.slope) <= self.curvature * abs(start.slope):
                return trial
            if trial.slope >= 0:
                return self._zoom(phi, start, trial, low, self.trials - count - 1, decreases)
            length = _between(_cubic(low, trial), 1.25 * trial.length, 10 * trial.length)
            low = trial
        return low if low.length else None

    def _zoom(
        self, phi: Phi, start: Trial, low: Trial, high: Trial, trials: int, decreases: Callable[[Trial], bool]
    ) -> Trial | None:
        """Algorithm 3.6: `low` is the best so far, and a length that meets both conditions lies before `high`."""
        for _ in range(trials):
            width = high.length - low.length
            if abs(width) <= 1e-12 * max(abs(low.length), abs(high.length)):
                break
            inside = sorted((low.length + 0.1 * width, high.length - 0.1 * width))
            trial = phi(_between(_cubic(low, high), *inside))
            if not decreases(trial) or trial.value >= low.value:
                high = trial
                continue
            if abs(trial.slope) <= self.curvature * abs(start.slope):
                return trial
            if trial.slope * width >= 0:
                high = low
            low = trial
        return low if low.length else None


def _cubic(a: Trial, b: Trial) -> float | None:
    """Where the cubic with these values and slopes at a and b has its minimum; None where it has none."""
    if not (a.finite and b.finite):
        return None
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < float("inf"):
        return None
    d2 = sqrt(square) if b.length > a.length else -sqrt(square)
    below = b.slope - a.slope + 2 * d2
    return b.length - (b.length - a.length) * (b.slope + d2 - d1) / below if below else None


def _between(wanted: float | None, low: float, high: float) -> float:
    """The nearest number in low..high; the middle for None."""
    return (low + high) / 2 if wanted is None else min(max(wanted, low), high)
