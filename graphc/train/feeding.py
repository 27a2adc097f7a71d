"""Between what users hand over and sources: names, shapes, shares, limits; and evaluation's batches of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import floor
from os import PathLike
from typing import Any

import numpy.typing as npt

from graphc.dsl.tensor import Input
from graphc.errors import DataError, GraphcError, InputError
from graphc.train.data.checks import numbers
from graphc.train.data.gathered import Gathered
from graphc.train.data.mapped import Mapped
from graphc.train.sources import Arrays, Block, Readable, Source, source_of

Array = npt.NDArray[Any]


def by_name(what: str, given: Any, names: tuple[str, ...]) -> Any:
    """Arrays for several inputs as a dict; a list of numbers as an array."""
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, tuple | list) and len(names) > 1:
        if len(given) != len(names):
            raise DataError(f"{what} has {len(given)} arrays, expected {', '.join(names)}")
        return dict(zip(names, given, strict=True))
    if hasattr(given, "__array__") and len(names) > 1:
        raise DataError(
            f"{what} is one array, expected {', '.join(names)}", hint="a tuple of arrays, or a dict by name"
        )
    return given


def shaped(array: Any, target: Input) -> Any:
    """Targets [n] for outputs [n, 1] and the other way round: axes of one element make no difference.

    Integers and truth values may stand for the numbers of a loss, truth values for two classes.
    """
    if not (isinstance(array, list | tuple) or hasattr(array, "__array__")):
        return array
    array, wanted, dtype = numbers(target.name, array), target.shape[1:], target.dtype
    if array.dtype.kind == "b" or (array.dtype.kind in "iu" and dtype.is_float):
        array = array.astype(dtype.numpy)
    same = [e for e in array.shape[1:] if e != 1] == [e for e in wanted if e != 1]
    return array.reshape(len(array), *wanted) if same and array.shape[1:] != wanted else array


def batches(source: Source, size: int) -> Iterator[dict[str, Array]]:
    """The samples of a source in their order, every input by name, the last batch possibly smaller."""
    whole = [Block(source.arrays)] if isinstance(source, Arrays) else None  # needs no indices
    for block in whole or source.blocks(size, seed=0, epoch=1, shuffle=False):
        count = len(next(iter(block.arrays.values())) if block.order is None else block.order)
        for start in range(0, count, size):
            rows = slice(start, start + size) if block.order is None else block.order[start : start + size]
            yield {name: array[rows] for name, array in block.arrays.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Since:
    """A source that begins after so many epochs of other data: an iterator that was made for another fit."""

    source: Source
    before: int

    @property
    def samples(self) -> int | None:
        return self.source.samples

    def blocks(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0, shuffle: bool = True
    ) -> Iterator[Block]:
        return self.source.blocks(batch_size, seed=seed, epoch=epoch - self.before, start=start, shuffle=shuffle)


def split(source: Source, share: float) -> tuple[Source, Source]:
    """The samples without the last ones, and the last ones, a share of all: ⌊n·(1 - share)⌋ and the rest.

    Raises GraphcError for a share that is not between 0 and 1, DataError if a part would be empty.
    """
    if not 0 < share < 1:
        raise GraphcError(f"validation_split must be between 0 and 1, got {share}")
    arrays = {} if getattr(source, "steps", ()) else arrays_of(source)
    if source.samples is None or not arrays:
        raise DataError(
            "validation_split needs arrays, in memory or in mapped files; batches and augmented data are not split",
            hint="pass validation_data, or split before: gc.data.split",
        )
    count = floor(source.samples * (1 - share) + 1e-9)  # 10 · (1 - 0.9) is a little less than 1
    if not 0 < count < source.samples:
        raise DataError(
            f"validation_split={share:g} of {source.samples} samples leaves {count} for training and "
            f"{source.samples - count} for validation", hint="both parts need at least one",
        )  # fmt: skip
    training, held_out = ({n: a[rows] for n, a in arrays.items()} for rows in (slice(count), slice(count, None)))
    return source_of(training), source_of(held_out)


def arrays_of(source: Source) -> Mapping[str, Array]:
    """The arrays that samples come from, before they are transformed; none if they come from something else."""
    match source:
        case Arrays(arrays=arrays) | Gathered(rows=Arrays(arrays=arrays) | Mapped(arrays=arrays)):
            return arrays
        case _:
            return {}


def is_pair(given: Any) -> bool:
    """Whether these are samples and their targets, and not a list of batches."""
    several = isinstance(given, list) and len(given) == 2
    return isinstance(given, tuple) or (several and not any(isinstance(part, tuple | list | Mapping) for part in given))


def without_targets(batches: Any, inputs: int, names: int) -> Any:
    """Batches (x, y) of an iterable as (x,): only what a prediction needs."""
    if isinstance(batches, Mapping | tuple | str | PathLike | Readable | Source) or hasattr(batches, "__array__"):
        return batches
    if not isinstance(batches, Iterable):
        return batches
    return (b[:inputs] if isinstance(b, tuple | list) and len(b) == names else b for b in batches)


@contextmanager
def within(what: str) -> Iterator[None]:
    """What is wrong with data here is said to be so in `what`."""
    try:
        yield
    except (DataError, InputError) as error:
        error.at(None, what)
        raise


def limited(source: Source, x: Any, names: tuple[str, ...], steps: int, batch_size: int) -> Source:
    """So many steps of a source, made of x, in each epoch. Raises DataError if it is known to have fewer."""
    count, limit = source.samples, steps * batch_size
    if count is None:
        return source_of(x, None, names, limit=limit)
    there = -(-count // batch_size)
    if there < steps:
        raise DataError(
            f"steps_per_epoch is {steps}, but {count:,} samples are {there} minibatches of {batch_size}",
            hint=f"leave it out, or use at most {there}",
        )
    return source if count <= limit else source_of(source, None, names, limit=limit)
