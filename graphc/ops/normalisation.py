"""Normalisation with the statistics of a batch: Ioffe, Szegedy: Batch normalization, 2015.

Channels stand on axis 1; statistics are taken over all other axes. The variance is the mean of squared deviations from
the mean, in two passes: E[x²] - E[x]² would lose all digits where the mean is large.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.formula import Where, le
from graphc.ops.notation import Operand, Sum, axes, extent
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

SHAPES = ((4, 3), (3, 2, 5), (2, 3, 4, 3))
DEFAULT_EPS, DEFAULT_MOMENTUM = 1e-5, 0.1


def _names(X: Operand, letters: str) -> tuple[sp.Symbol, ...]:
    """Axes for everything but the channels."""
    return axes(" ".join(letters[: X.rank - 1]))


def _at(channel: sp.Symbol, others: tuple[sp.Symbol, ...]) -> tuple[sp.Symbol, ...]:
    return others[0], channel, *others[1:]


def _checked(name: str, X: Operand, *vectors: Operand) -> None:
    """Raises ShapeError unless X is [n, channels, ...] and each vector holds one number for each channel."""
    if X.rank < 2:
        raise ShapeError(
            f"{name}: expected an input [n, channels, ...], got {X.shape}", hint="add the axis of the channels"
        )
    for vector in vectors:
        if vector.shape != (X.shape[1],):
            raise ShapeError(
                f"{name}: the input {X.shape} has {X.shape[1]} channels, {vector.name} has shape {vector.shape}",
                hint=f"use a vector of shape ({X.shape[1]},); images are (batch, channels, height, width)",
            )


def _mean(X: Operand, c: sp.Symbol) -> tuple[Expr, Expr]:
    """(the mean of a channel, its number of elements)"""
    over = _names(X, "mrsuv")
    count: Expr = sp.S.One
    total = Sum(X[_at(c, over)], over=over)
    for symbol in over:
        count = count * extent(symbol)
    return total / count, count


def _squares(X: Operand, c: sp.Symbol, mean: Expr) -> Expr:
    """The sum of the squared deviations of a channel from its mean."""
    over = _names(X, "lpqab")
    return Sum((X[_at(c, over)] - mean) ** 2, over=over)


def _standardised(name: str, X: Operand, eps: float, *vectors: Operand) -> tuple[Expr, sp.Symbol]:
    """((x - mean) / √(variance + eps), the axis of the channels)"""
    _checked(name, X, *vectors)
    if not eps > 0:
        raise GraphcError(f"{name}: eps must be positive, got {eps}", hint="use eps=1e-5")
    n, c, *rest = axes(" ".join("ncyxzt"[: X.rank]))
    mean, count = _mean(X, c)
    variance = _squares(X, c, mean) / count
    return (X[_at(c, (n, *rest))] - mean) / sp.sqrt(variance + number(eps)), c


@op(register=True, samples=[Sample((s,)) for s in SHAPES])
def batch_norm(X: Operand, *, eps: float = DEFAULT_EPS) -> Expr:
    """Y[n, c, ...] = (X[n, c, ...] - mean[c]) / √(variance[c] + eps), statistics over the batch and all positions.

    The variance is the biased one. Raises ShapeError, GraphcError.
    """
    return _standardised("batch_norm", X, eps)[0]


@op(register=True, samples=[Sample((s, (s[1],), (s[1],))) for s in SHAPES])
def batch_norm_affine(X: Operand, W: Operand, B: Operand, *, eps: float = DEFAULT_EPS) -> Expr:
    """Y[n, c, ...] = W[c] · (X[n, c, ...] - mean[c]) / √(variance[c] + eps) + B[c]

    Statistics over the batch and all positions; the variance is the biased one. Raises ShapeError, GraphcError.
    """
    standardised, c = _standardised("batch_norm_affine", X, eps, W, B)
    return standardised * W[c] + B[c]


@op(register=True, samples=[Sample((s, (s[1],), (s[1],)), domain=(0.5, 2.0)) for s in SHAPES])
def channel_norm(X: Operand, M: Operand, V: Operand, *, eps: float = DEFAULT_EPS) -> Expr:
    """Y[n, c, ...] = (X[n, c, ...] - M[c]) / √(V[c] + eps), with given statistics. Raises ShapeError."""
    _checked("channel_norm", X, M, V)
    n, c, *rest = axes(" ".join("ncyxzt"[: X.rank]))
    return (X[_at(c, (n, *rest))] - M[c]) / sp.sqrt(V[c] + number(eps))


@op(register=True, samples=[Sample((s, *[(s[1],)] * 4), domain=(0.5, 2.0)) for s in SHAPES])
def channel_norm_affine(
    X: Operand, M: Operand, V: Operand, W: Operand, B: Operand, *, eps: float = DEFAULT_EPS
) -> Expr:
    """Y[n, c, ...] = W[c] · (X[n, c, ...] - M[c]) / √(V[c] + eps) + B[c], with given statistics. Raises ShapeError."""
    _checked("channel_norm_affine", X, M, V, W, B)
    n, c, *rest = axes(" ".join("ncyxzt"[: X.rank]))
    return (X[_at(c, (n, *rest))] - M[c]) * W[c] / sp.sqrt(V[c] + number(eps)) + B[c]


@op(register=True, samples=[Sample(((s[1],), s)) for s in SHAPES])
def running_mean(R: Operand, X: Operand, *, momentum: float = DEFAULT_MOMENTUM) -> Expr:
    """(1 - momentum) · R[c] + momentum · mean[c] over the batch and all positions. Raises ShapeError."""
    _checked("running_mean", X, R)
    (c,) = axes("c")
    mean, _ = _mean(X, c)
    return (1 - number(momentum)) * R[c] + number(momentum) * mean


@op(register=True, samples=[Sample(((s[1],), s)) for s in SHAPES])
def running_variance(R: Operand, X: Operand, *, momentum: float = DEFAULT_MOMENTUM) -> Expr:
    """(1 - momentum) · R[c] + momentum · variance[c], the unbiased one: squared deviations / (count - 1).

    One element alone has no variance and leaves R as it is. Raises ShapeError.
    """
    _checked("running_variance", X, R)
    (c,) = axes("c")
    mean, count = _mean(X, c)
    variance = _squares(X, c, mean) / (count - 1)
    moved = (1 - number(momentum)) * R[c] + number(momentum) * variance
    return Where(le(count, 1), R[c], moved)
