"""Linear maps and convolutions."""

from __future__ import annotations

from graphc.dsl.tensor import Tensor
from graphc.ops import linear as _linear

__all__ = [
    "bias",
    "dense",
    "linear",
    "matmul",
]


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · Wᵀ + b for x [..., in], weight [out, in], bias [out]."""
    y: Tensor = _linear.dense(x, weight)
    return y if bias is None else _linear.bias(y, bias)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product over the last two axes, leading axes broadcast."""
    return _linear.matmul(a, b)


def bias(x: Tensor, b: Tensor, axis: int = -1) -> Tensor:
    """x plus a vector along one axis."""
    return _linear.bias(x, b, axis=axis)


linear = dense
"""torch's name."""
