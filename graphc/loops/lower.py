"""Lowering: a kernel becomes loops over register tiles.

    parallel over independent tiles of the result
      serial over the tiles of one thread's share
        registers = neutral element
        serial over the reduction
          unroll rows, unroll vectors, vector lanes:  registers = reduction(registers, body)
        unroll rows, unroll vectors, vector lanes:    pointwise stages, stores

The same skeleton serves contractions, pooling, reductions and pointwise kernels: they differ in the tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.loops.access import buffer_of, load, physical
from graphc.loops.clip import ReductionLoop, is_window, reduction_loops, written_out
from graphc.loops.expressions import (
    Binary,
    Cast,
    Compare,
    Const,
    Expression,
    Fold,
    Load,
    Name,
    Select,
    Unary,
    neutral_element,
)
from graphc.loops.freeze import Scope, freeze, freeze_test
from graphc.loops.index import UNBOUNDED, Element, Index, Range, constant, minimum, quotient, variable
from graphc.loops.ir import (
    Accumulate,
    Bind,
    Condition,
    Declare,
    For,
    Function,
    If,
    Let,
    Mode,
    Prefetch,
    Statement,
    Store,
)
from graphc.loops.nests import Nest, nests
from graphc.loops.rewrite import substitute
from graphc.loops.scatter import lower_scatter
from graphc.loops.tiles import ACCUMULATOR, TileShape, outer_loops, serial_loops
from graphc.loops.transforms import is_transform, lower_transform
from graphc.ops.cost import operations
from graphc.ops.formula import Formula
from graphc.ops.structure import product
from graphc.schedule.program import Kernel, Memory
from graphc.schedule.tiling import Tile, choose_tile, depth_for, vectors_of
from graphc.schedule.turning import turning_tile
from graphc.target import Target
from graphc.types import Batch, DType, Extent

LONG = 16
"""Cycles of the pointwise stages behind a reduction from which their code is there once for all rows of a tile."""


def lower(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> Function:
    """The loops of one kernel, with explicit VECTOR and UNROLL loops still in place."""
    used = dict.fromkeys((*kernel.reads, *kernel.writes))
    buffers = tuple(buffer_of(memories[name]) for name in used)
    if is_transform(kernel):
        return Function(kernel.name, buffers, lower_transform(kernel, memories, target), kernel.scope)
    if kernel.scatters:
        return Function(kernel.name, buffers, lower_scatter(kernel, memories, target), kernel.scope)
    tile = turning_tile(kernel, memories, target) or choose_tile(kernel, target)
    body: list[Statement] = []
    for nest in nests(kernel, memories, target.lanes(kernel.stages[0].value.type.dtype)):
        body += _NestLowering(kernel, memories, target, nest, tile).lower()
    return Function(kernel.name, buffers, tuple(body), kernel.scope)


def lower_inside(kernel: Kernel, memories: Mapping[str, Memory], target: Target, nest: Nest) -> tuple[Statement, ...]:
    """The serial loops of a kernel inside the loops of a chain, which give the nest its free variables."""
    if nest.run:  # two sums at a time, that of a run and that of the runs before it
        tile = choose_tile(kernel, replace(target, registers=target.registers // 2 + 1))
    else:
        tile = choose_tile(kernel, target)
    return _NestLowering(kernel, memories, target, nest, tile, inside=True).lower()


@dataclass(slots=True)
class _NestLowering:
    """One loop nest of one kernel."""

    kernel: Kernel
    memories: Mapping[str, Memory]
    target: Target
    nest: Nest
    tile: Tile
    inside: bool = False

    # ------------------------------------------------------------------------------------------- scopes

    @property
    def first(self) -> Formula:
        return self.kernel.stages[0].formula

    @property
    def dtype(self) -> DType:
        return self.kernel.stages[0].value.type.dtype

    @property
    def logical(self) -> tuple[Index, ...]:
        """The element of the result that the loops compute."""
        return tuple(self.nest.env.get(a.name, variable(a.name)) for a in self.first.axes)

    def local(self, memory: Memory, index: tuple[Index, ...]) -> tuple[Index, ...]:
        """Scratch holds one block: its indices count from the block's start."""
        return tuple(i.substitute(self.nest.near) for i in index) if memory.role == "scratch" else index

    def ranges(self, axes: tuple[tuple[str, Extent], ...]) -> dict[str, Range]:
        known = {n: (0, UNBOUNDED if isinstance(e, Batch) else e - 1) for n, e in axes}
        return known | {"N": (1, UNBOUNDED)} | self.nest.known

    def scope(self, env: dict[str, Index], ranges: dict[str, Range]) -> Scope:
        names, here = {s.name for s in self.kernel.stages}, self.logical

        def access(operand: str, index: tuple[Index, ...]) -> Expression:
            if operand in names and index == here:
                return Name(operand, self.dtype)
            memory = self.memories[operand]
            return load(memory, self.local(memory, index), ranges, self.nest.within)

        def element(operand: str, index: tuple[Index, ...]) -> Element:
            memory = self.memories[operand]
            return Element(operand, physical(memory.layout, self.local(memory, index), ranges))

        dtypes = {o: self.memories[o].value.type.dtype for o in self.kernel.reads}
        dtypes |= {s.name: s.value.type.dtype for s in self.kernel.stages}
        return Scope(self.dtype, env, ranges, access, element, dtypes)

    # ------------------------------------------------------------------------------------------- lowering

    def lower(self) -> tuple[Statement, ...]:
        """The nest in register tiles; what does not fill one is done by an earlier start or by smaller tiles."""
        lane, row, rows = self._lane(), self.tile.row, self.tile.rows
        lanes = self.target.lanes(self.dtype) if lane is not None else 1
        extent = dict(self.nest.axes).get(row) if row else None
        match extent:
            case None:
                return self._tiled(lane, lanes, None, 1)
            case Batch():
                return self._as_many_rows(lane, lanes, str(row), variable("N"), (rows, 1))
            case _ if not self.nest.held.get(str(row), constant(extent)).is_constant:
                fewer = itertools.takewhile(bool, (rows >> k for k in itertools.count()))
                return self._as_many_rows(lane, lanes, str(row), self.nest.held[str(row)], tuple(fewer))
            case _ if extent < rows:
                return self._tiled(lane, lanes, None, 1)
            case _ if self.tile.overlap or extent % rows == 0:
                return self._tiled(lane, lanes, row, rows)
            case _:
                assert row is not None
                rest = extent % rows
                main = replace(self, nest=self.nest.part(row, 0, extent - rest))
                last = replace(self, nest=self.nest.part(row, extent - rest, rest))
                return *main._tiled(lane, lanes, row, rows), *last._tiled(lane, lanes, row, rest)

    def _as_many_rows(
        self, lane: str | None, lanes: int, row: str, size: Index, heights: tuple[int, ...]
    ) -> tuple[Statement, ...]:
        """Tiles of the first of these heights that the axis, of a size known at run time, has room for."""
        result: list[Statement] = []
        above: tuple[Condition, ...] = ()
        for rows in dict.fromkeys(heights):
            enough = () if rows == 1 else (Condition("ge", size - rows),)
            tiled = self._tiled(lane, lanes, row, rows)
            result += [If((*enough, *above), tiled)] if enough or above else tiled
            above = (Condition("ge", size * -1 + (rows - 1)),)
        return tuple(result)

    def _lane(self) -> str | None:
        """The loop variable along the lanes; for an axis in digits, the digit that operands are contiguous in."""
        lane = self.kernel.lane
        if lane is None or self.kernel.lane_reduces:
            return lane
        names = [n for n, _ in self.nest.axes]
        if lane in names:
            return lane
        candidates = [n for n, e in self.nest.axes if n in self.nest.env[lane].variables()]
        scope = self.scope(self.nest.env, self.ranges(self.nest.axes))
        for stage in self.kernel.stages:
            e = freeze(stage.formula.body, scope) if stage.formula.is_pointwise else None
            for name in candidates:
                if e is not None and _contiguous_loads(e, name) and dict(self.nest.axes)[name] != 1:
                    return name
        return candidates[-1]

    def _tiled(self, lane: str | None, lanes: int, row: str | None, rows: int) -> tuple[Statement, ...]:
        """The nest in tiles of `rows` by the planned vectors; one row without a row axis."""
        axes = dict(self.nest.axes)
        vectors, active = 1, None
        mapping: dict[str, Index] = {}
        known: dict[str, Range] = {"N": (1, UNBOUNDED)} | self.nest.known
        outer: list[tuple[str, Index]] = []
        head: tuple[Statement, ...] = ()
        out_lane = lane if lane in axes else None
        for name, extent in self.nest.axes:
            size = variable("N") if isinstance(extent, Batch) else self.nest.held.get(name, constant(extent))
            last = UNBOUNDED if isinstance(extent, Batch) else extent - 1
            if name == out_lane:
                # a digit or a phase of the axis for which the tile was chosen is shorter than the axis
                whole = vectors_of(extent, lanes)
                vectors = max(v for v in range(1, self.tile.vectors + 1) if whole % v == 0)
                width = lanes * vectors
                position = variable(f"{name}_b") * width + variable(f"{name}_v") * lanes
                mapping[name] = position + variable(f"{name}_l")
                active = None if size.is_constant and size.constant % lanes == 0 else size - position
                known |= {f"{name}_b": (0, last // width), f"{name}_v": (0, vectors - 1), f"{name}_l": (0, lanes - 1)}
                outer.append((f"{name}_b", quotient(size + (width - 1), width, known)))
            elif name == row and rows > 1:
                first = variable(f"{name}_0")
                known |= {f"{name}_t": (0, last // rows), f"{name}_u": (0, rows - 1), f"{name}_0": (0, last - rows + 1)}
                start = minimum(variable(f"{name}_t") * rows, size - rows, known)
                if start == variable(f"{name}_t") * rows:
                    first = start
                else:
                    head = (Bind(f"{name}_0", start),)
                mapping[name] = first + variable(f"{name}_u")
                outer.append((f"{name}_t", quotient(size + (rows - 1), rows, known)))
            elif name == self.tile.column:
                mapping[name] = variable(f"{name}_u")
                known |= {f"{name}_u": (0, last)}
            else:
                known[name] = (0, last)
                outer.append((name, size))
        depth = depth_for(self.kernel, self.tile, rows)
        tiled_row = row if rows > 1 else None
        width, columns = lanes if out_lane else 1, (self.tile.column, self.tile.columns)
        tile = TileShape(out_lane, width, vectors, tiled_row, rows, depth, active, *columns)
        body = self._reduction(tile, lane, lanes, mapping, known) if self.first.reduction else ()
        body = (*head, *self._prefetches(tile, mapping, known), *body, *self._epilogue(tile, lanes, mapping, known))
        loops = self._order_outer(outer, out_lane)
        return serial_loops(loops, body) if self.inside else (outer_loops(loops, body),)

    def _prefetches(self, tile: TileShape, mapping: dict[str, Index], known: dict[str, Range]) -> tuple[Statement, ...]:
        """What is updated in place after a reduction is fetched before it: a pass over the weights waits for memory."""
        if self.first.reduction is None:
            return ()
        updated = [self.memories[m] for s, m in self.kernel.stores if m != s]
        wanted = [Prefetch(buffer_of(m), physical(m.layout, self.logical, known)) for m in updated]
        return tile.wrap(substitute(tuple(wanted), mapping, known)) if wanted else ()

    def _order_outer(self, outer: list[tuple[str, Index]], lane: str | None) -> list[tuple[str, Index]]:
        """Blocks of a large packed operand go outside, so that each is read from memory once."""
        if self.first.reduction is None and self.tile.row:  # squares one after another along the memory that is read
            return sorted(outer, key=lambda loop: loop[0] == f"{self.tile.row}_t")
        blocks = [o for o in outer if lane and o[0] == f"{lane}_b"]
        others = [o for o in outer if o not in blocks]
        many = bool(blocks) and blocks[0][1].is_constant and blocks[0][1].constant >= 4
        if many and self._weight_bytes() > self.target.l2 // 4:
            return [*blocks, *others]
        symbolic = [o for o in others if not o[1].is_constant and not self.inside]
        return [*symbolic, *[o for o in others if o not in symbolic], *blocks]

    def _weight_bytes(self) -> int:
        """Bytes of the operands that move along the lanes but not with the batch."""
        total = 0
        for operand in self.first.operands:
            memory = self.memories.get(operand)
            if memory is None:
                continue
            size, batched = memory.value.type.per_sample()
            if not batched:
                total = max(total, size * memory.value.type.dtype.bytes)
        return total if self.first.reduction == "sum" else 0

    def _reduction(
        self, tile: TileShape, lane: str | None, lanes: int, mapping: dict[str, Index], inner: dict[str, Range]
    ) -> tuple[Statement, ...]:
        """The registers, filled by one sweep after another."""
        f = self.first
        assert f.reduction is not None
        reduced = lane if self.kernel.lane_reduces else None
        neutral = Const(neutral_element(f.reduction, self.dtype), self.dtype)
        shape = (tile.rows * tile.depth, tile.vectors * tile.columns, lanes if reduced else tile.lanes)
        statements: list[Statement] = [Declare(ACCUMULATOR, shape, self.dtype, neutral)]
        for sweep in self.nest.passes:
            ranges = self.ranges((*self.nest.axes, *sweep.over))
            scope = self.scope(self.nest.env | sweep.env, ranges)
            loops, conditions = reduction_loops(self.kernel, self.nest, sweep, self.tile.row, scope, self.memories)
            value = _masked(freeze(f.body, scope), [freeze_test(c, scope) for c in conditions], neutral)
            known = {n: r for n, r in ranges.items() if n not in mapping} | inner
            longest = loops[-1]
            if self.nest.run:
                loops = (*loops[:-1], longest.run(self.nest.run, known))
            if reduced:
                statements += self._along_lanes(reduced, lanes, tile, loops, value, mapping, known)
                continue
            index = tile.cell(self.dtype).index
            once = substitute((Accumulate(ACCUMULATOR, index, f.reduction, value),), mapping, known)
            body = tile.wrap(once)
            if product(f) is None and is_window(loops):
                statements += written_out(loops, body, known)
                continue
            innermost = next((loop.name for loop in reversed(loops) if dict(sweep.over)[loop.name] != 1), None)
            for loop in reversed(loops):
                start, stop = loop.start.substitute(mapping, known), loop.stop.substitute(mapping, known)
                if tile.depth > 1 and loop.name == innermost and loop.step == 1:
                    body = tile.interleaved(once, loop.name, start, stop, known)
                else:
                    body = (For(loop.name, start, stop, body, Mode.SERIAL, loop.step),)
            statements += body
        statements += tile.joined(f.reduction, self.dtype)
        if self.nest.run:
            return tile.in_runs(longest.name, longest.stop, self.nest.run, tuple(statements), self.dtype)
        return tuple(statements)

    def _along_lanes(
        self, name: str, lanes: int, tile: TileShape, loops: tuple[ReductionLoop, ...], value: Expression,
        mapping: dict[str, Index], known: dict[str, Range],
    ) -> tuple[Statement, ...]:  # fmt: skip
        """A reduction whose own axis lies along the lanes: one vector of partial results."""
        assert self.first.reduction is not None
        block, lane = variable(f"{name}_b"), variable(f"{name}_l")
        size = next(loop.stop for loop in loops if loop.name == name)
        top = UNBOUNDED if not size.is_constant else -(-size.constant // lanes) - 1
        known = known | {f"{name}_b": (0, top), f"{name}_l": (0, lanes - 1)}
        accumulate = Accumulate(ACCUMULATOR, (tile.row_index, tile.vector_index, lane), self.first.reduction, value)
        once = substitute((accumulate,), mapping | {name: block * lanes + lane}, known)
        blocks = quotient(size + (lanes - 1), lanes, known)
        whole = quotient(size, lanes, known)

        def vectors(partial: Index | None) -> tuple[Statement, ...]:
            return tile.wrap((For(f"{name}_l", constant(0), constant(lanes), once, Mode.VECTOR, 1, partial),))

        body: tuple[Statement, ...] = (For(f"{name}_b", constant(0), whole, vectors(None)),)
        if whole != blocks:
            body = (*body, For(f"{name}_b", whole, blocks, vectors(size - block * lanes)))
        for loop in reversed(loops):
            if loop.name != name:
                body = (For(loop.name, loop.start, loop.stop, body, Mode.SERIAL, loop.step),)
        return body

    def _epilogue(
        self, tile: TileShape, lanes: int, mapping: dict[str, Index], inner: dict[str, Range]
    ) -> tuple[Statement, ...]:
        """The pointwise stages on one tile, then the stores."""
        ranges = self.ranges(self.nest.axes)
        scope = self.scope(self.nest.env, ranges)
        zero = Const(0.0, self.dtype)
        body: list[Statement] = []
        for position, stage in enumerate(self.kernel.stages):
            f = stage.formula
            if position == 0 and f.reduction is not None:
                value: Expression = tile.cell(self.dtype)
                if self.kernel.lane_reduces:
                    value = Fold(f.reduction, value, lanes)
            elif position == 0 and not self.nest.passes:
                value = zero  # no element of this phase meets the divisibility conditions
            else:
                split = self.nest.phased and position == 0
                conditions = [c for c in f.conditions if not (split and c.kind == "divides")]
                value = _masked(freeze(f.body, scope), [freeze_test(c, scope) for c in conditions], zero)
            body.append(Let(stage.name, value))
        for name, memory_name in self.kernel.stores:
            memory = self.memories[memory_name]
            border = memory.layout.halo[memory.layout.order[-1]] if memory.layout.order else (0, 0)
            exact = constant(1) if border != (0, 0) else None  # padding lanes would spoil the border of zeros
            index = physical(memory.layout, self.local(memory, self.logical), ranges)
            result: Expression = Name(name, self.dtype)
            if self.nest.adds:
                result = Binary("add", Load(buffer_of(memory), index), result)
            body.append(Store(buffer_of(memory), index, result, exact))
        stages = substitute(tuple(body), mapping, inner)
        cycles = sum(operations(s.formula.body).cycles for s in self.kernel.stages if s.formula.is_pointwise)
        rows = tile.row and tile.vectors > 1 and not tile.column and self.first.reduction
        return tile.row_by_row(stages, self.dtype) if rows and cycles >= LONG else tile.wrap(stages)


def _masked(value: Expression, tests: list[Expression], otherwise: Expression) -> Expression:
    """The value where all tests hold."""
    for test in reversed(tests):
        value = Select(test, value, otherwise)
    return value


def _contiguous_loads(e: Expression, name: str) -> bool:
    """Whether some load in the expression moves by one element along a variable."""
    match e:
        case Load(_, index):
            return bool(index) and index[-1].coefficient(name) == 1 and not any(i.uses(name) for i in index[:-1])
        case Unary(_, x) | Cast(x, _):
            return _contiguous_loads(x, name)
        case Binary(_, a, b) | Compare(_, a, b):
            return _contiguous_loads(a, name) or _contiguous_loads(b, name)
        case Select(c, a, b):
            return any(_contiguous_loads(x, name) for x in (c, a, b))
        case _:
            return False
