"""A compiled program with its memory: one arena, one pointer table, one native call for a run."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from graphc.codegen.barrier import LINE
from graphc.loops.ir import Step
from graphc.runtime.jit import Native
from graphc.runtime.threads import shared_team
from graphc.schedule.arrange import Array, aligned, physical_shape, restore
from graphc.schedule.buffers import memory_bytes
from graphc.schedule.program import Memory, Program

ALIGNMENT = LINE


class Executable:
    """Runs a linked step.

    Temporaries live in one arena whose size is linear in the batch; it grows when a larger batch arrives and is never
    touched by the allocator otherwise.
    """

    def __init__(self, program: Program, step: Step, native: Native) -> None:
        self.program, self.step, self.native = program, step, native
        self._entry = native.address(step.name)
        self._memories = {m.name: m for m in program.memories}
        self._places = {b.name: k for k, b in enumerate(step.buffers)}
        self._table = (ctypes.c_void_p * max(1, len(step.buffers)))()
        self._table_address = ctypes.addressof(self._table)
        self._held: dict[str, Array] = {}
        self._capacity = 0
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
            self._table[self._places[name]] = array.__array_interface__["data"][0]

    def run(self, arrays: Mapping[str, Array], batch: int, threads: int) -> None:
        """One step. `arrays` are the inputs and scalars, C-contiguous and of the declared dtype."""
        if batch > self._capacity:
            self._grow(batch)
        table, places = self._table, self._places
        for name, array in arrays.items():
            if name in places:
                table[places[name]] = array.__array_interface__["data"][0]
                self._held[name] = array
        self._team.run(self._entry, self._table_address, batch, threads)

    def output(self, name: str, batch: int) -> Array:
        """A result of the last run, as a logical array of its own."""
        memory = self._memories[name]
        if memory.role != "temporary":
            return restore(self._held[name], memory.layout, memory.value.type, batch)
        return restore(self._view(memory, batch), memory.layout, memory.value.type, batch)

    def scalar(self, name: str) -> float:
        """A rank-0 result of the last run."""
        memory = self._memories[name]
        array = self._held[name] if memory.role != "temporary" else self._view(memory, 1)
        return float(array.reshape(-1)[0])

    def _view(self, memory: Memory, batch: int) -> Array:
        start = self._offsets[memory.name]
        size = memory_bytes(memory, batch)
        flat = self._arena[start : start + size].view(memory.value.type.dtype.numpy)
        return flat.reshape(physical_shape(memory.layout, memory.value.type, batch))

    def _plan(self, batch: int) -> tuple[dict[str, int], int]:
        """Where each temporary starts, and the size of the whole."""
        sizes: dict[int, int] = {}
        for memory in self.program.memories:
            if memory.slot >= 0:
                sizes[memory.slot] = max(sizes.get(memory.slot, 0), memory_bytes(memory, batch))
        starts, end = {}, 0
        for slot in sorted(sizes):
            starts[slot] = end
            # one line more after each slot: neighbours that are used together fall into different cache sets
            end += -(-sizes[slot] // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        return {m.name: starts[m.slot] for m in self.program.memories if m.slot >= 0}, end

    def _grow(self, batch: int) -> None:
        """A new arena, cleared: borders of zeros are never written again."""
        self._offsets, size = self._plan(batch)
        self._arena = aligned((size,), np.uint8, ALIGNMENT)
        base = self._arena.__array_interface__["data"][0]
        for name, offset in self._offsets.items():
            self._table[self._places[name]] = base + offset
        self._capacity = batch
