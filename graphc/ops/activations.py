"""Activation functions. Those without options are pointwise functions, see `elementwise`."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import GraphcError
from graphc.ops import scalars
from graphc.ops.formula import Where, le
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Max, Operand, Sum, axes, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number, pointwise


@pointwise()
def identity(a: Expr) -> Expr:
    """a"""
    return a


@pointwise()
def relu(a: Expr) -> Expr:
    """max(a, 0), with derivative 0 at 0; NaN stays NaN."""
    return Where(le(a, 0), 0, a)


@pointwise()
def relu6(a: Expr) -> Expr:
    """min(max(a, 0), 6), with derivative 0 at both ends."""
    return Where(le(a, 0), 0, Where(le(6, a), 6, a))


@pointwise()
def silu(a: Expr) -> Expr:
    """a · sigmoid(a)"""
    return a * scalars.sigmoid(a)


@pointwise()
def gelu(a: Expr) -> Expr:
    """a/2 · (1 + erf(a / √2))"""
    return a * (1 + scalars.erf(a / scalars.sqrt(2))) / 2


@op(register=True, samples=[Sample(((3, 4),)), Sample(((2, 3, 4),), {"slope": 0.2})])
def leaky_relu(X: Operand, *, slope: float = 0.01) -> Expr:
    """x where x > 0, else slope · x; NaN stays NaN."""
    x = X[...]
    return Where(le(x, 0), number(slope) * x, x)


@op(register=True, samples=[Sample(((3, 4),)), Sample(((2, 3, 4),), {"alpha": 0.5})])
def elu(X: Operand, *, alpha: float = 1.0) -> Expr:
    """x where x > 0, else alpha · (e^x - 1)"""
    x = X[...]
    return Where(le(x, 0), number(alpha) * scalars.expm1(x), x)


@op(register=True, samples=[Sample(((3, 4),)), Sample(((2, 3, 4),), {"beta": 1.5})])
def softplus(X: Operand, *, beta: float = 1.0) -> Expr:
    """1/beta · log(1 + e^(beta·x)). Raises GraphcError unless beta > 0."""
    if not beta > 0:
        raise GraphcError(f"softplus: beta must be positive, got {beta}")
    return scalars.softplus(number(beta) * X[...]) / number(beta)


SAMPLES = [
    Sample(((3, 4),)),
    Sample(((2, 3, 4),), {"axis": 1}),
    Sample(((3, 4),), {"axis": 0, "temperature": 2.0}),
]


def _shifted(name: str, X: Operand, axis: int, temperature: float) -> tuple[Expr, Expr]:
    """((x - m) / T, Σ_j e^((x_j - m) / T)) with m the maximum along the axis. Raises ShapeError, GraphcError.

    The shift makes every exponent at most 0, so nothing overflows; it cancels from the value.
    """
    if not temperature > 0:
        raise GraphcError(f"{name}: the temperature must be positive, got {temperature}")
    position = normal_axis(name, axis, X.rank)
    index = axes(" ".join(pointwise_names(X.rank)))
    j, k = axes("j k")
    before, after = index[:position], index[position + 1 :]
    largest = Max(X[(*before, j, *after)], over=j)
    scale = 1 / number(temperature)
    return (
        (X[index] - largest) * scale,
        Sum(scalars.exp((X[(*before, k, *after)] - largest) * scale), over=k),
    )


@op(register=True, samples=SAMPLES)
def softmax(X: Operand, *, axis: int = -1, temperature: float = 1.0) -> Expr:
    """e^(x_i / T) / Σ_j e^(x_j / T) along the axis, less the maximum. Raises ShapeError, GraphcError."""
    shifted, total = _shifted("softmax", X, axis, temperature)
    return scalars.exp(shifted) / total


@op(register=True, samples=SAMPLES)
def log_softmax(X: Operand, *, axis: int = -1, temperature: float = 1.0) -> Expr:
    """x_i / T - log Σ_j e^(x_j / T) along the axis, less the maximum. Raises ShapeError, GraphcError."""
    shifted, total = _shifted("log_softmax", X, axis, temperature)
    return shifted - scalars.log(total)
