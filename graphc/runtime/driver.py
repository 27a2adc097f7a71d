"""Driving a training step: one call, or many steps on minibatches in one native call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import getitem
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.codegen import driver as words
from graphc.codegen.driver import BATCH, DONE, GOING, SAMPLES
from graphc.runtime.cache import open_cache
from graphc.runtime.executable import Executable, address
from graphc.runtime.jit import Native, compile_ir
from graphc.runtime.threads import shared_team
from graphc.schedule.arrange import Array, physical_shape, restore_each
from graphc.schedule.program import Memory
from graphc.target import GENERIC

Indices = npt.NDArray[np.int64]


@lru_cache(maxsize=1)
def _code() -> Native:
    return compile_ir(words.DRIVER, GENERIC, open_cache())


@lru_cache(maxsize=2)
def inside(bytes: int) -> Callable[[int, int, int], int]:
    """f(address, count, limit): whether 0 <= x < limit for so many integers of 4 or 8 bytes from an address on."""
    kind = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64)
    return kind(_code().address(f"inside{8 * bytes}"))


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """An input for several steps: sample n is row order[n] of `rows`, and minibatches are put together in `batch`."""

    rows: Array
    order: Indices
    batch: Array


def feed(samples: Array, order: Indices, batch: Array) -> Feed:
    """Rows that native code can copy: the samples as they are, or converted copies of those that are needed."""
    if samples.dtype == batch.dtype and samples.flags.c_contiguous:
        return Feed(samples, order, batch)
    return Feed(np.asarray(samples[order], batch.dtype, order="C"), np.arange(len(order)), batch)


class Driver:
    """Runs the steps of one program and reads their results, numbers and arrays that belong to each step.

    `results` names the memories of the results, the loss first; a parameter is read before the step changes it.
    `scalars` names the memories of the numbers that are fed; those of the next `step` are in `numbers`.
    """

    def __init__(
        self, executable: Executable, results: Sequence[str], scalars: Sequence[str], dtype: npt.DTypeLike
    ) -> None:
        memories = {m.name: m for m in executable.program.memories}
        self._executable, self._team = executable, shared_team()
        self._drive = _code().address("drive")
        self._memories = [memories[r] for r in results]
        self._slots = [executable.places[r] for r in results]
        self._early = [m.role == "parameter" for m in self._memories]
        self._numbers = np.zeros(len(scalars), dtype)
        for position, name in enumerate(scalars):
            if name in executable.places:
                executable.bind(name, self._numbers[position : position + 1])
        self.numbers: Any = self._numbers.data
        kept = [_room(memory, 1) for memory in self._memories]
        self.result_bytes = sum(array.nbytes for array in kept)
        self._single = self._job(kept, 1)
        self._single_words = self._last = self._single[0].data
        self._single_address = address(self._single[0])
        self.readers = tuple(map(_reader, kept, self._memories))

    @property
    def done(self) -> int:
        """How many steps of the last call have changed the parameters: all, or those before a loss was not finite."""
        return self._last[DONE]

    def step(self, arrays: Mapping[str, Array], batch: int, threads: int) -> None:
        """One step on these inputs. Each of `readers` then gives one of its results, a number or an array."""
        job = self._last = self._single_words
        job[DONE], job[GOING], job[BATCH], job[SAMPLES] = 0, 1, batch, batch
        self._executable.prepare(arrays, batch, threads)
        self._team.run(self._drive, self._single_address, batch, threads)

    def segment(
        self, feeds: Mapping[str, Feed], constants: Mapping[str, Array], numbers: Array, size: int, threads: int
    ) -> list[Array]:
        """As many steps as `numbers` has rows, on minibatches of `size` samples, the last one possibly smaller.

        Returns an array for each result, as long as there are steps done.
        """
        self._last, self._single_words[DONE] = self._single_words, 0
        kept = [_room(memory, len(numbers)) for memory in self._memories]
        inputs = [[address(f.rows), address(f.order), address(f.batch), f.batch[:1].nbytes] for f in feeds.values()]
        records = np.array(inputs, np.int64)
        job, results = self._job(kept, len(numbers))
        job[BATCH], job[SAMPLES] = size, max(len(f.order) for f in feeds.values())
        job[words.FEED], job[words.FEED_BYTES] = address(numbers), self._numbers.nbytes
        job[words.INPUTS], job[words.INPUT_LIST] = len(records), address(records)
        self._last = job.data
        self._executable.prepare({name: f.batch for name, f in feeds.items()} | dict(constants), size, threads)
        self._team.run(self._drive, address(job), size, threads)
        del results  # was to live until here
        return [_logical(array[: self.done], memory) for array, memory in zip(kept, self._memories, strict=True)]

    def _job(self, kept: Sequence[Array], steps: int) -> tuple[Indices, Indices]:
        """A job without inputs and without numbers that change, and the records of its results, which it points to."""
        order = sorted(range(len(kept)), key=lambda k: not self._early[k])
        results = np.array([[self._slots[k], address(kept[k]), kept[k][:1].nbytes] for k in order], np.int64)
        job = np.zeros(words.WORDS, np.int64)
        job[words.ENTRY], job[words.TABLE] = self._executable.entry, self._executable.table_address
        job[words.STEPS], job[GOING] = steps, 1
        job[words.NUMBERS] = address(self._numbers)
        job[words.EARLY], job[words.RESULTS], job[words.RESULT_LIST] = sum(self._early), len(kept), address(results)
        job[words.LOSS], job[words.LOSS_BYTES] = address(kept[0]), kept[0].itemsize
        return job, results


def _room(memory: Memory, steps: int) -> Array:
    """Room for a result of so many steps, each as it lies in memory."""
    type = memory.value.type
    return np.zeros((steps, *physical_shape(memory.layout, type, 1)), type.dtype.numpy)


def _logical(stack: Array, memory: Memory) -> Array:
    """Results of several steps without what their layout adds."""
    return restore_each(stack, memory.layout, memory.value.type) if stack.ndim > 1 else stack


def _reader(kept: Array, memory: Memory) -> Callable[[], Any]:
    """What reads the result of a single step: a number without numpy, or an array of its own."""
    return partial(getitem, kept.data, 0) if kept.ndim == 1 else lambda: _logical(kept, memory)[0]
