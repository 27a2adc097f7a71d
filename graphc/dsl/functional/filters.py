"""Slopes of images by fixed filters."""

from __future__ import annotations

from graphc.dsl.functional.padding import pad
from graphc.dsl.tensor import Tensor
from graphc.ops.filters import magnitude, slope

__all__ = ["gradient_magnitude", "prewitt", "scharr", "sobel"]


def sobel(x: Tensor, padding_mode: str | None = "replicate") -> tuple[Tensor, Tensor]:
    """(∂x, ∂y) of images [n, channels, h, w] by Sobel's filter: (1, 2, 1) across, (-1, 0, 1) along.

    The image is padded by one pixel in a mode of `pad`; with None the result has two rows and columns less.
    """
    return _slopes(x, "sobel", padding_mode)


def prewitt(x: Tensor, padding_mode: str | None = "replicate") -> tuple[Tensor, Tensor]:
    """(∂x, ∂y) of images by Prewitt's filter: (1, 1, 1) across, (-1, 0, 1) along; otherwise as `sobel`."""
    return _slopes(x, "prewitt", padding_mode)


def scharr(x: Tensor, padding_mode: str | None = "replicate") -> tuple[Tensor, Tensor]:
    """(∂x, ∂y) of images by Scharr's filter: (3, 10, 3) across, (-1, 0, 1) along; otherwise as `sobel`."""
    return _slopes(x, "scharr", padding_mode)


def gradient_magnitude(x: Tensor, filter: str = "sobel", padding_mode: str | None = "replicate") -> Tensor:
    """√(∂x² + ∂y²) of images by a filter: "sobel", "prewitt" or "scharr"."""
    return magnitude(*_slopes(x, filter, padding_mode))


def _slopes(x: Tensor, filter: str, padding_mode: str | None) -> tuple[Tensor, Tensor]:
    padded = x if padding_mode is None else pad(x, (1, 1, 1, 1), padding_mode)
    return slope(padded, filter=filter, along="x"), slope(padded, filter=filter, along="y")
