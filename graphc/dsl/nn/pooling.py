"""Pooling as layers."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.ops.window import Pair

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "GlobalAveragePool2d", "MaxPool2d"]


class MaxPool2d(Layer):
    """The largest element of each window; the stride is the kernel size unless given."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool2d(Layer):
    """The mean of each window, padding counted as zeros; the stride is the kernel size unless given."""

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, name: str | None = None
    ) -> None:
        self.name, self.kernel_size, self.stride, self.padding = name, kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class GlobalAveragePool2d(Layer):
    """The mean of each channel of x [n, channels, h, w] as [n, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.global_avg_pool2d(x)


class AdaptiveAvgPool2d(Layer):
    """The means of equal windows, `output_size` of them: [n, channels, *output_size]."""

    def __init__(self, output_size: Pair, name: str | None = None) -> None:
        self.name, self.output_size = name, output_size

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, self.output_size)
