"""Register tiles: how many rows and vectors of a result one pass over the reduction computes.

The model is a core that starts a few fused multiply-adds and loads a cycle (see Target). A tile of R rows by V vectors,
with D interleaved sums, does R·V·D multiply-adds for D steps of the reduction; it needs R·D broadcasts, which come one
a cycle because rows usually lie a multiple of a cache line apart and so share a bank (two a cycle for D > 1, when
neighbours are read in pairs), and R·V·D + V·D + 1 registers. Broadcasts come from the first cache, whole vectors from
the second: wide registers wait longer for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ops.formula import Axis
from graphc.ops.stacking import stack_axis
from graphc.ops.structure import Access, accesses, product
from graphc.schedule.buffers import TYPICAL_BATCH
from graphc.schedule.program import Kernel
from graphc.target import Target
from graphc.types import Batch, Extent

WAITING = 0.05
"""Cycles that a load costs a tile although it overlaps with arithmetic, for each 256 bits of it."""

TAIL = 0.25
"""What a smaller tile at the end of an axis costs, in rows of a whole one."""

FEW_TILES = 8
"""So many tiles along an axis make a smaller one at its end worth the code."""


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` results along the axis `row` by `vectors` vectors along the lane axis, in `depth` interleaved sums.

    With `overlap` the last tile of an axis that does not divide starts early and computes some rows twice; without,
    a smaller tile finishes the axis. A tile whose lanes hold parts of one sum has `columns` instead of vectors: all
    results along the axis `column`.
    """

    row: str | None
    rows: int
    vectors: int
    depth: int = 1
    overlap: bool = False
    column: str | None = None
    columns: int = 1

    def __str__(self) -> str:
        rows = f", rows along {self.row}" if self.row else ""
        depth = f", {self.depth} interleaved sums" if self.depth > 1 else ""
        if self.column:
            return f"{self.rows}x{self.columns} sums over the lanes{rows}, columns along {self.column}"
        return f"{self.rows}x{self.vectors} vectors{rows}{depth}"


def efficiency(target: Target, rows: int, vectors: int, depth: int = 1) -> float:
    """Multiply-adds started, as a fraction of those that the core can start; a little less for tiles that load more
    for each multiply-add."""
    busy = rows * vectors * depth / target.multiply_adds
    broadcasts = rows if depth == 1 else rows * depth / 2
    # one cycle more than the latency: a tile at its limit stalls whenever a load is late
    cycles = max(busy, broadcasts, (rows + vectors) * depth / target.loads, target.latency + 1)
    waiting = WAITING * depth * (rows + vectors * max(1.0, target.vector_bits / 256))
    return (1.0 - waiting / busy) * busy / cycles


