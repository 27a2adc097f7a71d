"""Physical layouts: the lane axis of every kernel, the axis order, halo and blocking of every memory.

Every kernel chooses the axis that its vector lanes run along from the structure of its formula; each value then
takes the layout that its first kernels want: that axis innermost and padded to whole vectors, so that loads and
stores need no masks. Parameters that a contraction reads along the lanes are packed in blocks of one register tile.
Reads beyond a tensor's box come from a border of zeros. Where a kernel needs a value in another arrangement, a copy
is inserted in front of it and named in the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.graph.ir import Graph, Value
from graphc.ops.formula import rename_operands
from graphc.ops.structure import Access, accesses, identity, product, reach, reads_identity
from graphc.schedule.fuse import value_name
from graphc.schedule.program import Kernel, Layout, Memory, Program, Stage
from graphc.schedule.tiling import choose_tile
from graphc.target import Target
from graphc.types import Batch

CONFLICT, LINE = 1024, 64
"""Rows whose length is a multiple of this many bytes fall into few sets of the first cache: they get one line more."""

HALO_LIMIT = 64
"""The widest border that is worth memory; reads beyond it are guarded one by one."""


@dataclass(slots=True)
class _Plan:
    """Decisions while they are being made: for each value the logical axis along the lanes."""

    graph: Graph
    target: Target
    lane: dict[str, int] = field(default_factory=dict)
    inner: dict[str, tuple[int, ...]] = field(default_factory=dict)
    block: dict[str, int] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def plan_layouts(graph: Graph, kernels: tuple[Kernel, ...], target: Target) -> Program:
    """Lay out all memories and choose the lanes of all kernels."""
    plan = _Plan(graph, target)
    for v in (*graph.inputs, *graph.parameters):
        plan.values[value_name(v)] = v
    for kernel in kernels:
        for stage in kernel.stages:
            plan.values[stage.name] = stage.value
    laned = tuple(_choose_lane(plan, kernel, kernels[k + 1 :]) for k, kernel in enumerate(kernels))
    halo = _halos(plan, laned)
    memories = {name: _memory(plan, name, halo) for name in _stored(plan, laned)}
    return _with_copies(plan, laned, memories, halo)


# --------------------------------------------------------------------------------------------------- lanes


def _choose_lane(plan: _Plan, kernel: Kernel, later: tuple[Kernel, ...]) -> Kernel:
    """The kernel with its lane axis; the values that it touches first learn their innermost axis."""
    first = kernel.stages[0].formula
    result = {a.name: k for k, a in enumerate(first.axes)}
    lanes = plan.target.lanes(kernel.stages[0].value.type.dtype)
    extents = {a.name: a.extent for a in (*first.axes, *first.over)}
    wanted = _lane_of_neighbours(plan, kernel)
    scores: dict[str, float] = {}
    is_contraction = product(first) is not None
    for access in accesses(first):
        value = plan.values[access.operand]
        for position, name in enumerate(access.bare):
            if name is None or name not in result or value.type.shape[position] == 1:
                continue
            if is_contraction and any(name in other.axes for other in accesses(first) if other is not access):
                continue
            scores[name] = scores.get(name, 0.0) + _affinity(plan, access, position, is_contraction)
    for name in wanted:
        scores[name] = scores.get(name, 0.0) + 4.0
    if not is_contraction:
        for name in _lane_of_readers(plan, kernel, later):
            scores[name] = scores.get(name, 0.0) + 1.5
    for name in list(scores):
        e = extents[name]
        if isinstance(e, Batch) or e == 1:
            del scores[name]
        else:
            scores[name] -= 2.0 * (1.0 - e / (-(-e // lanes) * lanes))
    lane = max(scores, key=lambda n: scores[n]) if scores and max(scores.values()) > -2.5 else None
    if is_contraction and lane is not None:
        reduced = None
    else:
        reduced = _reduced_lane(plan, kernel) if lane is None or scores[lane] <= 0 else None
    if reduced is not None:
        order = [n for n in reduction_order(kernel, plan.lane) if n != reduced]
        return replace(kernel, lane=reduced, lane_reduces=True, order=(*order, reduced))
    if lane is None:
        wide = [a.name for a in first.axes if not isinstance(a.extent, Batch) and a.extent > 1]
        lane = wide[-1] if wide else next((a.name for a in reversed(first.axes) if a.extent != 1), None)
    kernel = replace(kernel, lane=lane, order=reduction_order(kernel, plan.lane))
    if lane is not None:
        for stage in kernel.stages:
            plan.lane.setdefault(stage.name, result[lane])
        _teach_parameters(plan, kernel, lane)
    return kernel


def _affinity(plan: _Plan, access: Access, position: int, is_contraction: bool) -> float:
    """How well an operand suits lanes along one of its axes."""
    value = plan.values[access.operand]
    known = plan.lane.get(access.operand)
    if known is not None:
        return 2.0 if known == position else -1.0
    if value in plan.graph.parameters:
        return 3.0 if is_contraction else 1.0
    return 1.0 if position == value.type.rank - 1 else -1.0


def _lane_of_neighbours(plan: _Plan, kernel: Kernel) -> tuple[str, ...]:
    """Axes that values read or written in place by the kernel already have innermost."""
    names = [a.name for a in kernel.axes]
    found = []
    for stage in kernel.stages:
        for operand in stage.formula.operands:
            known = plan.lane.get(operand)
            if known is not None and plan.values[operand] in plan.graph.parameters:
                if reads_identity(stage.formula, operand):
                    found.append(names[known])
    for _, memory in kernel.stores:
        known = plan.lane.get(memory)
        if known is not None:
            found.append(names[known])
    return tuple(dict.fromkeys(found))


def _lane_of_readers(plan: _Plan, kernel: Kernel, later: tuple[Kernel, ...]) -> tuple[str, ...]:
    """Axes of the result along which later kernels already have other operands innermost."""
    names = [a.name for a in kernel.axes]
    written = set(kernel.writes)
    found = []
    for reader in later:
        if written.isdisjoint(reader.reads):
            continue
        reads = [access for stage in reader.stages for access in accesses(stage.formula)]
        lanes = {a.bare[plan.lane[a.operand]] for a in reads if a.bare and a.operand in plan.lane}
        for access in reads:
            if access.operand in written:
                found += [names[p] for p, name in enumerate(access.bare) if name is not None and name in lanes]
    return tuple(dict.fromkeys(found))


def _reduced_lane(plan: _Plan, kernel: Kernel) -> str | None:
    """A reduced axis along which an operand is contiguous."""
    first = kernel.stages[0].formula
    over = {a.name: a.extent for a in first.over}
    if kernel.split in over:
        del over[kernel.split]
    for access in accesses(first):
        value = plan.values[access.operand]
        if not access.bare:
            continue
        position = plan.lane.get(access.operand, value.type.rank - 1)
        name = access.bare[position]
        if name in over and over[name] != 1:
            return name
    return None


def _teach_parameters(plan: _Plan, kernel: Kernel, lane: str) -> None:
    """Parameters that the kernel reads along its lanes become innermost there, in the order of its loops."""
    first = kernel.stages[0].formula
    if product(first) is not None:
        for access in accesses(first):
            value = plan.values[access.operand]
            if access.operand in plan.lane or value not in plan.graph.parameters or lane not in access.bare:
                continue
            position = access.bare.index(lane)
            plan.lane[access.operand] = position
            loops = [access.bare.index(r) for r in kernel.order if r in access.bare]
            rest = [p for p in range(value.type.rank) if p != position and p not in loops]
            plan.inner[access.operand] = (*rest, *loops)
            lanes = plan.target.lanes(value.type.dtype)
            tile = choose_tile(kernel, plan.target)
            extent = value.type.shape[position]
            if isinstance(extent, int) and extent > tile.vectors * lanes:
                plan.block[access.operand] = tile.vectors * lanes
    names = [a.name for a in kernel.axes]
    twins = [
        o
        for s in kernel.stages
        for o in s.formula.operands
        if o in plan.values and plan.values[o] in plan.graph.parameters and reads_identity(s.formula, o)
    ]
    known = next((t for t in twins if t in plan.lane), None)
    for twin in twins:
        if twin in plan.lane:
            continue
        plan.lane[twin] = names.index(lane)
        if known is not None:
            plan.lane[twin] = plan.lane[known]
            if known in plan.inner:
                plan.inner[twin] = plan.inner[known]
            if known in plan.block:
                plan.block[twin] = plan.block[known]


def reduction_order(kernel: Kernel, lane: dict[str, int]) -> tuple[str, ...]:
    """Reduced axes from the outermost loop inwards: the batch first, an operand's contiguous axis last."""
    first = kernel.stages[0].formula
    names = [a.name for a in first.over]
    innermost: list[str] = []
    for access in accesses(first):
        if access.operand in lane and access.bare:
            name = access.bare[lane[access.operand]]
            if name in names:
                innermost.append(name)
    tail = [n for n in dict.fromkeys(innermost) if n != kernel.split]
    batch = [a.name for a in first.over if isinstance(a.extent, Batch)]
    return tuple([*batch, *[n for n in names if n not in tail and n not in batch], *[n for n in tail if n not in batch]])


