"""Arrays in files larger than memory: what has been read does not stay."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import DataError
from graphc.train.data.blocks import Array, Indices
from graphc.train.data.checks import finite, same_lengths

ROWS = 32
"""How many rows are read before their pages are given back: each may bring its neighbours, 2 MB at worst."""


def open_npy(path: str | Path) -> Array:
    """The array in a .npy file, mapped into memory: read where it is used. Raises DataError."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path} is not a complete .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays", hint="graphc.data.read_npz reads them")
    return array


def mapping(array: Array) -> mmap.mmap | None:
    """The file mapping that an array's elements lie in; None for memory, and where writing changes only a copy."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        if isinstance(base, np.memmap) and base.mode == "c":
            return None
        base = getattr(base, "base", None)
    return base


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """Arrays some of which are mapped files: rows are read in the order of the file, then their pages given back."""

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        same_lengths(self.arrays)

    @property
    def samples(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: Indices) -> dict[str, Array]:
        order = np.argsort(rows, kind="stable")
        taken = {name: _read(array, rows, order) for name, array in self.arrays.items()}
        for name, array in taken.items():
            finite(name, array, rows)
        return taken


def _read(array: Array, rows: Indices, order: Indices) -> Array:
    """array[rows], where rows[order] is sorted."""
    if (file := mapping(array)) is None:
        return array[rows]
    result = np.empty((len(rows), *array.shape[1:]), array.dtype.newbyteorder("="))
    plain = array.view(np.ndarray)
    for start in range(0, len(rows), ROWS):
        part = order[start : start + ROWS]
        result[part] = plain[rows[part]]
        if hasattr(file, "madvise"):
            # pages of a mapped file count as this process' memory until they are given back; the file keeps them
            file.madvise(mmap.MADV_DONTNEED)
    return result
