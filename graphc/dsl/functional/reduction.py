"""Reductions over axes."""

from __future__ import annotations

from graphc.dsl.tensor import Tensor
from graphc.ops.reductions import Axes

__all__ = [
    "max",
    "mean",
    "min",
    "sum",
]


def sum(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Σ over the given axes, all of them by default."""
    return x.sum(axis, keepdims)


def mean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over the given axes, all of them by default."""
    return x.mean(axis, keepdims)


def max(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest element over the given axes, all of them by default."""
    return x.max(axis, keepdims)


def min(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest element over the given axes, all of them by default."""
    return x.min(axis, keepdims)
