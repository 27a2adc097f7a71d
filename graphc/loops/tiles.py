"""Register tiles as loops: rows, vectors and lanes inside; independent tiles, shared among threads, outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.loops.expressions import Cell, Const
from graphc.loops.index import UNBOUNDED, Index, Range, constant, maximum, quotient, remainder, variable
from graphc.loops.ir import Accumulate, Assign, Bind, Declare, For, Mode, Statement
from graphc.loops.rewrite import Rewriter, substitute
from graphc.types import DType

GRAIN = 16
"""Enough pieces of work to share evenly among a few threads."""

ACCUMULATOR = "acc"
"""The register array of a kernel's reduction: [rows · depth, vectors, lanes]."""

RUN = "run"
"""The register array of one run of a sum that is taken in runs."""

RESULT = "whole"
"""What the reduction has left in its registers, where loops go over it one row at a time."""

ONE = constant(1)


@dataclass(frozen=True, slots=True)
class TileShape:
    """The loops over one register tile, and the number of active lanes in its last vector."""

    lane: str | None
    lanes: int
    vectors: int
    row: str | None
    rows: int
    depth: int
    active: Index | None
    column: str | None = None
    columns: int = 1

    @property
    def row_index(self) -> Index:
        return variable(f"{self.row}_u") if self.row else constant(0)

    @property
    def vector_index(self) -> Index:
        if self.column:
            return variable(f"{self.column}_u")
        return variable(f"{self.lane}_v") if self.lane else constant(0)

    @property
    def lane_index(self) -> Index:
        return variable(f"{self.lane}_l") if self.lane else constant(0)

    def cell(self, dtype: DType, part: int = 0) -> Cell:
        """The accumulator of one element of the tile, in one of the interleaved sums."""
        row = self.row_index + part * self.rows
        return Cell(ACCUMULATOR, (row, self.vector_index, self.lane_index), dtype)

    def wrap(self, body: tuple[Statement, ...], rows: Mode = Mode.UNROLL) -> tuple[Statement, ...]:
        """The body inside the loops of the tile."""
        if self.lane:
            lanes = constant(self.lanes)
            body = (For(f"{self.lane}_l", constant(0), lanes, body, Mode.VECTOR, 1, self.active),)
            body = (For(f"{self.lane}_v", constant(0), constant(self.vectors), body, Mode.UNROLL),)
        if self.column:
            body = (For(f"{self.column}_u", constant(0), constant(self.columns), body, Mode.UNROLL),)
        if self.row:
            body = (For(f"{self.row}_u", constant(0), constant(self.rows), body, rows),)
        return body

    def row_by_row(self, body: tuple[Statement, ...], dtype: DType) -> tuple[Statement, ...]:
        """The body, which reads the sums of the tile, in a serial loop over its rows: where it is long, the code for
        one row has room for its constants in registers, that for all of them has not."""
        cell = self.cell(dtype)
        whole = Declare(RESULT, (self.rows, self.vectors, self.lanes), dtype, Const(0.0, dtype))
        moved = self.wrap((Assign(RESULT, cell.index, cell),))
        return whole, *moved, *self.wrap(Rewriter(names={ACCUMULATOR: RESULT}).statements(body), Mode.SERIAL)

    def interleaved(
        self, once: tuple[Statement, ...], name: str, start: Index, stop: Index, ranges: Mapping[str, Range]
    ) -> tuple[Statement, ...]:
        """A loop of the reduction that takes `depth` iterations at a time into separate sums, and one for the rest."""
        # clipping can leave nothing, with the stop before the start
        whole = quotient(maximum(stop - start, constant(0), ranges), self.depth, ranges) * self.depth + start
        several: list[Statement] = []
        for part in range(self.depth):
            for s in substitute(once, {name: variable(name) + part}, ranges):
                assert isinstance(s, Accumulate)
                row, vector, lane = s.index
                several.append(Accumulate(s.array, (row + part * self.rows, vector, lane), s.reduction, s.value))
        loops = [For(name, start, whole, self.wrap(tuple(several)), Mode.SERIAL, self.depth)]
        if whole != stop:
            loops.append(For(name, whole, stop, self.wrap(once)))
        return tuple(loops)

    def in_runs(
        self, name: str, stop: Index, length: int, once: tuple[Statement, ...], dtype: DType
    ) -> tuple[Statement, ...]:
        """A sum as the total of the sums of short runs: rounding grows with the roots of both lengths (Higham 1993)."""
        head, *_ = once
        assert isinstance(head, Declare)
        run = Rewriter(names={ACCUMULATOR: RUN}).statements(once)
        cell = self.cell(dtype)
        total = Declare(ACCUMULATOR, (self.rows, *head.shape[1:]), head.dtype, head.initial)
        added = self.wrap((Accumulate(ACCUMULATOR, cell.index, "sum", replace(cell, array=RUN)),))
        return total, For(f"{name}_r", constant(0), stop, (*run, *added), Mode.SERIAL, length)

    def joined(self, reduction: str, dtype: DType) -> tuple[Statement, ...]:
        """The interleaved sums added into the first."""
        if self.depth == 1:
            return ()
        index = self.cell(dtype).index
        parts = range(1, self.depth)
        return self.wrap(tuple(Accumulate(ACCUMULATOR, index, reduction, self.cell(dtype, p)) for p in parts))


def outer_loops(outer: list[tuple[str, Index]], body: tuple[Statement, ...]) -> For:
    """Enough of the outer loops, counted from the outside, become one parallel loop; the rest stay serial.

    Only the outermost loop of the parallel one may run as often as the batch has samples.
    """
    taken, pieces = 0, 1
    for position, (_, count) in enumerate(outer):
        if not count.is_constant and position > 0:
            break
        taken = position + 1
        pieces *= count.constant if count.is_constant else 1
        if pieces >= GRAIN:
            break
    for name, count in reversed(outer[taken:]):
        body = (Bind(name, constant(0)), *body) if count == ONE else (For(name, constant(0), count, body),)
    parallel = [(name, count) for name, count in outer[:taken] if count != ONE]
    body = (*(Bind(name, constant(0)) for name, count in outer[:taken] if count == ONE), *body)
    match parallel:
        case []:
            return For("once", constant(0), ONE, body, Mode.PARALLEL)
        case [(name, count)]:
            return For(name, constant(0), count, body, Mode.PARALLEL)
        case _:
            return _flattened(parallel, body)


def serial_loops(outer: list[tuple[str, Index]], body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The outer loops one inside the other, for one thread; loops of one iteration too, because they scope names."""
    for name, count in reversed(outer):
        body = (For(name, constant(0), count, body),)
    return body


def _flattened(loops: list[tuple[str, Index]], body: tuple[Statement, ...]) -> For:
    """Several loops as one over their common iteration number, from which each variable is recovered."""
    (first, total), *inner = loops
    tile, ranges = variable("tile"), {"tile": (0, UNBOUNDED)}
    binds: list[Statement] = []
    weight = 1
    for name, count in reversed(inner):
        binds.append(Bind(name, remainder(quotient(tile, weight, ranges), count.constant, ranges)))
        weight *= count.constant
    binds.append(Bind(first, quotient(tile, weight, ranges)))
    return For("tile", constant(0), total * weight, (*reversed(binds), *body), Mode.PARALLEL)
