"""Learning rates as functions of the number t of an update, which counts from 1.

    gc.Adam(gc.schedules.cosine(1e-3, steps=2000))
    gc.SGD(gc.schedules.warmup(gc.schedules.cosine(0.1), 500), 0.9)     as long as the training, which fit knows

A schedule is a value: nothing in it changes, so a training that goes on later gets the same rates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, pi
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from graphc.errors import GraphcError
from graphc.train.ranges import check_range

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schedule(ABC):
    """A function from the number of an update to a rate; from an array of numbers to an array.

    Where `steps` is None it is as long as the training: `over` says how long that is.
    Raises GraphcError for a negative rate, and when it is called without a length.
    """

    def __call__(self, step: Any) -> Any:
        if self.is_open:
            raise GraphcError(
                f"{self!r} has no length",
                hint="give it one, steps=1000, or let Model.fit do so, which knows the number of updates",
            )
        rates = self.at(np.atleast_1d(step).astype(np.float64))  # the same bits for one as for many
        return rates if isinstance(step, np.ndarray) else float(rates[0])

    @abstractmethod
    def at(self, t: Times) -> Times:
        """The rates of updates."""

    @property
    def is_open(self) -> bool:
        """Whether it is as long as the training, and nobody has said how long that is."""
        return getattr(self, "steps", 0) is None

    def over(self, total: int) -> Self:
        """The schedule for a training of so many updates."""
        return replace(self, **{"steps": total}) if self.is_open else self


@dataclass(frozen=True)
class constant(Schedule):
    """The same rate at all times."""

    rate: float

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def at(self, t: Times) -> Times:
        return np.full_like(t, self.rate)


@dataclass(frozen=True)
class step_decay(Schedule):
    """rate·factor^⌊(t - 1)/every⌋: as torch.optim.lr_scheduler.StepLR."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.factor)
        _check_steps("every", self.every)

    def at(self, t: Times) -> Times:
        return self.rate * np.power(self.factor, np.floor((t - 1) / self.every))


@dataclass(frozen=True)
class exponential(Schedule):
    """rate·factor^((t - 1)/every): torch.optim.lr_scheduler.ExponentialLR where every = 1."""

    rate: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.factor)
        _check_steps("every", self.every)

    def at(self, t: Times) -> Times:
        return self.rate * np.power(self.factor, (t - 1) / self.every)


@dataclass(frozen=True)
class polynomial(Schedule):
    """final + (rate - final)·(1 - (t - 1)/steps)^power: from `rate` to `final`, then `final`."""

    rate: float
    steps: int | None = None
    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.final, self.power)
        _check_steps("steps", self.steps)

    def at(self, t: Times) -> Times:
        return self.final + (self.rate - self.final) * np.power(1 - _part(t, self.steps), self.power)


@dataclass(frozen=True)
class piecewise(Schedule):
    """rates[k] while t <= boundaries[k], then the last: as tf.keras.optimizers.schedules.PiecewiseConstantDecay."""

    boundaries: Sequence[int]
    rates: Sequence[float]

    def __post_init__(self) -> None:
        _check_rate(*self.rates)
        if len(self.rates) != len(self.boundaries) + 1 or list(self.boundaries) != sorted(self.boundaries):
            raise GraphcError(
                f"piecewise needs rising boundaries and one rate more, got {self.boundaries} and {self.rates}"
            )

    def at(self, t: Times) -> Times:
        return np.asarray(self.rates, np.float64)[np.searchsorted(self.boundaries, t)]


@dataclass(frozen=True)
class cosine(Schedule):
    """final + (rate - final)·(1 + cos(π·(t - 1)/steps))/2: from `rate` to almost `final` in `steps`, then `final`.

    Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983, without restarts.
    """

    rate: float
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.final)
        _check_steps("steps", self.steps)

    def at(self, t: Times) -> Times:
        return _eased(self.rate, self.final, _part(t, self.steps))


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """`cosine` again and again, the first time for `period` updates, then each time `growth` times longer.

    Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983; torch's CosineAnnealingWarmRestarts.
    """

    rate: float
    period: int
    growth: int = 1
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.final)
        _check_steps("period", self.period)
        _check_steps("growth", self.growth)

    def at(self, t: Times) -> Times:
        gone = (t - 1) / self.period
        if self.growth == 1:
            return _eased(self.rate, self.final, gone % 1)
        # k restarts take 1 + g + ... + g^(k-1) = (g^k - 1)/(g - 1) periods
        restarts = np.floor(np.log1p(gone * (self.growth - 1)) / np.log(self.growth) + 1e-12)
        before = (self.growth**restarts - 1) / (self.growth - 1)
        return _eased(self.rate, self.final, (gone - before) / self.growth**restarts)


@dataclass(frozen=True)
class one_cycle(Schedule):
    """Up from rate/div_factor to `rate` in a part pct_start of the steps, then down to 1/final_div_factor of the start.

    Both ways along half a cosine. Momentum stays as it is.
    Source: Smith and Topin 2019, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR.
    """

    rate: float
    steps: int | None = None
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        _check_steps("steps", self.steps)
        check_range("pct_start", self.pct_start, 0, 1)
        if not (self.div_factor > 0 and self.final_div_factor > 0):
            raise GraphcError(f"one_cycle divides by {self.div_factor} and {self.final_div_factor}, expected above 0")

    def at(self, t: Times) -> Times:
        assert self.steps is not None
        top, last, first = self.pct_start * self.steps - 1, self.steps - 1, self.rate / self.div_factor
        k = np.minimum(t - 1, last)
        up = _eased(first, self.rate, np.clip(k / max(top, 1), 0, 1))
        down = _eased(self.rate, first / self.final_div_factor, np.clip((k - top) / max(last - top, 1), 0, 1))
        return np.where(k <= top, up, down)


@dataclass(frozen=True)
class warmup(Schedule):
    """The first rate of another schedule times start + (1 - start)·t/steps for `steps` updates, then that schedule.

    Source: Goyal et al. 2017, arXiv:1706.02677.
    """

    schedule: Callable[[Any], Any]
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_steps("steps", self.steps)
        check_range("start", self.start, 0, inf)

    @property
    def is_open(self) -> bool:
        return isinstance(self.schedule, Schedule) and self.schedule.is_open

    def over(self, total: int) -> Self:
        """The schedule for a training of so many updates, the warm-up being some of them."""
        if not isinstance(self.schedule, Schedule):
            return self
        return replace(self, schedule=self.schedule.over(max(total - self.steps, 1)))

    def at(self, t: Times) -> Times:
        ramp = self.start + (1 - self.start) * np.minimum(t / self.steps, 1)
        after = np.maximum(t - self.steps, 1)
        later = self.schedule(after) if isinstance(self.schedule, Schedule) else np.vectorize(self.schedule)(after)
        return np.asarray(ramp * later)


def _part(t: Times, steps: int | None) -> Times:
    """How much of so many updates is over when update t begins."""
    assert steps is not None
    return np.minimum((t - 1) / steps, 1)


def _eased(start: float, end: float, part: Times) -> Times:
    """From start to end along half a cosine."""
    return np.asarray(end + (start - end) * (1 + np.cos(pi * part)) / 2)


def _check_rate(*rates: float) -> None:
    check_range("lr", rates, 0, inf)


def _check_steps(name: str, count: int | None) -> None:
    if count is not None and not count >= 1:
        raise GraphcError(f"{name} must be a number of updates, at least 1, got {count}")
