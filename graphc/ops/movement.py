"""Operators that move elements without computing: reshape, permute, flip, roll, repeat."""

from __future__ import annotations

from math import prod
from typing import Any

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import FloorDiv, Mod, Where, lt, replace, size_of
from graphc.ops.notation import Operand, axes, axis, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.types import BATCH, Batch, Extent

Axes = int | tuple[int, ...] | None
"""One axis, several, or all."""


@op(
    register=True,
    either="X",
    samples=[
        Sample(((2, 3, 4),), {"shape": (2, 12)}),
        Sample(((2, 12),), {"shape": (2, 3, -1)}),
        Sample(((4, 6),), {"shape": (8, 3)}),
    ],
)
def reshape(X: Operand, *, shape: tuple[Extent, ...] = (-1,)) -> Expr:
    """The elements of X in their order, with another shape.

    Y[i] = X[i // 12, (i // 4) % 3, i % 4] for X of shape (k, 3, 4). One extent may be -1: it is
    computed. The batch axis keeps its place. Raises ShapeError where the numbers of elements differ.
    """
    target = _resolved(X.shape, shape)
    index: list[Any] = []
    symbols = [axis(name, extent) for name, extent in zip(_names(target), target, strict=True)]
    position = 0
    for old, new in _blocks(X.shape, target):
        index += _digits(_linear(symbols[position : position + len(new)], new), old)
        position += len(new)
    return X[tuple(index)]


@op(register=True, either="X", samples=[Sample(((2, 3, 4),)), Sample(((2, 3, 2, 2),), {"start": 2})])
def flatten(X: Operand, *, start: int = 1) -> Expr:
    """The axes from `start` on as one: Y[n, i] = X[n, i // (H·W), (i // W) % H, i % W]. Raises ShapeError."""
    first = normal_axis("flatten", start, X.rank)
    if any(isinstance(e, Batch) for e in X.shape[first:]) and X.rank - first > 1:
        raise ShapeError(f"flatten: start={start} would flatten the batch axis of {X.shape} away", hint="use start=1")
    body: Expr = reshape.function(X, shape=(*X.shape[:first], *_product(X.shape[first:])))
    return body


@op(register=True, either="X", samples=[Sample(((2, 3),)), Sample(((2, 3, 4),), {"order": (1, 2, 0)})])
def permute(X: Operand, *, order: tuple[int, ...] | None = None) -> Expr:
    """Y[i_order[0], i_order[1], ...] = X[i_0, i_1, ...]; reverses all axes unless an order is given.

    Raises ShapeError unless `order` names every axis once.
    """
    chosen = tuple(range(X.rank))[::-1] if order is None else order
    positions = [normal_axis("permute", a, X.rank) for a in chosen]
    if sorted(positions) != list(range(X.rank)):
        raise ShapeError(
            f"permute: order {chosen} must name each of the {X.rank} axes of {X.shape} once",
            hint=f"for example {tuple(range(X.rank))[::-1]}",
        )
    symbols = axes(" ".join(pointwise_names(X.rank)))
    index = [symbols[positions.index(a)] for a in range(X.rank)]
    return X[tuple(index)]


@op(register=True, either="X", samples=[Sample(((3, 4),)), Sample(((2, 3, 4),), {"axis": (0, -1)})])
def flip(X: Operand, *, axis: Axes = None) -> Expr:
    """Y[..., i, ...] = X[..., |X| - 1 - i, ...]: some axes, all by default, in reverse order. Raises ShapeError."""
    turned = chosen_axes("flip", axis, X.rank)
    index = pointwise_axes(X.shape)
    return X.at(*[size_of(X.shape[k]) - 1 - i if k in turned else i for k, i in enumerate(index)])


@op(
    register=True,
    either="X",
    samples=[Sample(((5,),), {"shift": 2}), Sample(((2, 3, 4),), {"shift": (1, -1), "axis": (1, 2)})],
)
def roll(X: Operand, *, shift: int | tuple[int, ...] = 1, axis: int | tuple[int, ...] = -1) -> Expr:
    """Y[..., i, ...] = X[..., (i - shift) mod |X|, ...]: what leaves one end of an axis comes in at the other.

    Raises ShapeError for the batch axis, and unless there is one shift for each axis.
    """
    shifts, turned = ((v,) if isinstance(v, int) else tuple(v) for v in (shift, axis))
    if len(shifts) != len(turned):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(turned)} axes", hint="give one shift for each axis")
    index = pointwise_axes(X.shape)
    body: Expr = X.at(*index)
    for distance, a in zip(shifts, chosen_axes("roll", turned, X.rank), strict=True):
        length = X.shape[a]
        if isinstance(length, Batch):
            raise ShapeError(f"roll: axis {a} of {X.shape} is the batch", hint="roll the array that is fed")
        distance, i = distance % length, index[a]
        if distance:
            wrapped, moved = replace(body, {i: i - distance + length}), replace(body, {i: i - distance})
            body = Where(lt(i, distance), wrapped, moved)
    return body


