"""Layers of convolutions over sequences, images and volumes.

    Conv2d(16, 3)                  16 results, windows of 3x3; the number of input channels follows from the first call
    Conv2d(3, 16, 3, 2, 1)         torch's order: in_channels, out_channels, kernel_size, stride, padding, ...
    Conv2d(3, 16, kernel_size=3)   the same by name

Two numbers by position are channels and kernel size; with three or more, or with the kernel size by name, both numbers
of channels come first. So a stride by position needs the number of input channels.
"""

from __future__ import annotations

from typing import Any

from graphc.dsl import functional
from graphc.dsl.functional.padding import pad
from graphc.dsl.layers import Layer
from graphc.dsl.nn.activation import activation_function
from graphc.dsl.nn.arguments import AUTO, Activation, Initial, count, fixed, weights_for
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops.convolution import check_groups
from graphc.ops.window import Sizes, sizes, windows

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DepthwiseConv2d",
    "SeparableConv2d",
]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Layer):
    """What convolutions and transposed convolutions share; subclasses say over how many axes they slide."""

    axes = 2
    convolution: Any
    ordered: tuple[str, ...] = ("stride", "padding", "dilation", "groups")
    """The options that may be given by position behind the kernel size."""
    named: tuple[str, ...] = ()

    def __init__(
        self,
        *arguments: Any,
        activation: Activation = None,
        use_bias: bool = True,
        bias: bool = True,
        weight_init: Initial = AUTO,
        bias_init: Initial = "zeros",
        name: str | None = None,
        **options: Any,
    ) -> None:
        title, first = type(self).__name__, ["in_channels", "out_channels", "kernel_size"]
        names = [*first, *self.ordered]
        if len(arguments) < 3:
            names = first[:2] if len(arguments) == 2 and "kernel_size" in options else first[1:]
        given = dict(zip(names, arguments, strict=False))
        twice, unknown = given.keys() & options, options.keys() - {*first, *self.ordered, *self.named}
        given |= options
        missing = {"out_channels", "kernel_size"} - given.keys()
        if twice or unknown or missing or len(arguments) > len(names):
            raise GraphError(
                f"{title} takes (channels, kernel_size) or ({', '.join([*first, *self.ordered])}), got "
                f"{', '.join([*map(repr, arguments), *(f'{n}={v!r}' for n, v in options.items())])}",
                location=caller(),
                hint="give everything behind the kernel size by name",
            )
        self.name, self.use_bias = name, use_bias and bias
        self.in_channels = None if given.get("in_channels") is None else count(self, first[0], given["in_channels"])
        self.out_channels = count(self, "out_channels", given["out_channels"])
        self.kernel_size = sizes(title, "kernel_size", given["kernel_size"], self.axes, 1)
        self.options = {n: v for n, v in given.items() if n not in first}
        self.weight_init, self.bias_init = weights_for(activation, weight_init), bias_init
        self.activation = activation_function(activation)
        known = {"in_channels": self.in_channels, "out_channels": self.out_channels}
        check_groups(title, self.options.get("groups", 1), **{n: v for n, v in known.items() if v is not None})

    def shapes(self, inputs: int) -> tuple[int, int, tuple[int, ...]]:
        """(results, groups, shape of the weight) for so many input channels."""
        groups = self.options.get("groups", 1)
        return self.out_channels, groups, (self.out_channels, inputs // groups, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        channels = fixed(self, x, 1, "channels")
        if self.in_channels not in (None, channels):
            title, k = type(self).__name__, self.kernel_size[0]
            raise ShapeError(
                f"declared for in_channels={self.in_channels}, but the input {x.shape} has {channels} channels",
                location=caller(),
                layer=str(current.get()),
                hint=f"write {title}({self.out_channels}, {k}), which takes the number from its input, or "
                f"{title}({self.in_channels}, {self.out_channels}, stride={k}) if {k} was to be the stride",
            )
        results, groups, shape = self.shapes(channels)
        weight = self.parameter("weight", shape, self.weight_init, x.dtype)
        bias = self.parameter("bias", (results,), self.bias_init, x.dtype) if self.use_bias else None
        y = self.convolved(x, weight, bias, {**self.options, "groups": groups})
        return self.activation(y) if self.activation else y

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, options: dict[str, Any]) -> Tensor:
        """The convolution itself."""
        y: Tensor = self.convolution(x, weight, bias, **options)
        return y


