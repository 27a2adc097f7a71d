"""From logical elements to physical memory: buffers, strides of layouts, guards where no border was planned."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.expressions import Binary, Buffer, Compare, Const, Expression, Load, Number, Select
from graphc.loops.index import (
    Index,
    Range,
    bounds,
    constant,
    maximum,
    minimum,
    quotient,
    remainder,
    variable,
)
from graphc.schedule.program import Layout, Memory
from graphc.types import Batch, DType, Extent


def buffer_of(memory: Memory) -> Buffer:
    """The Loop IR view of a memory."""
    return Buffer(memory.name, memory.value.type.dtype, memory.layout.shape(memory.value.type))


def physical(layout: Layout, logical: tuple[Index, ...], ranges: Mapping[str, Range]) -> tuple[Index, ...]:
    """The physical index of a logical one."""
    moved = [logical[axis] + layout.halo[axis][0] for axis in layout.order]
    if not layout.block:
        return tuple(moved)
    last = moved[-1]
    return (quotient(last, layout.block, ranges), *moved[:-1], remainder(last, layout.block, ranges))


def load(
    memory: Memory, logical: tuple[Index, ...], ranges: Mapping[str, Range], within: Mapping[Index, Extent] = {}
) -> Expression:
    """The element at a logical index, zero outside the tensor's box.

    Indices that stay inside the planned border, or that are known to lie `within` an axis of the same extent, need
    nothing; for others the read is clamped and selected against zero.
    """
    type, layout = memory.value.type, memory.layout
    tests: list[Expression] = []
    safe: list[Index] = []
    wide = DType.INT64 if type.dtype.bits == 64 else DType.INT32
    for axis, index in enumerate(logical):
        extent = type.shape[axis]
        last = variable("N") - 1 if isinstance(extent, Batch) else constant(extent - 1)
        low, high = layout.halo[axis]
        if within.get(index) == extent:
            safe.append(index)
            continue
        below, above = outside(index, extent, (low, high), ranges)
        if not isinstance(extent, Batch) and _never(index, extent, ranges):
            return Const(0.0 if type.dtype.is_float else 0, type.dtype)
        if below:
            tests.append(Compare("le", Const(0, wide), Number(index, wide)))
            index = maximum(index, constant(0), ranges)
        if above:
            tests.append(Compare("le", Number(logical[axis], wide), Number(last, wide)))
            index = minimum(index, last, ranges)
        safe.append(index)
    value = Load(buffer_of(memory), physical(layout, tuple(safe), ranges))
    if not tests:
        return value
    condition = tests[0]
    for test in tests[1:]:
        condition = Binary("and", condition, test)
    return Select(condition, value, Const(0, value.dtype))


def _never(index: Index, extent: int, ranges: Mapping[str, Range]) -> bool:
    """Whether an index always lies beyond an axis."""
    low, high = bounds(index, ranges)
    return high < 0 or low >= extent


def outside(index: Index, extent: Extent, border: tuple[int, int], ranges: Mapping[str, Range]) -> tuple[bool, bool]:
    """Whether an index can lie below, or above, a tensor's box and border."""
    if isinstance(extent, Batch):
        plain = len(index.terms) == 1 and index.constant == 0 and index.terms[0][1] == 1 and not index.elements()
        if plain:
            return False, False
        return bounds(index, ranges)[0] < 0, True
    low, high = bounds(index, ranges)
    return low < -border[0], high > extent - 1 + border[1]
