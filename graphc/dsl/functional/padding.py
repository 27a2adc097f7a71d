"""Padding, windows as axes, and their overlapping sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import ParamSpec, TypeVar

from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphcError, ShapeError
from graphc.ops.padding import constant_pad, extend, pairs
from graphc.ops.unfolding import overlap_add, sliding_windows
from graphc.ops.window import Sizes, sizes, windows

__all__ = ["fold", "pad", "unfold"]


P = ParamSpec("P")
R = TypeVar("R")


def placed(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors name the user's line and the layer."""

    @wraps(function)
    def with_place(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except GraphcError as error:
            raise error.at(caller(), str(current.get())) from None

    return with_place


@placed
def pad(x: Tensor, padding: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with more elements at the ends of its last axes: (before, after) of the last axis, then of the one before, ...

    mode "constant" fills with `value`, "reflect" mirrors at the outermost elements, "replicate" repeats them,
    "circular" continues at the other end; the latter three go axis by axis. Negative numbers cut off.
    Raises ShapeError where the input is too small.
    """
    if mode == "constant":
        return constant_pad(x, padding, value)
    if value != 0:
        raise ShapeError(f"pad: a value has no meaning in mode {mode!r}, got {value}", hint='use mode="constant"')
    for k, (before, after) in enumerate(pairs("pad", x.ndim, padding)):
        if (before, after) != (0, 0):
            x = extend(x, axis=k, before=before, after=after, mode=mode)
    return x


def unfold(x: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    """The windows of x [n, channels, *image] as columns: [n, channels · Π kernel, Π positions] (im2col)."""
    seen = sliding_windows(x, kernel_size, dilation, padding, stride)
    count = x.ndim - 2
    rows, columns = seen.shape[1 : 2 + count], seen.shape[2 + count :]
    return seen.reshape(x.shape[0], prod(map(int, rows)), prod(map(int, columns)))


@placed
def fold(
    x: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """The adjoint of `unfold`: columns [n, channels · Π kernel, Π positions] added up where windows overlap (col2im).

    `output_size` and `kernel_size` are integers for images, otherwise tuples. Raises ShapeError.
    """
    given = [v for v in (output_size, kernel_size) if isinstance(v, tuple)]
    count = len(given[0]) if given else 2
    image = sizes("fold", "output_size", output_size, count, 1)
    kernel = sizes("fold", "kernel_size", kernel_size, count, 1)
    if x.ndim != 3 or not isinstance(x.shape[1], int) or x.shape[1] % prod(kernel):
        raise ShapeError(
            f"fold: windows of {kernel} need inputs (n, channels·{prod(kernel)}, positions), got {x.shape}"
        )
    channels = x.shape[1] // prod(kernel)
    sides = windows("fold", (x.shape[0], channels, *image), kernel, stride, padding, dilation)
    positions = [w.positions for w in sides]
    if x.shape[2] != prod(positions):
        raise ShapeError(
            f"fold: images of {image} have {prod(positions)} windows, the input {x.shape} holds {x.shape[2]}",
            hint="use the output_size, stride, padding and dilation with which it was unfolded",
        )
    return overlap_add(x.reshape(x.shape[0], channels, *kernel, *positions), image, dilation, padding, stride)
