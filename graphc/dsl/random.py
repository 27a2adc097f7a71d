"""Random tensors: `gc.random.normal(gc.BATCH, 16)`. New numbers in each training step, the same for the same seed.

A program for inference takes no steps; it gives the numbers of step 0 until its parameter "step" is set.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from graphc.dsl.chance import drawing
from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import DTypeError, GraphError
from graphc.ops import random
from graphc.ops.operator import Operator
from graphc.types import DType

__all__ = ["bernoulli", "normal", "uniform"]

DTypeLike = npt.DTypeLike | DType


def uniform(*shape: Any, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = "float32") -> Tensor:
    """Uniform in (low, high). Raises GraphError unless low < high."""
    if not low < high:
        raise GraphError(f"uniform: expected low < high, got low={low} and high={high}", location=caller())
    return _tensor(random.uniform, shape, dtype, low=low, high=high)


def normal(*shape: Any, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = "float32") -> Tensor:
    """Normally distributed around `mean`. Raises GraphError for a negative `std`."""
    if std < 0:
        raise GraphError(f"normal: expected a standard deviation std >= 0, got {std}", location=caller())
    return _tensor(random.normal, shape, dtype, mean=mean, std=std)


def bernoulli(*shape: Any, p: float = 0.5, dtype: DTypeLike = "float32") -> Tensor:
    """1 with probability p, else 0. Raises GraphError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise GraphError(f"bernoulli: p is the probability of a 1, expected 0 <= p <= 1, got {p}", location=caller())
    return _tensor(random.bernoulli, shape, dtype, p=p)


def _tensor(operator: Operator, shape: tuple[Any, ...], dtype: DTypeLike, **options: Any) -> Tensor:
    if len(shape) == 1 and isinstance(shape[0], list | tuple):
        shape = tuple(shape[0])
    kind = as_dtype(dtype, operator.name)
    if not kind.is_float:
        raise DTypeError(
            f"{operator.name}: numbers are drawn in floating-point, got dtype {kind.value}", location=caller()
        )
    return drawing(operator, shape=shape, dtype=kind, **options)
