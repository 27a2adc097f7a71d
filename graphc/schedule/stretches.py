"""Stretches: units between which no data crosses threads, so that no thread needs to wait for another one."""

from __future__ import annotations

from graphc.schedule.program import Program
from graphc.types import DType, Extent

Size = tuple[DType, tuple[Extent, ...]]


def stretches(program: Program) -> tuple[int, ...]:
    """The stretch of each unit; where it grows, threads wait for each other.

    A unit opens a stretch when it writes what the units of the last one touch, or reads what they write, by name or in
    the same slot; so does the first unit that overwrites a parameter, because the guard stands before it. Scratch that
    takes turns in a slot keeps threads apart only if it is all of one size: where a thread's part lies depends on it.
    """
    place = {m.name: (m.role, m.slot) if m.slot >= 0 else (m.name, -1) for m in program.memories}
    private = {
        m.name: (m.slot, (m.value.type.dtype, m.layout.shape(m.value.type)))
        for m in program.memories
        if m.role == "scratch"
    }
    persistent = {m.name for m in program.memories if m.role == "parameter"}
    written: set[tuple[str, int]] = set()
    read: set[tuple[str, int]] = set()
    scratch: dict[int, Size] = {}
    guarded = program.guard is None
    found: list[int] = []
    now = 0
    for unit in program.units:
        names_written = {name for kernel in unit for name in kernel.writes} - private.keys()
        reads = {place[name] for kernel in unit for name in kernel.reads if name not in private}
        writes = {place[name] for name in names_written}
        at_guard = not guarded and bool(persistent & names_written)
        own = dict(private[name] for kernel in unit for name in kernel.writes if name in private)
        resized = any(scratch.get(slot, size) != size for slot, size in own.items())
        if at_guard or resized or reads & written or writes & (read | written):
            now += 1
            written, read, scratch = set(), set(), {}
            guarded = guarded or at_guard
        written |= writes
        read |= reads
        scratch |= own
        found.append(now)
    return tuple(found)
