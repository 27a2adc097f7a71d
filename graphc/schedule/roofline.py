"""How units of kernels are computed, what they move, and how long they should take: a model of one core.

A unit takes as long as its arithmetic or its waiting for memory, whichever is longer (S. Williams, A. Waterman,
D. Patterson, "Roofline: an insightful visual performance model", CACM 2009). Operands come from the nearest memory
that holds everything touched since they were touched last, in steps that follow each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from graphc.ops.cost import Polynomial, count, evaluations, price, volume, work
from graphc.ops.separable import separable
from graphc.ops.structure import product
from graphc.schedule.buffers import TYPICAL_BATCH, memory_bytes
from graphc.schedule.program import Kernel, Memory, Program
from graphc.schedule.strategy import Unit, in_parts, is_contraction, planned_tile, refused_tiles, strategy, used_lanes
from graphc.target import Target
from graphc.types import Batch, Extent

CACHES = ("first cache", "second cache", "third cache")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a core does: cycles in a second, and bytes in a cycle from each of the caches and from memory."""

    clock: float
    rates: Mapping[str, float]


NOMINAL = Machine(3e9, {"first cache": 64.0, "second cache": 32.0, "third cache": 16.0, "memory": 6.0})
"""Round numbers of a recent processor, for texts that are the same everywhere."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One run of a unit by one core.

    `bytes` are what it reads and writes, each memory once, scratch not counted. `bound` is what takes the `seconds`:
    "arithmetic", or the memory that most of the waiting is for. `roofline` is the part of them that even a core without
    idle lanes and idle issue slots would need. `refused` are other tiles, best first.
    """

    strategy: str
    flops: int
    bytes: int
    seconds: float
    bound: str
    roofline: float
    refused: tuple[str, ...] = ()


def predict(
    unit: Unit, program: Program, target: Target, batch: int = TYPICAL_BATCH, machine: Machine = NOMINAL
) -> Prediction:
    """The strategy of a unit of the program and its predicted cost."""
    every = predictions(program, target, batch, machine)
    return every[program.units.index(tuple(unit))]


def predictions(
    program: Program, target: Target, batch: int = TYPICAL_BATCH, machine: Machine = NOMINAL
) -> tuple[Prediction, ...]:
    """The prediction for each unit, in order."""
    memories = {m.name: m for m in program.memories}
    homes = _homes(program, memories, target, batch)
    return tuple(
        _predict(unit, memories, home, target, batch, machine) for unit, home in zip(program.units, homes, strict=True)
    )


def _predict(
    unit: Unit, memories: Mapping[str, Memory], home: Mapping[str, str], target: Target, batch: int, machine: Machine
) -> Prediction:
    dtype = unit[0].stages[0].value.type.dtype
    flops = sum(kernel_flops(k)(batch) for k in unit)
    best = sum(_operations(k, batch) for k in unit) / (target.lanes(dtype) * target.multiply_adds)
    busy = sum(_busy(k, memories, target, batch) for k in unit)
    waiting = dict.fromkeys(machine.rates, 0.0)
    for name in touched(unit, memories):
        waiting[home[name]] += moved_bytes(memories[name])(batch) / machine.rates[home[name]]
    least = sum(waiting.values())
    waiting["second cache"] += _scratch_bytes(unit, memories, batch) / machine.rates["second cache"]
    waits = sum(waiting.values())
    cycles = max(busy, waits)
    return Prediction(
        strategy(unit, memories, target),
        flops,
        traffic(unit, memories)(batch),
        cycles / machine.clock,
        "arithmetic" if busy >= waits else max(waiting, key=lambda level: waiting[level]),
        max(best, least) / cycles if cycles else 1.0,
        tuple(line for k in unit for line in refused_tiles(k, memories, target)),
    )


# ------------------------------------------------------------------------------------------------- counting


def kernel_flops(kernel: Kernel) -> Polynomial:
    """Scalar operations of all stages; terms that a condition leaves out count too."""
    total = Polynomial()
    for stage in kernel.stages:
        f = stage.formula
        # of the partial sums each takes a share of the terms
        total += work(replace(f, axes=f.axes[1:]) if in_parts(kernel) and stage is kernel.stages[0] else f)
    return total


def touched(unit: Unit, memories: Mapping[str, Memory]) -> tuple[str, ...]:
    """The memories that a unit reads, then those that it writes; what is passed on in scratch does not count."""
    read = dict.fromkeys(name for k in unit for name in k.reads)
    written = dict.fromkeys(name for k in unit for name in k.writes)
    return tuple(name for name in (*read, *written) if memories[name].role != "scratch")


