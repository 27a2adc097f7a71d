"""Register tiles: how many rows and vectors of a result one pass over the reduction computes.

The model is a core that starts two fused multiply-adds and two loads a cycle, with a latency of four cycles: a tile
of R rows by V vectors costs max(R·V / 2, (R + V) / 2, 4) cycles for each step of the reduction, and must leave room
in the register file for V vectors and one broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ops.structure import Access, accesses, product
from graphc.schedule.program import Kernel
from graphc.target import Target
from graphc.types import Batch, Extent

LATENCY = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` results along the axis `row` by `vectors` vectors along the lane axis."""

    row: str | None
    rows: int
    vectors: int
    overlap: bool = False

    def __str__(self) -> str:
        return f"{self.rows}x{self.vectors} vectors" + (f", rows along {self.row}" if self.row else "")


def efficiency(rows: int, vectors: int) -> float:
    """Multiply-adds started, as a fraction of the two a cycle that the core can start; a little less for tiles
    that load more for each multiply-add."""
    cycles = max(rows * vectors / 2, (rows + vectors) / 2, LATENCY)
    reuse = 1.0 - 0.1 * (rows + vectors) / (rows * vectors)
    return reuse * rows * vectors / 2 / cycles


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
        most = 4 if first.reduction == "sum" else 2
        return Tile(None, 1, max(v for v in range(1, most + 1) if count % v == 0))
    in_place = any(m != s for s, m in kernel.stores)
    best, best_score = Tile(None, 1, 1), 0.0
    for row in (None, *_row_axes(kernel)):
        extent = extents[row] if row else 1
        for vectors in range(1, 5):
            if count % vectors and count > vectors:
                continue
            for rows in range(1, 15):
                if rows * vectors + vectors + 1 > target.registers or (vectors > count):
                    continue
                if row is None and rows > 1:
                    break
                coverage, overlap = _coverage(extent, rows)
                if coverage == 0 or (overlap and in_place):
                    continue
                score = efficiency(rows, vectors) * coverage
                if score > best_score + 1e-9:
                    best, best_score = Tile(row, rows, vectors, overlap), score
    return best


def _coverage(extent: Extent, rows: int) -> tuple[float, bool]:
    """(useful fraction of the rows computed, whether the last tile overlaps the one before)."""
    if isinstance(extent, Batch):
        return 0.97 if rows > 1 else 1.0, rows > 1
    if extent < rows:
        return 0.0, False
    tiles = -(-extent // rows)
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
