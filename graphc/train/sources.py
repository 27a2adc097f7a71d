"""Where the samples of a training come from, epoch by epoch, in blocks of whole minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def shuffled(count: int, seed: int = 0, epoch: int = 0) -> Indices:
    """The numbers 0..count-1 in an order that seed and epoch alone decide: that of the samples in an epoch.

    Random numbers: Philox, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(count)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some minibatches: every input by name, and the rows in the order of their turns (None: as they are)."""

    arrays: Mapping[str, Array]
    order: Indices | None = None


class Source(Protocol):
    """The samples of an epoch."""

    @property
    def samples(self) -> int | None:
        """How many an epoch has; None if nobody knows before its end."""
        ...

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        """The samples of an epoch from number `start` on, in whole minibatches but for the last.

        Their order depends on (seed, epoch) alone.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Arrays in memory, all inputs by name: one block, without a copy. Raises DataError."""

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"expected as many targets as samples, got {lengths}")
        if not self.samples:
            raise DataError("the data set is empty")

    @property
    def samples(self) -> int:
        return len(next(iter(self.arrays.values())))

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        order = shuffled(self.samples, seed, epoch) if shuffle else np.arange(self.samples)
        if start < self.samples:
            yield Block(self.arrays, order[start:])
