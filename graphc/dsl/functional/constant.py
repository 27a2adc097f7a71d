"""Tensors that depend on nothing; they are computed where they are read."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

import numpy.typing as npt

from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import GraphcError, ShapeError
from graphc.ops import constants
from graphc.ops.operator import Operator
from graphc.types import Batch, DType, Extent

__all__ = ["arange", "eye", "full", "full_like", "linspace", "ones", "ones_like", "zeros", "zeros_like"]

Kind = npt.DTypeLike | DType
Shape = Extent | Iterable[Extent]


def _made(operator: Operator, dtype: Kind, **options: Any) -> Tensor:
    """An operator without operands, applied."""
    location = caller()
    options |= {"dtype": as_dtype(dtype, operator.name)}
    try:
        return Tensor(operator.define((), options).type, operator, (), options, location=location)
    except GraphcError as error:
        raise error.at(location) from None


def full(shape: Shape, value: float, dtype: Kind = "float32") -> Tensor:
    """A number in every element: gc.full((gc.BATCH, 5), 0.5). Raises ShapeError, DTypeError."""
    extents = (shape,) if isinstance(shape, int | Batch) else tuple(shape)
    return _made(constants.full, dtype, shape=extents, value=value)


def zeros(shape: Shape, dtype: Kind = "float32") -> Tensor:
    """0 in every element: gc.zeros((gc.BATCH, 5)). Raises ShapeError, DTypeError."""
    return full(shape, 0.0, dtype)


def ones(shape: Shape, dtype: Kind = "float32") -> Tensor:
    """1 in every element. Raises ShapeError, DTypeError."""
    return full(shape, 1.0, dtype)


def full_like(x: Tensor, value: float) -> Tensor:
    """A number in every element, in the shape and type of another tensor."""
    return full(x.shape, value, x.dtype)


def zeros_like(x: Tensor) -> Tensor:
    """0 in every element, in the shape and type of another tensor."""
    return full_like(x, 0.0)


def ones_like(x: Tensor) -> Tensor:
    """1 in every element, in the shape and type of another tensor."""
    return full_like(x, 1.0)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Kind | None = None) -> Tensor:
    """start, start + step, ... below stop; one number is the stop. Integers give int64, others float32.

    Raises ShapeError where nothing lies between start and stop, and for a step of 0.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ShapeError("arange: the step is 0", location=caller())
    whole = all(isinstance(v, int) for v in (start, stop, step))
    kind = dtype if dtype is not None else "int64" if whole else "float32"
    return _made(constants.progression, kind, count=ceil((stop - start) / step), start=start, step=step)


def linspace(start: float, stop: float, steps: int = 100, dtype: Kind = "float32") -> Tensor:
    """So many numbers from start to stop, both included, at equal distances. Raises ShapeError."""
    step = (stop - start) / (steps - 1) if steps > 1 else 0.0
    return _made(constants.progression, dtype, count=steps, start=start, step=step)


def eye(rows: int, columns: int | None = None, diagonal: int = 0, dtype: Kind = "float32") -> Tensor:
    """1 on a diagonal, 0 elsewhere. Raises ShapeError."""
    return _made(constants.eye, dtype, rows=rows, columns=rows if columns is None else columns, diagonal=diagonal)
