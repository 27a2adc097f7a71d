"""What is measured while a network is trained or evaluated: sums over batches, and numbers made of them at the end.

    accuracy = Metric({"right": right, "all": all}, lambda sums: sums["right"] / sums["all"])

The statistics are tensors, compiled into the step; what is left for Python is to add them up and to divide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError
from graphc.types import Batch

Array: TypeAlias = "npt.NDArray[np.float64]"
Sums: TypeAlias = "Mapping[str, Array]"
Value: TypeAlias = "float | Array"

SAMPLES = "samples"
"""What every metric is given besides its own sums: how many samples they are over."""


def as_they_are(results: Sums, first: Sums) -> Sums:
    """The terms of most metrics: the results of the steps."""
    return results


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """value(Σ_steps terms): a number, or an array, that is made of sums over batches.

    `statistics` are tensors without a batch axis. Their results [steps, ...] in float64 become what is added up by
    `terms(results, first)`, where `first` are the results of the very first step: sums about a place near the numbers
    keep the digits that sums about zero lose. `value` is given the sums by name, and the number of "samples".
    Raises GraphError for statistics that have a batch axis.
    """

    statistics: Mapping[str, Tensor]
    value: Callable[[Sums], Any]
    name: str = "metric"
    terms: Callable[[Sums, Sums], Sums] = as_they_are

    def __post_init__(self) -> None:
        for name, tensor in self.statistics.items():
            check_result(f"statistic {name} of {self.name}", tensor)
        if SAMPLES in self.statistics:
            raise GraphError(f'{self.name}: "{SAMPLES}" is the number of samples, call the statistic otherwise')


Measured: TypeAlias = "Tensor | Metric"


def check_result(name: str, tensor: Tensor) -> None:
    """Raises GraphError for what is not one result for the whole batch."""
    if any(isinstance(extent, Batch) for extent in tensor.shape):
        raise GraphError(
            f"{name} must be a scalar, got shape {tensor.shape}", location=tensor.location or caller(),
            layer=tensor.scope, hint="reduce it with .mean() or .sum(), over the batch at least: .mean(axis=0)",
        )  # fmt: skip


def statistics_of(metrics: Mapping[str, Measured]) -> dict[str, Tensor]:
    """The tensors behind metrics: "loss" is one itself, a Metric "f1" has "f1/counts". Raises GraphError."""
    parts = list(_parts(metrics))
    found = dict(parts)
    if len(found) < len(parts):
        raise GraphError(f"two metrics have the same name among {', '.join(name for name, _ in parts)}")
    return found


def _parts(metrics: Mapping[str, Measured]) -> Iterator[tuple[str, Tensor]]:
    for name, metric in metrics.items():
        if isinstance(metric, Metric):
            yield from ((f"{name}/{part}", tensor) for part, tensor in metric.statistics.items())
        else:
            yield name, metric


class Totals:
    """Sums of results over batches, and the values of the metrics that they make.

    A Metric's statistics are added; any other result is a mean over its batch, and averaged by numbers of samples.
    Sums are in float64, one batch after the other: they have the same bits whatever parts the results come in.
    """

    def __init__(self, metrics: Mapping[str, Measured] | None = None) -> None:
        self._metrics = {name: m for name, m in (metrics or {}).items() if isinstance(m, Metric)}
        self._owners = {f"{name}/{part}": name for name, m in self._metrics.items() for part in m.statistics}
        self._names: dict[str, None] = {}
        self._sums: dict[str, Array] = {}
        self._first: dict[str, dict[str, Array]] = {}
        self.samples = 0

    def add(self, results: Mapping[str, npt.ArrayLike], samples: int | npt.NDArray[np.int64]) -> Totals:
        """Results [steps, ...] of several batches and how many samples each of them had, or of one batch."""
        one = np.ndim(samples) == 0
        counts = np.atleast_1d(np.asarray(samples))
        given = {name: np.asarray(r, np.float64) for name, r in results.items()}
        given = {name: r[None] if one else r.reshape(len(counts), *r.shape[1:]) for name, r in given.items()}
        self._names |= dict.fromkeys(self._owners.get(name, name) for name in given)
        for name, metric in self._metrics.items():
            own = {part: given.pop(f"{name}/{part}") for part in metric.statistics}
            first = self._first.setdefault(name, {part: r[0].copy() for part, r in own.items()})
            for part, terms in metric.terms({**own, SAMPLES: counts}, first).items():
                self._accumulate(f"{name}/{part}", terms)
        for name, means in given.items():
            self._accumulate(name, means * counts.reshape(-1, *[1] * (means.ndim - 1)))
        self.samples += int(counts.sum())
        return self

    def _accumulate(self, name: str, terms: Array) -> None:
        start = self._sums.get(name, np.zeros(terms.shape[1:]))
        self._sums[name] = np.add.accumulate(np.concatenate([start[None], terms]))[-1]

    @property
    def value(self) -> dict[str, Any]:
        """The metrics by name, floats or arrays. Raises ZeroDivisionError before the first batch."""
        return {name: self._value(name) for name in self._names}

    def _value(self, name: str) -> Any:
        metric = self._metrics.get(name)
        if metric is None:
            return number(self._sums[name] / self.samples)
        prefix = f"{name}/"
        sums = {part.removeprefix(prefix): s for part, s in self._sums.items() if part.startswith(prefix)}
        return number(metric.value({**sums, SAMPLES: np.asarray(float(self.samples))}))

    def state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it exactly."""
        return {
            "samples": self.samples,
            "names": list(self._names),
            "sums": {name: s.tolist() for name, s in self._sums.items()},
            "first": {name: {part: r.tolist() for part, r in f.items()} for name, f in self._first.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.samples, self._names = state["samples"], dict.fromkeys(state["names"])
        self._sums = {name: np.asarray(s, np.float64) for name, s in state["sums"].items()}
        self._first = {
            name: {part: np.asarray(r, np.float64) for part, r in f.items()} for name, f in state["first"].items()
        }


def number(value: Any) -> Value:
    """A float for what has no axes, otherwise an array of its own."""
    return float(value) if np.ndim(value) == 0 else np.array(value)
