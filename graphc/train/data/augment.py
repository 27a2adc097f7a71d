"""Augmentation: random changes of images [n, channels, height, width] that leave their classes as they are.

data = graphc.data.augmented((images, labels), graphc.augment.RandomCrop(2), graphc.augment.Flip())
model.fit(data, epochs=10)

Steps apply in the order given. Each decision is a function of (seed, epoch, number of the sample): neither the size
of a batch nor the number of threads nor a resumed training changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.errors import DataError, GraphcError
from graphc.train.data.augmented import Augmented, augmented
from graphc.train.data.blocks import Array, Indices
from graphc.train.data.checks import images_in
from graphc.train.data.draws import Draws
from graphc.train.data.labels import one_hot
from graphc.train.data.warp import Affine, Elastic, Rotate

__all__ = [
    "Affine",
    "Augmented",
    "Brightness",
    "Contrast",
    "CutMix",
    "Cutout",
    "Elastic",
    "Flip",
    "Mixup",
    "Noise",
    "RandomCrop",
    "RandomErasing",
    "Rotate",
    "augmented",
]


@dataclass(frozen=True, slots=True)
class Flip:
    """Y[y, x] = X[y, W-1-x] with probability p: mirrored left to right, or "vertical", upside down."""

    direction: Literal["horizontal", "vertical"] = "horizontal"
    p: float = 0.5

    def __post_init__(self) -> None:
        if self.direction not in ("horizontal", "vertical"):
            raise GraphcError(f"Flip: direction is {self.direction!r}, expected 'horizontal' or 'vertical'")
        _probability("Flip", self.p)

    def __call__(self, images: Array, draws: Draws) -> Array:
        images_in("Flip", images)
        chosen = draws.chance(self.p)
        result = images.copy()
        result[chosen] = images[chosen][..., ::-1] if self.direction == "horizontal" else images[chosen][..., ::-1, :]
        return result


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Y[y, x] = X[y + a, x + b]: images bordered by `padding` pixels of `fill`, and a window of the size of before.

    With `size`, the window is of that height and width. a and b are uniform over the places where it fits.
    """

    padding: int = 0
    size: int | tuple[int, int] | None = None
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise GraphcError(f"RandomCrop: padding is {self.padding}, expected at least 0")
        if not self.padding and self.size is None:
            raise GraphcError("RandomCrop: without padding or size it changes nothing", hint="RandomCrop(padding=2)")

    def __call__(self, images: Array, draws: Draws) -> Array:
        n, c, height, width = images_in("RandomCrop", images)
        p = self.padding
        h, w = (height, width) if self.size is None else np.broadcast_to(self.size, 2).tolist()
        if not (0 < h <= height + 2 * p and 0 < w <= width + 2 * p):
            short = max(h - height, w - width, 0)
            raise DataError(
                f"RandomCrop: no window of {h} x {w} fits into images of {height} x {width} with padding {p}",
                hint=f"padding={-(-short // 2)}, or size=({min(h, height + 2 * p)}, {min(w, width + 2 * p)})",
            )
        if p:
            bordered = np.full((n, c, height + 2 * p, width + 2 * p), self.fill, images.dtype)
            bordered[:, :, p : p + height, p : p + width] = images
            images = bordered
        windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), (2, 3))
        a, b = draws.integers(*windows.shape[2:4])
        return windows[np.arange(n), :, a, b]


@dataclass(frozen=True, slots=True)
class Noise:
    """Y = X + deviation · N(0, 1), each pixel for itself."""

    deviation: float = 0.05

    def __call__(self, images: Array, draws: Draws) -> Array:
        return images + draws.normal(*images.shape[1:]) * np.float32(self.deviation)


