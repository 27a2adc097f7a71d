"""Buffer plan: temporaries whose lives do not overlap take turns in one slot.

Sizes are linear in the batch, so slots are assigned once, by the size for a typical batch, and each slot is as large as
its largest tenant for the batch at hand. A memory with a border keeps its slot, because the border is cleared once.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.schedule.program import Memory, Program
from graphc.types import Batch

TYPICAL_BATCH = 64


def memory_bytes(memory: Memory, batch: int) -> int:
    """The size of a memory, padding and border included, for a batch."""
    size = memory.value.type.dtype.bytes
    for extent in memory.layout.shape(memory.value.type):
        size *= batch if isinstance(extent, Batch) else extent
    return size


def assign_buffers(program: Program) -> Program:
    """Give every temporary a slot."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, kernel in enumerate(program.kernels):
        for name in kernel.writes:
            first.setdefault(name, position)
        for name in (*kernel.reads, *kernel.writes):
            last[name] = position
    for name in program.outputs:
        last[name] = len(program.kernels)
    temporaries = [m for m in program.memories if m.role == "temporary" and m.name in first]
    order = sorted(temporaries, key=lambda m: (first[m.name], -memory_bytes(m, TYPICAL_BATCH), m.name))
    slot_of: dict[str, int] = {}
    free_after: list[int] = []
    sizes: list[int] = []
    for memory in order:
        size = memory_bytes(memory, TYPICAL_BATCH)
        open_slots = [s for s, end in enumerate(free_after) if end < first[memory.name]]
        if memory.layout.has_halo or not open_slots:
            slot_of[memory.name] = len(sizes)
            sizes.append(size)
            free_after.append(len(program.kernels) + 1 if memory.layout.has_halo else last[memory.name])
            continue
        best = min(open_slots, key=lambda s: (abs(sizes[s] - size), s))
        slot_of[memory.name] = best
        sizes[best] = max(sizes[best], size)
        free_after[best] = last[memory.name]
    kept = tuple(
        replace(m, slot=slot_of.get(m.name, -1)) for m in program.memories if m.role != "temporary" or m.name in slot_of
    )
    return replace(program, memories=kept)
