"""Data sets by name: the digits that come with graphc, and MNIST-like sets from IDX files."""

from __future__ import annotations

import gzip
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.data.idx import read_idx
from graphc.train.data.sets import Dataset, dataset
from graphc.train.data.splits import split

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
        training, held_out = split(load_digits())
        return training, held_out
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
