"""Samples held out: training, validation and test parts, and folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import DataError
from graphc.train.data.blocks import Array, Indices
from graphc.train.data.checks import numbers, same_lengths


def split(data: Any, held_out: float | Sequence[float] = 1 / 3, seed: int = 0, *, stratify: bool = True) -> Any:
    """(training part, held-out part), each class giving its share `held_out` (rounded) to the latter.

    Several shares give as many held-out parts: training, validation, test = split(data, (0.1, 0.2)). `data` is a
    Dataset, a Table, an image folder, or a pair of arrays (x, y); without classes, or without `stratify`, shares are
    those of the whole. All parts are shuffled; the same seed gives the same parts.
    Raises DataError if a part would be empty.
    """
    shares = (held_out,) if isinstance(held_out, int | float) else tuple(held_out)
    for share in shares:
        if not 0 < share < 1:
            raise DataError(f"the held-out share must be between 0 and 1, got {share}", hint="0.2 holds out a fifth")
    if not sum(shares) < 1:
        raise DataError(f"the held-out shares {shares} leave nothing to train on: they add up to {sum(shares):.3g}")
    count, groups, order = _ordered(data, seed, stratify)
    bounds = np.cumsum([0.0, *shares])
    part = np.zeros(count, np.int64)
    for members in groups:
        ends = [round(b * len(members)) for b in bounds]
        for number, (first, end) in enumerate(pairwise(ends), 1):
            part[members[first:end]] = number
    parts = [order[part[order] == number] for number in range(len(shares) + 1)]
    if not all(map(len, parts)):
        least = int(np.ceil(1 / min(*shares, 1 - sum(shares))))
        said = " and ".join(f"{share:.3g}" for share in shares)
        raise DataError(
            f"{_name(data)} has {count} images, too few to hold out a share of {said}"
            if hasattr(data, "images")
            else f"{_name(data)} has {count} samples, too few to hold out a share of {said}",
            hint=f"a part of each needs at least {max(least, len(parts))} samples",
        )
    return tuple(_taken(data, part) for part in parts)


def k_folds(data: Any, k: int = 5, seed: int = 0, *, stratify: bool = True) -> Iterator[tuple[Any, Any]]:
    """k pairs (training part, held-out part): every sample is held out once, each class evenly.

    Raises DataError unless 2 <= k <= samples.
    """
    count, groups, order = _ordered(data, seed, stratify)
    if not 2 <= k <= count:
        raise DataError(f"{count} samples cannot be held out in {k} folds", hint=f"use k=2 to k={count}")
    fold = np.empty(count, np.int64)
    fold[np.concatenate(groups)] = np.arange(count) % k
    return ((_taken(data, order[fold[order] != f]), _taken(data, order[fold[order] == f])) for f in range(k))


def _ordered(data: Any, seed: int, stratify: bool) -> tuple[int, list[Indices], Indices]:
    """(number of samples, the members of each class, all samples), both in random order."""
    labels = np.asarray(data[1] if isinstance(data, tuple) else data.labels)
    if isinstance(data, tuple):
        same_lengths({name: numbers(name, array) for name, array in zip("xy", data, strict=True)})
    order = np.random.default_rng(seed).permutation(len(labels))
    if not stratify or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return len(labels), [order], order
    return len(labels), [order[labels[order] == label] for label in np.unique(labels)], order


def _taken(data: Any, rows: Indices) -> Any:
    """The samples with these numbers."""
    if isinstance(data, tuple):
        arrays: tuple[Array, ...] = tuple(np.asarray(array)[rows] for array in data)
        return arrays
    return data.take(rows)


def _name(data: Any) -> str:
    return "the pair of arrays" if isinstance(data, tuple) else str(data.name)
