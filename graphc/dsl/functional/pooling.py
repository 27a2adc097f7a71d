"""Pooling and sampling of sequences, images and volumes."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.ops import pooling
from graphc.ops.operator import Operator
from graphc.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool1d,
    global_avg_pool2d,
    global_avg_pool3d,
    global_max_pool1d,
    global_max_pool2d,
    global_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    subsample,
)
from graphc.ops.unpooling import max_unpool1d, max_unpool2d, max_unpool3d
from graphc.ops.window import Sizes

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "global_avg_pool1d",
    "global_avg_pool2d",
    "global_avg_pool3d",
    "global_max_pool1d",
    "global_max_pool2d",
    "global_max_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "subsample",
]


def _sliding(largest: Operator, indices: Operator) -> Any:
    def max_pool(
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window; with `return_indices` also its place in the image, for max_unpool."""
        geometry = kernel_size, stride, padding, dilation, ceil_mode
        pooled = largest(x, *geometry)
        return (pooled, indices(x, *geometry)) if return_indices else pooled

    return max_pool


def _adaptive(largest: Operator, indices: Operator) -> Any:
    def adaptive_max_pool(x: Tensor, output_size: int | tuple[int | None, ...], return_indices: bool = False) -> Any:
        """The largest element of each part; with `return_indices` also its place in the image."""
        pooled = largest(x, output_size)
        return (pooled, indices(x, output_size)) if return_indices else pooled

    return adaptive_max_pool


max_pool1d = _sliding(pooling.max_pool1d, pooling.max_pool1d_indices)
max_pool2d = _sliding(pooling.max_pool2d, pooling.max_pool2d_indices)
max_pool3d = _sliding(pooling.max_pool3d, pooling.max_pool3d_indices)
adaptive_max_pool1d = _adaptive(pooling.adaptive_max_pool1d, pooling.adaptive_max_pool1d_indices)
adaptive_max_pool2d = _adaptive(pooling.adaptive_max_pool2d, pooling.adaptive_max_pool2d_indices)
adaptive_max_pool3d = _adaptive(pooling.adaptive_max_pool3d, pooling.adaptive_max_pool3d_indices)
