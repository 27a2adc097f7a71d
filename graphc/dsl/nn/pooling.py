"""Pooling as layers."""

from __future__ import annotations

from typing import Any

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.ops.window import Sizes

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "GlobalAveragePool1d",
    "GlobalAveragePool2d",
    "GlobalAveragePool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class MaxPool1d(Layer):
    """The largest element of each window; the stride is the kernel size unless given.

    With `return_indices` also its place in the image, counted in rows, for MaxUnpool.
    """

    pool: Any = staticmethod(functional.max_pool1d)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.options = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    def forward(self, x: Tensor) -> Any:
        return self.pool(x, *self.options)


class MaxPool2d(MaxPool1d):
    """As MaxPool1d, for images."""

    pool = staticmethod(functional.max_pool2d)


class MaxPool3d(MaxPool1d):
    """As MaxPool1d, for volumes."""

    pool = staticmethod(functional.max_pool3d)


class MaxUnpool1d(Layer):
    """The opposite of max pooling with the same options: values at the places from which they came, else 0."""

    unpool: Any = staticmethod(functional.max_unpool1d)

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, name: str | None = None
    ) -> None:
        self.name, self.options = name, (kernel_size, stride, padding)

    def forward(self, x: Tensor, indices: Tensor, output_size: tuple[Any, ...] | None = None) -> Tensor:
        y: Tensor = self.unpool(x, indices, *self.options, output_size=output_size)
        return y


class MaxUnpool2d(MaxUnpool1d):
    """As MaxUnpool1d, for images."""

    unpool = staticmethod(functional.max_unpool2d)


class MaxUnpool3d(MaxUnpool1d):
    """As MaxUnpool1d, for volumes."""

    unpool = staticmethod(functional.max_unpool3d)


class AvgPool1d(Layer):
    """The mean of each window; the stride is the kernel size unless given. What counts is as in `avg_pool1d`."""

    pool: Any = staticmethod(functional.avg_pool1d)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x, *self.options)
        return y


class AvgPool2d(AvgPool1d):
    """As AvgPool1d, for images."""

    pool = staticmethod(functional.avg_pool2d)


class AvgPool3d(AvgPool1d):
    """As AvgPool1d, for volumes."""

    pool = staticmethod(functional.avg_pool3d)


class LPPool1d(Layer):
    """(Σ x^p)^(1/p) over each window, p = norm_type; the stride is the kernel size unless given."""

    pool: Any = staticmethod(functional.lp_pool1d)

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
        name: str | None = None,
    ) -> None:
        self.name, self.options = name, (norm_type, kernel_size, stride, ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x, *self.options)
        return y


class LPPool2d(LPPool1d):
    """As LPPool1d, for images."""

    pool = staticmethod(functional.lp_pool2d)


class LPPool3d(LPPool1d):
    """As LPPool1d, for volumes."""

    pool = staticmethod(functional.lp_pool3d)


class AdaptiveAvgPool1d(Layer):
    """The means of parts, `output_size` of them along each axis: [n, channels, *output_size]."""

    pool: Any = staticmethod(functional.adaptive_avg_pool1d)

    def __init__(self, output_size: int | tuple[int | None, ...], name: str | None = None) -> None:
        self.name, self.output_size = name, output_size

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x, self.output_size)
        return y


class AdaptiveAvgPool2d(AdaptiveAvgPool1d):
    """As AdaptiveAvgPool1d, for images."""

    pool = staticmethod(functional.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(AdaptiveAvgPool1d):
    """As AdaptiveAvgPool1d, for volumes."""

    pool = staticmethod(functional.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(Layer):
    """The largest elements of parts, `output_size` of them along each axis; perhaps also their places."""

    pool: Any = staticmethod(functional.adaptive_max_pool1d)

    def __init__(
        self, output_size: int | tuple[int | None, ...], return_indices: bool = False, name: str | None = None
    ) -> None:
        self.name, self.output_size, self.return_indices = name, output_size, return_indices

    def forward(self, x: Tensor) -> Any:
        return self.pool(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """As AdaptiveMaxPool1d, for images."""

    pool = staticmethod(functional.adaptive_max_pool2d)


class AdaptiveMaxPool3d(AdaptiveMaxPool1d):
    """As AdaptiveMaxPool1d, for volumes."""

    pool = staticmethod(functional.adaptive_max_pool3d)


class _Global(Layer):
    """A pool without options."""

    pool: Any

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x)
        return y


class GlobalAveragePool1d(_Global):
    """The mean of each channel of x [n, channels, length] as [n, channels]."""

    pool = staticmethod(functional.global_avg_pool1d)


class GlobalAveragePool2d(_Global):
    """The mean of each channel of x [n, channels, h, w] as [n, channels]."""

    pool = staticmethod(functional.global_avg_pool2d)


class GlobalAveragePool3d(_Global):
    """The mean of each channel of x [n, channels, d, h, w] as [n, channels]."""

    pool = staticmethod(functional.global_avg_pool3d)


class GlobalMaxPool1d(_Global):
    """The largest element of each channel of x [n, channels, length] as [n, channels]."""

    pool = staticmethod(functional.global_max_pool1d)


class GlobalMaxPool2d(_Global):
    """The largest element of each channel of x [n, channels, h, w] as [n, channels]."""

    pool = staticmethod(functional.global_max_pool2d)


class GlobalMaxPool3d(_Global):
    """The largest element of each channel of x [n, channels, d, h, w] as [n, channels]."""

    pool = staticmethod(functional.global_max_pool3d)
