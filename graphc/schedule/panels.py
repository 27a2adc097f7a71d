"""Panels: copies of operands whose rows, as they lie in memory, fall into few sets of the caches.

Where the rows of a matrix are a multiple of 4096 bytes apart, the part of it that one column of tiles reads again and
again evicts itself, whatever the size of the caches. Read often enough, it is worth a copy: along the lanes as blocks
of one register tile in the order of the loops, along the rows with the reduction innermost and one line more a row.
"""

from __future__ import annotations

from graphc.ops.structure import Access, accesses, product
from graphc.schedule.lanes import loop_order
from graphc.schedule.program import Kernel, Layout, Memory
from graphc.schedule.tiling import Tile, choose_tile, innermost
from graphc.target import Target
from graphc.types import Batch

PAGE, LINE = 4096, 64

READERS = 256
"""Results for each element of an operand from which its copy pays."""


def panels(kernel: Kernel, memory: Memory, target: Target) -> tuple[Layout, str] | None:
    """The layout that an operand of a contraction should be copied to, and the name of the copy; None as a rule."""
    type, first = memory.value.type, kernel.stages[0].formula
    shape = [e for e in type.shape if not isinstance(e, Batch)]
    if len(shape) != type.rank or type.rank < 2 or product(first) is None or kernel.lane is None:
        return None
    if kernel.lane_reduces or memory.layout.block or memory.layout.has_halo or not type.dtype.is_float:
        return None
    row_bytes = (memory.layout.last or shape[memory.layout.order[-1]]) * type.dtype.bytes
    mine = [a for a in accesses(first) if a.operand == memory.name]
    if row_bytes % PAGE or len(mine) != 1 or _readers(kernel, mine[0]) < READERS:
        return None
    tile = choose_tile(kernel, target)
    along_lanes = _along_lanes(kernel, mine[0], tile, target.lanes(type.dtype), shape)
    return along_lanes or _along_rows(kernel, mine[0], memory, tile, shape)


def _readers(kernel: Kernel, access: Access) -> int:
    """How many results each element of an operand goes into, the batch counted as one."""
    count = 1
    for axis in kernel.stages[0].formula.axes:
        if axis.name not in access.axes and not isinstance(axis.extent, Batch):
            count *= axis.extent
    return count


def _along_lanes(kernel: Kernel, access: Access, tile: Tile, lanes: int, shape: list[int]) -> tuple[Layout, str] | None:
    if kernel.lane not in access.bare:
        return None
    axis, size = access.bare.index(kernel.lane), tile.vectors * lanes
    if shape[axis] <= size:
        return None
    order = (*loop_order(kernel, access, axis), axis)
    return Layout(order, ((0, 0),) * len(shape), -(-shape[axis] // lanes) * lanes, size), "panels"


def _along_rows(
    kernel: Kernel, access: Access, memory: Memory, tile: Tile, shape: list[int]
) -> tuple[Layout, str] | None:
    reduced = innermost(kernel)
    if tile.row is None or tile.row not in access.bare or reduced is None or reduced.name not in access.bare:
        return None
    if memory.layout.order[-1] != access.bare.index(tile.row):
        return None
    axis = access.bare.index(reduced.name)
    order = (*(a for a in range(len(shape)) if a != axis), axis)
    line = LINE // memory.value.type.dtype.bytes
    return Layout(order, ((0, 0),) * len(shape), shape[axis] + line), "by_" + reduced.name
