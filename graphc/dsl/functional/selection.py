"""Elements by their place and by their order: side by side, in parts, gathered, scattered, sorted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import ShapeError
from graphc.ops import indexing
from graphc.ops.elementwise import stop_gradient, where
from graphc.ops.movement import normal_axis
from graphc.ops.sorting import argsort
from graphc.types import Batch

__all__ = [
    "argsort",
    "cat",
    "chunk",
    "concat",
    "concatenate",
    "diff",
    "embedding",
    "gather",
    "index_select",
    "median",
    "one_hot",
    "scatter",
    "scatter_add",
    "sort",
    "split",
    "stack",
    "take",
    "take_along_axis",
    "topk",
    "unbind",
]

MANY = 16
"""As many tensors as one formula tells apart; more are put together by groups."""


def concat(*tensors: Tensor | Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one behind the other along an axis: concat([a, b], axis=1) or concat(a, b, axis=1). Raises ShapeError."""
    parts, axis = _given(tensors, axis)
    while len(parts) > MANY:
        parts = [indexing.concat(parts[k : k + MANY], axis=axis) for k in range(0, len(parts), MANY)]
    return indexing.concat(parts, axis=axis)


def stack(*tensors: Tensor | Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis: stack([a, b], axis=1). Raises ShapeError."""
    parts, axis = _given(tensors, axis)
    if len(parts) <= MANY:
        return indexing.stack(parts, axis=axis)
    return concat([indexing.stack(parts[k : k + MANY], axis=axis) for k in range(0, len(parts), MANY)], axis=axis)


def _given(arguments: tuple[Any, ...], axis: int) -> tuple[list[Tensor], int]:
    """Tensors that were given as one sequence, perhaps with the axis behind it, or one by one."""
    if arguments and isinstance(arguments[0], Sequence):
        return list(arguments[0]), arguments[1] if len(arguments) > 1 else axis
    return list(arguments), axis


cat = concatenate = concat
"""The names of torch and numpy."""

take_along_axis = indexing.gather
"""numpy's name and order of arguments: take_along_axis(x, index, axis)."""


# -------------------------------------------------------------------------------------------------- parts


def _length(name: str, x: Tensor, axis: int) -> tuple[int, int]:
    """(an axis from the front, its extent). Raises ShapeError for the batch."""
    try:
        position = normal_axis(name, axis, x.ndim)
    except ShapeError as error:
        raise error.at(caller()) from None
    extent = x.shape[position]
    if isinstance(extent, Batch):
        raise ShapeError(
            f"{name}: axis {position} of {x.shape} is the batch: its length is not known", location=caller(),
            hint="declare the input with a fixed number of samples",
        )  # fmt: skip
    return position, extent


def _stretch(x: Tensor, position: int, start: int, stop: int) -> Tensor:
    return x[(*[slice(None)] * position, slice(start, stop))]


def split(x: Tensor, sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Parts of so many elements each, the last of what is left, or parts of the given sizes, along an axis.

    Raises ShapeError where sizes do not add up to the extent.
    """
    position, extent = _length("split", x, axis)
    if isinstance(sizes, int):
        if sizes < 1:
            raise ShapeError(f"split: parts of {sizes} elements", location=caller(), hint="use a positive number")
        sizes = [min(sizes, extent - start) for start in range(0, extent, sizes)]
    if sum(sizes) != extent or min(sizes, default=0) < 1:
        raise ShapeError(
            f"split: the sizes {tuple(sizes)} add up to {sum(sizes)}, but axis {position} of {x.shape} is {extent}",
            location=caller(), hint="sizes must be positive and add up to the extent",
        )  # fmt: skip
    stops = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return tuple(_stretch(x, position, stop - size, stop) for size, stop in zip(sizes, stops, strict=True))


def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """At most so many parts of one size along an axis, the last smaller where it does not divide. Raises ShapeError."""
    _, extent = _length("chunk", x, axis)
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} parts", location=caller(), hint="use a positive number")
    return split(x, -(-extent // chunks), axis)


def unbind(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """Each element along an axis as a tensor of its own. Raises ShapeError."""
    position, extent = _length("unbind", x, axis)
    return tuple(x[(*[slice(None)] * position, k)] for k in range(extent))


def diff(x: Tensor, n: int = 1, axis: int = -1) -> Tensor:
    """x[..., i + 1, ...] - x[..., i, ...], n times. Raises ShapeError where fewer than n + 1 elements are there."""
    position, extent = _length("diff", x, axis)
    if not 0 <= n < extent:
        raise ShapeError(
            f"diff: {extent} elements along axis {position} of {x.shape} have no differences of order {n}",
            location=caller(), hint=f"use n from 0 to {extent - 1}",
        )  # fmt: skip
    for length in range(extent, extent - n, -1):
        x = _stretch(x, position, 1, length) - _stretch(x, position, 0, length - 1)
    return x


# ---------------------------------------------------------------------------------------------- by indices


def take(x: Tensor, index: Tensor, axis: int | None = None) -> Tensor:
    """x[..., index[t], ...]: elements of one axis, or of all in C order, by their places. Raises ShapeError."""
    return indexing.take(x.reshape(-1) if axis is None else x, index, axis=axis or 0)


def index_select(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """x[..., index[t], ...]: torch's order of arguments. Raises ShapeError."""
    return indexing.take(x, index, axis=axis)


def gather(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """y[..., t, ...] = x[..., index[..., t, ...], ...]: torch's order of arguments. Raises ShapeError."""
    return indexing.gather(x, index, axis=axis)


def scatter(x: Tensor, axis: int, index: Tensor, source: Tensor) -> Tensor:
    """x with source[..., t, ...] at the place index[..., t, ...] of an axis, the last of several. Raises ShapeError."""
    return indexing.scatter(x, index, source, axis=axis)


def scatter_add(x: Tensor, axis: int, index: Tensor, source: Tensor) -> Tensor:
    """x with source[..., t, ...] added at the place index[..., t, ...] of an axis, t by t. Raises ShapeError."""
    return indexing.scatter_add(x, index, source, axis=axis)


def one_hot(index: Tensor, classes: int, dtype: str = "float32") -> Tensor:
    """1 at the place that each integer names, 0 elsewhere, along a new last axis. Raises ShapeError."""
    return indexing.one_hot(index, classes=classes, dtype=as_dtype(dtype, "one_hot"))


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """weight[index[...], :], one row for each integer; the row `padding_idx` is never trained. Raises ShapeError."""
    rows = indexing.take(weight, index)
    if padding_idx is None:
        return rows
    return where((index == padding_idx)[..., None], stop_gradient(rows), rows)


# ------------------------------------------------------------------------------------------------- by order


def sort(x: Tensor, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """(the elements along an axis in order, their places): stable; differentiable in the elements. Raises ShapeError.

    Costs count² comparisons, see `argsort`.
    """
    order = argsort(x, axis=axis, descending=descending)
    return indexing.gather(x, order, axis=axis), order


def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(the k largest elements along an axis, the largest first, their places); or the smallest. Raises ShapeError."""
    order = argsort(x, axis=axis, descending=largest, count=k)
    return indexing.gather(x, order, axis=axis), order


def median(x: Tensor, axis: int = -1, keepdims: bool = False) -> Tensor:
    """The element in the middle of an axis in order, the lower one of two, as torch has it. Raises ShapeError."""
    position, extent = _length("median", x, axis)
    order = argsort(x, axis=position, start=(extent - 1) // 2, count=1)
    middle = indexing.gather(x, order, axis=position)
    return middle if keepdims else middle[(*[slice(None)] * position, 0)]
