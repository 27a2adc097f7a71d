"""Inputs of mean 0 and deviation 1, or between 0 and 1, as the training part says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from graphc.errors import DataError
from graphc.train.data.blocks import Array
from graphc.train.data.checks import finite, numbers
from graphc.train.data.draws import Draws
from graphc.train.data.mapped import Mapped, mapping

Numbers = float | tuple[float, ...]

PIECE_BYTES = 8 << 20
"""How much is looked at at a time: enough to be fast, little enough for files larger than memory."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """x ↦ (x - mean) / deviation, one mean and deviation for all elements or for each channel (axis 1).

    It is fitted to the training part alone and applied to all parts. Its numbers are all that has to be stored:
    Normalisation(**dataclasses.asdict(n)) is the same again.
    """

    mean: Numbers
    deviation: Numbers

    @classmethod
    def fit(
        cls,
        data: Any,
        *,
        per: Literal["all", "channel"] | None = None,
        kind: Literal["standard", "minmax"] = "standard",
    ) -> Normalisation:
        """Mean and standard deviation, or with "minmax" the least value and the range, over the samples.

        `data` is a Dataset, a Table or an array, mapped files too; `per` is "channel" for tables and arrays [n, k],
        "all" otherwise. A channel that is constant only loses its mean. Raises DataError if all elements are equal.
        """
        name, array = _samples(data)
        per = per or ("channel" if array.ndim == 2 else "all")
        if per not in ("all", "channel") or kind not in ("standard", "minmax"):
            raise DataError(
                f"normalisation per {per!r} of kind {kind!r} is unknown",
                hint='per="all" or "channel", kind="standard" or "minmax"',
            )
        axes = tuple(k for k in range(array.ndim) if k != 1 or per == "all")
        shift, spread = _moments(array, axes) if kind == "standard" else _extremes(array, axes)
        if not spread.any():
            raise DataError(f"{name} cannot be normalised: every pixel is {float(shift.flat[0]):g}"
                            if array.ndim == 4 else f"{name} cannot be normalised: all values are equal",
                            hint="values that never change tell nothing")  # fmt: skip
        spread = np.where(spread == 0, 1.0, spread)
        return cls(_stored(shift, per), _stored(spread, per))

    def apply(self, data: Any) -> Any:
        """The same set, table or array, normalised, in float32 (arrays of float64 stay so)."""
        name, array = _samples(data)
        mean, deviation = self._for(name, array)
        result = (array - mean) / deviation
        return result if data is array else replace(data, **{_field(data): result})

    def invert(self, array: Array) -> Array:
        """x·deviation + mean: the values of before."""
        mean, deviation = self._for("the array", array)
        return array * deviation + mean

    def __call__(self, samples: Array, draws: Draws | None = None, /) -> Array:
        """`apply` as a step of augmented data, where it makes floats of bytes."""
        mean, deviation = self._for("the array", samples)
        return (samples - mean) / deviation

    def _for(self, name: str, array: Array) -> tuple[Array, Array]:
        """(mean, deviation) shaped for an array. Raises DataError for another number of channels."""
        dtype = np.float64 if array.dtype == np.float64 else np.float32
        mean, deviation = np.asarray(self.mean, dtype), np.asarray(self.deviation, dtype)
        if mean.ndim:
            if array.ndim < 2 or array.shape[1] != len(mean):
                raise DataError(
                    f"{name} has shape {array.shape}, but the normalisation was fitted to {len(mean)} channels (axis 1)"
                )
            shape = (len(mean), *[1] * (array.ndim - 2))
            mean, deviation = mean.reshape(shape), deviation.reshape(shape)
        return mean, deviation


def normalise(training: Any, *others: Any, **how: Any) -> tuple[Any, ...]:
    """All sets, normalised with what the first one, the training part, says; `how` as in Normalisation.fit."""
    fitted = Normalisation.fit(training, **how)
    return tuple(fitted.apply(d) for d in (training, *others))


def _field(data: Any) -> str:
    """Which field of a set holds its samples."""
    return "images" if hasattr(data, "images") else "features"


def _samples(data: Any) -> tuple[str, Array]:
    """(name, samples) of a set, a table or an array."""
    if hasattr(data, "__array__") or isinstance(data, list):
        return "the array", numbers("the array", data)
    return data.name, getattr(data, _field(data))


def _pieces(array: Array) -> Iterator[Array]:
    """An array in parts, as floats, of which only one is in memory."""
    size = max(1, PIECE_BYTES // max(array[:1].nbytes, 1))
    for start in range(0, len(array), size):
        rows = np.arange(start, min(start + size, len(array)))
        if mapping(array) is not None:
            yield Mapped({"the array": array}).take(rows)["the array"]
        else:
            piece = array[start : start + size]
            finite("the array", piece, rows)
            yield piece


def _moments(array: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """(mean, standard deviation) over some axes, in one pass. Source: Chan, Golub, LeVeque 1979, parts put together."""
    count, mean, squares = 0.0, np.zeros(()), np.zeros(())
    for piece in _pieces(array):
        own = piece.mean(axes, np.float64, keepdims=True)
        part = piece.size / own.size
        far = own - mean
        squares = squares + (piece.var(axes, np.float64, keepdims=True) + far**2 * count / (count + part)) * part
        mean, count = mean + far * part / (count + part), count + part
    return mean, np.sqrt(squares / count)


def _extremes(array: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """(least value, range) over some axes."""
    low, high = np.array(np.inf), np.array(-np.inf)
    for piece in _pieces(array):
        low = np.minimum(low, piece.min(axes, keepdims=True))
        high = np.maximum(high, piece.max(axes, keepdims=True))
    return low, high - low


def _stored(values: Array, per: str) -> Numbers:
    numbers = tuple(map(float, values.ravel()))
    return numbers if per == "channel" else numbers[0]
