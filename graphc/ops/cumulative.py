"""Running totals and extrema along an axis, in two levels: in blocks of about √count elements, and over whole blocks.

    total of a block   S[p] = Σ_{t<b} X[p·b + t]
    running sum        Y[i] = Σ_{t ≤ i mod b} X[⌊i/b⌋·b + t] + Σ_{p < ⌊i/b⌋} S[p]

So a sum of n elements takes 2·n·√n additions instead of n², and no element waits for the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops import scalars
from graphc.ops.formula import FloorDiv, Mod, le, lt
from graphc.ops.movement import normal_axis, pointwise_axes
from graphc.ops.notation import Max, Min, Operand, Product, Sum
from graphc.ops.notation import axis as new_axis
from graphc.ops.operator import Sample, op
from graphc.types import Batch

SHORT = 16
"""Up to so many elements one level is enough."""

SAMPLES = [Sample(((3, 4),)), Sample(((2, 20, 3),), {"axis": 1}, (0.5, 1.5)), Sample(((5,),), {"axis": 0})]


def _running(name: str, X: Operand, axis: int, reduce: Callable[..., Expr], join: Callable[..., Expr]) -> Expr:
    position = normal_axis(name, axis, X.rank)
    length = X.shape[position]
    if isinstance(length, Batch):
        raise ShapeError(f"{name}: axis {axis} of {X.shape} is the batch", hint="declare a fixed number of samples")
    index = pointwise_axes(X.shape)
    i = index[position]

    def at(place: Expr) -> Expr:
        return X.at(*index[:position], place, *index[position + 1 :])

    if length <= SHORT:
        t = new_axis("t", length)
        return reduce(at(t), over=t, where=le(t, i))
    size = isqrt(length - 1) + 1
    t, p = new_axis("t", size), new_axis("p", -(-length // size))
    inside = reduce(at(FloorDiv(i, size) * size + t), over=t, where=le(t, Mod(i, size)))
    before = reduce(reduce(at(p * size + t), over=t), over=p, where=lt(p, FloorDiv(i, size)))
    return join(inside, before)


@op(register=True, samples=SAMPLES)
def cumsum(X: Operand, *, axis: int = -1) -> Expr:
    """Y[..., i, ...] = Σ_{j ≤ i} X[..., j, ...]. Raises ShapeError for the batch axis."""
    return _running("cumsum", X, axis, Sum, lambda a, b: a + b)


@op(register=True, samples=SAMPLES)
def cumprod(X: Operand, *, axis: int = -1) -> Expr:
    """Y[..., i, ...] = Π_{j ≤ i} X[..., j, ...]; the derivative is exact where elements are 0. Raises ShapeError."""
    return _running("cumprod", X, axis, Product, lambda a, b: a * b)


@op(register=True, samples=SAMPLES[:2])
def cummax(X: Operand, *, axis: int = -1) -> Expr:
    """Y[..., i, ...] = max_{j ≤ i} X[..., j, ...]. Raises ShapeError for the batch axis."""
    return _running("cummax", X, axis, Max, scalars.maximum)


@op(register=True, samples=SAMPLES[:2])
def cummin(X: Operand, *, axis: int = -1) -> Expr:
    """Y[..., i, ...] = min_{j ≤ i} X[..., j, ...]. Raises ShapeError for the batch axis."""
    return _running("cummin", X, axis, Min, scalars.minimum)
