"""Minibatches that somebody else makes: generators, loaders, functions that return them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from graphc.errors import DataError
from graphc.train.data.background import iterated_ahead
from graphc.train.data.blocks import Array, Block
from graphc.train.data.checks import finite, numbers

Batch = dict[str, Array]


class Stream:
    """The samples of batches of any size, (x, y) or a dict by input name, put together to minibatches.

    `batches` is an iterable that begins anew in each epoch (a list, a torch DataLoader), a function that returns an
    iterator (given the number of the epoch if it has a parameter `epoch`), or a generator. An epoch ends with its
    batches, or after `limit` samples; a generator then goes on in the next epoch where it was. It is asked in a
    background thread, never for more than the epoch needs; what it raises is raised after the samples before it.

    Raises DataError for batches that are malformed, for a generator that ends early or has nothing for an epoch.
    """

    def __init__(self, batches: Any, names: Sequence[str], limit: int | None = None) -> None:
        self._batches, self._names, self._limit = batches, tuple(names), limit
        self._once = isinstance(batches, Iterator)
        self._kind = "generator" if self._once else type(batches).__name__
        self._open: Iterator[Batch] | None = None
        self._rest: Batch | None = None
        """What the last epoch did not need of its last batch comes first in the next one."""
        self._given = 0
        self._count = limit

    @property
    def samples(self) -> int | None:
        """How many an epoch has; None before the end of the first, unless it is limited."""
        return self._count

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        """The samples in the order of the batches, whether or not they are to be shuffled."""
        yield from iterated_ahead(self._blocks(batch_size, epoch, start))

    def _blocks(self, batch_size: int, epoch: int, start: int) -> Iterator[Block]:
        if self._once and epoch > 1 and self._limit is None:
            raise self._exhausted(epoch)
        if not self._once or self._open is None:
            self._open, self._given, self._rest = self._checked(epoch), 0, None
        before = (epoch - 1) * self._limit if self._once and self._limit is not None else 0
        if self._given > before + start:
            raise DataError(
                f"the generator has given {self._given} samples and cannot go back to sample {before + start}",
                hint="give a function that returns a new one: fit(lambda: batches())",
            )
        skip, done, rest = before + start - self._given, start, None
        unused, self._rest = self._rest, None
        for batch in chain([] if unused is None else [unused], self._open):
            size = _length(batch)
            if skip >= size:
                skip, self._given = skip - size, self._given + size
                continue
            joined = _joined(rest, _from(batch, skip))
            self._given, skip = self._given + skip, 0
            there = _length(joined)
            left = there + 1 if self._limit is None else self._limit - done
            whole = left if there >= left else there // batch_size * batch_size
            if whole:
                done, self._given = done + whole, self._given + whole
                yield Block(_until(joined, whole))
            rest = _from(joined, whole)
            if done == self._limit:
                self._rest = rest if _length(rest) else None
                return
        if rest is not None and _length(rest):
            done, self._given = done + _length(rest), self._given + _length(rest)
            yield Block(rest)
        if not done:
            raise self._exhausted(epoch)
        if self._limit is not None:
            raise self._too_short(done, batch_size, epoch)
        self._count = done

    def _checked(self, epoch: int) -> Iterator[Batch]:
        """The batches by input name, each like the first one."""
        first: Batch | None = None
        for number, item in enumerate(self._iterator(epoch), 1):
            where = f"batch {number} of the {self._kind}"
            batch = _arrays(where, item, self._names)
            first = first or batch
            for name, array in batch.items():
                finite(f"{where}: {name}", array)
                if name not in first or array.shape[1:] != first[name].shape[1:]:
                    before = {n: ("N", *a.shape[1:]) for n, a in first.items()}
                    raise DataError(
                        f"{where} has {name} of shape {array.shape}, but the first batch has {before}",
                        hint="all samples need the same shape",
                    )
            if _length(batch):
                yield batch

    def _iterator(self, epoch: int) -> Iterator[Any]:
        batches = self._batches
        if callable(batches) and not isinstance(batches, Iterable):
            batches = batches(epoch=epoch) if _has_parameter(batches, "epoch") else batches()
        try:
            return iter(batches)
        except TypeError:
            raise DataError(
                f"the function for the batches returned {type(batches).__name__}, expected an iterator of (x, y)",
                hint="a function that yields its batches returns one",
            ) from None

    def _exhausted(self, epoch: int) -> DataError:
        if epoch > 1 and self._once:
            return DataError(
                f"the generator is exhausted: its batches ended in epoch {epoch - 1}, so epoch {epoch} has none",
                hint="give a function that returns a new one: fit(lambda: batches()), or say steps_per_epoch",
            )
        hint = "a generator can be used once: give a function that returns a new one" if self._once else ""
        return DataError(f"the {self._kind} gave no samples for epoch {epoch}", hint=hint)

    def _too_short(self, done: int, batch_size: int, epoch: int) -> DataError:
        wanted = -(-(self._limit or 0) // batch_size)
        return DataError(
            f"the {self._kind} ended after {done / batch_size:.4g} of {wanted} minibatches of epoch {epoch} "
            f"({done} of {self._limit} samples); they have been used",
            hint=f"steps_per_epoch={max(done // batch_size, 1)}, or a generator that goes on",
        )


def _arrays(where: str, item: Any, names: Sequence[str]) -> Batch:
    """One batch by input name. Raises DataError."""
    match item:
        case Mapping():
            given = dict(item)
        case (x, y) if (nested := _nested(x, y, names)) is not None:
            given = nested
        case tuple() | list() if len(item) == len(names):
            given = dict(zip(names, item, strict=True))
        case _ if len(names) == 1 and not isinstance(item, tuple | list):
            given = {names[0]: item}
        case _:
            got = f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
            raise DataError(
                f"{where} is a {got}, expected ({', '.join(names)}) or a dict of arrays by input name",
                hint="yield x, y",
            )
    batch = {name: numbers(f"{where}: {name}", array) for name, array in given.items()}
    lengths = {name: len(array) for name, array in batch.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"{where}: expected one target for each sample, got {lengths}")
    return batch


def _nested(x: Any, y: Any, names: Sequence[str]) -> Batch | None:
    """The arrays of a batch some of whose parts are arrays for several inputs; None if they are not so many."""
    given: Batch = {}
    for part in (x, y):
        left = [name for name in names if name not in given]
        several = isinstance(part, tuple) or (isinstance(part, list) and len(names) > 2)
        parts = part if several else [part]
        given |= part if isinstance(part, Mapping) else dict(zip(left, parts, strict=False))
        if not isinstance(part, Mapping) and len(parts) > len(left):
            return None
    return given if given.keys() >= set(names) else None


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _from(batch: Batch, start: int) -> Batch:
    return {name: array[start:] for name, array in batch.items()} if start else batch


def _until(batch: Batch, end: int) -> Batch:
    return {name: array[:end] for name, array in batch.items()} if end < _length(batch) else batch


def _joined(first: Batch | None, second: Batch) -> Batch:
    if first is None or not _length(first):
        return second
    return {name: np.concatenate([array, second[name]]) for name, array in first.items()}
