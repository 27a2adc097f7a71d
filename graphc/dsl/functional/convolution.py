"""Convolutions."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.ops import convolution, linear
from graphc.ops.operator import Operator
from graphc.ops.window import Sizes

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]


def _forward(whole: Operator, grouped: Operator) -> Any:
    def conv(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """The convolution of x [n, in, *image] with weight [out, in / groups, *kernel], plus bias [out]."""
        geometry = {"stride": stride, "padding": padding, "dilation": dilation}
        return _in_groups(whole, grouped, x, weight, bias, groups, geometry)

    return conv


def _transposed(whole: Operator, grouped: Operator) -> Any:
    def conv_transpose(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        """The adjoint of a convolution, for x [n, in, *image], weight [in, out / groups, *kernel] and bias [out]."""
        geometry = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        return _in_groups(whole, grouped, x, weight, bias, groups, geometry)

    return conv_transpose


def _in_groups(
    whole: Operator, grouped: Operator, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int,
    geometry: dict[str, Any],
) -> Tensor:  # fmt: skip
    """A convolution plus bias; groups of several channels each get an axis of their own.

    Then every group is a product whose lanes and rows stay within it, which k // (out / groups) would hide.
    """
    y: Tensor = whole(x, weight, groups=groups, **geometry)
    channels, outputs = x.shape[1], weight.shape[0]
    if groups not in (1, channels) and isinstance(channels, int) and isinstance(outputs, int):
        apart = x.reshape(x.shape[0], groups, channels // groups, *x.shape[2:])
        own = weight.reshape(groups, outputs // groups, *weight.shape[1:])
        y = grouped(apart, own, **geometry).reshape(*y.shape)
    return y if bias is None else linear.bias(y, bias, axis=1)


conv1d = _forward(convolution.conv1d, convolution.grouped_conv1d)
conv2d = _forward(convolution.conv2d, convolution.grouped_conv2d)
conv3d = _forward(convolution.conv3d, convolution.grouped_conv3d)
conv_transpose1d = _transposed(convolution.conv_transpose1d, convolution.grouped_conv_transpose1d)
conv_transpose2d = _transposed(convolution.conv_transpose2d, convolution.grouped_conv_transpose2d)
conv_transpose3d = _transposed(convolution.conv_transpose3d, convolution.grouped_conv_transpose3d)
