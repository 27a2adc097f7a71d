"""Elements by their place: slices, concatenation, gathering and scattering along an axis."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Where, eq, lt, size_of
from graphc.ops.movement import normal_axis, pointwise_axes
from graphc.ops.notation import Max, Operand, Sum, axis, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.types import Batch, DType

Stretch = tuple[int | None, int | None, int | None]
Item = int | Stretch | None
"""One part of an index: a place, start:stop:step, or a new axis."""

WHOLE: Stretch = (None, None, None)


def of_batch(operator: str, X: Operand, reason: str, hint: str) -> ShapeError:
    """The error for what cannot be done along the batch axis."""
    return ShapeError(f"{operator}: axis {X.shape.index(Batch())} of {X.shape} is the batch: {reason}", hint=hint)


# ------------------------------------------------------------------------------------------------- slices


@op(
    name="slice",
    register=True,
    either="X",
    samples=[
        Sample(((4, 5),), {"index": (1, (None, None, -1))}),
        Sample(((2, 6, 3),), {"index": (WHOLE, (1, None, 2), None, -1)}),
    ],
)
def sliced(X: Operand, *, index: tuple[Item, ...] = ()) -> Expr:
    """Y[i, j, ...] = X[start + step·i, place, ...]: what x[1:, 3, None, ::-1] writes.

    Each part of `index` is a place, (start, stop, step) with None for defaults, or None for a new axis; axes that are
    not named stay. Steps may be negative. Of the batch axis only all samples in either order, the first and the last
    can be taken. Raises ShapeError for a place outside of its axis, an empty slice, and too many parts.
    """
    wanted = len([i for i in index if i is not None])
    if wanted > X.rank:
        raise ShapeError(
            f"slice: {wanted} indices for a tensor with {X.rank} axes {X.shape}", hint=f"use at most {X.rank}"
        )
    index = (*index, *[WHOLE] * (X.rank - wanted))
    names = iter(pointwise_names(len([i for i in index if not isinstance(i, int)])))
    places: list[Expr] = []
    for item in index:
        if item is None:
            axis(next(names), 1)
        elif isinstance(item, int):
            places.append(_place(X, len(places), item))
        else:
            places.append(_stretch(X, len(places), item, next(names)))
    return X.at(*places)


def _place(X: Operand, position: int, k: int) -> Expr:
    """One element of an axis, counted from the end where negative."""
    length = X.shape[position]
    if isinstance(length, Batch):
        if k not in (0, -1):
            raise of_batch(
                "slice", X, f"there need not be a sample {k}", "take x[0] or x[-1], or slice the array that is fed"
            )
        return sp.S.Zero if k == 0 else size_of(length) - 1
    if not -length <= k < length:
        raise ShapeError(
            f"slice: index {k} is outside of axis {position} of {X.shape}", hint=f"use {-length} to {length - 1}"
        )
    return sp.Integer(k % length)


def _stretch(X: Operand, position: int, stretch: Stretch, name: str) -> Expr:
    """start + step · i along one axis."""
    length, (start, stop, step) = X.shape[position], stretch
    if step == 0:
        raise ShapeError("slice: the step is 0", hint="leave it out, or use -1 for the reverse order")
    if isinstance(length, Batch):
        if (start, stop) == (None, None) and step in (None, 1, -1):
            i = axis(name, length)
            return size_of(length) - 1 - i if step == -1 else i
        if (start or 0, stop, step or 1) == (0, 1, 1):
            return axis(name, 1)
        raise of_batch("slice", X, "its length is not known", "slice the array that is fed, or declare a fixed batch")
    first, last, stride = _resolved(start, stop, step, length)
    count = len(range(first, last, stride))
    if not count:
        text = ":".join("" if v is None else str(v) for v in (stretch if step is not None else stretch[:2]))
        raise ShapeError(
            f"slice: [{text}] leaves nothing of axis {position} of {X.shape}",
            hint=f"the axis has the places 0 to {length - 1}",
        )
    return first + stride * axis(name, count)


def _resolved(start: int | None, stop: int | None, step: int | None, length: int) -> tuple[int, int, int]:
    """Defaults and negative numbers filled in, as Python does."""
    return slice(start, stop, step).indices(length)


# -------------------------------------------------------------------------------------------- side by side


@op(
    register=True,
    either="X",
    samples=[Sample(((2, 3), (4, 3))), Sample(((2, 3), (2, 1), (2, 2)), {"axis": -1}), Sample(((3,),))],
)
def concat(*X: Operand, axis: int = 0) -> Expr:
    """Y[..., i, ...] = X0[..., i, ...] for i < |X0|, then X1[..., i - |X0|, ...], and so on.

    Raises ShapeError for the batch axis, and where the tensors differ in another axis than that.
    """
    first = X[0]
    position = normal_axis("concat", axis, first.rank)
    lengths: list[int] = []
    for operand in X:
        if operand.rank != first.rank:
            raise ShapeError(
                f"concat: {first.name} has {first.rank} axes {first.shape}, {operand.name} {operand.shape}"
            )
        for k, (a, b) in enumerate(zip(first.shape, operand.shape, strict=True)):
            if a != b and k != position:
                raise ShapeError(
                    f"concat: axis {k} is {a} in {first.name} {first.shape} but {b} in {operand.name} {operand.shape}",
                    hint=f"only axis {position}, along which they are put together, may differ",
                )
        length = operand.shape[position]
        if isinstance(length, Batch):
            raise of_batch("concat", operand, "memory holds one batch", "put the arrays together that are fed")
        lengths.append(length)
    shape = (*first.shape[:position], sum(lengths), *first.shape[position + 1 :])
    index = pointwise_axes(shape)
    end, body = sum(lengths), sp.S.Zero
    for operand, length in zip(reversed(X), reversed(lengths), strict=True):
        end -= length
        read = operand.at(*index[:position], index[position] - end, *index[position + 1 :])
        body = Where(lt(index[position], end + length), read, body) if operand is not X[-1] else read
    return body


@op(register=True, either="X", samples=[Sample(((2, 3), (2, 3))), Sample(((2,), (2,), (2,)), {"axis": -1})])
def stack(*X: Operand, axis: int = 0) -> Expr:
    """Y[..., k, ...] = Xk[...]: tensors of one shape side by side along a new axis. Raises ShapeError."""
    first = X[0]
    position = normal_axis("stack", axis, first.rank + 1)
    for operand in X:
        if operand.shape != first.shape:
            raise ShapeError(f"stack: {first.name} is {first.shape}, but {operand.name} is {operand.shape}")
    index = pointwise_axes((*first.shape[:position], len(X), *first.shape[position:]))
    k, own = index[position], (*index[:position], *index[position + 1 :])
    body: Expr = X[-1][own]
    for number, operand in reversed(list(enumerate(X[:-1]))):
        body = Where(lt(k, number + 1), operand[own], body)
    return body


# ------------------------------------------------------------------------------- gathering and scattering


def _along(name: str, X: Operand, position: int) -> int:
    """The axis from the front, unless it is the batch. Raises ShapeError."""
    found = normal_axis(name, position, X.rank)
    if isinstance(X.shape[found], Batch):
        raise of_batch(name, X, "indices into it cannot be checked", "declare the input with a fixed number of samples")
    return found


@op(
    register=True,
    either="X",
    integer="index",
    samples=[
        Sample(((5, 3), ("int", 5, (2, 4)))),
        Sample(((2, 5), ("int", 5, (3,))), {"axis": 1}),
        Sample(((5, 3), ("int", 5, ()))),
    ],
)
def take(X: Operand, index: Operand, *, axis: int = 0) -> Expr:
    """Y[..., t, ...] = X[..., index[t], ...]: the elements of one axis in another number and order.

    `index` may have any number of axes, which stand where the axis was. What it names outside of X is 0. The adjoint
    adds up all that came from one place, in a fixed order. Raises ShapeError for the batch axis.
    """
    position = _along("take", X, axis)
    shape = (*X.shape[:position], *index.shape, *X.shape[position + 1 :])
    at = pointwise_axes(shape)
    after = position + index.rank
    return X.at(*at[:position], index[at[position:after]], *at[after:])


GATHERED = [
    Sample(((4, 3), ("int", 4, (2, 3))), {"axis": 0}),
    Sample(((2, 5, 3), ("int", 5, (2, 4, 3))), {"axis": 1}),
    Sample(((3, 4), ("int", 4, (2, 1))), {"axis": -1}),
]


@op(register=True, either="X", integer="index", samples=GATHERED)
def gather(X: Operand, index: Operand, *, axis: int = -1) -> Expr:
    """Y[..., t, ...] = X[..., index[..., t, ...], ...]: for every place of the other axes an index of its own.

    Raises ShapeError for the batch axis, and where `index` is longer than X along another axis; it may be shorter.
    """
    position = _along("gather", X, axis)
    _within("gather", index, X, but=position)
    at = pointwise_axes(index.shape)
    return X.at(*at[:position], index[at], *at[position + 1 :])


def _within(name: str, index: Operand, X: Operand, but: int | None = None) -> None:
    """Raises ShapeError where the index is longer than another tensor, but for one axis; the batch must be equal."""
    if X.rank != index.rank:
        raise ShapeError(f"{name}: {X.name} has {X.rank} axes {X.shape}, index has {index.rank} {index.shape}")
    for k, (whole, part) in enumerate(zip(X.shape, index.shape, strict=True)):
        if k == but or whole == part:
            continue
        hint = f"slice the index to {whole} along axis {k}"
        if isinstance(whole, Batch) or isinstance(part, Batch):
            hint = "the batch must be equal: declare both with it, or both with a fixed number of samples"
        elif part < whole:
            continue
        raise ShapeError(
            f"{name}: axis {k} is {part} in index {index.shape}, but {whole} in {X.name} {X.shape}", hint=hint
        )


SCATTERED = [
    Sample(((4, 3), ("int", 4, (2, 3)), (2, 3))),
    Sample(((2, 3), ("int", 3, (2, 5)), (2, 5)), {"axis": 1}),
    Sample(((4, 3), ("int", 4, (3, 2)), (4, 3))),
]


def _scattered(name: str, X: Operand, index: Operand, source: Operand, position: int) -> tuple[Any, ...]:
    """(X at the result, the term t, source at t, the conditions under which it goes to that element of the result)"""
    position = _along(name, X, position)
    _within(name, index, X, but=position)
    _within(name, index, source)
    result = pointwise_axes(X.shape)
    t = axis("t", index.shape[position])
    given = (*result[:position], t, *result[position + 1 :])
    inside = [
        lt(i, part) for k, (i, part) in enumerate(zip(result, index.shape, strict=True))
        if k != position and part != X.shape[k]
    ]  # fmt: skip
    return X[result], t, source.at(*given), (eq(result[position], index.at(*given)), *inside)


@op(register=True, integer="index", samples=SCATTERED)
def scatter_add(X: Operand, index: Operand, source: Operand, *, axis: int = 0) -> Expr:
    """Y[..., i, ...] = X[..., i, ...] + Σ_{t | index[..., t, ...] = i} source[..., t, ...], in the order of t.

    X but for the axis, and `source`, may be longer than `index`: the rest is left alone. Raises ShapeError.
    """
    x, t, term, hits = _scattered("scatter_add", X, index, source, axis)
    return x + Sum(term, over=t, where=hits)


@op(register=True, integer="index", samples=SCATTERED)
def scatter(X: Operand, index: Operand, source: Operand, *, axis: int = 0) -> Expr:
    """Y[..., i, ...] = source[..., t, ...] for the last t with index[..., t, ...] = i, or X[..., i, ...] without one.

    X but for the axis, and `source`, may be longer than `index`: the rest is left alone. Raises ShapeError.
    """
    x, t, term, hits = _scattered("scatter", X, index, source, axis)
    last = Max(t, over=t, where=hits)
    written = Sum(term, over=t, where=(*hits, eq(t, last)))
    return Where(lt(last, 0), x, written)


# ------------------------------------------------------------------------------------- integers as vectors


@op(
    register=True,
    integer="index",
    samples=[Sample((("int", 4, (3,)),), {"classes": 4}), Sample((("int", 3, (2, 2)),), {"classes": 3})],
)
def one_hot(index: Operand, *, classes: int = -1, dtype: DType = DType.FLOAT32) -> Expr:
    """Y[..., k] = 1 where index[...] = k, else 0. Raises ShapeError unless there is a positive number of classes."""
    if not isinstance(classes, int) or classes < 1:
        raise ShapeError(
            f"one_hot: the number of classes must be positive, got {classes}",
            hint="it cannot be read from data that are fed later: gc.one_hot(labels, 10)",
        )
    at = pointwise_axes((*index.shape, classes))
    return Where(eq(at[-1], index[at[:-1]]), 1, 0)
