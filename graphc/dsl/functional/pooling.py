"""Pooling and sampling of images."""

from __future__ import annotations

from graphc.dsl.tensor import Tensor
from graphc.ops import pooling
from graphc.ops.window import Pair

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "global_avg_pool2d",
    "max_pool2d",
    "subsample",
]


def max_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> Tensor:
    """The largest element of each window; the stride is the kernel size unless given."""
    return pooling.max_pool2d(x, kernel=kernel_size, stride=stride, padding=padding, dilation=dilation)


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window, padding counted as zeros; the stride is the kernel size unless given."""
    return pooling.avg_pool2d(x, kernel=kernel_size, stride=stride, padding=padding)


def global_avg_pool2d(x: Tensor) -> Tensor:
    """The mean of each channel of x [n, channels, h, w] as [n, channels]."""
    return pooling.global_avg_pool2d(x)


def adaptive_avg_pool2d(x: Tensor, output_size: Pair) -> Tensor:
    """The means of equal windows, as many as asked for: [n, channels, *output_size]."""
    return pooling.adaptive_avg_pool2d(x, size=output_size)


def subsample(x: Tensor, stride: Pair, channels: int | None = None) -> Tensor:
    """Every s-th pixel; further channels, up to the number asked for, are zero."""
    return pooling.subsample(x, stride=stride, channels=channels)