# --------------------------------------------------------------------------------------------- halo, memory


def _halos(plan: _Plan, kernels: tuple[Kernel, ...]) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each value the border that its reads need, axis by axis."""
    halo: dict[str, list[tuple[int, int]]] = {}
    for kernel in kernels:
        own = {s.name for s in kernel.stages}
        for stage in kernel.stages:
            for operand, intervals in reach(stage.formula):
                if operand in own:
                    continue
                value = plan.values[operand]
                border = halo.setdefault(operand, [(0, 0)] * value.type.rank)
                for axis, interval in enumerate(intervals):
                    extent = value.type.shape[axis]
                    if interval is None:
                        continue
                    last = 0 if isinstance(extent, Batch) else extent - 1
                    low, high = max(0, -interval[0]), max(0, interval[1] - last)
                    if isinstance(extent, Batch) or max(low, high) > HALO_LIMIT:
                        continue
                    border[axis] = (max(low, border[axis][0]), max(high, border[axis][1]))
    return {name: tuple(border) for name, border in halo.items()}


def _stored(plan: _Plan, kernels: tuple[Kernel, ...]) -> tuple[str, ...]:
    """The names of all values that live in memory, in order of definition."""
    names = [value_name(v) for v in (*plan.graph.inputs, *plan.graph.parameters)]
    names += [m for kernel in kernels for m in kernel.writes]
    return tuple(dict.fromkeys(names))


def _memory(plan: _Plan, name: str, halo: dict[str, tuple[tuple[int, int], ...]]) -> Memory:
    value = plan.values[name]
    rank = value.type.rank
    if value in plan.graph.inputs:
        return Memory(name, value, Layout.dense(rank), "input")
    if value in plan.graph.parameters:
        return Memory(name, value, _layout(plan, name, ((0, 0),) * rank), "parameter")
    return Memory(name, value, _layout(plan, name, halo.get(name, ((0, 0),) * rank)), "temporary")


def _layout(plan: _Plan, name: str, halo: tuple[tuple[int, int], ...]) -> Layout:
    value = plan.values[name]
    rank = value.type.rank
    if rank == 0:
        return Layout((), ())
    lane = plan.lane.get(name, rank - 1)
    if value.type.shape[lane] == 1 or isinstance(value.type.shape[lane], Batch):
        # the batch comes first in memory, so it is innermost only where it is alone
        fixed = [a for a, e in enumerate(value.type.shape) if not isinstance(e, Batch)]
        lane = max((a for a in fixed if value.type.shape[a] != 1), default=max(fixed, default=lane))
    rest = plan.inner.get(name, tuple(a for a in range(rank) if a != lane))
    batch = tuple(a for a, e in enumerate(value.type.shape) if isinstance(e, Batch) and a != lane)
    order = (*batch, *[a for a in rest if a not in batch and a != lane], lane)
    extent = value.type.shape[lane]
    if (batch and isinstance(extent, Batch)) or isinstance(extent, Batch):
        return Layout(order, halo)
    lanes = plan.target.lanes(value.type.dtype)
    wide = extent + sum(halo[lane])
    last = wide if wide == 1 else -(-wide // lanes) * lanes
    if rank > 1 and batch and last * value.type.dtype.bytes % CONFLICT == 0:
        last += LINE // value.type.dtype.bytes
    return Layout(order, halo, last, 0 if any(map(any, halo)) else plan.block.get(name, 0))


# -------------------------------------------------------------------------------------------------- copies


def _with_copies(
    plan: _Plan,
    kernels: tuple[Kernel, ...],
    memories: dict[str, Memory],
    halo: dict[str, tuple[tuple[int, int], ...]],
) -> Program:
    """Insert a copy in front of the first kernel that needs a value in another arrangement."""
    result: list[Kernel] = []
    copies: dict[tuple[str, Layout], str] = {}
    for kernel in kernels:
        renames: dict[str, str] = {}
        for operand in kernel.reads:
            wanted, why = _wanted_layout(plan, kernel, memories[operand], halo)
            if wanted is None:
                continue
            key = (operand, wanted)
            if key not in copies:
                memory = memories[operand]
                copies[key] = name = f"{operand}.{why}"
                while name in memories:
                    copies[key] = name = name + "2"
                memories[name] = Memory(name, memory.value, wanted, "temporary")
                plan.values[name] = memory.value
                result.append(_copy_kernel(memories[name], operand, why))
            renames[operand] = copies[key]
        if renames:
            stages = tuple(
                replace(s, formula=rename_operands(s.formula, {o: renames.get(o, o) for o in s.formula.operands}))
                for s in kernel.stages
            )
            kernel = replace(kernel, stages=stages)
        result.append(kernel)
        for written in kernel.writes:
            for key in [k for k in copies if k[0] == written]:
                del copies[key]
    named = tuple(replace(k, name=f"k{i}") for i, k in enumerate(result))
    outputs = tuple(value_name(v) for v in plan.graph.outputs)
    guard = outputs[0] if plan.graph.updates and outputs else None
    return Program(named, tuple(memories.values()), outputs, guard, tuple(plan.remarks))


def _wanted_layout(
    plan: _Plan, kernel: Kernel, memory: Memory, halo: dict[str, tuple[tuple[int, int], ...]]
) -> tuple[Layout | None, str]:
    """Another layout that the kernel needs of an operand, and the reason, or None."""
    operand, layout, rank = memory.name, memory.layout, memory.value.type.rank
    border = halo.get(operand, ((0, 0),) * rank)
    if memory.role in ("input", "parameter") and any(b != (0, 0) for b in border) and memory.value.type.dtype.is_float:
        if any(b != (0, 0) for b in _border_of(kernel, operand, memory)):
            return _layout(plan, operand, border) if memory.role == "parameter" else _input_layout(plan, memory, border), "halo"
    first = kernel.stages[0].formula
    if product(first) is not None and kernel.lane is not None and not kernel.lane_reduces and rank > 1:
        innermost = layout.order[-1]
        for access in accesses(first):
            if access.operand != operand or kernel.lane not in access.bare:
                continue
            position = access.bare.index(kernel.lane)
            if position != innermost and memory.value.type.dtype.is_float:
                order = (*[a for a in layout.order if a != position], position)
                extent = memory.value.type.shape[position]
                lanes = plan.target.lanes(memory.value.type.dtype)
                if isinstance(extent, Batch):
                    return None, ""
                loops = [access.bare.index(r) for r in kernel.order if r in access.bare]
                rest = [a for a in order[:-1] if a not in loops]
                inner = sorted((*rest, *loops), key=lambda a: not isinstance(memory.value.type.shape[a], Batch))
                tile = choose_tile(kernel, plan.target)
                block = tile.vectors * lanes if extent > tile.vectors * lanes and not any(map(any, border)) else 0
                last = -(-(extent + sum(border[position])) // lanes) * lanes
                batch = any(isinstance(e, Batch) for e in memory.value.type.shape)
                return Layout((*inner, position), border, last, 0 if batch else block), f"by_{kernel.lane}"
    return None, ""


def _input_layout(plan: _Plan, memory: Memory, border: tuple[tuple[int, int], ...]) -> Layout:
    """Channels last for images; the border where it is read."""
    rank = memory.value.type.rank
    channels_last = rank > 2 and memory.value.type.shape[1] != 1
    order = (0, *range(2, rank), 1) if channels_last else tuple(range(rank))
    extent = memory.value.type.shape[order[-1]]
    assert isinstance(extent, int)
    return Layout(order, border, extent + sum(border[order[-1]]))


def _border_of(kernel: Kernel, operand: str, memory: Memory) -> tuple[tuple[int, int], ...]:
    """The border that this kernel's own reads of the operand need."""
    border = [(0, 0)] * memory.value.type.rank
    for stage in kernel.stages:
        for name, intervals in reach(stage.formula):
            if name != operand:
                continue
            for axis, interval in enumerate(intervals):
                extent = memory.value.type.shape[axis]
                if interval is None or isinstance(extent, Batch):
                    continue
                low, high = max(0, -interval[0]), max(0, interval[1] - extent + 1)
                border[axis] = (max(low, border[axis][0]), max(high, border[axis][1]))
    return tuple(border)


def _copy_kernel(memory: Memory, source: str, why: str) -> Kernel:
    """A kernel that brings a value into another layout."""
    f = identity(source, memory.value.type.shape)
    lane = f.axes[memory.layout.order[-1]].name if f.axes else None
    stage = Stage(f"{memory.name}'", memory.value, f)
    return Kernel("", (stage,), ((stage.name, memory.name),), lane=lane, remarks=(f"copy {why}",))
