"""Padding: more elements at the ends of axes, a constant or taken from inside."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import FloorDiv, Where, ge, size_of
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Operand, pointwise_names
from graphc.ops.notation import axis as new_axis
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import Extent


@op(
    register=True,
    samples=[
        Sample(((2, 3, 4),), {"padding": (1, 2)}),
        Sample(((2, 3, 4),), {"padding": (0, 1, 2, -1), "value": 0.5}),
    ],
)
def constant_pad(X: Operand, *, padding: tuple[int, ...] = (), value: float = 0.0) -> Expr:
    """Y[..., i] = X[..., i - before] where that is inside of X, else `value`

    `padding` is (before, after) of the last axis, then of the one before, and so on; negative numbers cut off.
    Raises ShapeError.
    """
    ends = pairs("constant_pad", X.rank, padding)
    index = []
    for name, e, (before, after) in zip(pointwise_names(X.rank), X.shape, ends, strict=True):
        index.append(new_axis(name, _extent("constant_pad", e, before, after)) - before)
    body: Expr = X.at(*index)
    if value == 0:
        return body
    outside = number(value)
    for i, e, (before, after) in zip(index, X.shape, ends, strict=True):
        if after > 0:
            body = Where(ge(size_of(e) - 1 - i), body, outside)
        if before > 0:
            body = Where(ge(i), body, outside)
    return body


@op(
    register=True,
    samples=[
        Sample(((2, 3, 5),), {"axis": 2, "before": 2, "after": 3}),
        Sample(((2, 3, 4),), {"axis": 1, "before": 1, "after": 2, "mode": "replicate"}),
        Sample(((1, 3, 4),), {"axis": -1, "before": 3, "after": 2, "mode": "circular"}),
    ],
)
def extend(X: Operand, *, axis: int = -1, before: int = 0, after: int = 0, mode: str = "reflect") -> Expr:
    """Y[i] = X[f(i - before)] along one axis of extent E, where f leaves 0 <= h < E as it is

    reflect: f(h) = -h before and 2·(E - 1) - h behind, replicate: 0 and E - 1, circular: h + E and h - E. Negative
    numbers cut off. Raises ShapeError where f would leave X.
    """
    place = normal_axis("extend", axis, X.rank)
    extent = X.shape[place]
    if not isinstance(extent, int):
        raise ShapeError(f"extend: the batch axis of {X.shape} cannot be padded")
    most = {"reflect": extent - 1, "replicate": max(before, after), "circular": extent}
    if mode not in most:
        raise ShapeError(f"extend: there is no mode {mode!r}; modes are constant, {', '.join(most)}")
    if max(before, after) > most[mode]:
        raise ShapeError(
            f"extend: {mode} padding of {max(before, after)} elements needs more than the {extent} of axis {place}",
            hint=f"use at most {most[mode]}, or an extent of at least {max(before, after) + (mode == 'reflect')}",
        )
    symbols = [
        new_axis(name, _extent("extend", e, before, after) if k == place else e)
        for k, (name, e) in enumerate(zip(pointwise_names(X.rank), X.shape, strict=True))
    ]
    h = symbols[place] - before
    # quotients that are 0 wherever they are read: unlike constants they tell the gradient which few elements to add
    first, last = {
        "reflect": (-h, 2 * (extent - 1) - h),
        "replicate": (FloorDiv(h + before, max(before, 1)), extent - 1 + FloorDiv(h - extent, max(after, 1))),
        "circular": (h + extent, h - extent),
    }[mode]

    def at(i: Expr) -> Expr:
        return X.at(*symbols[:place], i, *symbols[place + 1 :])

    body: Expr = at(h)
    if after > 0:
        body = Where(ge(extent - 1 - h), body, at(last))
    if before > 0:
        body = Where(ge(h), body, at(first))
    return body


def pairs(operator: str, rank: int, padding: tuple[int, ...]) -> list[tuple[int, int]]:
    """(before, after) of every axis, from torch's order, which begins at the last one. Raises ShapeError."""
    if len(padding) % 2 or len(padding) > 2 * rank or not all(isinstance(p, int) for p in padding):
        raise ShapeError(
            f"{operator}: padding must hold (before, after) for at most {rank} axes, the last axis first, got {padding}"
        )
    ends = list(zip(padding[::2], padding[1::2], strict=True))
    return [(0, 0)] * (rank - len(ends)) + ends[::-1]


def _extent(operator: str, extent: Extent, before: int, after: int) -> Extent:
    """The extent of a padded axis. Raises ShapeError."""
    if before == after == 0:
        return extent
    if not isinstance(extent, int):
        raise ShapeError(f"{operator}: the batch axis cannot be padded")
    if extent + before + after < 1:
        raise ShapeError(
            f"{operator}: nothing is left of {extent} elements with {before} more before and {after} behind",
            hint=f"cut off at most {extent - 1}",
        )
    return extent + before + after
