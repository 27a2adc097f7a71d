"""Elements in other places, and in other numbers."""

from __future__ import annotations

from math import prod
from typing import Any

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import ShapeError
from graphc.ops import movement
from graphc.ops.matrices import diag_embed, diagonal, tril, triu
from graphc.ops.movement import (
    Axes,
    broadcast_to,
    chosen_axes,
    flatten,
    flip,
    normal_axis,
    permute,
    repeat_interleave,
    reshape,
    tile,
)
from graphc.types import Batch

__all__ = [
    "broadcast_to",
    "diag",
    "diag_embed",
    "diagonal",
    "expand",
    "expand_dims",
    "flatten",
    "flip",
    "movedim",
    "permute",
    "repeat_interleave",
    "reshape",
    "roll",
    "squeeze",
    "swapaxes",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unflatten",
    "unsqueeze",
]


def roll(x: Tensor, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Tensor:
    """What leaves one end of an axis comes in at the other; without an axis, of all elements in their order.

    Raises ShapeError for the batch axis, and unless there is one shift for each axis.
    """
    if axis is None:
        return movement.roll(x.reshape(-1), shift=shift, axis=0).reshape(x.shape)
    return movement.roll(x, shift=shift, axis=axis)


def unflatten(x: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """One axis as several, the last of them the fastest; one of the sizes may be -1. Raises ShapeError."""
    position = _axis("unflatten", axis, x.ndim)
    own, known = x.shape[position], [s for s in sizes if s != -1]
    free, count = len(sizes) - len(known), prod(known)
    if isinstance(own, Batch) or free > 1 or count < 1 or (own % count if free else own != count):
        raise ShapeError(
            f"unflatten: axis {position} of {x.shape} is {own}, which is not the product of the sizes {tuple(sizes)}",
            location=caller(), hint="sizes multiply to the extent of the axis; one of them may be -1",
        )  # fmt: skip
    found = tuple(own // count if s == -1 else s for s in sizes)
    return x.reshape((*x.shape[:position], *found, *x.shape[position + 1 :]))


expand = broadcast_to
"""torch's name."""


def transpose(x: Tensor, first: int = -1, second: int = -2) -> Tensor:
    """Two axes exchanged, by default the last two."""
    order = list(range(x.ndim))
    a, b = (_axis("transpose", axis, x.ndim) for axis in (first, second))
    order[a], order[b] = b, a
    return permute(x, order=tuple(order))


swapaxes = transpose
"""numpy's name."""


def movedim(x: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Tensor:
    """Some axes at other places, the others in their order around them. Raises ShapeError."""
    taken, given = (
        [_axis("movedim", a, x.ndim) for a in ((axes,) if isinstance(axes, int) else axes)]
        for axes in (source, destination)
    )
    if len(taken) != len(given) or len(set(taken)) < len(taken) or len(set(given)) < len(given):
        raise ShapeError(f"movedim: {source} cannot move to {destination}", location=caller(), hint="name as many axes")
    places = dict(zip(given, taken, strict=True))
    rest = (a for a in range(x.ndim) if a not in taken)
    return permute(x, order=tuple(places[k] if k in places else next(rest) for k in range(x.ndim)))


def squeeze(x: Tensor, axis: Axes = None) -> Tensor:
    """Without some axes of extent 1, by default all of them. Raises ShapeError for a longer one."""
    if axis is None:
        gone: tuple[int, ...] = tuple(k for k, e in enumerate(x.shape) if e == 1)
    else:
        gone = chosen_axes("squeeze", axis, x.ndim)
    for k in gone:
        if x.shape[k] != 1:
            raise ShapeError(
                f"squeeze: axis {k} of {x.shape} is {x.shape[k]}, expected 1", location=caller(),
                hint=f"x[{':, ' * k}0] takes its first element",
            )  # fmt: skip
    return x[tuple(0 if k in gone else slice(None) for k in range(x.ndim))]


def unsqueeze(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """With further axes of extent 1 at some places of the result. Raises ShapeError."""
    rank = x.ndim + (1 if isinstance(axis, int) else len(axis))
    new = chosen_axes("unsqueeze", axis, rank)
    return x[tuple(None if k in new else slice(None) for k in range(rank))]


expand_dims = unsqueeze
"""numpy's name."""


def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with a vector as its diagonal, or the diagonal of a matrix. Raises ShapeError for other tensors."""
    match x.ndim:
        case 1:
            return diag_embed(x, offset=diagonal)
        case 2:
            return _diagonal(x, offset=diagonal)
    raise ShapeError(f"diag: expected a vector or a matrix, got {x.shape}", location=caller(), hint="use diagonal")


_diagonal: Any = diagonal


def _axis(name: str, position: int, rank: int) -> int:
    try:
        return normal_axis(name, position, rank)
    except ShapeError as error:
        raise error.at(caller()) from None
