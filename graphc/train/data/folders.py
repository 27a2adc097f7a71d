"""Folders of images: a directory for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError, GraphcError
from graphc.train.data.blocks import Array, Indices
from graphc.train.data.sets import Dataset

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".webp"})


@dataclass(frozen=True, slots=True, eq=False)
class ImageFolder:
    """Image files and their class numbers; an image is decoded when a minibatch needs it.

    Images are [channels, height, width] in float32, 0..1, all resized to `size` (height, width) if that is given.
    """

    name: str
    files: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    resize: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Indices) -> ImageFolder:
        """The files with these numbers, in that order; nothing is decoded."""
        return replace(self, files=tuple(self.files[k] for k in indices), labels=self.labels[indices])

    def load(self) -> Dataset:
        """All images in memory."""
        return Dataset(self.name, self.images(range(len(self))), self.labels.astype(np.int32), len(self.classes))

    def images(self, rows: Sequence[int] | Indices) -> npt.NDArray[np.float32]:
        """Some images [count, channels, height, width]. Raises DataError for one of another size or a broken file."""
        result = np.empty((len(rows), self.channels, *self.size), np.float32)
        for position, row in enumerate(rows):
            pixels = _pixels(self.files[row], self.channels, self.size if self.resize else None)
            if pixels.shape[1:] != self.size:
                height, width = pixels.shape[1:]
                raise DataError(
                    f"{self.files[row]} is {height} x {width} pixels, but {self.files[0].name} set "
                    f"{self.size[0]} x {self.size[1]}",
                    hint=f"size={self.size} resizes all images",
                )
            result[position] = pixels
        return result

    def source(self, names: Sequence[str]) -> FolderRows:
        """What `fit` reads, the inputs for images and labels being called by `names`."""
        x, y = names
        return FolderRows(self, x, y)


@dataclass(frozen=True, slots=True, eq=False)
class FolderRows:
    """The samples of a folder by input name."""

    folder: ImageFolder
    x: str
    y: str

    @property
    def samples(self) -> int:
        return len(self.folder)

    def take(self, rows: Indices) -> dict[str, Array]:
        return {self.x: self.folder.images(rows), self.y: self.folder.labels[rows]}


def image_folder(
    path: str | Path, *, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> ImageFolder:
    """The images path/CLASS/**/NAME.png, .jpg, .ppm, ..., in alphabetical order; the class is the directory's name.

    All images need the same size, or `size` (height, width) to be resized to. `channels` is 1 for grey or 3 for
    colours, as the first image has it by default. Needs Pillow. Raises DataError.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a directory", hint="expected one that holds a directory for each class")
    classes = tuple(sorted(d.name for d in root.iterdir() if d.is_dir() and not d.name.startswith(".")))
    if not classes:
        raise DataError(f"{root} holds no directories", hint="put the images of each class into one of its name")
    found = [sorted(f for f in (root / c).rglob("*") if f.suffix.lower() in SUFFIXES) for c in classes]
    for name, files in zip(classes, found, strict=True):
        if not files:
            raise DataError(f"{root / name} holds no images", hint=f"expected files {', '.join(sorted(SUFFIXES))}")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels}, expected 1 for grey or 3 for colours")
    first = _pixels(found[0][0], channels, None)
    wanted = None if size is None else (size, size) if isinstance(size, int) else size
    height, width = wanted or first.shape[1:]
    return ImageFolder(
        root.name,
        tuple(file for files in found for file in files),
        np.repeat(np.arange(len(classes)), [len(files) for files in found]),
        classes,
        len(first),
        (height, width),
        wanted is not None,
    )


def _pixels(file: Path, channels: int | None, size: tuple[int, int] | None) -> npt.NDArray[np.float32]:
    """One image [channels, height, width], 0..1."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise GraphcError("reading images needs Pillow", hint="pip install 'graphc[images]'") from None
    try:
        with Image.open(file) as image:
            grey = channels == 1 or (channels is None and image.mode in ("1", "L", "LA", "I", "I;16", "F"))
            converted: Any = _levels(image) if image.mode in ("I", "I;16", "F") else image
            converted = converted.convert("L" if grey else "RGB")
            if size is not None:
                converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted, np.float32) / np.float32(255)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{file} cannot be read as an image: {reason}", hint="remove it or write it again") from None
    return np.ascontiguousarray(pixels[None] if grey else pixels.transpose(2, 0, 1))


def _levels(image: Any) -> Any:
    """An image of 16 bits with 8."""
    from PIL import Image

    return Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