@op(
    register=True,
    either="X",
    samples=[Sample(((3,),), {"repeats": 2}), Sample(((2, 3),), {"repeats": (2, 1, 3)})],
)
def tile(X: Operand, *, repeats: int | tuple[int, ...] = 1) -> Expr:
    """Y[i, j, ...] = X[i mod |X|, ...]: X again and again along its axes; more repeats than axes add axes in front.

    Raises ShapeError for the batch axis and for repeats below 1.
    """
    counts = (repeats,) if isinstance(repeats, int) else repeats
    counts = (1,) * (X.rank - len(counts)) + counts
    index: list[Any] = []
    shape = (*(1,) * (len(counts) - X.rank), *X.shape)
    for k, (name, extent, count) in enumerate(zip(_names(shape), shape, counts, strict=True)):
        i = axis(name, _times("tile", X, k - len(counts), extent, count))
        index.append(i if count == 1 else Mod(i, extent))
    return X.at(*index[len(counts) - X.rank :])


def _times(operator: str, X: Operand, k: int, extent: Extent, count: int) -> Extent:
    """An extent so many times as long. Raises ShapeError."""
    if not isinstance(count, int) or count < 1:
        raise ShapeError(f"{operator}: repeats must be positive, got {count}")
    if isinstance(extent, Batch) and count != 1:
        raise ShapeError(f"{operator}: axis {k} of {X.shape} is the batch", hint="repeat the array that is fed")
    return extent if isinstance(extent, Batch) else extent * count


@op(register=True, either="X", samples=[Sample(((3,),), {"repeats": 2}), Sample(((2, 3),), {"repeats": 3, "axis": 0})])
def repeat_interleave(X: Operand, *, repeats: int = 1, axis: int = -1) -> Expr:
    """Y[..., i, ...] = X[..., i // repeats, ...]: every element several times. Raises ShapeError for the batch axis."""
    position = normal_axis("repeat_interleave", axis, X.rank)
    longer = _times("repeat_interleave", X, position, X.shape[position], repeats)
    index = pointwise_axes((*X.shape[:position], longer, *X.shape[position + 1 :]))
    i = index[position]
    return X.at(*index[:position], FloorDiv(i, repeats) if repeats > 1 else i, *index[position + 1 :])


@op(register=True, either="X", samples=[Sample(((3, 1),), {"shape": (2, 3, 4)}), Sample(((3,),), {"shape": (2, -1)})])
def broadcast_to(X: Operand, *, shape: tuple[Extent, ...] = ()) -> Expr:
    """X repeated along axes of extent 1 and along new axes in front, as in arithmetic; -1 keeps an extent.

    Raises ShapeError where an extent that is not 1 would have to change.
    """
    first = len(shape) - X.rank
    own = (*[1] * first, *X.shape)
    wanted = tuple(e if w == -1 else w for w, e in zip(shape, own, strict=True)) if first >= 0 else ()
    if first < 0 or any(e not in (1, w) for w, e in zip(wanted, own, strict=True)):
        raise ShapeError(
            f"broadcast_to: {X.shape} cannot become {shape}",
            hint="axes are matched from the right, and only those of extent 1 can be repeated",
        )
    index = pointwise_axes(wanted)[first:]
    return X.at(*[i if e == w else 0 for i, e, w in zip(index, X.shape, wanted[first:], strict=True)])


def pointwise_axes(shape: tuple[Extent, ...]) -> tuple[Any, ...]:
    """One axis of the result for each extent."""
    return tuple(axis(name, e) for name, e in zip(_names(shape), shape, strict=True))


def chosen_axes(operator: str, over: Axes, rank: int) -> tuple[int, ...]:
    """Some axes counted from the front, all of them for None. Raises ShapeError for none such, or one twice."""
    wanted = range(rank) if over is None else over if isinstance(over, tuple) else (over,)
    found = tuple(normal_axis(operator, a, rank) for a in wanted)
    twice = [a for a in found if found.count(a) > 1]
    if twice:
        raise ShapeError(f"{operator}: axis {twice[0]} is named twice in {over}", hint="name each axis once")
    return found


