"""Register tiles: how many rows and vectors of a result one pass over the reduction computes.

The model is a core that starts two fused multiply-adds and two loads a cycle, with a latency of four cycles. A tile
of R rows by V vectors, with D interleaved sums, does R·V·D multiply-adds for D steps of the reduction; it needs R·D
broadcasts, which come one a cycle because rows usually lie a multiple of a cache line apart and so share a bank
(two a cycle for D > 1, when neighbours are read in pairs), and R·V·D + V·D + 1 registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ops.formula import Axis
from graphc.ops.structure import Access, accesses, product
from graphc.schedule.program import Kernel
from graphc.target import Target
from graphc.types import Batch, Extent

LATENCY = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` results along the axis `row` by `vectors` vectors along the lane axis, in `depth` interleaved sums.

    With `overlap` the last tile of an axis that does not divide starts early and computes some rows twice; without,
    a smaller tile finishes the axis.
    """

    row: str | None
    rows: int
    vectors: int
    depth: int = 1
    overlap: bool = False

    def __str__(self) -> str:
        rows = f", rows along {self.row}" if self.row else ""
        depth = f", {self.depth} interleaved sums" if self.depth > 1 else ""
        return f"{self.rows}x{self.vectors} vectors{rows}{depth}"


def efficiency(rows: int, vectors: int, depth: int = 1) -> float:
    """Multiply-adds started, as a fraction of the two a cycle that the core can start; a little less for tiles
    that load more for each multiply-add."""
    work = rows * vectors * depth
    broadcasts = rows if depth == 1 else rows * depth / 2
    cycles = max(work / 2, broadcasts, (rows + vectors) * depth / 2, LATENCY)
    reuse = 1.0 - 0.1 * (rows + vectors) / (rows * vectors)
    return reuse * work / 2 / cycles


def vectors_of(extent: Extent, lanes: int) -> int:
    """The number of vectors that cover an axis."""
    return 1 if isinstance(extent, Batch) else -(-extent // lanes)


def choose_tile(kernel: Kernel, target: Target) -> Tile:
    """The tile with the best predicted efficiency for the kernel's reduction."""
    first = kernel.stages[0].formula
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    extents = {a.name: a.extent for a in first.axes}
    if kernel.lane is None or kernel.lane not in extents:
        return Tile(None, 1, 1)
    count = vectors_of(extents[kernel.lane], lanes)
    form = product(first)
    if form is None:
        vectors = max(v for v in range(1, 3 if first.reduction != "sum" else 5) if count % v == 0)
        depth = max(1, 8 // vectors) if first.reduction == "sum" else 1
        return Tile(None, 1, vectors, depth if depth in depths(kernel) else 1)
    in_place = any(m != s for s, m in kernel.stores)
    best, best_score = Tile(None, 1, 1), 0.0
    candidates = _row_axes(kernel)
    for row in (None, *candidates):
        extent = extents[row] if row else 1
        for vectors in range(1, 5):
            if vectors > count or count % vectors:
                continue
            for depth in depths(kernel):
                for rows in range(1, 15 if row else 2):
                    if rows * vectors * depth + vectors * depth + 1 > target.registers:
                        continue
                    coverage, overlap = _coverage(extent, rows, in_place)
                    if isinstance(extent, Batch) and len(candidates) > 1:
                        coverage *= 0.8  # rows that are whole samples apart share no cache lines
                    score = efficiency(rows, vectors, depth) * coverage
                    if score > best_score + 1e-9:
                        best, best_score = Tile(row, rows, vectors, depth, overlap), score
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
    wanted = 2 * LATENCY // (rows * tile.vectors)
    return max((d for d in depths(kernel) if d <= max(1, wanted)), default=1)


def _coverage(extent: Extent, rows: int, in_place: bool) -> tuple[float, bool]:
    """(useful fraction of the rows computed, whether the last tile overlaps the one before).

    A kernel that changes memory in place must not compute a row twice: a smaller tile does the rest.
    """
    if isinstance(extent, Batch):
        return 0.97 if rows > 1 else 1.0, rows > 1
    if extent < rows:
        return 0.0, False
    tiles = -(-extent // rows)
    if in_place:
        return (1.0 if extent % rows == 0 else 0.97 - 0.2 * rows / extent), False
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
