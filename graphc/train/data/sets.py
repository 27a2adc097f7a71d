"""Labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.data.blocks import Arrays
from graphc.train.data.checks import finite, numbers
from graphc.train.data.labels import check_labels

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images [count, channels, height, width] in float32 with labels [count] in int32, 0 <= label < classes.

    Raises DataError if the set is empty, lengths differ, a pixel is not finite or a label is out of range.
    """

    name: str
    images: Images
    labels: Labels
    classes: int

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or labels.ndim != 1:
            raise DataError(
                f"{self.name}: expected images [count, channels, height, width] and labels [count], "
                f"got shapes {images.shape} and {labels.shape}"
            )
        if len(images) != len(labels):
            raise DataError(f"{self.name}: {len(images)} images but {len(labels)} labels")
        if not images.size:
            raise DataError(f"{self.name} is empty: images have shape {images.shape}")
        finite(self.name, images, unit="image")
        check_labels(self.name, labels, self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, indices: npt.NDArray[np.intp]) -> Dataset:
        """The images with these indices, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def source(self, names: Sequence[str]) -> Arrays:
        """What `fit` reads, the inputs for images and labels being called by `names`."""
        return Arrays(dict(zip(names, (self.images, self.labels), strict=True)))


def dataset(name: str, images: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> Dataset:
    """A Dataset of any arrays: images [count, height, width] get a channel axis, labels must be integers.

    Pixels are taken as they are, except that unsigned bytes become 0..1. Raises DataError.
    """
    pixels, digits = numbers(f"{name}: images", images), numbers(f"{name}: labels", labels)
    if digits.dtype.kind not in "iu":
        raise DataError(
            f"{name}: labels must be integers, got {digits.dtype.name}", hint="convert them: labels.astype('int64')"
        )
    scale = np.float32(255) if pixels.dtype == np.uint8 else np.float32(1)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    return Dataset(name, pixels.astype(np.float32) / scale, digits.astype(np.int32), classes)
