"""Samples put together and transformed in the background, some minibatches at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from graphc.errors import DataError
from graphc.train.data.background import ahead, iterated_ahead
from graphc.train.data.blocks import Array, Block, Indices, Rows, Source, turns
from graphc.train.data.draws import Draws

BLOCK_BYTES = 4 << 20
"""How much is put together at a time: enough for many steps of a small network."""

CHUNK_BYTES = 1 << 19
"""How much is transformed at a time: with what it needs meanwhile it stays in a core's cache."""


class Step(Protocol):
    """A transformation of samples [n, ...], each decision of which comes from its draws."""

    def __call__(self, samples: Array, draws: Draws, /) -> Array: ...


@runtime_checkable
class Mixing(Protocol):
    """A step that mixes each sample and its target with another one."""

    def partners(self, draws: Draws, samples: int) -> Indices:
        """The number of the other sample, for each sample."""
        ...

    def mix(
        self, arrays: Mapping[str, Array], others: Mapping[str, Array], draws: Draws, on: Sequence[str]
    ) -> dict[str, Array]:
        """What becomes of the samples (the arrays named in `on`) and of their targets (the rest)."""
        ...


Stage = tuple[Step | Mixing, tuple[str, ...]]
"""A step and the names of the arrays that it applies to, with the same decisions for each; none: the first one."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Samples in any order, transformed by `stages` one after the other, by threads in the background.

    Every decision is a function of (seed, epoch, number of the stage, number of the sample).
    """

    rows: Rows
    stages: tuple[Stage, ...] = ()
    workers: int = 1

    @property
    def samples(self) -> int:
        return self.rows.samples

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        order = turns(self.samples, seed, epoch, start, shuffle)
        if not len(order):
            return
        bytes_each = sum(a.nbytes for a in self.prepared(order[:1], seed, epoch, len(self.stages)).values())
        size = max(1, BLOCK_BYTES // (batch_size * bytes_each))
        yield from ahead(
            (partial(self._block, rows, seed, epoch) for rows in _pieces(order, batch_size, size)), self.workers
        )

    def _block(self, rows: Indices, seed: int, epoch: int) -> Block:
        """The samples with these numbers, transformed."""
        made = partial(self.prepared, seed=seed, epoch=epoch, stages=len(self.stages))
        return Block(_in_chunks(made, rows) if self.stages else made(rows))

    def prepared(self, rows: Indices, seed: int, epoch: int, stages: int) -> dict[str, Array]:
        """The samples with these numbers after the first so many stages."""
        arrays = self.rows.take(rows)
        for position, (step, named) in enumerate(self.stages[:stages]):
            on = named or tuple(arrays)[:1]
            draws = partial(Draws, seed, epoch, position, rows)
            if isinstance(step, Mixing):
                choice = draws()
                others = self.prepared(step.partners(choice, self.samples), seed, epoch, position)
                arrays = step.mix(arrays, others, choice, on)
            else:
                arrays = arrays | {name: step(_named(arrays, name), draws()) for name in on}
        return arrays


@dataclass(frozen=True, slots=True, eq=False)
class Transformed:
    """The blocks of a source that has no order of its own; here a sample's number is that of its turn in the epoch.

    Raises DataError for a step that mixes samples.
    """

    source: Source
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if mixing := [type(step).__name__ for step, _ in self.stages if isinstance(step, Mixing)]:
            raise DataError(
                f"{mixing[0]} needs samples in any order, but {type(self.source).__name__} gives them in its own",
                hint="give arrays, a memory-mapped file or an image folder",
            )

    @property
    def samples(self) -> int | None:
        return self.source.samples

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        blocks = self.source.blocks(batch_size, seed=seed, epoch=epoch, start=start, shuffle=shuffle)
        yield from iterated_ahead(self._transformed(blocks, seed, epoch, start))

    def _transformed(self, blocks: Iterator[Block], seed: int, epoch: int, start: int) -> Iterator[Block]:
        done = start
        for block in blocks:
            arrays = dict(block.arrays) if block.order is None else {n: a[block.order] for n, a in block.arrays.items()}
            numbers = np.arange(done, done + len(block))
            done += len(block)
            for position, (step, on) in enumerate(self.stages):
                for name in on or tuple(arrays)[:1]:
                    arrays[name] = step(_named(arrays, name), Draws(seed, epoch, position, numbers))  # type: ignore[operator]
            yield Block(arrays)


def _pieces(order: Indices, batch_size: int, most: int) -> Iterator[Indices]:
    """Stretches of whole minibatches, at most so many: the first is short, for training waits for it."""
    first, size = 0, 1
    while first < len(order):
        yield order[first : first + size * batch_size]
        first, size = first + size * batch_size, min(2 * size, most)


def _named(arrays: Mapping[str, Array], name: str) -> Array:
    """The array that a step applies to. Raises DataError."""
    if name not in arrays:
        raise DataError(f"there is no array named {name} to transform", hint=f"the arrays are {', '.join(arrays)}")
    return arrays[name]


def _in_chunks(made: Callable[[Indices], dict[str, Array]], rows: Indices) -> dict[str, Array]:
    """made(rows), where asked for a few rows at a time: the same, as samples do not depend on each other."""
    first = made(rows[:1])
    size = max(1, CHUNK_BYTES // max(a.nbytes for a in first.values()))
    whole = {name: np.empty((len(rows), *a.shape[1:]), a.dtype) for name, a in first.items()}
    for start in range(0, len(rows), size):
        for name, array in made(rows[start : start + size]).items():
            whole[name][start : start + size] = array
    return whole