def traffic(unit: Unit, memories: Mapping[str, Memory]) -> Polynomial:
    """Bytes read and written when every memory is moved once."""
    return sum((moved_bytes(memories[name]) for name in touched(unit, memories)), Polynomial())


def least_traffic(program: Program) -> Polynomial:
    """Bytes that any schedule moves: what comes in is read, what changes and what goes out is written."""
    read = {name for k in program.kernels for name in k.reads}
    written = {name for k in program.kernels for name in k.writes}
    total = Polynomial()
    for memory in program.memories:
        given = memory.role in ("input", "scalar", "parameter", "constant") and memory.name in read
        kept = memory.name in written and (memory.role == "parameter" or memory.name in program.outputs)
        total += moved_bytes(memory) * (given + kept)
    return total


def moved_bytes(memory: Memory) -> Polynomial:
    """The size of a memory, padding to whole vectors included, borders of zeros not."""
    layout, type = memory.layout, memory.value.type
    border = sum(layout.halo[layout.order[-1]]) if layout.last else 0
    inner = replace(layout, halo=((0, 0),) * type.rank, last=layout.last and layout.last - border)
    return count(inner.shape(type)) * type.dtype.bytes


def _scratch_bytes(unit: Unit, memories: Mapping[str, Memory], batch: int) -> int:
    """Bytes that a chain writes to scratch and reads again, in all its blocks."""
    passed = [name for k in unit for name in k.writes if memories[name].role == "scratch"]
    if unit[0].chain is None or not passed:
        return 0
    blocks = prod(-(-_size(w.extent, batch) // w.block) for w in unit[0].chain.walks)
    return 2 * blocks * sum(memory_bytes(memories[name], batch) for name in dict.fromkeys(passed))


def _size(extent: Extent, batch: int) -> int:
    return batch if isinstance(extent, Batch) else extent


# ------------------------------------------------------------------------------------------------- the model


def _homes(
    program: Program, memories: Mapping[str, Memory], target: Target, batch: int
) -> tuple[Mapping[str, str], ...]:
    """For each unit where its memories are found: what was touched last is nearest (a stack, least recent first).

    Memories that take turns in a slot are one place. The step has been run before.
    """
    place = {m.name: m.slot if m.slot >= 0 else m.name for m in program.memories}
    size = dict.fromkeys(place.values(), 0)
    for memory in program.memories:
        size[place[memory.name]] = max(size[place[memory.name]], moved_bytes(memory)(batch))
    recent: dict[int | str, None] = {}
    homes: list[Mapping[str, str]] = []
    for unit in (*program.units, *program.units):
        names = touched(unit, memories)
        own = {place[n]: None for n in names}
        distance, since = {}, sum(size[p] for p in own)
        for p in reversed(recent):
            distance[p] = since
            since += size[p] if p not in own else 0
        homes.append({n: _home(distance.get(place[n], since), target) for n in names})
        for p in own:
            recent.pop(p, None)
        recent |= own
    return tuple(homes[len(homes) // 2 :])


def _home(distance: int, target: Target) -> str:
    """The nearest memory that holds so many bytes."""
    sizes = zip(CACHES, (target.l1, target.l2, target.l3), strict=True)
    return next((name for name, size in sizes if distance <= size), "memory")


def _operations(kernel: Kernel, batch: int) -> float:
    """Vector instructions for each element, as many as the formulas need: a multiply-add is one."""
    first = kernel.stages[0].formula
    one = replace(first, axes=first.axes[1:]) if in_parts(kernel) else first
    if product(first) is not None or separable(first) is not None:
        count = work(one)(batch) / 2
    else:
        count = evaluations(one)(batch) * (price(first.body) + (first.reduction is not None))
    return count + sum(volume(s.formula)(batch) * price(s.formula.body) for s in kernel.stages[1:])


def _busy(kernel: Kernel, memories: Mapping[str, Memory], target: Target, batch: int) -> float:
    """Cycles of arithmetic: multiply-adds as fast as the tile starts them, idle lanes included."""
    efficiency = planned_tile(kernel, memories, target)[1] if is_contraction(kernel) else 1.0
    return _operations(kernel, batch) / (used_lanes(kernel, target) * target.multiply_adds * efficiency)
