"""Images read at other places: affine maps, rotations, elastic deformations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.errors import GraphcError
from graphc.train.data.blocks import Array
from graphc.train.data.checks import images_in
from graphc.train.data.draws import Draws

Range = float | tuple[float, float]
"""One number a for -a..a, or both ends."""


@dataclass(frozen=True, slots=True)
class Affine:
    """Y[p] = X[A⁻¹(p - t)], p counted from the middle: rotated, scaled, sheared, then moved; bilinear.

    degrees: the angle, counter-clockwise; translate: shares of (height, width); scale: a factor from..to;
    shear: degrees along x. Each is uniform in its range (a number a means -a..a); `fill` lies outside of the image.
    """

    degrees: Range = 0.0
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: Range = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise GraphcError(f"Affine: scale is {self.scale}, expected (smallest, largest) factors above 0")
        if not all(0 <= t <= 1 for t in self.translate):
            raise GraphcError(f"Affine: translate is {self.translate}, expected shares of (height, width) in 0..1")

    def __call__(self, images: Array, draws: Draws) -> Array:
        _, _, height, width = images_in("Affine", images)
        u = draws.uniform(5)[:, :, None, None].transpose(1, 0, 2, 3)
        angle, shear = (np.radians(_within(r, u[k])) for k, r in ((0, self.degrees), (1, self.shear)))
        scale = _within(self.scale, u[2])
        down, right = (
            _within((-t, t), u[k]) * np.float32(e)
            for k, t, e in ((3, self.translate[0], height), (4, self.translate[1], width))
        )
        # A = scale · rotation · shear; y grows downwards, so counter-clockwise is [[c, s], [-s, c]] of (x, y)
        cos, sin, slope = np.cos(angle) / scale, np.sin(angle) / scale, np.tan(shear)
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2) - down
        x = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2) - right
        rows = cos * y + np.float32((height - 1) / 2), sin * x
        columns = (cos - slope * sin) * x + np.float32((width - 1) / 2), (sin + slope * cos) * y
        # rotation: x' = c·x - s·y, y' = s·x + c·y; then the shear is undone: x'' = x' - slope·y'
        return sampled(images, rows[0] + rows[1], columns[0] - columns[1], self.fill)


@dataclass(frozen=True, slots=True)
class Rotate:
    """Y[p] = X[R⁻¹p], p counted from the middle, the angle uniform in -degrees..degrees; bilinear."""

    degrees: Range = 10.0
    fill: float = 0.0

    def __call__(self, images: Array, draws: Draws) -> Array:
        return Affine(self.degrees, fill=self.fill)(images, draws)


@dataclass(frozen=True, slots=True)
class Elastic:
    """Y[p] = X[p + alpha·(G * u)[p]], u uniform in -1..1 for each pixel and direction, G a Gaussian of width sigma.

    Source: P. Simard, D. Steinkraus, J. Platt 2003, "Best practices for convolutional neural networks applied to
    visual document analysis", which has alpha = 34 and sigma = 4 for digits of 29 x 29 pixels.
    """

    alpha: float = 34.0
    sigma: float = 4.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise GraphcError(f"Elastic: sigma is {self.sigma}, expected more than 0 pixels")

    def __call__(self, images: Array, draws: Draws) -> Array:
        _, _, height, width = images_in("Elastic", images)
        field = draws.uniform(2, height, width, low=-self.alpha, high=self.alpha)
        field = np.matmul(_gaussian(height, self.sigma), field @ _gaussian(width, self.sigma))
        rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
        return sampled(images, field[:, 0] + rows, field[:, 1] + columns, self.fill)


def sampled(images: Array, rows: Array, columns: Array, fill: float = 0.0) -> Array:
    """Y[n, c, i, j] = X[n, c, rows[n, i, j], columns[n, i, j]] between pixels by bilinear interpolation.

    images [n, c, h, w], places [n, i, j] in pixels, `fill` outside; in float32.
    """
    n, c, height, width = images.shape
    bordered = np.full((n, c, height + 2, width + 2), fill, np.float32)
    bordered[:, :, 1:-1, 1:-1] = images
    (y, i), (x, j) = _place(rows, height), _place(columns, width)
    first = np.arange(n)[:, None, None] * (c * (height + 2) * (width + 2)) + (i * np.int32(width + 2) + j)
    flat = bordered.reshape(-1)
    result = np.empty((n, c, *rows.shape[1:]), np.float32)
    for channel in range(c):
        plane = flat[channel * (height + 2) * (width + 2) :]
        top, right = plane.take(first), plane[1:].take(first)
        right -= top
        right *= x
        top += right
        bottom, right = plane[width + 2 :].take(first), plane[width + 3 :].take(first)
        right -= bottom
        right *= x
        bottom += right
        bottom -= top
        bottom *= y
        np.add(top, bottom, out=result[:, channel])
    return result


def _place(at: Array, extent: int) -> tuple[Array, Array]:
    """(share of the next pixel, number of this pixel) in an image with a border of one pixel."""
    shifted = np.clip(at, -1, extent, dtype=np.float32)
    shifted += 1
    whole = shifted.astype(np.int32)
    np.minimum(whole, extent, out=whole)
    shifted -= whole
    return shifted, whole


def _within(limits: Range, unit: Array) -> Array:
    """Numbers in a range, from numbers in 0..1."""
    low, high = limits if isinstance(limits, tuple) else (-limits, limits)
    return unit * np.float32(high - low) + np.float32(low)


def _gaussian(extent: int, sigma: float) -> Array:
    """G[i, j], the weights of a Gaussian filter along an axis, zero outside."""
    k = np.arange(extent)
    reach = np.arange(-4 * int(np.ceil(sigma)), 4 * int(np.ceil(sigma)) + 1)
    weights = np.exp(-0.5 * ((k[:, None] - k) / sigma) ** 2) / np.exp(-0.5 * (reach / sigma) ** 2).sum()
    return weights.astype(np.float32)
