"""Values read across their memory: a square of them is loaded along it and transposed in registers.

    for r in 0..16 unroll:                       x: f32x16[16]
      vector l in 0..16:               =>        x[k] = load16(b[k, 0])     for k in 0..16
        ... b[l, r] ...                          transpose x
                                                 for r in 0..16 unroll:  vector l:  ... x[r] ...

The rows of the square are the iterations of the unrolled loop, its columns the lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from graphc.loops.expressions import Cell, Const, Expression, Load
from graphc.loops.index import Index, Range, bounds, constant, minimum, variable
from graphc.loops.ir import Assign, Declare, For, Mode, Statement, Transpose
from graphc.loops.rewrite import Rewriter

FEWEST = 4
"""Rows from which loading along memory pays."""


def turned(loop: For, ranges: Mapping[str, Range], first: int) -> tuple[tuple[Statement, ...], For, dict[str, int]]:
    """The statements in front of an unrolled loop, the loop reading what they prepared, the lanes of their arrays.

    Arrays are numbered from `first`. Without a vector loop directly inside, or anything read across, nothing changes.
    """
    match loop:
        case For(row, start, stop, (For(v, low, high, (For(mode=Mode.VECTOR) as lanes,), Mode.UNROLL),)):
            pass
        case _:
            return (), loop, {}
    width, count = lanes.stop.constant, stop.constant
    if start.constant or low.constant or high.constant != 1 or not FEWEST <= count <= width or width & (width - 1):
        return (), loop, {}
    local = {**ranges, row: (0, count - 1), v: (0, 0), lanes.var: (0, width - 1)}
    rewriter = _Turn(square=_Square(row, v, lanes.var, count, width, lanes.active, local), number=first)
    inner = rewriter.statements(lanes.body)
    if not rewriter.found:
        return (), loop, {}
    vectors = For(v, low, high, (replace(lanes, body=inner),), Mode.UNROLL)
    before: list[Statement] = []
    for load, array in rewriter.found.items():
        before.append(Declare(array, (width,), load.dtype, Const(0, load.dtype, width), width))
        before += [Assign(array, (constant(k),), e) for k, e in enumerate(rewriter.square.rows(load))]
        before.append(Transpose(array))
    return tuple(before), For(row, start, stop, (vectors,), Mode.UNROLL), dict.fromkeys(rewriter.found.values(), width)


@dataclass(frozen=True, slots=True)
class _Square:
    """`count` iterations of `row` around `width` lanes, of which `active` take part."""

    row: str
    vector: str
    lane: str
    count: int
    width: int
    active: Index | None
    ranges: Mapping[str, Range]

    def across(self, load: Load) -> bool:
        """Whether a load moves by one element with the row, and with the lane through other lines."""
        if not load.index or not load.dtype.is_float or load.lanes != 1 or load.active is not None:
            return False
        *outer, last = load.index
        fixed = last - self._at(last, {self.row: 0})
        if fixed != variable(self.row) or any(i.uses(self.row) for i in outer) or any(i.elements() for i in load.index):
            return False
        return any(i.uses(self.lane) for i in load.index) and last.coefficient(self.lane) != 1

    def rows(self, load: Load) -> list[Expression]:
        """What each lane reads in all iterations; idle lanes repeat the last active one."""
        found: list[Expression] = []
        for k in range(self.width):
            lane = constant(k) if self.active is None else minimum(constant(k), self.active - 1, self.ranges)
            places = {self.row: constant(0), self.vector: constant(0), self.lane: self._at(lane, {self.vector: 0})}
            index = tuple(i.substitute(places, self.ranges) for i in load.index)
            extent, last = load.buffer.shape[-1], bounds(index[-1], self.ranges)[1]
            inside = isinstance(extent, int) and last + self.width <= extent
            exact = None if inside or self.count == self.width else constant(self.count)
            found.append(Load(load.buffer, index, self.width, exact))
        return found

    def _at(self, index: Index, places: Mapping[str, int]) -> Index:
        return index.substitute({name: constant(k) for name, k in places.items()}, self.ranges)


@dataclass(slots=True)
class _Turn(Rewriter):
    """Replaces loads across by the cells of transposed arrays."""

    square: _Square = field(kw_only=True)
    number: int = field(kw_only=True)
    found: dict[Load, str] = field(default_factory=dict)

    def _expression(self, e: Expression) -> Expression:
        if isinstance(e, Load) and self.square.across(e):
            array = self.found.setdefault(e, f"turned{self.number + len(self.found)}")
            return Cell(array, (variable(self.square.row), variable(self.square.lane)), e.dtype)
        return Rewriter._expression(self, e)
