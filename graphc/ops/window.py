"""The geometry of sliding windows, shared by convolution, pooling and their opposites: y·stride + r·dilation - padding.

Windows slide along the last one, two or three axes of a tensor [n, channels, ...].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Cond, divides, ge
from graphc.ops.notation import axis
from graphc.types import Extent

Sizes = int | tuple[int, ...]
"""One integer for all window axes, or one for each."""

SIDES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
INPUTS = {1: "sequences", 2: "images", 3: "volumes"}


class Window(NamedTuple):
    """A window that slides along one axis."""

    extent: int
    kernel: int
    stride: int
    dilation: int
    before: int
    positions: int

    def at(self, position: Any, offset: Any) -> Any:
        """The input index that `offset` within the window at `position` reads."""
        return self.stride * position + self.dilation * offset - self.before

    def position(self, index: Any, offset: Any) -> tuple[Any, tuple[Cond, ...]]:
        """The window that reads an input index at `offset`, and when there is one: `at`, solved for the position."""
        reached = index + self.before - self.dilation * offset
        return reached / self.stride, () if self.stride == 1 else (divides(self.stride, reached),)

    def inside(self, index: Any) -> tuple[Cond, ...]:
        """The conditions under which an index that some window reads is inside of the input, none where all are."""
        return (ge(index), ge(self.extent - 1 - index)) if any(self.padding) else ()

    @property
    def padding(self) -> tuple[int, int]:
        """How far the windows reach over both ends of the input."""
        last = self.at(self.positions - 1, self.kernel - 1)
        return self.before, max(last - (self.extent - 1), 0)


def sizes(operator: str, option: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """An option that is one integer, or one for each of `count` axes. Raises ShapeError."""
    values = value if isinstance(value, tuple) else (value,) * count
    if len(values) != count or not all(isinstance(v, int) and v >= least for v in values):
        several = {2: ", or a pair of them", 3: ", or three of them"}.get(count, "")
        raise ShapeError(f"{operator}: {option} must be an integer of at least {least}{several}, got {value!r}")
    return values


def image_shape(operator: str, shape: tuple[Extent, ...], count: int) -> tuple[int, tuple[int, ...]]:
    """(channels, extents of the window axes) of an input [n, channels, ...]. Raises ShapeError."""
    channels, *image = (e for e in shape[1:] if isinstance(e, int)) if len(shape) > 1 else (0,)
    if len(shape) != count + 2 or len(image) != count:
        expected = ", ".join(("batch", "channels", *SIDES[count]))
        raise ShapeError(
            f"{operator}: expected {INPUTS[count]} of shape ({expected}), got {shape}",
            hint=f"the input has {len(shape)} axes; add or remove some with reshape"
            if len(shape) != count + 2
            else "only the first axis can be the batch",
        )
    return channels, tuple(image)


def windows(
    operator: str,
    shape: tuple[Extent, ...],
    kernel: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool = False,
    most_padding: Sequence[int] | None = None,
) -> tuple[Window, ...]:
    """The windows of these kernel sizes along the last axes of an input [n, channels, ...].

    positions = ⌊(extent + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1, with `ceil` rounded up as long as the
    last window begins inside of the input or its padding; for padding "same" ⌈extent / stride⌉.
    Raises ShapeError where no window fits; it never advises more than `most_padding`.
    """
    count = len(kernel)
    _, image = image_shape(operator, shape, count)
    strides = sizes(operator, "stride", stride, count, 1)
    dilations = sizes(operator, "dilation", dilation, count, 1)
    if isinstance(padding, str) and padding not in ("same", "valid"):
        raise ShapeError(f'{operator}: padding must be integers, "same" or "valid", got {padding!r}')
    paddings: Sequence[int | None] = (None,) * count
    if padding != "same":
        paddings = sizes(operator, "padding", 0 if padding == "valid" else padding, count, 0)
    return tuple(
        _same(e, k, s, d) if p is None else _window(operator, side, e, k, s, p, d, ceil, most)
        for side, e, k, s, p, d, most in zip(
            SIDES[count], image, kernel, strides, paddings, dilations, most_padding or (None,) * count, strict=True
        )
    )


def _same(extent: int, kernel: int, stride: int, dilation: int) -> Window:
    """As many positions as the stride asks for; an odd surplus of padding goes to the end."""
    positions = -(-extent // stride)
    total = max(stride * (positions - 1) + dilation * (kernel - 1) + 1 - extent, 0)
    return Window(extent, kernel, stride, dilation, total // 2, positions)


def _window(
    operator: str, side: str, extent: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool,
    most: int | None,
) -> Window:  # fmt: skip
    reach = dilation * (kernel - 1) + 1
    if reach > extent + 2 * padding:
        dilated = f" (dilated to {reach})" if dilation > 1 else ""
        padded = (
            f"the padded input {extent + 2 * padding} ({extent} + 2·{padding})" if padding else f"the input {extent}"
        )
        enough = -(-(reach - extent) // 2)
        advice = f"padding={enough} or " if most is None or enough <= most else ""
        raise ShapeError(
            f"{operator}: kernel {kernel}{dilated} is larger than {padded} along the {side}",
            hint=f"use {advice}a {side} of at least {reach - 2 * padding}",
        )
    room = extent + 2 * padding - reach
    positions = room // stride + 1
    if ceil and room % stride and positions * stride < extent + padding:
        positions += 1
    return Window(extent, kernel, stride, dilation, padding, positions)


def opposite(
    operator: str,
    shape: tuple[Extent, ...],
    kernel: Sequence[int],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
) -> tuple[Window, ...]:
    """The windows whose positions are the elements of an input [n, channels, ...]: they slide along the result.

    extent = (positions - 1)·stride - 2·padding + dilation·(kernel - 1) + 1 + output padding.
    Raises ShapeError where nothing would be left.
    """
    count = len(kernel)
    _, image = image_shape(operator, shape, count)
    strides, dilations, paddings, surplus = (
        sizes(operator, option, value, count, least)
        for option, value, least in (
            ("stride", stride, 1),
            ("dilation", dilation, 1),
            ("padding", padding, 0),
            ("output_padding", output_padding, 0),
        )
    )
    return tuple(
        _opposite(operator, *sizes_)
        for sizes_ in zip(SIDES[count], image, kernel, strides, paddings, surplus, dilations, strict=True)
    )


def _opposite(
    operator: str, side: str, positions: int, kernel: int, stride: int, padding: int, surplus: int, dilation: int
) -> Window:
    if surplus >= max(stride, dilation):
        raise ShapeError(
            f"{operator}: output_padding {surplus} along the {side} leaves out windows: it must be smaller than the "
            f"stride {stride} or the dilation {dilation}",
            hint=f"use output_padding={max(stride, dilation) - 1} or a larger input",
        )
    reach = dilation * (kernel - 1) + 1
    whole = (positions - 1) * stride + reach + surplus
    if whole <= 2 * padding:
        raise ShapeError(
            f"{operator}: nothing is left along the {side}: ({positions} - 1)·{stride} + {reach} + {surplus} elements "
            f"without 2·{padding} of padding",
            hint=f"use padding={(whole - 1) // 2} or a {side} of at least "
            f"{-(-(2 * padding + 1 - reach - surplus) // stride) + 1}",
        )
    return Window(whole - 2 * padding, kernel, stride, dilation, padding, positions)


def index_axes(extents: Sequence[int]) -> list[Expr]:
    """New axes for the places of an image: x, or y and x, or z, y and x."""
    return [axis(name, e) for name, e in zip("zyx"[-len(extents) :], extents, strict=True)]


def offset_axes(kernel: Sequence[int]) -> list[Expr]:
    """New axes for the places within a window: q, or r and q, or s, r and q."""
    return [axis(name, e) for name, e in zip("srq"[-len(kernel) :], kernel, strict=True)]
