"""Where the samples of a training come from: anything that `fit` takes becomes a Source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, runtime_checkable

from graphc.errors import DataError
from graphc.train.data.augmented import Augmented
from graphc.train.data.blocks import Array, Arrays, Block, Indices, Limited, Rows, Source, shuffled
from graphc.train.data.checks import finite, numbers, same_lengths
from graphc.train.data.gathered import Gathered, Transformed
from graphc.train.data.mapped import Mapped, mapping
from graphc.train.data.streams import Stream

__all__ = ["Array", "Arrays", "Block", "Indices", "Limited", "Readable", "Rows", "Source", "shuffled", "source_of"]


@runtime_checkable
class Readable(Protocol):
    """Data that know how to be read: a Dataset, an image folder, windows of a text."""

    def source(self, names: Sequence[str]) -> Source | Rows:
        """The samples, the names of the inputs for (x, y) being given."""
        ...


def source_of(x: Any, y: Any = None, names: Sequence[str] = ("x", "y"), *, limit: int | None = None) -> Source:
    """What `fit(x, y)` reads from, inputs being called by `names` (one for x, one for y).

    x and y are arrays of numbers with as many samples, or dicts of arrays by input name; arrays in mapped files
    (np.load(path, mmap_mode="r")) may be larger than memory. Without y, x is a pair of arrays, a Dataset, an image
    folder, `augmented` data, a Source, or batches: an iterable, a generator, a function that returns an iterator.
    An epoch has at most `limit` samples. Arrays stay where they are.

    Raises DataError for data of other kinds, of different lengths, with elements that are not finite numbers.
    """
    if y is None and not isinstance(x, Mapping | tuple) and not hasattr(x, "__array__"):
        return _read(x, tuple(names), limit)
    source = _of_arrays(_by_name(x, y, names))
    return source if limit is None or limit == source.samples else Limited(source, limit)


def _read(x: Any, names: tuple[str, ...], limit: int | None) -> Source:
    """A source of something that is not an array."""
    source: Source
    match x:
        case str() | PathLike():
            raise _name_of_file(x)
        case Source():
            source = x
        case Rows():
            source = Gathered(x)
        case Augmented(data=(first, second)):
            return _augmented(source_of(first, second, names, limit=limit), x)
        case Augmented():
            return _augmented(source_of(x.data, None, names, limit=limit), x)
        case Readable():
            return source_of(x.source(names), None, names, limit=limit)
        case _ if isinstance(x, Iterable) or callable(x) or hasattr(x, "__getitem__"):
            return Stream(x, names, limit)
        case _:
            raise DataError(
                f"{type(x).__name__} is not data to train on",
                hint="arrays x and y, a dict of arrays by input name, or an iterable of batches (x, y)",
            )
    return source if limit is None else Limited(source, limit)


def _name_of_file(x: Any) -> DataError:
    return DataError(
        f"{x} is the name of a file, expected what it holds",
        hint="graphc.data has read_csv, read_npz, open_npy, image_folder",
    )


def _augmented(source: Source, augmented: Augmented) -> Source:
    """A source whose samples are transformed."""
    stages, workers = tuple((step, augmented.on) for step in augmented.steps), augmented.workers
    match source:
        case Limited():
            return Limited(_augmented(source.source, augmented), source.samples)
        case Gathered():
            return Gathered(source.rows, (*source.stages, *stages), max(workers, source.workers))
        case Rows():
            return Gathered(source, stages, workers)
        case Transformed():
            return Transformed(source.source, (*source.stages, *stages))
        case _:
            return Transformed(source, stages)


def _by_name(x: Any, y: Any, names: Sequence[str]) -> dict[str, Array]:
    """All arrays by input name, of numbers and of the same length."""
    if y is None and isinstance(x, tuple):
        if len(x) != len(names):
            raise DataError(f"got {len(x)} arrays for the inputs {', '.join(names)}", hint="use a dict by input name")
        given = dict(zip(names, x, strict=True))
    else:
        given = {names[0]: x} if not isinstance(x, Mapping) else dict(x)
        if isinstance(y, Mapping):
            given |= y
        elif y is not None:
            if isinstance(x, Readable | Augmented | Source) or callable(x) or hasattr(x, "__next__"):
                raise DataError(f"y must be left out: {type(x).__name__} gives the targets too", hint="fit(x)")
            given[names[1]] = y
    if files := [path for path in given.values() if isinstance(path, str | PathLike)]:
        raise _name_of_file(files[0])
    arrays = {name: numbers(name, array) for name, array in given.items()}
    same_lengths(arrays)
    return arrays


def _of_arrays(arrays: Mapping[str, Array]) -> Source:
    """Arrays in memory as they are; those in files read piece by piece."""
    if any(mapping(array) is not None for array in arrays.values()):
        return Gathered(Mapped(arrays))
    for name, array in arrays.items():
        finite(name, array)
    return Arrays(arrays)
