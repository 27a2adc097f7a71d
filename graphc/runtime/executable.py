"""A compiled program with its memory: one arena, one pointer table, one native call for a run."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np

from graphc.codegen.barrier import LINE
from graphc.codegen.llvm import private_bytes
from graphc.loops.access import buffer_of
from graphc.loops.ir import Step
from graphc.runtime.jit import Native
from graphc.runtime.threads import shared_team
from graphc.schedule.arrange import Array, aligned, aligned_empty, interior, physical_shape, restore
from graphc.schedule.buffers import memory_bytes, offsets
from graphc.schedule.program import Life, Memory, Program

ALIGNMENT = LINE

DIRECT_BYTES = 1 << 16
"""Results from this size on are written where the caller wants them; smaller ones are copied there."""

HEADER = object.__basicsize__
pointer = ctypes.c_size_t.from_address


def address(array: Array) -> int:
    """Where the data of an array starts.

    The interface of numpy for extensions fixes that a pointer to it follows the header of the object; reading it is
    ten times faster than `array.ctypes.data`.
    """
    return pointer(id(array) + HEADER).value


class Executable:
    """Runs a linked step.

    Temporaries live in one arena whose size is linear in the batch; it grows when a larger batch arrives and is never
    touched by the allocator otherwise.
    """

    def __init__(self, program: Program, step: Step, native: Native) -> None:
        self.program, self.step, self.native = program, step, native
        self.entry = native.address(step.name)
        self._memories = {m.name: m for m in program.memories}
        self.places = {b.name: k for k, b in enumerate(step.buffers)}
        self._table = (ctypes.c_void_p * max(1, len(step.buffers)))()
        self.table_address = ctypes.addressof(self._table)
        self._held: dict[str, Array] = {}
        self._given: Mapping[str, Array] = {}
        self._results: dict[str, tuple[int, Array]] = {}
        self._direct: dict[int, frozenset[str]] = {}
        self._capacity, self._threads = 0, 1
        self._arena: Array = aligned((0,), np.uint8)
        self._offsets: dict[str, int] = {}
        self._team = shared_team()

    def arena_bytes(self, batch: int) -> int:
        """The size of the arena for a batch."""
        return self._plan(batch)[1]

    def bind(self, name: str, array: Array) -> None:
        """Use this array, already in the memory's physical arrangement, from now on."""
        held = self._held.get(name)
        if held is not array:
            self._held[name] = array
            self._table[self.places[name]] = address(array)

    def run(self, arrays: Mapping[str, Array], batch: int, threads: int) -> None:
        """One step. `arrays` are the inputs and scalars, C-contiguous and of the declared dtype."""
        self.prepare(arrays, batch, threads)
        self._team.run(self.entry, self.table_address, batch, threads)

    def run_into(self, names: Sequence[str], arrays: Mapping[str, Array], batch: int, threads: int) -> list[Array]:
        """One step, and its results as arrays of their own, large ones without a copy."""
        self.prepare(arrays, batch, threads)
        direct = self._direct.get(batch)
        if direct is None:
            direct = self._direct[batch] = frozenset(n for n in names if self._is_direct(self._memories[n], batch))
        fresh: dict[str, Array] = {}
        for name in direct:
            type = self._memories[name].value.type
            fresh[name] = aligned_empty(type.concrete(batch), type.dtype.numpy)
            self._table[self.places[name]] = address(fresh[name])
        try:
            self._team.run(self.entry, self.table_address, batch, threads)
        finally:
            for name in direct:
                self._table[self.places[name]] = address(self._arena) + self._offsets[name]
        return [fresh[name] if name in fresh else self.output(name, batch) for name in names]

    def _is_direct(self, memory: Memory, batch: int) -> bool:
        """Whether a result lies in memory as the caller wants it."""
        type = memory.value.type
        dense = physical_shape(memory.layout, type, batch) == type.concrete(batch)
        ordered = list(memory.layout.order) == sorted(memory.layout.order)
        return memory.role == "temporary" and dense and ordered and memory_bytes(memory, batch) >= DIRECT_BYTES

    def prepare(self, arrays: Mapping[str, Array], batch: int, threads: int) -> None:
        """All that a run on these arrays needs except calling it."""
        if batch > self._capacity or threads > self._threads:
            self._grow(max(batch, self._capacity), max(threads, self._threads))
        table, places = self._table, self.places
        for name, array in arrays.items():
            if name in places:
                table[places[name]] = pointer(id(array) + HEADER).value  # `address`, without the call
        self._given = arrays

    def output(self, name: str, batch: int) -> Array:
        """A result of the last run, as a logical array of its own."""
        known = self._results.get(name)
        if known is not None and known[0] == batch:
            return known[1].copy()
        memory = self._memories[name]
        type = memory.value.type
        if memory.role != "temporary":
            held = self._held if memory.role == "parameter" else self._given
            return restore(held[name], memory.layout, type, batch)
        physical = self._view(memory, batch)
        if memory.layout.block:
            return restore(physical, memory.layout, type, batch)
        self._results[name] = batch, interior(physical, memory.layout, type, batch)
        return self._results[name][1].copy()

    def _view(self, memory: Memory, batch: int) -> Array:
        start = self._offsets[memory.name]
        size = memory_bytes(memory, batch)
        flat = self._arena[start : start + size].view(memory.value.type.dtype.numpy)
        return flat.reshape(physical_shape(memory.layout, memory.value.type, batch))

    def _plan(self, batch: int) -> tuple[dict[str, int], int]:
        """Where each temporary starts, and the size of the whole."""
        sizes: dict[int, int] = {}
        lives: dict[int, Life | None] = {}
        for memory in self.program.memories:
            if memory.slot >= 0:
                sizes[memory.slot] = max(sizes.get(memory.slot, 0), self._bytes(memory, batch))
                lives[memory.slot] = memory.life
        starts, end = offsets([(slot, size, lives[slot]) for slot, size in sizes.items()])
        return {m.name: starts[m.slot] for m in self.program.memories if m.slot >= 0}, end

    def _bytes(self, memory: Memory, batch: int) -> int:
        """What a memory takes in the arena: scratch once for each thread."""
        if memory.role == "scratch":
            return self._threads * private_bytes(buffer_of(memory))
        return memory_bytes(memory, batch)

    def _grow(self, batch: int, threads: int) -> None:
        """A new arena, cleared: borders of zeros of slots without a life are never written again."""
        self._threads = threads
        self._offsets, size = self._plan(batch)
        self._arena = aligned((size,), np.uint8, ALIGNMENT)
        self._results.clear()
        base = address(self._arena)
        for name, offset in self._offsets.items():
            self._table[self.places[name]] = base + offset
        self._capacity = batch
