"""Buffer plan: temporaries whose lives do not overlap use the same memory.

A slot is a place for temporaries that take turns; sizes are linear in the batch, so slots are assigned once, by the
size for a typical batch, and each slot is as large as its largest tenant for the batch at hand. In a program that
needs little memory that is all. In others a large slot also has a life, and `offsets` lets slots overlap whose lives
do not. Lives are counted in stretches between barriers: no thread is in two of them at once.

A border of zeros is cleared when memory is allocated, and the tenants of such a slot have the same arrangement, so that
none of them writes there. Where the slot has a life, the border is cleared again when that begins.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import replace

from graphc.schedule.program import Life, Memory, Program
from graphc.schedule.stretches import stretches
from graphc.types import Batch

TYPICAL_BATCH = 64
LITTLE = 1 << 24
"""Bytes of a program whose slots are never packed: they fit in the caches anyway."""
SMALL = 1 << 16
"""Bytes of a memory that is too small for packing."""
PATIENCE = 16
"""For so many units a slot with a border waits for its next tenant, which then finds the border cleared."""
LINE = 64

Spans = Mapping[str, tuple[int, int]]
"""The first and the last unit that touch a memory."""


def memory_bytes(memory: Memory, batch: int) -> int:
    """The size of a memory, padding and border included, for a batch."""
    size = memory.value.type.dtype.bytes
    for extent in memory.layout.shape(memory.value.type):
        size *= batch if isinstance(extent, Batch) else extent
    return size


def assign_buffers(program: Program, little: int = LITTLE) -> Program:
    """Give every temporary a slot; above `little` bytes, give large slots a life."""
    spans = _spans(program)
    temporaries = [m for m in program.memories if m.role == "temporary" and m.name in spans]
    temporaries.sort(key=lambda m: (spans[m.name][0], -memory_bytes(m, TYPICAL_BATCH), m.name))
    slot_of, sizes = _turns(temporaries, spans)
    packed: list[Memory] = []
    if sum(sizes) > little:
        packed = [m for m in temporaries if memory_bytes(m, TYPICAL_BATCH) >= SMALL and _packable(m, program)]
        slot_of, _ = _turns([m for m in temporaries if m not in packed], spans)
        for waiting, some in ((PATIENCE, True), (0, False)):
            alike = [m for m in packed if m.layout.has_halo is some]
            slots, _ = _turns(alike, spans, waiting)
            slot_of |= {name: slot + 1 + max(slot_of.values(), default=-1) for name, slot in slots.items()}
    slot_of |= _scratch_slots(program, 1 + max(slot_of.values(), default=-1))
    program = replace(
        program,
        memories=tuple(
            replace(m, slot=slot_of.get(m.name, -1))
            for m in program.memories
            if m.role != "temporary" or m.name in slot_of
        ),
    )
    return _with_lives(program, {slot_of[m.name] for m in packed}, spans) if packed else program


def offsets(slots: Iterable[tuple[int, int, Life | None]]) -> tuple[dict[int, int], int]:
    """Where each slot starts, and the end of the last; a slot is its number, its size and its life.

    Slots without a life overlap nobody. The others are placed by falling size, each in the lowest gap between those
    that live at the same time (Pisarchyk and Lee: Efficient memory management for deep neural net inference, 2020).
    """
    starts: dict[int, int] = {}
    end = 0
    lasting = sorted((s for s in slots if s[2] is None), key=lambda s: s[0])
    for slot, size, _ in lasting:
        starts[slot] = end
        end += _room(size)
    base = end
    placed: list[tuple[int, int, int, int]] = []
    for slot, size, life in sorted(slots, key=lambda s: (-s[1], s[0])):
        if life is None:
            continue
        first, last = life
        size, start = _room(size), base
        for begin, stop, born, dies in placed:
            if born <= last and first <= dies:
                if begin - start >= size:
                    break
                start = max(start, stop)
        starts[slot] = start
        insort(placed, (start, start + size, first, last))
        end = max(end, start + size)
    return starts, end


def _room(size: int) -> int:
    """Whole lines, and one more: neighbours that are used together fall into different cache sets."""
    return -(-size // LINE) * LINE + LINE


def _spans(program: Program) -> Spans:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, unit in enumerate(program.units):
        for kernel in unit:
            for name in kernel.writes:
                first.setdefault(name, position)
            for name in (*kernel.reads, *kernel.writes):
                last[name] = position
    for name in program.outputs:
        last[name] = len(program.kernels)
    return {name: (first[name], last[name]) for name in first}


def _turns(
    temporaries: Iterable[Memory], spans: Spans, patience: int | None = None
) -> tuple[dict[str, int], list[int]]:
    """Slots for temporaries in the order of their birth, and the sizes of the slots.

    A slot waits for its next tenant for at most `patience` units, without it forever.
    """
    slot_of: dict[str, int] = {}
    free_after: list[int] = []
    sizes: list[int] = []
    kinds: list[Kind] = []
    for memory in temporaries:
        size, kind = memory_bytes(memory, TYPICAL_BATCH), _kind(memory)
        first, last = spans[memory.name]
        open_slots = [
            s for s, end in enumerate(free_after)
            if end < first and kinds[s] == kind and (patience is None or first - end <= patience)
        ]  # fmt: skip
        if open_slots:
            best = min(open_slots, key=lambda s: (abs(sizes[s] - size), s))
        else:
            best = len(sizes)
            sizes.append(0)
            free_after.append(0)
            kinds.append(kind)
        slot_of[memory.name] = best
        sizes[best] = max(sizes[best], size)
        free_after[best] = last
    return slot_of, sizes


Kind = tuple[object, ...] | None


def _kind(memory: Memory) -> Kind:
    """What the memories of a slot have in common: where their border lies, if they have one."""
    layout, type = memory.layout, memory.value.type
    if not layout.has_halo:
        return None
    axes = tuple((type.shape[a], layout.halo[a]) for a in layout.order)
    return type.dtype, layout.shape(type), axes


def _packable(memory: Memory, program: Program) -> bool:
    """Whether the memory may have a life: its border, if any, can be cleared by its first writer's side.

    The border then lies around whole rows of samples, and no unit reads what it writes: its threads have not waited
    for those that clear.
    """
    layout, type = memory.layout, memory.value.type
    if not layout.has_halo:
        return True
    outermost, innermost = layout.order[0], layout.order[-1]
    around = isinstance(type.shape[outermost], Batch) and layout.halo[innermost] == (0, 0) and not layout.block
    return around and not any(
        memory.name in {n for k in unit for n in k.reads} & {n for k in unit for n in k.writes}
        for unit in program.units
    )


def _with_lives(program: Program, slots: set[int], spans: Spans) -> Program:
    """The program with a life for the memories of some slots: that of the slot."""
    at = stretches(program)
    at += (at[-1] + 1,) * (1 + len(program.kernels) - len(at))
    lives: dict[int, Life] = {}
    for memory in program.memories:
        if memory.slot in slots and memory.role == "temporary":
            first, last = (at[unit] for unit in spans[memory.name])
            known = lives.get(memory.slot, (first, last))
            lives[memory.slot] = min(known[0], first), max(known[1], last)
    memories = tuple(replace(m, life=lives.get(m.slot)) if m.role == "temporary" else m for m in program.memories)
    return replace(program, memories=memories)


def _scratch_slots(program: Program, first: int) -> dict[str, int]:
    """Chains follow each other, so their scratch takes turns."""
    roles = {m.name: m.role for m in program.memories}
    slots: dict[str, int] = {}
    for unit in program.units:
        own = dict.fromkeys(name for kernel in unit for name in kernel.writes if roles[name] == "scratch")
        slots |= {name: first + position for position, name in enumerate(own)}
    return slots
