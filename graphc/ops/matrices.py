"""Triangles and diagonals of matrices, which are the last two axes unless told otherwise."""

from __future__ import annotations

from typing import Any

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Where, eq, le
from graphc.ops.movement import normal_axis, pointwise_axes
from graphc.ops.notation import Operand, Sum, axis
from graphc.ops.operator import Sample, op
from graphc.types import Batch

TRIANGLES = [Sample(((3, 4),)), Sample(((2, 4, 3),), {"diagonal": 1}), Sample(((3, 3),), {"diagonal": -1})]


def _matrix(name: str, X: Operand) -> tuple[Any, ...]:
    """The axes of a tensor that ends with a matrix. Raises ShapeError."""
    if X.rank < 2:
        raise ShapeError(f"{name}: expected two axes or more, got {X.shape}", hint="use diag to make a matrix")
    return pointwise_axes(X.shape)


@op(register=True, either="X", samples=TRIANGLES)
def tril(X: Operand, *, diagonal: int = 0) -> Expr:
    """Y[..., i, j] = X[..., i, j] where j - i <= diagonal, else 0. Raises ShapeError."""
    index = _matrix("tril", X)
    return Where(le(index[-1] - index[-2], diagonal), X[index], 0)


@op(register=True, either="X", samples=TRIANGLES)
def triu(X: Operand, *, diagonal: int = 0) -> Expr:
    """Y[..., i, j] = X[..., i, j] where j - i >= diagonal, else 0. Raises ShapeError."""
    index = _matrix("triu", X)
    return Where(le(diagonal, index[-1] - index[-2]), X[index], 0)


def _diagonal(name: str, X: Operand, offset: int, axis1: int, axis2: int) -> tuple[Expr, Any]:
    """(the elements X[..., i, ..., i + offset, ...], their axis i). Raises ShapeError."""
    first, second = normal_axis(name, axis1, X.rank), normal_axis(name, axis2, X.rank)
    rows, columns = X.shape[first], X.shape[second]
    if first == second:
        raise ShapeError(f"{name}: axis1 and axis2 are both {axis1}", hint="name two axes")
    if isinstance(rows, Batch) or isinstance(columns, Batch):
        raise ShapeError(f"{name}: axes {axis1} and {axis2} of {X.shape}: one is the batch", hint="name two others")
    top, left = max(-offset, 0), max(offset, 0)
    length = min(rows - top, columns - left)
    if length < 1:
        raise ShapeError(f"{name}: diagonal {offset} lies outside of a {rows}x{columns} matrix",
                         hint=f"use {1 - rows} to {columns - 1}")  # fmt: skip
    rest = [k for k in range(X.rank) if k not in (first, second)]
    others = dict(zip(rest, pointwise_axes(tuple(X.shape[k] for k in rest)), strict=True)) if rest else {}
    d = axis("d", length)
    return X.at(*[others.get(k, d + (top if k == first else left)) for k in range(X.rank)]), d


DIAGONALS = [
    Sample(((3, 4),)),
    Sample(((2, 4, 3),), {"axis1": 1, "axis2": 2, "offset": -1}),
    Sample(((3, 2, 4),), {"axis1": 0, "axis2": -1, "offset": 2}),
]


@op(register=True, either="X", samples=DIAGONALS)
def diagonal(X: Operand, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Expr:
    """Y[..., d] = X[..., d, ..., d + offset, ...]: the diagonal of two axes, which stands last. Raises ShapeError."""
    return _diagonal("diagonal", X, offset, axis1, axis2)[0]


@op(register=True, either="X", samples=DIAGONALS)
def trace(X: Operand, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Expr:
    """Σ_d X[..., d, ..., d + offset, ...]: the sum over a diagonal of two axes. Raises ShapeError."""
    read, d = _diagonal("trace", X, offset, axis1, axis2)
    return Sum(read, over=d)


@op(register=True, either="X", samples=[Sample(((3,),)), Sample(((2, 3),), {"offset": -1})])
def diag_embed(X: Operand, *, offset: int = 0) -> Expr:
    """Y[..., i, j] = X[..., min(i, j)] where j - i = offset, else 0: the last axis as a diagonal. Raises ShapeError."""
    if not X.rank or isinstance(X.shape[-1], Batch):
        raise ShapeError(f"diag_embed: the last axis of {X.shape} cannot be a diagonal", hint="use a fixed extent")
    side = X.shape[-1] + abs(offset)
    *lead, i, j = pointwise_axes((*X.shape[:-1], side, side))
    return Where(eq(j - i, offset), X.at(*lead, i if offset > 0 else j), 0)
