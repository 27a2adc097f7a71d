"""What every array of samples must be: numbers, finite ones, and as many as there are of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError

Array = npt.NDArray[Any]

PIECE = 1 << 20
"""How many elements are looked at in a search: few enough for a cache."""


def numbers(name: str, given: Any) -> Array:
    """An array of booleans, integers or floats with an axis of samples; no copy where it is one already.

    Raises DataError for strings, objects, ragged lists and single numbers.
    """
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(given)
    except ValueError as error:
        raise DataError(
            f"{name} is not an array: {error}",
            hint="all samples need the same shape: pad or crop them, or use batches of equal samples",
        ) from None
    if array.dtype.kind not in "biuf":
        raise _not_numbers(name, array)
    if isinstance(array, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(array).sum())):
        raise DataError(f"{name} is a masked array: {hidden} of its elements have no value", hint=f"{name}.filled(0)")
    if not array.ndim:
        raise DataError(f"{name} is the single number {array}, expected one entry for each sample")
    return array


def _not_numbers(name: str, array: Array) -> DataError:
    """The error for an array of something else, with the first element that is no number."""
    wrong = (p for p in np.ndenumerate(array) if not isinstance(p[1], int | float | np.number))
    place, first = next(wrong, ((0,) * array.ndim, array.flat[0] if array.size else "nothing"))
    where = f"{name}[{', '.join(map(str, place))}]" if place else name
    got = f"{where} is {first.item() if isinstance(first, np.generic) else first!r}"
    if hasattr(first, "toarray"):
        hint = f"sparse matrices are not trained on: {name}.toarray()"
    elif isinstance(first, str):
        hint = "class names become integers with: labels, names = graphc.data.categories(y)"
    elif array.dtype.kind == "c":
        hint = "give real and imaginary part as two channels"
    else:
        hint = "convert it: np.asarray(x, 'float32')"
    raise DataError(f"{name} has dtype {array.dtype}, expected numbers: {got}", hint=hint)


def same_lengths(arrays: Mapping[str, Array]) -> int:
    """How many samples there are. Raises DataError if arrays differ in that, or there is none."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"expected one target for each sample, got arrays of different lengths: {each}",
            hint=f"the first {min(lengths.values())} of each would fit" if min(lengths.values()) else "",
        )
    if not lengths or not (count := next(iter(lengths.values()))):
        raise DataError("the data set is empty: it has 0 samples", hint="the first axis of an array counts samples")
    return count


def finite(name: str, array: Array, rows: npt.NDArray[np.int64] | None = None, unit: str = "sample") -> None:
    """Raises DataError with the place of the first element that is NaN or infinite.

    `rows` are the numbers of the samples, 0, 1, ... unless given.
    """
    if array.dtype.kind != "f" or np.isfinite(_total(array)):
        return
    size = max(1, PIECE // max(array[:1].size, 1))
    for start in range(0, len(array), size):
        piece = np.isfinite(array[start : start + size])
        if not piece.all():
            first, *inside = map(int, np.unravel_index(int(np.argmin(piece)), piece.shape))
            value = array[(start + first, *inside)]
            number = start + first if rows is None else int(rows[start + first])
            a = name if name.isidentifier() else "x"
            where = f" at [{', '.join(map(str, inside))}]" if inside else ""
            raise DataError(
                f"{name}: {unit} {number} is {value}{where}, expected finite numbers",
                hint=f"leave such samples out: keep = np.isfinite({a}).reshape(len({a}), -1).all(1), "
                "then x[keep], y[keep]",
            )


def _total(array: Array) -> Any:
    """A number that is finite if all elements are, and hardly ever otherwise not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.sum(dtype=None if array.dtype.itemsize > 2 else np.float32)


def images_in(step: str, images: Array) -> tuple[int, int, int, int]:
    """The extents of images [count, channels, height, width]. Raises DataError for anything else."""
    if images.ndim != 4:
        raise DataError(
            f"{step}: expected images [count, channels, height, width], got shape {images.shape}",
            hint="x[:, None] adds the axis of channels" if images.ndim == 3 else "augment before flattening",
        )
    n, c, height, width = images.shape
    return n, c, height, width
