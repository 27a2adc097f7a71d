"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sympy.core.expr import Expr

from graphc.errors import GraphcError
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Max, Min, Operand, Sum, axes, axis, extent, pointwise_names
from graphc.ops.operator import Sample, op

Axes = int | tuple[int, ...] | None

SAMPLES = [
    Sample(((3, 4),)),
    Sample(((2, 3, 4),), {"axis": 1}),
    Sample(((2, 3, 4),), {"axis": (0, -1), "keepdims": True}),
]


def _reduced(name: str, reduce: Callable[..., Expr], X: Operand, over: Axes, keepdims: bool) -> tuple[Expr, Any]:
    """(the reduction of X over some of its axes, the number of elements in each). Raises ShapeError."""
    chosen = range(X.rank) if over is None else over if isinstance(over, tuple) else (over,)
    gone = {normal_axis(name, a, X.rank) for a in chosen}
    names = pointwise_names(X.rank)
    symbols: list[Expr] = []
    for position, letter in enumerate(names):
        symbols += axes(letter)
        if position in gone and keepdims:
            axis(f"{letter}_", 1)
    read = X[tuple(symbols)]
    if not gone:
        return read, 1
    bound = tuple(symbols[a] for a in sorted(gone))
    count: Any = 1
    for symbol in bound:
        count = count * extent(symbol)
    return reduce(read, over=bound), count


@op(register=True, samples=SAMPLES)
def sum(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """Σ over the given axes, all of them by default. Raises ShapeError for an axis that X does not have."""
    return _reduced("sum", Sum, X, axis, keepdims)[0]


@op(register=True, samples=SAMPLES)
def mean(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """1/count · Σ over the given axes, all of them by default. Raises ShapeError."""
    total, count = _reduced("mean", Sum, X, axis, keepdims)
    return total / count


@op(register=True, samples=SAMPLES)
def max(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """The largest element over the given axes; the derivative goes to the first. Raises ShapeError."""
    return _reduced("max", Max, X, axis, keepdims)[0]


@op(register=True, samples=SAMPLES)
def min(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """The smallest element over the given axes; the derivative goes to the first. Raises ShapeError."""
    return _reduced("min", Min, X, axis, keepdims)[0]


def reduce_loss(reduction: str, body: Expr, over: tuple[Expr, ...]) -> Expr:
    """The "mean", the "sum" or "none" of a loss over its axes. Raises GraphcError for another word."""
    if reduction not in ("mean", "sum", "none"):
        raise GraphcError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    if reduction == "none":
        return body
    total = Sum(body, over=over) if over else body
    if reduction == "sum":
        return total
    count: Any = 1
    for symbol in over:
        count = count * extent(symbol)
    return total / count
