"""Physical layouts: axis order, borders of zeros, padding and packing of every memory.

The innermost axis, chosen with the lanes, is padded to whole vectors, so that loads and stores need no masks. Reads
beyond a tensor's box come from a border of zeros that the memory keeps. Where a kernel needs a value in another
arrangement, a copy is inserted in front of it and named in the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod

from graphc.graph.ir import Graph
from graphc.ops.structure import accesses, identity, product, radices, reach, thresholds
from graphc.schedule.chains import internal, scratch
from graphc.schedule.fuse import value_name
from graphc.schedule.lanes import Arrangement, Lanes, choose_lanes, idle_lanes, loop_order, slid
from graphc.schedule.panels import panels
from graphc.schedule.program import CONFLICT, LINE, Kernel, Layout, Memory, Program, Stage
from graphc.schedule.recurrence import step_scratch
from graphc.schedule.tiling import choose_tile
from graphc.target import Target
from graphc.types import Batch, TensorType

CUTS = 16
"""The most parts into which loops are cut at the edges of what they read."""

HALO_LIMIT = 64
"""The widest border that is worth memory; reads beyond it are guarded one by one."""

Border = tuple[tuple[int, int], ...]
"""Zeros below and above each logical axis."""


def plan_layouts(graph: Graph, kernels: tuple[Kernel, ...], target: Target) -> Program:
    """Choose the lanes of all kernels, lay out all memories, insert the copies that are needed."""
    kernels, lanes = choose_lanes(graph, kernels, target)
    borders = _borders({name: value.type for name, value in lanes.values.items()}, kernels, target)
    inputs = {value_name(v) for v in graph.inputs}
    passed = internal(kernels)
    memories: dict[str, Memory] = {}
    for name in dict.fromkeys((*inputs_and_parameters(graph), *(m for k in kernels for m in k.writes))):
        value = lanes.values[name]
        none: Border = ((0, 0),) * value.type.rank
        if name in inputs:
            memories[name] = Memory(name, value, Layout.dense(value.type.rank), "input")
        elif name in lanes.parameters:
            memories[name] = Memory(name, value, _layout(value.type, lanes, name, none), "parameter")
        elif name in passed and not passed[name].stepwise:
            memories[name] = scratch(passed[name], name, value, lanes.lane_of(name), target)
        elif name in passed and name not in lanes.outputs and borders[name] == none:
            memories[name] = step_scratch(passed[name], name, value, lanes.lane_of(name), target)
        else:
            memories[name] = Memory(name, value, _layout(value.type, lanes, name, borders[name]), "temporary")
    return _with_copies(graph, kernels, memories, lanes, borders)


def inputs_and_parameters(graph: Graph) -> Iterable[str]:
    """The names of the memories that a program is given."""
    return (value_name(v) for v in (*graph.inputs, *graph.parameters))


def _borders(types: Mapping[str, TensorType], kernels: Iterable[Kernel], target: Target) -> dict[str, Border]:
    """The border that reads of each value by these kernels need, idle lanes included; before the first time and after
    the last one a recurrence asks, once for a whole vector."""
    borders = {name: [(0, 0)] * type.rank for name, type in types.items()}
    for kernel in kernels:
        slack, cut = idle_lanes(kernel, target), _cut(kernel, target)
        for stage in kernel.stages:
            reached = reach(stage.formula, cut)
            guarded = {o for (o, near), (_, far) in zip(reached, reach(stage.formula), strict=True) if near != far}
            for access, (operand, intervals) in zip(accesses(stage.formula), reached, strict=True):
                if operand not in types:
                    continue
                border = borders[operand]
                for axis, (interval, extent) in enumerate(zip(intervals, types[operand].shape, strict=True)):
                    if interval is None or isinstance(extent, Batch) or kernel.time in access.moves[axis]:
                        continue
                    last = interval[1] + (slack if slid(access, kernel.lane) == axis and operand not in guarded else 0)
                    low, high = max(0, -interval[0]), max(0, last - extent + 1)
                    if max(low, high) <= HALO_LIMIT:
                        border[axis] = (max(low, border[axis][0]), max(high, border[axis][1]))
    return {name: tuple(border) for name, border in borders.items()}


def _cut(kernel: Kernel, target: Target) -> frozenset[str]:
    """The axes that loops cut at the thresholds of conditions, so that each part reads inside of its tensors."""
    found: dict[str, frozenset[int]] = {}
    for stage in kernel.stages:
        for name, steps in thresholds(stage.formula).items():
            found[name] = found.get(name, frozenset()) | steps
    if kernel.stages[0].formula.reduction is not None or prod(len(steps) + 1 for steps in found.values()) > CUTS:
        return frozenset()
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    digits = {name for stage in kernel.stages for name in radices(stage.formula)}
    whole = {name for name, steps in found.items() if name != kernel.lane or all(t % lanes == 0 for t in steps)}
    return frozenset(whole - digits - dict(kernel.walked).keys())


def _layout(type: TensorType, lanes: Lanes, name: str, border: Border) -> Layout:
    """The layout of a value in its arrangement, or with its last axis innermost."""
    return _arranged(type, lanes.arrangement.get(name, Arrangement(type.rank - 1)), border, lanes.target)


def _arranged(type: TensorType, wish: Arrangement, border: Border, target: Target) -> Layout:
    """The layout for an arrangement. The batch comes first in memory; it is innermost only where it is alone."""
    if type.rank == 0:
        return Layout((), ())
    lane, shape = wish.lane, type.shape
    batch = tuple(a for a, e in enumerate(shape) if isinstance(e, Batch))
    if shape[lane] == 1 or lane in batch:
        fixed = [a for a in range(type.rank) if a not in batch]
        lane = max((a for a in fixed if shape[a] != 1), default=max(fixed, default=lane))
    others = (*wish.others, wish.lane) if wish.others is not None else range(type.rank)
    order = (*(a for a in batch if a != lane), *(a for a in others if a not in batch and a != lane), lane)
    extent = shape[lane]
    if isinstance(extent, Batch):
        return Layout(order, border)
    wide, width = extent + sum(border[lane]), target.lanes(type.dtype)
    last = wide if wide == 1 else -(-wide // width) * width
    if type.rank > 1 and batch and last * type.dtype.bytes % CONFLICT == 0:
        last += LINE // type.dtype.bytes
    plain = not batch and not any(map(any, border))
    return Layout(order, border, last, wish.block if plain else 0)


# -------------------------------------------------------------------------------------------------- copies


def _with_copies(
    graph: Graph, kernels: tuple[Kernel, ...], memories: dict[str, Memory], lanes: Lanes, borders: dict[str, Border]
) -> Program:
    """Insert a copy in front of the first kernel that needs a value in another arrangement."""
    result: list[Kernel] = []
    made_in = {name: kernel.chain for kernel in kernels for name in kernel.writes}
    copies: dict[tuple[str, Layout], str] = {}
    for kernel in kernels:
        renames: dict[str, str] = {}
        for operand in kernel.reads:
            memory = memories[operand]
            if memory.role == "scratch" or made_in.get(operand) == kernel.chain is not None:
                continue
            wanted = _with_border(kernel, memory, lanes, borders[operand])
            wanted = wanted or _along_lanes(kernel, memory, lanes, borders[operand])
            wanted = wanted or panels(kernel, memory, lanes.target)
            if wanted is None:
                continue
            layout, why = wanted
            if (operand, layout) not in copies:
                name = _unused(f"{operand}.{why}", memories)
                copies[operand, layout] = name
                memories[name] = Memory(name, memory.value, layout, "temporary")
                result.insert(_before(result, kernel), _copy(memories[name], operand, why))
            renames[operand] = copies[operand, layout]
        result.append(kernel.reading(renames) if renames else kernel)
        for key in [k for k in copies if k[0] in kernel.writes]:
            del copies[key]
    outputs: list[str] = []
    for value in graph.outputs:
        name = value_name(value)
        if _rearranged(memories[name]):
            name = _unused(f"{name}.out", memories)
            memories[name] = Memory(name, value, Layout.dense(value.type.rank), "temporary")
            result.append(_copy(memories[name], value_name(value), "in the order of its axes"))
        outputs.append(name)
    named = tuple(replace(k, name=f"k{i}") for i, k in enumerate(result))
    guard = value_name(graph.outputs[0]) if graph.updates and outputs else None
    return Program(named, tuple(memories.values()), tuple(outputs), guard)


def _rearranged(memory: Memory) -> bool:
    """Whether a result lies in memory in another order than the caller wants."""
    shape = memory.value.type.shape
    order = [a for a in memory.layout.order if shape[a] != 1]
    batched = any(isinstance(extent, Batch) for extent in shape[1:])  # memory is outermost along the batch
    return memory.role == "temporary" and not batched and order != sorted(order)


def _before(kernels: list[Kernel], kernel: Kernel) -> int:
    """The place in front of a kernel, or of the chain that it continues."""
    mine = [i for i, k in enumerate(kernels) if k.chain is not None and k.chain == kernel.chain]
    return mine[0] if mine else len(kernels)


def _with_border(kernel: Kernel, memory: Memory, lanes: Lanes, border: Border) -> tuple[Layout, str] | None:
    """Inputs and parameters keep no border: kernels that read beyond them read a copy that does."""
    type = memory.value.type
    if memory.role == "temporary" or not type.dtype.is_float:
        return None
    if not any(map(any, _borders({memory.name: type}, [kernel], lanes.target)[memory.name])):
        return None
    if memory.role == "parameter":
        return _layout(type, lanes, memory.name, border), "halo"
    channels_last = type.rank > 2 and type.shape[1] != 1
    order = (0, *range(2, type.rank), 1) if channels_last else tuple(range(type.rank))
    along = next((slid(a, kernel.lane) for a in accesses(kernel.stages[0].formula) if a.operand == memory.name), None)
    if along is not None:
        order = (*(axis for axis in range(type.rank) if axis != along), along)
    extent = type.shape[order[-1]]
    assert isinstance(extent, int)
    return Layout(order, border, extent + sum(border[order[-1]])), "halo"


def _along_lanes(kernel: Kernel, memory: Memory, lanes: Lanes, border: Border) -> tuple[Layout, str] | None:
    """An operand of a contraction that moves along the lanes must have that axis innermost."""
    first, type = kernel.stages[0].formula, memory.value.type
    if product(first) is None or kernel.lane is None or kernel.lane_reduces or not type.dtype.is_float:
        return None
    for access in accesses(first):
        if access.operand != memory.name or kernel.lane not in access.axes:
            continue
        axis = access.bare.index(kernel.lane) if kernel.lane in access.bare else slid(access, kernel.lane)
        if axis is None:
            continue
        extent = type.shape[axis]
        if axis == memory.layout.order[-1] or isinstance(extent, Batch):
            continue
        size = choose_tile(kernel, lanes.target).vectors * lanes.target.lanes(type.dtype)
        wish = Arrangement(axis, loop_order(kernel, access, axis), size if extent > size else 0)
        return _arranged(type, wish, border, lanes.target), f"by_{kernel.lane}"
    return None


def _copy(memory: Memory, source: str, why: str) -> Kernel:
    """A kernel that brings a value into another layout."""
    f = identity(source, memory.value.type.shape)
    lane = f.axes[memory.layout.order[-1]].name if f.axes else None
    stage = Stage(f"{memory.name}'", memory.value, f)
    return Kernel("", (stage,), ((stage.name, memory.name),), lane=lane, remarks=(f"copy {why}",))


def _unused(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    while name in taken:
        name += "2"
    return name
