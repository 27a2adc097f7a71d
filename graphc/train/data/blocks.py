"""What a training reads: the samples of an epoch, in blocks of whole minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError
from graphc.train.data.checks import same_lengths

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def shuffled(count: int, seed: int = 0, epoch: int = 0) -> Indices:
    """The numbers 0..count-1 in an order that seed and epoch alone decide: that of the samples in an epoch.

    Random numbers: Philox, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(count)


def turns(count: int, seed: int, epoch: int, start: int, shuffle: bool) -> Indices:
    """The samples of an epoch in the order of their turns, from turn `start` on."""
    return shuffled(count, seed, epoch)[start:] if shuffle else np.arange(start, count)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some minibatches: every input by name, and the rows in the order of their turns (None: as they are)."""

    arrays: Mapping[str, Array]
    order: Indices | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.order is None else len(self.order)

    def first(self, count: int) -> Block:
        """The samples whose turn comes first."""
        if count >= len(self):
            return self
        return Block(self.arrays, np.arange(count) if self.order is None else self.order[:count])


@runtime_checkable
class Source(Protocol):
    """The samples of an epoch."""

    @property
    def samples(self) -> int | None:
        """How many an epoch has; None if nobody knows before its end."""
        ...

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        """The samples of an epoch from turn `start` on, in whole minibatches but for the last.

        Their order depends on (seed, epoch) alone. What reading raises is raised here, with its own traceback.
        """
        ...


@runtime_checkable
class Rows(Protocol):
    """Samples that can be had in any order."""

    @property
    def samples(self) -> int:
        """How many there are."""
        ...

    def take(self, rows: Indices) -> dict[str, Array]:
        """The samples with these numbers, every input by name."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Arrays in memory, all inputs by name: one block, without a copy. Raises DataError for other lengths."""

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        same_lengths(self.arrays)

    @property
    def samples(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: Indices) -> dict[str, Array]:
        return {name: array[rows] for name, array in self.arrays.items()}

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        if start < self.samples:
            yield Block(self.arrays, turns(self.samples, seed, epoch, start, shuffle))


@dataclass(frozen=True, slots=True, eq=False)
class Limited:
    """The first `samples` turns of each epoch of a source. Raises DataError where it has fewer."""

    source: Source
    samples: int

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        left = self.samples - start
        for block in self.source.blocks(batch_size, seed=seed, epoch=epoch, start=start, shuffle=shuffle):
            if left <= 0:
                return
            yield block.first(left)
            left -= len(block)
        if left > 0:
            there = self.samples - left
            raise DataError(
                f"an epoch has {there} samples, {there / batch_size:.4g} minibatches of {batch_size}, "
                f"but {self.samples / batch_size:.4g} were asked for",
                hint=f"steps_per_epoch={max(there // batch_size, 1)}, or leave it out",
            )
