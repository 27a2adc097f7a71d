"""Tensors that depend on nothing: numbers, steps, the identity. Their formulas read only their own axes."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Where, eq
from graphc.ops.movement import pointwise_axes
from graphc.ops.notation import axis
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import DType, Extent


@op(register=True, samples=[Sample((), {"shape": (2, 3), "value": 0.5})])
def full(*, shape: tuple[Extent, ...] = (), value: float = 0.0, dtype: DType = DType.FLOAT32) -> Expr:
    """Y[i, ...] = value"""
    pointwise_axes(shape)
    return number(value)


@op(register=True, samples=[Sample((), {"count": 5, "start": 2.0, "step": -0.5})])
def progression(*, count: int = 1, start: float = 0.0, step: float = 1.0, dtype: DType = DType.FLOAT32) -> Expr:
    """Y[i] = start + step · i for i < count. Raises ShapeError unless count is positive."""
    if count < 1:
        raise ShapeError(f"{count} numbers from {start} in steps of {step}", hint="stop must lie beyond start")
    return number(start) + number(step) * axis("i", count)


@op(register=True, samples=[Sample((), {"rows": 3, "columns": 4, "diagonal": 1})])
def eye(*, rows: int = 1, columns: int = 1, diagonal: int = 0, dtype: DType = DType.FLOAT32) -> Expr:
    """Y[i, j] = 1 where j - i = diagonal, else 0."""
    i, j = axis("i", rows), axis("j", columns)
    return Where(eq(j - i, diagonal), 1, 0)
