"""Tables: CSV files with named columns, and NPZ archives."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.data.blocks import Array, Arrays
from graphc.train.data.labels import categories
from graphc.train.data.text import text

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
"""How files say, in any case, that there is no value."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Features [rows, columns] in float32 with one target for each row: class numbers in int64, or float32.

    `columns` names the features, `classes` the class numbers (empty for numbers), and `categories` for each feature
    that was text the words that its numbers stand for.
    """

    name: str
    features: npt.NDArray[np.float32]
    labels: Array
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.intp]) -> Table:
        """The rows with these numbers, in that order."""
        return replace(self, features=self.features[indices], labels=self.labels[indices])

    def source(self, names: Sequence[str]) -> Arrays:
        """What `fit` reads, the inputs for features and labels being called by `names`."""
        return Arrays(dict(zip(names, (self.features, self.labels), strict=True)))


def read_csv(
    path: str | Path, target: str | int = -1, *, delimiter: str = ",", header: bool = True,
    columns: Sequence[str] | None = None, missing: Literal["error", "drop"] = "error",
) -> Table:  # fmt: skip
    """A table from a text file, a row for each line; `target` is the name or the number of the column to predict.

    A column in which every value is a number is one; the words of others become integers in alphabetical order. A
    target of words or of whole numbers without a point is a class. `columns` are the features to take, all by
    default. Without `header` columns are called "0", "1", ... Missing values (nothing, ?, NA, NaN, null, none) are an
    error, or with missing="drop" their lines are left out.
    Raises DataError with the line and the column of what cannot be read.
    """
    lines, rows = _lines(Path(path), delimiter)
    if missing not in ("error", "drop"):
        raise DataError(f"missing is {missing!r}, expected 'error' or 'drop'")
    names = [n.strip() for n in rows.pop(0)] if header else [str(k) for k in range(len(rows[0]))]
    lines = lines[1:] if header else lines
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DataError(f"{path}: two columns are called {twice!r}", hint="name them apart, or say header=False")
    if not rows:
        raise DataError(f"{path} is empty: it has a header but no rows", hint="header=False if there is none")
    place = _column(path, names, target)
    chosen = [_column(path, names, n) for n in columns] if columns else [k for k in range(len(names)) if k != place]
    kept = []
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line}: {len(row)} values, expected {len(names)}",
                hint=f"is {delimiter!r} the delimiter, and are texts that contain it quoted?",
            )
        bad = next((k for k in (*chosen, place) if row[k].strip().lower() in MISSING), None)
        if bad is None:
            kept.append([value.strip() for value in row])
        elif missing == "error":
            raise DataError(
                f"{path}, line {line}, column {names[bad]!r}: the value is missing ({row[bad].strip()!r})",
                hint='missing="drop" leaves such lines out',
            )
    if not kept:
        raise DataError(f"{path}: every line lacks a value", hint="leave the column out: columns=[...]")
    features = np.empty((len(kept), len(chosen)), np.float32)
    words: dict[str, tuple[str, ...]] = {}
    for position, k in enumerate(chosen):
        texts = [row[k] for row in kept]
        if (values := _numbers(texts)) is None:
            features[:, position], words[names[k]] = categories(texts)
        elif np.isfinite(values).all():
            features[:, position] = values
        else:
            wrong = texts[int(np.argmin(np.isfinite(values)))]
            raise DataError(f"{path}, column {names[k]!r}: {wrong} is not a finite number")
    labels, classes = _target([row[place] for row in kept])
    return Table(Path(path).name, features, labels, tuple(names[k] for k in chosen), classes, words)


def read_npz(path: str | Path) -> dict[str, Array]:
    """The arrays in an .npz archive by name. Raises DataError; objects are refused, for reading them runs code."""
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array, not an archive", hint="graphc.data.open_npy reads it")
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a complete .npz archive of numbers: {error}") from None


def _lines(path: Path, delimiter: str) -> tuple[list[int], list[list[str]]]:
    """(line numbers, values) of the lines that are not empty."""
    reader = csv.reader(io.StringIO(text(path)), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        found = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not found:
        raise DataError(f"{path} is empty")
    return [line for line, _ in found], [row for _, row in found]


def _column(path: str | Path, names: Sequence[str], wanted: str | int) -> int:
    """The place of a column. Raises DataError."""
    if isinstance(wanted, int) and -len(names) <= wanted < len(names):
        return wanted % len(names)
    if wanted not in names:
        raise DataError(f"{path} has no column {wanted!r}", hint=f"the columns are {', '.join(names)}")
    return names.index(str(wanted))


def _numbers(texts: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The numbers that texts spell, None if one does not."""
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return None


def _target(texts: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """(labels, names of the classes): classes are words or whole numbers, anything else is a quantity."""
    values: Any = _numbers(texts)
    if values is not None and not all(text.lstrip("+-").isdigit() for text in texts):
        return values.astype(np.float32), ()
    if values is None:
        return categories(texts)
    distinct, numbers = np.unique(values.astype(np.int64), return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(map(str, distinct))
