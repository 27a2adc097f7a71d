"""Data sets of labelled images: the digits that come with graphc, and MNIST-like sets from IDX files."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.idx import read_idx

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

DATA_DIRECTORY = "GRAPHC_DATA"
"""The environment variable that names a directory with data sets."""

SYSTEM_DIRECTORIES = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put data sets."""

SOURCES = {
    "fashion-mnist": "install Debian's package dataset-fashion-mnist or put the four IDX files of "
    "https://github.com/zalandoresearch/fashion-mnist into",
    "mnist": "put the four IDX files of https://ossci-datasets.s3.amazonaws.com/mnist/ into",
}
"""What to do about a missing set; the sentence ends with a directory."""

NAMES = ("digits", *SOURCES)
"""The data sets that `load` knows."""

SHAPES = {"digits": ((1, 8, 8), 10), "fashion-mnist": ((1, 28, 28), 10), "mnist": ((1, 28, 28), 10)}
"""(channels, height, width) of the images and the number of classes of each."""


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
        if not np.isfinite(images).all():
            first = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
            raise DataError(f"{self.name}: image {first} has a pixel that is not finite")
        if labels.min() < 0 or labels.max() >= self.classes:
            first = int(np.argmax((labels < 0) | (labels >= self.classes)))
            raise DataError(f"{self.name}: label {labels[first]} of image {first} is not in 0..{self.classes - 1}")

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


def dataset(name: str, images: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> Dataset:
    """A Dataset of any arrays: images [count, height, width] get a channel axis, labels must be integers.

    Pixels are taken as they are, except that unsigned bytes become 0..1. Raises DataError.
    """
    pixels, digits = np.asarray(images), np.asarray(labels)
    if digits.dtype.kind not in "iu":
        raise DataError(f"{name}: labels must be integers, got {digits.dtype.name}")
    scale = np.float32(255) if pixels.dtype == np.uint8 else np.float32(1)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    return Dataset(name, pixels.astype(np.float32) / scale, digits.astype(np.int32), classes)


def split(data: Dataset, held_out: float = 1 / 3, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(training part, held-out part), each class giving its share `held_out` (rounded) to the latter.

    Both parts are shuffled; the same seed gives the same parts. Raises DataError if a part would be empty.
    """
    if not 0 < held_out < 1:
        raise DataError(f"the held-out share must be between 0 and 1, got {held_out}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(data))
    is_held_out = np.zeros(len(data), bool)
    for label in range(data.classes):
        members = order[data.labels[order] == label]
        is_held_out[members[: round(held_out * len(members))]] = True
    parts = order[~is_held_out[order]], order[is_held_out[order]]
    if not all(map(len, parts)):
        raise DataError(f"{data.name} has {len(data)} images, too few to hold out a share of {held_out:.3g}")
    return data.take(parts[0]), data.take(parts[1])


def shuffled(count: int, seed: int = 0, epoch: int = 0) -> npt.NDArray[np.int64]:
    """The numbers 0..count-1 in an order that seed and epoch alone decide: that of the samples in an epoch.

    Random numbers: Philox, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(count)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """x ↦ (x - mean) / deviation, one mean and deviation for all pixels."""

    mean: float
    deviation: float

    @classmethod
    def fit(cls, data: Dataset) -> Normalisation:
        """Mean and standard deviation over all pixels. Raises DataError if all are equal."""
        mean = float(data.images.mean(dtype=np.float64))
        deviation = float(data.images.std(dtype=np.float64))
        if deviation == 0:
            raise DataError(f"{data.name} cannot be normalised: every pixel is {mean:g}")
        return cls(mean, deviation)

    def apply(self, data: Dataset) -> Dataset:
        """The same set with normalised images."""
        images = (data.images - np.float32(self.mean)) / np.float32(self.deviation)
        return replace(data, images=images)


def normalise(training: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """All sets, normalised with what the first one, the training part, says."""
    fitted = Normalisation.fit(training)
    return tuple(fitted.apply(d) for d in (training, *others))


def load_digits() -> Dataset:
    """The handwritten digits of E. Alpaydin and C. Kaynak (UCI): images [1797, 1, 8, 8] in 0..1, 10 classes.

    Source and licence: graphc/data/README.md.
    """
    compressed = resources.files("graphc.data").joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(compressed).decode("ascii").splitlines(), delimiter=",", dtype=np.int32)
    images = table[:, :64].reshape(-1, 1, 8, 8).astype(np.float32) / np.float32(16)
    return Dataset("digits", images, np.ascontiguousarray(table[:, 64]), 10)


def load(name: str, data_dir: str | Path | None = None) -> tuple[Dataset, Dataset]:
    """(training part, test part) of "digits", "fashion-mnist" or "mnist", pixels in 0..1.

    Digits come with graphc, and a third of them is held out. Others are looked for as IDX files, gzipped
    or not, in `data_dir/NAME` or `data_dir`; without `data_dir`, in $GRAPHC_DATA/NAME and Debian's directory.
    Raises DataError with one sentence on how to get a missing set.
    """
    if name == "digits":
        return split(load_digits())
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}; choose one of {', '.join(NAMES)}")
    directory = _find(name, data_dir)
    return _read_part(name, directory, "train"), _read_part(name, directory, "t10k")


def _find(name: str, data_dir: str | Path | None) -> Path:
    """The directory that holds a set."""
    if data_dir is not None:
        candidates, destination = [Path(data_dir) / name, Path(data_dir)], str(data_dir)
    else:
        # one place for several sets, whose files have the same names: only NAME/ tells them apart
        root = os.environ.get(DATA_DIRECTORY)
        candidates = [Path(root) / name] if root else []
        destination = str(candidates[0]) if root else "a directory DIR and say --data-dir DIR"
        if name in SYSTEM_DIRECTORIES:
            candidates.append(SYSTEM_DIRECTORIES[name])
    for directory in candidates:
        if _file(directory, "train", "images-idx3") is not None:
            return directory
    raise DataError(f"data set {name} was not found: {SOURCES[name]} {destination}")


def _file(directory: Path, part: str, kind: str) -> Path | None:
    """The IDX file of a part, under any of the names in use: dashes or dots, gzipped or not."""
    for spelling in (kind, kind.replace("-idx", ".idx")):
        for suffix in ("-ubyte", "-ubyte.gz"):
            if (path := directory / f"{part}-{spelling}{suffix}").is_file():
                return path
    return None


def _read_part(name: str, directory: Path, part: str) -> Dataset:
    """One part of an MNIST-like set."""
    arrays: list[npt.NDArray[Any]] = []
    for kind, rank in (("images-idx3", 3), ("labels-idx1", 1)):
        path = _file(directory, part, kind)
        if path is None:
            raise DataError(f"{directory} lacks {part}-{kind}-ubyte or {part}-{kind}-ubyte.gz of data set {name}")
        array = read_idx(path)
        if array.ndim != rank or array.dtype != np.uint8:
            raise DataError(f"{path}: expected bytes of rank {rank}, got {array.dtype.name} of rank {array.ndim}")
        arrays.append(array)
    return dataset(name, arrays[0], arrays[1], classes=10)