@dataclass(frozen=True, slots=True)
class Brightness:
    """Y = X + b with b uniform in -amount..amount, one for each image."""

    amount: float = 0.2

    def __call__(self, images: Array, draws: Draws) -> Array:
        return images + _each(draws.uniform(low=-self.amount, high=self.amount), images)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Y = m + c·(X - m), m the mean of the image, c uniform in 1-amount..1+amount."""

    amount: float = 0.2

    def __call__(self, images: Array, draws: Draws) -> Array:
        factor = _each(draws.uniform(low=1 - self.amount, high=1 + self.amount), images)
        mean = images.mean(axis=tuple(range(1, images.ndim)), keepdims=True, dtype=np.float32)
        return (images - mean) * factor + mean


@dataclass(frozen=True, slots=True)
class Cutout:
    """Y = fill in a square of `size` pixels around a random pixel (cut off at the border), X elsewhere.

    Source: T. DeVries, G. Taylor 2017, "Improved regularization of convolutional neural networks with cutout".
    """

    size: int = 8
    fill: float = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _probability("Cutout", self.p)

    def __call__(self, images: Array, draws: Draws) -> Array:
        _, _, height, width = images_in("Cutout", images)
        corners = (middle[:, None] - self.size // 2 for middle in draws.integers(height, width))
        box = [_between(k, at, at + self.size) for k, at in zip((height, width), corners, strict=True)]
        box[0] &= draws.chance(self.p)[:, None]
        return _filled(images, box, self.fill)


@dataclass(frozen=True, slots=True)
class RandomErasing:
    """Y = fill in a rectangle, X elsewhere, with probability p.

    Its share of the area is uniform in `scale`, its height / width log-uniform in `ratio`, as torchvision has it.
    Source: Z. Zhong et al. 2020, "Random erasing data augmentation".
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: float = 0.0

    def __post_init__(self) -> None:
        _probability("RandomErasing", self.p)

    def __call__(self, images: Array, draws: Draws) -> Array:
        _, _, height, width = images_in("RandomErasing", images)
        area = draws.uniform(1, low=self.scale[0], high=self.scale[1]) * (height * width)
        ratio = np.exp(draws.uniform(1, low=np.log(self.ratio[0]), high=np.log(self.ratio[1])))
        sides = (np.sqrt(area * ratio), height), (np.sqrt(area / ratio), width)
        box = []
        for side, extent in sides:
            length = np.clip(np.rint(side), 1, extent)
            first = np.floor(draws.uniform(1) * (extent + 1 - length))
            box.append(_between(extent, first, first + length))
        box[0] &= draws.chance(self.p)[:, None]
        return _filled(images, box, self.fill)


@dataclass(frozen=True, slots=True)
class Mixup:
    """Y = λ·X + (1-λ)·X', targets likewise, with another sample X' of the set and λ ~ Beta(alpha, alpha).

    Class numbers become probabilities [n, classes] in float32; declare the labels so, and cross_entropy takes them:
    labels = graphc.input("labels", (graphc.BATCH, 10)). Source: H. Zhang et al. 2018, "mixup".
    """

    alpha: float = 0.2
    classes: int | None = None

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise GraphcError(f"{type(self).__name__}: alpha is {self.alpha}, expected more than 0")

    def partners(self, draws: Draws, samples: int) -> Indices:
        return draws.integers(samples)[0]

    def mix(
        self, arrays: Mapping[str, Array], others: Mapping[str, Array], draws: Draws, on: Sequence[str]
    ) -> dict[str, Array]:
        share = draws.beta(self.alpha)
        return {
            name: _mixed(x, others[name], share) if name in on else self._targets(name, x, others[name], share)
            for name, x in arrays.items()
        }

    def _targets(self, name: str, first: Array, second: Array, share: Array) -> Array:
        """λ·t + (1-λ)·t' for numbers, or for classes as probabilities."""
        if first.dtype.kind == "f":
            return _mixed(first, second, share)
        if self.classes is None:
            raise DataError(
                f"{type(self).__name__}: {name} are class numbers, which cannot be mixed",
                hint=f"say how many classes there are: {type(self).__name__}({self.alpha}, classes=10)",
            )
        return _mixed(one_hot(first, self.classes), one_hot(second, self.classes), share)


@dataclass(frozen=True, slots=True)
class CutMix(Mixup):
    """Y = X' in a rectangle of 1-λ of the area, X elsewhere; targets λ·t + (1-λ)·t' with the λ that is left of X.

    λ ~ Beta(alpha, alpha) before the rectangle is cut off at the border. Source: S. Yun et al. 2019, "CutMix".
    """

    alpha: float = 1.0

    def mix(
        self, arrays: Mapping[str, Array], others: Mapping[str, Array], draws: Draws, on: Sequence[str]
    ) -> dict[str, Array]:
        side = np.sqrt(1 - draws.beta(self.alpha))[:, None]
        _, _, height, width = images_in("CutMix", arrays[on[0]])
        box = []
        for extent, middle in zip((height, width), draws.integers(height, width), strict=True):
            first = middle[:, None] - np.rint(side * extent) // 2
            box.append(_between(extent, first, first + np.rint(side * extent)))
        inside = box[0][:, None, :, None] & box[1][:, None, None, :]
        share = (1 - inside.mean(axis=(1, 2, 3))).astype(np.float32)
        return {
            name: np.where(inside, others[name], x) if name in on else self._targets(name, x, others[name], share)
            for name, x in arrays.items()
        }


def _each(values: Array, images: Array) -> Array:
    """One number for each image, ready to be combined with its pixels."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def _mixed(first: Array, second: Array, share: Array) -> Array:
    part = _each(share, first)
    return first * part + second * (1 - part)


def _between(extent: int, first: Array, end: Array) -> Any:
    """For each sample, which of the pixels 0..extent-1 lie in first <= k < end."""
    k = np.arange(extent)
    return (k >= first) & (k < end)


def _filled(images: Array, box: Sequence[Array], fill: float) -> Array:
    """The images with the number `fill` in a rectangle of each."""
    return np.where(box[0][:, None, :, None] & box[1][:, None, None, :], images.dtype.type(fill), images)


def _probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise GraphcError(f"{name}: p is {p}, expected a probability in 0..1")
