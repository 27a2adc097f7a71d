"""Convolutions."""

from __future__ import annotations

from graphc.dsl.tensor import Tensor
from graphc.ops import convolution
from graphc.ops import linear as _linear
from graphc.ops.window import Pair

__all__ = [
    "conv2d",
]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
) -> Tensor:
    """Two-dimensional convolution of x [n, in, h, w] with weight [out, in, kh, kw], plus bias [out]."""
    y: Tensor = convolution.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)
    return y if bias is None else _linear.bias(y, bias, axis=1)