def normal_axis(operator: str, position: int, rank: int) -> int:
    """An axis counted from the front. Raises ShapeError if there is no such axis."""
    if not isinstance(position, int) or not -rank <= position < rank:
        hint = f"use {-rank} to {rank - 1}" if rank else "a scalar has no axes"
        raise ShapeError(f"{operator}: axis {position} does not exist in a tensor with {rank} axes", hint=hint)
    return position % rank


def _names(shape: tuple[Extent, ...]) -> list[str]:
    return pointwise_names(len(shape))


def _product(shape: tuple[Extent, ...]) -> tuple[Extent, ...]:
    """One axis in place of several; the batch alone stays the batch."""
    return shape if len(shape) == 1 else (prod(e for e in shape if isinstance(e, int)),)


def _resolved(old: tuple[Extent, ...], new: tuple[Extent, ...]) -> tuple[Extent, ...]:
    """The target shape with -1 computed and the batch axis checked. Raises ShapeError."""

    def fail(reason: str, hint: str = "") -> ShapeError:
        return ShapeError(f"reshape: {old} cannot become {new}: {reason}", hint=hint)

    batched, holes = BATCH in old, [k for k, e in enumerate(new) if e == -1]
    size, wanted = _size(old), _size(tuple(e for e in new if e != -1))
    if len(holes) > 1:
        raise fail("only one extent can be -1")
    if any(isinstance(e, int) and e < 1 and e != -1 for e in new):
        raise fail("extents must be positive")
    if holes:
        at = holes[0]
        if batched and BATCH not in new:
            filled: Extent = BATCH
            fits = size == wanted
        else:
            filled, fits = size // wanted, size % wanted == 0
        if not fits:
            raise fail(f"{wanted} does not divide the {size} elements" + " of each sample" * batched)
        new = (*new[:at], filled, *new[at + 1 :])
    elif size != wanted:
        raise fail(
            f"{size} elements against {wanted}" + " in each sample" * batched,
            "leave one extent to be computed: -1",
        )
    if batched != (BATCH in new) or sum(e is BATCH for e in new) > 1:
        raise fail("the batch axis must be kept", "name it: (gc.BATCH, ...)")
    if batched and _size(old[: old.index(BATCH)]) != _size(new[: new.index(BATCH)]):
        raise fail("the batch axis must keep its place", "move it with permute first")
    return new


def _size(shape: tuple[Extent, ...]) -> int:
    return prod(e for e in shape if isinstance(e, int))


def _blocks(old: tuple[Extent, ...], new: tuple[Extent, ...]) -> list[tuple[tuple[Extent, ...], tuple[Extent, ...]]]:
    """The shortest runs of axes that hold the same elements, so that axes which do not change stay apart."""
    blocks, a, b = [], 0, 0
    while a < len(old) or b < len(new):
        first, second = a, b
        a, b = min(a + 1, len(old)), min(b + 1, len(new))
        while _key(old[first:a]) != _key(new[second:b]):
            if b == len(new) or (a < len(old) and _key(old[first:a]) < _key(new[second:b])):
                a += 1
            else:
                b += 1
        blocks.append((old[first:a], new[second:b]))
    return blocks


def _key(shape: tuple[Extent, ...]) -> tuple[bool, int]:
    """Orders runs of axes by size, those with the batch after all others."""
    return BATCH in shape, _size(shape)


def _linear(symbols: list[Expr], extents: tuple[Extent, ...]) -> Expr:
    """The position of an element within a block: the axes as digits of a mixed-radix number."""
    position: Any = 0
    for symbol, extent in zip(symbols, extents, strict=True):
        if extent != 1:
            position = position * extent + symbol if position != 0 else symbol
    return position


def _digits(position: Any, extents: tuple[Extent, ...]) -> list[Any]:
    """The inverse of `_linear`."""
    digits: list[Any] = []
    stride = 1
    wide = [k for k, e in enumerate(extents) if e != 1]
    for k in reversed(range(len(extents))):
        extent = extents[k]
        if extent == 1:
            digits.append(0)
            continue
        quotient = position if stride == 1 else FloorDiv(position, stride)
        digits.append(quotient if k == wide[0] else Mod(quotient, extent))
        stride *= extent if isinstance(extent, int) else 1
    return digits[::-1]