class Conv1d(_Convolution):
    """activation(conv1d(x, W) + b) for x [n, in, length]; weight [out, in / groups, kernel], bias [out].

    Arguments and `padding_mode` as for Conv2d.
    """

    axes = 1
    convolution = staticmethod(functional.conv1d)

    def __init__(self, *arguments: Any, padding_mode: str = "zeros", **options: Any) -> None:
        super().__init__(*arguments, **options)
        if padding_mode not in PADDING_MODES:
            raise GraphError(
                f"{type(self).__name__}: there is no padding_mode {padding_mode!r}",
                location=caller(),
                hint=f"use {', '.join(PADDING_MODES)}",
            )
        self.padding_mode = padding_mode

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, options: dict[str, Any]) -> Tensor:
        if self.padding_mode != "zeros":
            geometry = (options.get(n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
            sides = windows(type(self).__name__, x.shape, self.kernel_size, *geometry)
            ends = [end for side in reversed(sides) for end in side.padding]
            x, options = pad(x, tuple(ends), self.padding_mode), {**options, "padding": 0}
        return super().convolved(x, weight, bias, options)


class Conv2d(Conv1d):
    """activation(conv2d(x, W) + b) for x [n, in, h, w]; weight [out, in / groups, kh, kw], bias [out].

    Conv2d(channels, kernel_size) or Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups);
    without them stride, dilation and groups are 1, padding is 0; it may be "same". `padding_mode` is "zeros",
    "reflect", "replicate" or "circular", as in `pad`, which then copies the input: a convolution padded with zeros has
    its input copied into a border, too, so both schedule alike. `bias` and `use_bias` are two names of one option.
    Weights suit the activation unless told otherwise, see `initialisers.for_activation`.
    Raises GraphError, ShapeError.
    """

    axes = 2
    convolution = staticmethod(functional.conv2d)


class Conv3d(Conv1d):
    """activation(conv3d(x, W) + b) for x [n, in, d, h, w]; weight [out, in / groups, kd, kh, kw], bias [out].

    Arguments and `padding_mode` as for Conv2d.
    """

    axes = 3
    convolution = staticmethod(functional.conv3d)


class ConvTranspose1d(_Convolution):
    """activation(conv_transpose1d(x, W) + b) for x [n, in, length]; weight [in, out / groups, kernel], bias [out].

    Arguments as for ConvTranspose2d.
    """

    axes = 1
    ordered = ("stride", "padding", "output_padding", "groups")
    named = ("dilation",)
    convolution = staticmethod(functional.conv_transpose1d)

    def shapes(self, inputs: int) -> tuple[int, int, tuple[int, ...]]:
        groups = self.options.get("groups", 1)
        return self.out_channels, groups, (inputs, self.out_channels // groups, *self.kernel_size)


class ConvTranspose2d(ConvTranspose1d):
    """activation(conv_transpose2d(x, W) + b) for x [n, in, h, w]; weight [in, out / groups, kh, kw], bias [out].

    ConvTranspose2d(channels, kernel_size) or ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding,
    output_padding, groups); dilation by name. Raises GraphError, ShapeError.
    """

    axes = 2
    convolution = staticmethod(functional.conv_transpose2d)


class ConvTranspose3d(ConvTranspose1d):
    """activation(conv_transpose3d(x, W) + b) for x [n, in, d, h, w]; weight [in, out / groups, *kernel], bias [out].

    Arguments as for ConvTranspose2d.
    """

    axes = 3
    convolution = staticmethod(functional.conv_transpose3d)


class DepthwiseConv2d(Conv2d):
    """Every channel convolved by itself, with `depth_multiplier` filters; weight [in · multiplier, 1, kh, kw].

    Other options, by name, as for Conv2d.
    """

    def __init__(self, kernel_size: Sizes, depth_multiplier: int = 1, **options: Any) -> None:
        super().__init__(depth_multiplier, kernel_size, **options)

    def shapes(self, inputs: int) -> tuple[int, int, tuple[int, ...]]:
        results = inputs * self.out_channels
        return results, inputs, (results, 1, *self.kernel_size)


class SeparableConv2d(Layer):
    """A depthwise convolution, then one across the channels with windows of one pixel (Chollet 2017).

    `depthwise` holds [in · multiplier, 1, kh, kw], `pointwise` holds [channels, in · multiplier, 1, 1] and the bias.
    Other options are those of Conv2d.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Sizes,
        depth_multiplier: int = 1,
        *,
        activation: Activation = None,
        use_bias: bool = True,
        weight_init: Initial = AUTO,
        bias_init: Initial = "zeros",
        name: str | None = None,
        **geometry: Any,
    ) -> None:
        self.name = name
        self.depthwise = DepthwiseConv2d(
            kernel_size, depth_multiplier, use_bias=False, weight_init=weight_init, **geometry
        )
        self.pointwise = Conv2d(
            channels, 1, activation=activation, use_bias=use_bias, weight_init=weight_init, bias_init=bias_init
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y
