"""Padding, windows and other sizes of images as layers."""

from __future__ import annotations

from typing import Any

from graphc.dsl import functional
from graphc.dsl.functional.resampling import Scale
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.ops.window import Sizes

__all__ = [
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Fold",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Layer):
    """`pad` with one number for every side, or (before, after) of each axis from the last one on."""

    axes = 1
    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], name: str | None = None) -> None:
        self.name, self.value = name, 0.0
        self.padding = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.padding, self.mode, self.value)


class ConstantPad1d(_Pad):
    """A constant at the ends of the last axis: an integer for both, or (before, after)."""

    def __init__(self, padding: int | tuple[int, ...], value: float, name: str | None = None) -> None:
        super().__init__(padding, name)
        self.value = value


class ConstantPad2d(ConstantPad1d):
    """A constant around images: an integer for all sides, or (left, right, top, bottom)."""

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """A constant around volumes: an integer for all sides, or (left, right, top, bottom, front, back)."""

    axes = 3


class ZeroPad1d(_Pad):
    """Zeros at the ends of the last axis."""


class ZeroPad2d(_Pad):
    """Zeros around images: an integer for all sides, or (left, right, top, bottom)."""

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros around volumes: an integer for all sides, or (left, right, top, bottom, front, back)."""

    axes = 3


class ReflectionPad1d(_Pad):
    """The last axis mirrored at its outermost elements."""

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """Images mirrored at their outermost pixels."""

    axes = 2


class ReflectionPad3d(ReflectionPad1d):
    """Volumes mirrored at their outermost elements."""

    axes = 3


class ReplicationPad1d(_Pad):
    """The outermost elements of the last axis repeated."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """The outermost pixels of images repeated."""

    axes = 2


class ReplicationPad3d(ReplicationPad1d):
    """The outermost elements of volumes repeated."""

    axes = 3


class CircularPad1d(_Pad):
    """The last axis continued at its other end."""

    mode = "circular"


class CircularPad2d(CircularPad1d):
    """Images continued at their other sides."""

    axes = 2


class CircularPad3d(CircularPad1d):
    """Volumes continued at their other sides."""

    axes = 3


class Unfold(Layer):
    """The windows of images as columns [n, channels · kh · kw, positions]."""

    def __init__(
        self,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
        name: str | None = None,
    ) -> None:
        self.name, self.options = name, (kernel_size, dilation, padding, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.unfold(x, *self.options)


class Fold(Layer):
    """Columns of windows added up to images where they overlap: the adjoint of `Unfold`."""

    def __init__(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
        name: str | None = None,
    ) -> None:
        self.name, self.options = name, (output_size, kernel_size, dilation, padding, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.fold(x, *self.options)


class Upsample(Layer):
    """Images of another size, or larger by a factor; modes as in `interpolate`."""

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: Scale | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        name: str | None = None,
    ) -> None:
        self.name, self.options = name, (size, scale_factor, mode, align_corners)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, *self.options)


class UpsamplingNearest2d(Upsample):
    """Images of another size, or larger by a factor, each pixel from the nearest one."""

    def __init__(
        self, size: int | tuple[int, ...] | None = None, scale_factor: Scale | None = None, name: str | None = None
    ) -> None:
        super().__init__(size, scale_factor, name=name)


class UpsamplingBilinear2d(Upsample):
    """Images of another size, or larger by a factor, between the four nearest pixels; the corners keep theirs."""

    def __init__(
        self, size: int | tuple[int, ...] | None = None, scale_factor: Scale | None = None, name: str | None = None
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True, name=name)


class PixelShuffle(Layer):
    """s² channels become s x s pixels."""

    def __init__(self, upscale_factor: int, name: str | None = None) -> None:
        self.name, self.factor = name, upscale_factor

    def forward(self, x: Tensor) -> Any:
        return functional.pixel_shuffle(x, self.factor)


class PixelUnshuffle(Layer):
    """s x s pixels become s² channels."""

    def __init__(self, downscale_factor: int, name: str | None = None) -> None:
        self.name, self.factor = name, downscale_factor

    def forward(self, x: Tensor) -> Any:
        return functional.pixel_unshuffle(x, self.factor)


class ChannelShuffle(Layer):
    """The channels of all groups in turn."""

    def __init__(self, groups: int, name: str | None = None) -> None:
        self.name, self.groups = name, groups

    def forward(self, x: Tensor) -> Any:
        return functional.channel_shuffle(x, self.groups)
