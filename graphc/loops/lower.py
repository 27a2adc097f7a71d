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

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.loops.access import buffer_of, load, physical
from graphc.loops.freeze import Scope, freeze, freeze_condition, freeze_index, freeze_test
from graphc.loops.index import (
    UNBOUNDED,
    Element,
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
from graphc.loops.ir import (
    BOOL,
    Accumulate,
    Binary,
    Bind,
    Cell,
    Condition,
    Const,
    Declare,
    Expression,
    Fold,
    For,
    Function,
    If,
    Let,
    Mode,
    Name,
    Select,
    Statement,
    Store,
)
from graphc.loops.nests import Nest, Pass, nests
from graphc.loops.rewrite import substitute
from graphc.ops.formula import Formula, reads
from graphc.ops.structure import product
from graphc.schedule.program import Kernel, Memory
from graphc.schedule.tiling import Tile, choose_tile, depth_for, vectors_of
from graphc.target import Target
from graphc.types import Batch, DType, Extent

NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf, "prod": 1.0}
GRAIN = 16
"""Enough pieces of work to share evenly among a few threads."""


def lower(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> Function:
    """The loops of one kernel, with explicit VECTOR and UNROLL loops still in place."""
    used = dict.fromkeys((*kernel.reads, *kernel.writes))
    buffers = tuple(buffer_of(memories[name]) for name in used)
    tile = choose_tile(kernel, target)
    body: list[Statement] = []
    for nest in nests(kernel):
        body += _NestLowering(kernel, memories, target, nest, tile).lower()
    return Function(kernel.name, buffers, tuple(body), kernel.scope)


@dataclass(slots=True)
class _NestLowering:
    """One loop nest of one kernel."""

    kernel: Kernel
    memories: Mapping[str, Memory]
    target: Target
    nest: Nest
    tile: Tile

    # ------------------------------------------------------------------------------------------- scopes

    @property
    def first(self) -> Formula:
        return self.kernel.stages[0].formula

    @property
    def dtype(self) -> DType:
        return self.kernel.stages[0].value.type.dtype

    def ranges(self, axes: tuple[tuple[str, Extent], ...]) -> dict[str, Range]:
        known = {n: (0, UNBOUNDED if isinstance(e, Batch) else e - 1) for n, e in axes}
        return known | {"N": (1, UNBOUNDED)}

    def scope(self, env: dict[str, Index], ranges: dict[str, Range]) -> Scope:
        names = {s.name for s in self.kernel.stages}

        def access(operand: str, index: tuple[Index, ...]) -> Expression:
            if operand in names:
                return Name(operand, self.dtype)
            return load(self.memories[operand], index, ranges)

        def element(operand: str, index: tuple[Index, ...]) -> Element:
            memory = self.memories[operand]
            return Element(operand, physical(memory.layout, index, ranges))

        dtypes = {o: self.memories[o].value.type.dtype for o in self.kernel.reads}
        dtypes |= {s.name: s.value.type.dtype for s in self.kernel.stages}
        return Scope(self.dtype, env, ranges, access, element, dtypes)

    # ------------------------------------------------------------------------------------------- lowering

    def lower(self) -> list[Statement]:
        lane, row = self._lane(), self.tile.row
        lanes = self.target.lanes(self.dtype) if lane is not None else 1
        extents = dict(self.nest.axes)
        row_extent = extents.get(row) if row else None
        if row is None or row_extent is None:
            return self._tiled(lane, lanes, None, 1)
        rows = self.tile.rows
        if isinstance(row_extent, Batch):
            full = self._tiled(lane, lanes, row, rows)
            short = self._tiled(lane, lanes, row, 1)
            enough = Condition("ge", variable("N") - rows)
            few = Condition("ge", variable("N") * -1 + (rows - 1))
            return [If((enough,), tuple(full)), If((few,), tuple(short))]
        if row_extent < rows:
            return self._tiled(lane, lanes, None, 1)
        rest = 0 if self.tile.overlap else row_extent % rows
        if not rest:
            return self._tiled(lane, lanes, row, rows)
        full = replace(self, nest=self.nest.part(row, 0, row_extent - rest))
        last = replace(self, nest=self.nest.part(row, row_extent - rest, rest))
        return [*full._tiled(lane, lanes, row, rows), *last._tiled(lane, lanes, row, rest)]

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

    def _tiled(self, lane: str | None, lanes: int, row: str | None, rows: int) -> list[Statement]:
        kernel, axes = self.kernel, dict(self.nest.axes)
        ranges = self.ranges(self.nest.axes)
        vectors = self.tile.vectors
        if lane in axes:
            # a digit or a phase of the axis for which the tile was chosen is shorter than the axis
            whole = vectors_of(axes[lane], lanes)
            vectors = max(v for v in range(1, vectors + 1) if whole % v == 0)
        mapping: dict[str, Index] = {}
        inner: dict[str, Range] = {"N": (1, UNBOUNDED)}
        outer: list[tuple[str, Index]] = []
        active: Index | None = None
        out_lane = lane if lane in axes else None
        for name, extent in self.nest.axes:
            if name == out_lane:
                width = lanes * vectors
                position = variable(f"{name}_b") * width + variable(f"{name}_v") * lanes
                mapping[name] = position + variable(f"{name}_l")
                if isinstance(extent, Batch):
                    active = variable("N") - position
                    count = quotient(variable("N") + (width - 1), width, inner)
                    inner[f"{name}_b"] = (0, UNBOUNDED)
                else:
                    active = None if extent % lanes == 0 else constant(extent) - position
                    count = constant(-(-extent // width))
                    inner[f"{name}_b"] = (0, -(-extent // width) - 1)
                inner[f"{name}_v"], inner[f"{name}_l"] = (0, vectors - 1), (0, lanes - 1)
                outer.append((f"{name}_b", count))
            elif name == row and rows > 1:
                if isinstance(extent, Batch):
                    count = quotient(variable("N") + (rows - 1), rows, inner)
                    start = minimum(variable(f"{name}_t") * rows, variable("N") - rows, inner)
                    inner[f"{name}_t"] = (0, UNBOUNDED)
                else:
                    count = constant(-(-extent // rows))
                    inner[f"{name}_t"] = (0, -(-extent // rows) - 1)
                    start = minimum(variable(f"{name}_t") * rows, constant(extent - rows), inner)
                inner[f"{name}_u"] = (0, rows - 1)
                mapping[name] = variable(f"{name}_0") + variable(f"{name}_u")
                inner[f"{name}_0"] = (0, UNBOUNDED if isinstance(extent, Batch) else extent - rows)
                outer.append((f"{name}_t", count))
                row_start = Bind(f"{name}_0", start)
            else:
                count = variable("N") if isinstance(extent, Batch) else constant(extent)
                inner[name] = ranges[name]
                outer.append((name, count))
        if out_lane is None:
            vectors = 1
        depth = depth_for(self.kernel, self.tile, rows)
        tile = _TileShape(
            out_lane, lanes if out_lane else 1, vectors, row if rows > 1 else None, rows if row else 1, depth, active
        )
        body = self._reduction(tile, lane, lanes, mapping, inner) if self.first.reduction else []
        body += self._epilogue(tile, lane, lanes, mapping, inner)
        head: list[Statement] = [row_start] if row and rows > 1 else []
        return _outer_loops(self._order_outer(outer, out_lane), [*head, *body], bool(kernel.split))

    def _order_outer(self, outer: list[tuple[str, Index]], lane: str | None) -> list[tuple[str, Index]]:
        """Blocks of a large packed operand go outside, so that each is read from memory once."""
        blocks = [o for o in outer if lane and o[0] == f"{lane}_b"]
        others = [o for o in outer if o not in blocks]
        if blocks and blocks[0][1].is_constant and blocks[0][1].constant >= 4 and self._weight_bytes(lane) > self.target.l2 // 4:
            return [*blocks, *others]
        symbolic = [o for o in others if not o[1].is_constant]
        return [*symbolic, *[o for o in others if o[1].is_constant], *blocks]

    def _weight_bytes(self, lane: str | None) -> int:
        """Bytes of the operands that move along the lanes but not with the batch."""
        total = 0
        for operand in self.first.operands:
            memory = self.memories.get(operand)
            if memory is None or memory.role == "input":
                continue
            size, batched = memory.value.type.per_sample()
            if not batched:
                total = max(total, size * memory.value.type.dtype.bytes)
        return total if self.first.reduction == "sum" else 0

    def _reduction(
        self, tile: _TileShape, lane: str | None, lanes: int, mapping: dict[str, Index], inner: dict[str, Range]
    ) -> list[Statement]:
        f, kernel = self.first, self.kernel
        assert f.reduction is not None
        reduced_lane = lane if kernel.lane_reduces else None
        neutral = Const(NEUTRAL[f.reduction], self.dtype)
        shape = (tile.rows * tile.depth, tile.vectors, lanes if reduced_lane else tile.lanes)
        statements: list[Statement] = [Declare("acc", shape, self.dtype, neutral)]
        order = kernel.order or tuple(a.name for a in f.over)
        for sweep in self.nest.passes:
            ranges = self.ranges((*self.nest.axes, *sweep.over))
            env = self.nest.env | sweep.env
            scope = self.scope(env, ranges)
            loops, tests = self._clipped(sweep, order, scope)
            value = freeze(f.body, scope)
            masks = [freeze_test(c, scope) for c in tests]
            if masks:
                condition = masks[0]
                for m in masks[1:]:
                    condition = Binary("and", condition, m)
                value = Select(condition, value, neutral)
            u, v = tile.row_index, tile.vector_index
            lane_index = variable(f"{reduced_lane}_l") if reduced_lane else tile.lane_index
            body: tuple[Statement, ...] = (Accumulate("acc", (u, v, lane_index), f.reduction, value),)
            inner_loop = next((n for n, *_ in reversed(loops) if dict(sweep.over)[n] != 1), None)
            local, known = dict(mapping), dict(inner)
            known |= {n: r for n, r in ranges.items() if n not in known and n not in mapping}
            if reduced_lane:
                extent = dict(sweep.over)[reduced_lane]
                local[reduced_lane] = variable(f"{reduced_lane}_b") * lanes + variable(f"{reduced_lane}_l")
                top = UNBOUNDED if isinstance(extent, Batch) else -(-extent // lanes) - 1
                known |= {f"{reduced_lane}_b": (0, top), f"{reduced_lane}_l": (0, lanes - 1)}
            body = substitute(body, local, known)
            if reduced_lane:
                size = variable("N") if isinstance(extent, Batch) else constant(extent)
                rest = size - variable(f"{reduced_lane}_b") * lanes
                partial = None if size.is_constant and size.constant % lanes == 0 else rest
                body = (For(f"{reduced_lane}_l", constant(0), constant(lanes), body, Mode.VECTOR, 1, partial),)
            else:
                once = body
                body = tile.wrap(body)
            for name, start, stop, step, conditions in reversed(loops):
                start, stop = start.substitute(local, known), stop.substitute(local, known)
                if tile.depth > 1 and name == inner_loop and step == 1 and not reduced_lane:
                    body = _interleaved(tile, once, name, start, stop, known)
                elif name == reduced_lane:
                    count = quotient(stop + (lanes - 1), lanes, known)
                    body = (For(f"{name}_b", constant(0), count, body),)
                else:
                    body = (For(name, start, stop, body, Mode.SERIAL, step),)
                if conditions:
                    kept = tuple(Condition(c.kind, c.index.substitute(local, known), c.divisor) for c in conditions)
                    body = (If(kept, body),)
            statements += body
        if tile.depth > 1:
            statements += tile.wrap(
                tuple(
                    Accumulate(
                        "acc", (tile.row_index, tile.vector_index, tile.lane_index), f.reduction,
                        Cell("acc", (tile.row_index + d * tile.rows, tile.vector_index, tile.lane_index), self.dtype),
                    )
                    for d in range(1, tile.depth)
                )
            )  # fmt: skip
        return statements

    def _clipped(
        self, sweep: Pass, order: tuple[str, ...], scope: Scope
    ) -> tuple[list[tuple[str, Index, Index, int, list[Condition]]], list[object]]:
        """Loops of the reduction with conditions turned into their bounds; conditions that depend on data remain."""
        extents = dict(sweep.over)
        # loops of one iteration go outside: the innermost one is where sums are interleaved
        names = sorted((n for n in order if n in extents), key=lambda n: extents[n] != 1)
        start = {n: constant(0) for n in names}
        stop = {n: variable("N") if isinstance(extents[n], Batch) else constant(extents[n]) for n in names}
        step = dict.fromkeys(names, 1)
        if self.kernel.split in extents:
            counter = self.first.axes[0]
            start[self.kernel.split] = variable(counter.name)
            step[self.kernel.split] = int(counter.extent)  # type: ignore[arg-type]
        guards: dict[str, list[Condition]] = {n: [] for n in names}
        rest: list[object] = []
        for c in self.first.conditions:
            if self.nest.phased and c.kind == "divides":
                continue
            condition = freeze_condition(c, scope)
            inside = [n for n in names if condition is not None and condition.index.uses(n)]
            if condition is None or self.kernel.lane_reduces or (not inside and c.kind != "ge"):
                rest.append(c)
                continue
            if condition.kind == "ge" and not inside:
                rest.append(c)
                continue
            var = inside[-1]
            k = condition.index.coefficient(var)
            others = condition.index - variable(var) * k
            if condition.kind == "ge" and k and not others.uses(var):
                if k > 0:
                    bound = quotient(others * -1 + (k - 1), k, scope.ranges)
                    start[var] = maximum(start[var], bound, scope.ranges)
                else:
                    bound = quotient(others, -k, scope.ranges) + 1
                    stop[var] = minimum(stop[var], bound, scope.ranges)
            else:
                rest.append(c)
        self._skip_zeros(scope, names, extents, start, stop)
        tile_vars = {self.tile.row, self.kernel.lane}
        for n in names:
            moved = start[n].variables() | stop[n].variables()
            if moved & tile_vars:
                # bounds that differ between the rows of one tile cannot be loop bounds
                return self._unclipped(sweep, names)
        return [(n, start[n], stop[n], step[n], guards[n]) for n in names], rest

    def _skip_zeros(
        self, scope: Scope, names: list[str], extents: Mapping[str, Extent], start: dict[str, Index], stop: dict[str, Index]
    ) -> None:
        """Where a factor of every product is outside its tensor, and so zero, iterations are left out."""
        form = product(self.first)
        if form is None or self.kernel.lane_reduces:
            return
        factors = {name for name, _ in form.factors if name is not None}
        for r in reads(self.first):
            if r.name not in factors or r.name not in self.memories:
                continue
            for axis, e in enumerate(r.index):
                size = self.memories[r.name].value.type.shape[axis]
                index = freeze_index(e, scope)
                inside = [n for n in names if index.uses(n)]
                if isinstance(size, Batch) or len(inside) != 1 or index.uses(str(self.tile.row)) or index.elements():
                    continue
                var = inside[0]
                k = index.coefficient(var)
                others = index - variable(var) * k
                low, high = bounds(index, scope.ranges)
                if abs(k) != 1 or others.uses(var) or others.uses(str(self.kernel.lane)) or isinstance(extents[var], Batch):
                    continue
                first, last = (others * -1, constant(size) - others) if k > 0 else (others - (size - 1), others + 1)
                if (low < 0 and k > 0) or (high >= size and k < 0):
                    start[var] = maximum(start[var], first, scope.ranges)
                if (high >= size and k > 0) or (low < 0 and k < 0):
                    stop[var] = minimum(stop[var], last, scope.ranges)

    def _unclipped(
        self, sweep: Pass, names: list[str]
    ) -> tuple[list[tuple[str, Index, Index, int, list[Condition]]], list[object]]:
        """Full loops; all conditions become masks."""
        extents = dict(sweep.over)
        loops = []
        for n in names:
            start, step = constant(0), 1
            if n == self.kernel.split:
                counter = self.first.axes[0]
                start, step = variable(counter.name), int(counter.extent)  # type: ignore[arg-type]
            stop = variable("N") if isinstance(extents[n], Batch) else constant(extents[n])
            loops.append((n, start, stop, step, list[Condition]()))
        return loops, [c for c in self.first.conditions if not (self.nest.phased and c.kind == "divides")]

    def _epilogue(
        self, tile: _TileShape, lane: str | None, lanes: int, mapping: dict[str, Index], inner: dict[str, Range]
    ) -> list[Statement]:
        """The pointwise stages on one tile, then the stores."""
        ranges = self.ranges(self.nest.axes)
        scope = self.scope(self.nest.env, ranges)
        body: list[Statement] = []
        for position, stage in enumerate(self.kernel.stages):
            f = stage.formula
            if position == 0 and f.reduction is not None:
                cell = Cell("acc", (tile.row_index, tile.vector_index, tile.lane_index), self.dtype)
                value: Expression = cell
                if self.kernel.lane_reduces:
                    value = Fold(f.reduction, cell, lanes)
            elif position == 0 and not self.nest.passes:
                value = Const(0.0, self.dtype)  # no element of this phase meets the divisibility conditions
            else:
                value = freeze(f.body, scope)
                skip = self.nest.phased and position == 0
                tests = [freeze_test(c, scope) for c in f.conditions if not (skip and c.kind == "divides")]
                for test in tests:
                    assert test.dtype is BOOL
                    value = Select(test, value, Const(0.0, self.dtype))
            body.append(Let(stage.name, value))
        for name, memory_name in self.kernel.stores:
            memory = self.memories[memory_name]
            logical = tuple(self.nest.env.get(a.name, variable(a.name)) for a in self.first.axes)
            border = memory.layout.halo[memory.layout.order[-1]] if memory.layout.order else (0, 0)
            exact = constant(1) if border != (0, 0) else None  # padding lanes would spoil the border of zeros
            index = physical(memory.layout, logical, ranges)
            body.append(Store(buffer_of(memory), index, Name(name, self.dtype), exact))
        moved = substitute(tuple(body), mapping, inner)
        return list(tile.wrap(moved))


@dataclass(frozen=True, slots=True)
class _TileShape:
    """The loops over one register tile: rows, vectors, lanes."""

    lane: str | None
    lanes: int
    vectors: int
    row: str | None
    rows: int
    depth: int
    active: Index | None

    @property
    def row_index(self) -> Index:
        return variable(f"{self.row}_u") if self.row else constant(0)

    @property
    def vector_index(self) -> Index:
        return variable(f"{self.lane}_v") if self.lane else constant(0)

    @property
    def lane_index(self) -> Index:
        return variable(f"{self.lane}_l") if self.lane else constant(0)

    def wrap(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """The body inside the loops of the tile."""
        if self.lane:
            body = (For(f"{self.lane}_l", constant(0), constant(self.lanes), body, Mode.VECTOR, 1, self.active),)
            body = (For(f"{self.lane}_v", constant(0), constant(self.vectors), body, Mode.UNROLL),)
        if self.row:
            body = (For(f"{self.row}_u", constant(0), constant(self.rows), body, Mode.UNROLL),)
        return body


def _interleaved(
    tile: _TileShape, once: tuple[Statement, ...], name: str, start: Index, stop: Index, known: dict[str, Range]
) -> tuple[Statement, ...]:
    """A loop of the reduction that takes `depth` iterations at a time into separate sums, and one for the rest."""
    # clipping can leave nothing, with the stop before the start
    whole = quotient(maximum(stop - start, constant(0), known), tile.depth, known) * tile.depth + start
    several: list[Statement] = []
    for d in range(tile.depth):
        for s in substitute(once, {name: variable(name) + d}, known):
            assert isinstance(s, Accumulate)
            u, v, lane = s.index
            several.append(Accumulate(s.array, (u + d * tile.rows, v, lane), s.reduction, s.value))
    loops: list[Statement] = [For(name, start, whole, tile.wrap(tuple(several)), Mode.SERIAL, tile.depth)]
    if whole != stop:
        loops.append(For(name, whole, stop, tile.wrap(once)))
    return tuple(loops)


def _outer_loops(outer: list[tuple[str, Index]], body: list[Statement], split: bool) -> list[Statement]:
    """Enough of the outer loops, counted from the outside, become one parallel loop; the rest stay serial."""
    taken, pieces = 0, 1
    for position, (_, count) in enumerate(outer):
        if not count.is_constant and position > 0:
            break
        taken = position + 1
        pieces *= count.constant if count.is_constant else 1
        if pieces >= GRAIN:
            break
    parallel, serial = outer[:taken], outer[taken:]
    for name, count in reversed(serial):
        if count == constant(1):
            body = [Bind(name, constant(0)), *body]
        else:
            body = [For(name, constant(0), count, tuple(body))]
    parallel = [(n, c) for n, c in parallel if c != constant(1)]
    fixed = [Bind(n, constant(0)) for n, c in outer[:taken] if c == constant(1)]
    body = [*fixed, *body]
    if not parallel:
        return [For("once", constant(0), constant(1), tuple(body), Mode.PARALLEL)]
    if len(parallel) == 1:
        return [For(parallel[0][0], constant(0), parallel[0][1], tuple(body), Mode.PARALLEL)]
    total, binds, weight = parallel[0][1], [], 1
    for _, count in parallel[1:]:
        total = total * count.constant
    for position in range(len(parallel) - 1, 0, -1):
        name, count = parallel[position]
        digit = quotient(variable("tile"), weight, {"tile": (0, UNBOUNDED)})
        binds.append(Bind(name, remainder(digit, count.constant, {"tile": (0, UNBOUNDED)})))
        weight *= count.constant
    binds.append(Bind(parallel[0][0], quotient(variable("tile"), weight, {"tile": (0, UNBOUNDED)})))
    return [For("tile", constant(0), total, (*reversed(binds), *body), Mode.PARALLEL)]


def _contiguous_loads(e: Expression, name: str) -> bool:
    """Whether some load in the expression moves by one element along a variable."""
    from graphc.loops.ir import Cast, Compare, Load, Unary

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
