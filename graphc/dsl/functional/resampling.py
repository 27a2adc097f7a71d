"""Images of another size."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from graphc.dsl.functional.padding import placed
from graphc.dsl.tensor import Tensor
from graphc.errors import ShapeError
from graphc.ops.padding import extend
from graphc.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from graphc.ops.resampling import (
    WEIGHTS,
    channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
    resample,
    upsample_nearest,
)
from graphc.ops.window import SIDES, image_shape, sizes

__all__ = ["channel_shuffle", "interpolate", "pixel_shuffle", "pixel_unshuffle"]

Scale = float | tuple[float, ...]

LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""Modes that weigh neighbours, and their number of axes."""


@placed
def interpolate(
    x: Tensor,
    size: int | tuple[int, ...] | None = None,
    scale_factor: Scale | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """x [n, channels, *image] with images of another size, or of ⌊extent · scale_factor⌋.

    mode is "nearest", "nearest-exact" (the element in which the middle of the new one lies), "linear", "bilinear",
    "trilinear", "bicubic" or "area" (means of parts). With `align_corners` the middles of the outermost elements keep
    their places, otherwise the borders of the image do; beyond it the outermost elements go on. Raises ShapeError.
    """
    count = x.ndim - 2
    modes = ["nearest", "nearest-exact", "area", *(m for m, axes in LINEAR.items() if axes == count)]
    if mode not in modes or count not in SIDES:
        raise ShapeError(
            f"interpolate: there is no mode {mode!r} for inputs with {x.ndim} axes", hint=f"use {', '.join(modes)}"
        )
    if align_corners and mode not in LINEAR:
        raise ShapeError(f"interpolate: align_corners has no meaning in mode {mode!r}")
    _, extents = image_shape("interpolate", x.shape, count)
    outputs, steps = _new_sizes(extents, size, scale_factor)
    match mode:
        case "nearest" | "nearest-exact":
            origin = Fraction(1, 2) if mode == "nearest-exact" else Fraction(0)
            return upsample_nearest(x, size=outputs, step=steps, origin=origin)
        case "area":
            return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[count - 1](x, outputs)
    kind = "cubic" if mode == "bicubic" else "linear"
    for k, (extent, output, step) in enumerate(zip(extents, outputs, steps, strict=True)):
        x = _weighted(x, 2 + k, extent, output, step, kind, align_corners)
    return x


def _new_sizes(
    extents: tuple[int, ...], size: int | tuple[int, ...] | None, scale_factor: Scale | None
) -> tuple[tuple[int, ...], tuple[Fraction, ...]]:
    """The new extents, and how far apart their elements are in the old ones. Raises ShapeError."""
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate: give either size or scale_factor")
    count = len(extents)
    if scale_factor is None:
        outputs = sizes("interpolate", "size", size, count, 1)
        return outputs, tuple(Fraction(e, o) for e, o in zip(extents, outputs, strict=True))
    scales = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * count
    if len(scales) != count or not all(isinstance(s, int | float) and s > 0 for s in scales):
        raise ShapeError(f"interpolate: scale_factor must be a positive number for each axis, got {scale_factor}")
    outputs = tuple(floor(e * s) for e, s in zip(extents, scales, strict=True))
    for side, e, o, s in zip(SIDES[count], extents, outputs, scales, strict=True):
        if o < 1:
            raise ShapeError(
                f"interpolate: nothing is left of the {side} {e} at the scale {s}", hint=f"use at least 1/{e}"
            )
    return outputs, tuple(1 / Fraction(str(s)) for s in scales)


def _weighted(x: Tensor, axis: int, extent: int, output: int, step: Fraction, mode: str, align_corners: bool) -> Tensor:
    """One axis with another number of elements; those at the ends are repeated as far as neighbours are needed."""
    if align_corners:
        step, origin = Fraction(extent - 1, max(output - 1, 1)) if output > 1 else Fraction(0), Fraction(0)
    else:
        origin = (step - 1) / 2
    taps = WEIGHTS[mode].shape[0]
    first = floor(origin) - (taps // 2 - 1)
    last = floor(origin + step * (output - 1)) + taps // 2
    before, after = max(-first, 0), max(last - (extent - 1), 0)
    if before or after:
        x = extend(x, axis=axis, before=before, after=after, mode="replicate")
    return resample(x, axis=axis, size=output, step=step, origin=origin + before - (taps // 2 - 1), mode=mode)
