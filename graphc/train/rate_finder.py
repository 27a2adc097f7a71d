"""Looking for a learning rate: the loss while the rate grows from tiny to too large."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.dsl.parameter import Parameter
from graphc.dsl.trace import ordered
from graphc.errors import GraphcError, NonFiniteError
from graphc.train.callbacks.run import Callback, Run
from graphc.train.fitting import Training
from graphc.train.history import pyplot
from graphc.train.objective import flat
from graphc.train.optimisers import Optimizer
from graphc.train.ranges import count, seed_or_common
from graphc.train.trainer import DEFAULT_BATCH_SIZE, Model

Numbers = npt.NDArray[np.float64]

DIVERGED = 4.0
"""A loss ends the search when it has risen by so many times what it began with, fell by, or first differed by."""

FIRST = 10
"""The first steps say nothing: their rates are too small to be told from noise, and the average is of few losses."""


@dataclass(frozen=True, slots=True, eq=False)
class LearningRates:
    """Rates that were tried, one for each step, and the smoothed loss of each."""

    rates: Numbers
    losses: Numbers

    @property
    def suggestion(self) -> float:
        """The rate at which the loss falls fastest along a logarithmic axis, before it is smallest."""
        first = FIRST if len(self.losses) > 2 * FIRST else 0
        slopes = np.gradient(self.losses, np.log(self.rates))[first:]
        before = max(int(np.argmin(self.losses[first:])), 1)
        return float(self.rates[first + int(np.argmin(slopes[:before]))])

    def plot(self) -> Any:
        """The loss over the rate, with the suggestion; a matplotlib figure. Raises GraphcError without matplotlib."""
        figure, panel = pyplot().subplots(figsize=(5, 3.2))
        panel.semilogx(self.rates, self.losses)
        panel.axvline(self.suggestion, linestyle=":", label=f"{self.suggestion:.1e}")
        panel.set(xlabel="learning rate", ylabel="loss, smoothed")
        panel.legend()
        figure.tight_layout()
        return figure

    def __repr__(self) -> str:
        tried = f"{len(self.rates)} rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        return f"<suggestion {self.suggestion:.1e} of {tried}: loss {self.losses[0]:.4g} .. {self.losses.min():.4g}>"


def find_learning_rate(
    model: Model, x: Any, y: Any = None, *, optimizer: Optimizer | None = None, start: float = 1e-7, end: float = 10.0,
    steps: int = 100, batch_size: int = DEFAULT_BATCH_SIZE, smoothing: float = 0.9, seed: int | None = None,
    threads: int | None = None,
) -> LearningRates:  # fmt: skip
    """The losses of steps whose rate grows from `start` to `end` by the same factor each, until they diverge.

    Data as in `fit`. Losses are averaged exponentially, m ← smoothing·m + (1 - smoothing)·loss, without the bias of the
    first ones. Afterwards the program, its parameters, the optimiser's state and rate are what they were.
    Raises GraphcError for senseless bounds, DataError, InputError as `fit`, NonFiniteError if the first steps diverge.
    Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186.
    """
    if not (0 < start < end < math.inf and steps > 1 and 0 <= smoothing < 1):
        raise GraphcError(f"expected 0 < start < end, steps > 1 and smoothing in 0..1, got {start}, {end}, {steps}")
    source, seed, batch_size = model.source(x, y), seed_or_common(seed), count("batch_size", batch_size)
    rates = start * (end / start) ** (np.arange(steps) / (steps - 1))
    with _as_before(model):
        program = model.compile(optimizer, threads=threads, seed=seed)
        if not hasattr(program.optimizer, "lr"):
            raise GraphcError(f"{type(program.optimizer).__name__} has no learning rate to look for")
        search = _Search(steps, getattr(program.optimizer, "accumulate", 1), smoothing)
        before = program.steps // search.accumulate
        with _rate(program.optimizer, lambda update: float(rates[min(update - 1 - before, steps - 1)])):
            run = Run(model, program, source, sys.maxsize, batch_size, seed, callbacks=(search,))
            with suppress(NonFiniteError):
                Training(run, constants=model.constants)()
    losses = search.smoothed
    if len(losses) < 3:
        raise GraphcError(f"training diverges at once, at a learning rate of {start:g}", hint="a smaller start")
    return LearningRates(rates[: len(losses)], losses)


@dataclass(slots=True, eq=False)
class _Search(Callback):
    """Collects losses, and ends the run when there are enough of them or they diverge."""

    updates: int
    accumulate: int
    smoothing: float
    losses: list[float] = field(default_factory=list)

    def batch(self, run: Run, segment: Any) -> None:
        self.losses += segment.values["loss"].tolist()
        smoothed = self.smoothed
        if len(smoothed) == self.updates:
            run.stop("all rates have been tried")
        elif len(smoothed) > FIRST:
            best, noise = smoothed.min(), np.ptp(self.losses[:FIRST])
            if smoothed[-1] - best > DIVERGED * max(abs(smoothed[0]), smoothed[0] - best, noise):
                run.stop("the loss diverges")

    @property
    def smoothed(self) -> Numbers:
        """The average for each update."""
        count = min(len(self.losses) // self.accumulate, self.updates)
        means = np.reshape(self.losses[: count * self.accumulate], (count, self.accumulate)).mean(axis=1)
        result, average = np.empty(count), 0.0
        for k, loss in enumerate(means):
            average = self.smoothing * average + (1 - self.smoothing) * loss
            result[k] = average / (1 - self.smoothing ** (k + 1))
        return result


@contextmanager
def _rate(optimizer: Any, rate: Any) -> Iterator[None]:
    """Meanwhile an optimiser has another learning rate."""
    before, optimizer.lr = optimizer.lr, rate
    try:
        yield
    finally:
        optimizer.lr = before


@contextmanager
def _as_before(model: Model) -> Iterator[None]:
    """What is done meanwhile leaves no trace in a model: its program, its parameters, whether drawn or not."""
    tensors = ordered(flat(model.outputs, model.loss, model.metrics))
    values = {p: p.value if p.version else None for p in tensors if isinstance(p, Parameter)}
    held, program = dict(vars(model)), model._training
    state = program.state_dict() if program is not None else {}
    try:
        yield
    finally:
        vars(model).update(held)
        for parameter, value in values.items():
            if value is None:
                parameter.forget()
            else:
                parameter.value = value
        if program is not None:
            program.load_state_dict(state)
