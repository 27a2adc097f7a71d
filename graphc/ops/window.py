"""The geometry of sliding windows, shared by convolution and pooling: y·stride + r·dilation - padding."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphc.errors import ShapeError
from graphc.types import Extent

Pair = int | tuple[int, int]


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

    @property
    def leaves_input(self) -> bool:
        """Whether some window reaches into the padding."""
        last = self.stride * (self.positions - 1) + self.dilation * (self.kernel - 1) - self.before
        return self.before > 0 or last >= self.extent


def pair(operator: str, option: str, value: Any, least: int) -> tuple[int, int]:
    """An option that is one integer, or one for each of the two axes. Raises ShapeError."""
    values = value if isinstance(value, tuple) else (value, value)
    if len(values) != 2 or not all(isinstance(v, int) and v >= least for v in values):
        raise ShapeError(
            f"{operator}: {option} must be an integer of at least {least}, or a pair of them, got {value!r}"
        )
    return values


def windows(
    operator: str,
    shape: tuple[Extent, ...],
    kernel: tuple[int, int],
    stride: Any,
    padding: Any,
    dilation: Any,
) -> tuple[Window, Window]:
    """The windows along the last two axes of an image batch [n, channels, height, width].

    positions = ⌊(extent + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1; for "same" ⌈extent / stride⌉.
    Raises ShapeError where no window fits.
    """
    if len(shape) != 4 or not all(isinstance(e, int) for e in shape[1:]):
        raise ShapeError(
            f"{operator}: expected images of shape (batch, channels, height, width), got {shape}",
            hint=f"the input has {len(shape)} axes; add or remove some with reshape" if len(shape) != 4 else "",
        )
    strides, dilations = pair(operator, "stride", stride, 1), pair(operator, "dilation", dilation, 1)
    if isinstance(padding, str) and padding != "same":
        raise ShapeError(f'{operator}: padding must be an integer, a pair of them or "same", got {padding!r}')
    paddings = (None, None) if padding == "same" else pair(operator, "padding", padding, 0)
    height, width = (
        _window(operator, side, int(e), k, s, p, d)
        for side, e, k, s, p, d in zip(
            ("height", "width"), shape[2:], kernel, strides, paddings, dilations, strict=True
        )
    )
    return height, width


def _window(
    operator: str, side: str, extent: int, kernel: int, stride: int, padding: int | None, dilation: int
) -> Window:
    reach = dilation * (kernel - 1) + 1
    if padding is None:
        positions = -(-extent // stride)
        total = max(stride * (positions - 1) + reach - extent, 0)
        return Window(extent, kernel, stride, dilation, total // 2, positions)
    if reach > extent + 2 * padding:
        dilated = f" (dilated to {reach})" if dilation > 1 else ""
        padded = (
            f"the padded input {extent + 2 * padding} ({extent} + 2·{padding})" if padding else f"the input {extent}"
        )
        raise ShapeError(
            f"{operator}: kernel {kernel}{dilated} is larger than {padded} along the {side}",
            hint=f"use padding={-(-(reach - extent) // 2)} or an input of at least {reach - 2 * padding}",
        )
    return Window(extent, kernel, stride, dilation, padding, (extent + 2 * padding - reach) // stride + 1)