def vectors_of(extent: Extent, lanes: int) -> int:
    """The number of vectors that cover an axis."""
    return 1 if isinstance(extent, Batch) else -(-extent // lanes)


def choose_tile(kernel: Kernel, target: Target) -> Tile:
    """The tile with the best predicted efficiency for the kernel's reduction."""
    first = kernel.stages[0].formula
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    extents = {a.name: a.extent for a in first.axes}
    if kernel.lane_reduces and product(first) is not None:
        return _tile_of_sums(kernel, target)
    if kernel.lane is None or kernel.lane not in extents:
        return Tile(None, 1, 1)
    count = vectors_of(extents[kernel.lane], lanes)
    form = product(first)
    if form is None:
        row = stack_axis(first)
        rows = row.extent if row and isinstance(row.extent, int) else 1
        vectors = max(v for v in range(1, 3 if first.reduction != "sum" else 5) if count % v == 0)
        depth = max(1, 8 // (rows * vectors)) if first.reduction == "sum" else 1
        return Tile(row.name if row else None, rows, vectors, depth if depth in depths(kernel) else 1)
    return max(candidates(kernel, target), key=lambda c: c.efficiency, default=Candidate(Tile(None, 1, 1), 0.0)).tile


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tile, and the useful fraction of the multiply-adds that the core can start, as predicted."""

    tile: Tile
    efficiency: float


def candidates(kernel: Kernel, target: Target) -> Iterator[Candidate]:
    """The tiles that fit a contraction with lanes along its result, the registers and the extents."""
    first = kernel.stages[0].formula
    extents = {a.name: a.extent for a in first.axes}
    if product(first) is None or kernel.lane not in extents:
        return
    count = vectors_of(extents[kernel.lane], target.lanes(kernel.stages[0].value.type.dtype))
    in_place = any(m != s for s, m in kernel.stores)
    rows_along = _row_axes(kernel)
    sizes = [(v, d) for v in range(1, 5) if v <= count and count % v == 0 for d in depths(kernel)]
    for row in (None, *rows_along):
        extent = extents[row] if row else 1
        for (vectors, depth), rows in itertools.product(sizes, range(1, 15 if row else 2)):
            if rows * vectors * depth + vectors * depth + 1 > target.registers:
                continue
            coverage, overlap = _coverage(extent, rows, in_place)
            if isinstance(extent, Batch) and len(rows_along) > 1:
                coverage *= 0.8  # rows that are whole samples apart share no cache lines
            if coverage > 0:
                yield Candidate(
                    Tile(row, rows, vectors, depth, overlap),
                    round(efficiency(target, rows, vectors, depth) * coverage, 9),
                )


def _tile_of_sums(kernel: Kernel, target: Target) -> Tile:
    """The tile of a contraction whose lanes lie along its sum: every factor is loaded as whole vectors, which costs
    twice as much where the lanes slide, and shared between rows or columns."""
    first = kernel.stages[0].formula
    extents = {a.name: a.extent for a in first.axes[bool(kernel.split) :] if isinstance(a.extent, int)}
    in_place = any(m != s for s, m in kernel.stores)
    along = [(a.axes, 1 if kernel.lane in a.bare else 2) for a in lane_accesses(kernel)]
    best, best_score = Tile(None, 1, 1), 0.0
    for row, column in ((r, c) for r in extents for c in (None, *extents) if r != c):
        columns = extents[column] if column else 1
        for rows in range(1, 15):
            loads = sum(cost * (rows if row in a else 1) * (columns if column in a else 1) for a, cost in along)
            work = rows * columns
            if work + columns + 2 > target.registers:
                continue
            coverage, overlap = _coverage(extents[row], rows, in_place)
            score = coverage * work / max(work, loads, target.latency)
            if score > best_score + 1e-9:
                best, best_score = Tile(row, rows, 1, 1, overlap, column, columns), score
    return best


def innermost(kernel: Kernel) -> Axis | None:
    """The reduced axis of the innermost loop that has more than one iteration."""
    over = {a.name: a for a in kernel.stages[0].formula.over if a.extent != 1 and a.name != kernel.split}
    order = [n for n in kernel.order or tuple(over) if n in over]
    return over[order[-1]] if order else None


def depths(kernel: Kernel) -> tuple[int, ...]:
    """Numbers of interleaved sums that the innermost loop is long enough for."""
    axis = innermost(kernel)
    if axis is None or kernel.lane_reduces:
        return (1,)
    if isinstance(axis.extent, Batch):
        return (1, 2, 4, 8)
    return (1, *[d for d in (2, 4, 8) if axis.extent % d == 0 or axis.extent >= 4 * d])


def depth_for(kernel: Kernel, tile: Tile, rows: int) -> int:
    """The interleaved sums of a tile with other than the planned rows: as many as hide the latency."""
    if rows == tile.rows:
        return tile.depth
    wanted = 8 // (rows * tile.vectors)
    return max((d for d in depths(kernel) if d <= max(1, wanted)), default=1)


def _coverage(extent: Extent, rows: int, in_place: bool) -> tuple[float, bool]:
    """(useful fraction of the rows computed, whether the last tile overlaps the one before).

    A kernel that changes memory in place must not compute a row twice: a smaller tile does the rest.
    """
    if isinstance(extent, Batch):
        typical = TYPICAL_BATCH / (-(-TYPICAL_BATCH // rows) * rows)
        return (0.97 * typical if rows > 1 else 1.0), rows > 1
    if extent < rows:
        return 0.0, False
    tiles = -(-extent // rows)
    if in_place or extent >= FEW_TILES * rows:
        return (1.0 if extent % rows == 0 else 1.0 - TAIL * rows / extent), False
    return extent / (tiles * rows), bool(extent % rows)


def _row_axes(kernel: Kernel) -> tuple[str, ...]:
    """Axes of the result that the operand along the lanes does not depend on."""
    first = kernel.stages[0].formula
    along = lane_accesses(kernel)
    return tuple(
        a.name
        for a in reversed(first.axes[1:] if kernel.split else first.axes)
        if a.name != kernel.lane and not any(a.name in access.axes for access in along) and a.extent != 1
    )


def lane_accesses(kernel: Kernel) -> tuple[Access, ...]:
    """The reads of the first stage that move along the lanes."""
    return tuple(a for a in accesses(kernel.stages[0].formula) if kernel.lane in a.axes)
