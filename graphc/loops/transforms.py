"""Constant transforms as straight-line code: each matrix is applied along its axis to one tile in registers.

    for each tile, for each vector of lanes:
      load the tile; apply one matrix after another; pointwise stages and stores for each result

Rows (or columns) of a matrix that differ only in signs share their even and odd parts: y± = e ± o.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from graphc.loops.access import buffer_of, load, physical
from graphc.loops.expressions import Binary, Const, Expression, Fma, Name, Select, Unary
from graphc.loops.freeze import Scope, freeze, freeze_test
from graphc.loops.index import UNBOUNDED, Element, Index, Range, constant, variable
from graphc.loops.ir import Bind, Condition, For, If, Let, Mode, Statement, Store
from graphc.loops.tiles import outer_loops, serial_loops
from graphc.ops.separable import Matrix, Separable, separable
from graphc.schedule.program import Kernel, Memory
from graphc.target import Target
from graphc.types import Batch, DType

Cells = dict[tuple[int, ...], Expression]
"""Values by their position along the axes of the matrices."""


def is_transform(kernel: Kernel) -> bool:
    """Whether a kernel is lowered here."""
    return separable(kernel.stages[0].formula) is not None and kernel.lane is not None and not kernel.lane_reduces


def lower_transform(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> tuple[Statement, ...]:
    """The loops of a transform; inside a chain those of one block, whose number and size are variables."""
    form = separable(kernel.stages[0].formula)
    assert form is not None
    return _Transform(kernel, memories, target, form).lower()


@dataclass(slots=True)
class _Transform:
    kernel: Kernel
    memories: Mapping[str, Memory]
    target: Target
    form: Separable
    env: dict[str, Index] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=lambda: {"N": (1, UNBOUNDED)})
    inside: dict[str, Index] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    count: int = 0

    @property
    def dtype(self) -> DType:
        return self.kernel.stages[0].value.type.dtype

    # ------------------------------------------------------------------------------------------- loops

    def lower(self) -> tuple[Statement, ...]:
        first, lane, lanes = self.kernel.stages[0].formula, self.kernel.lane, self.target.lanes(self.dtype)
        tiled = self.form.tiled
        outer: list[tuple[str, Index]] = []
        binds: list[Statement] = []
        vectors: list[tuple[str, Index]] = []
        active: Index | None = None
        for axis in first.axes:
            name, extent = axis.name, axis.extent
            if name in self.form.unrolled:
                continue
            if name == lane:
                assert isinstance(extent, int)
                blocks = -(-extent // lanes)
                position = variable(f"{name}_b") * lanes
                self.env[name] = position + variable(f"{name}_l")
                self.ranges |= {f"{name}_b": (0, blocks - 1), f"{name}_l": (0, lanes - 1)}
                active = None if extent % lanes == 0 else constant(extent) - position
                vectors.append((f"{name}_b", constant(blocks)))
                continue
            period = tiled.get(name, 1)
            tile = f"{name}_t" if name in tiled else name
            count: int | Batch = extent if isinstance(extent, Batch) else -(-extent // period)
            place, stop = self._walked(name, tile, count, binds)
            self.env[name] = variable(place) * period
            outer.append((tile, stop))
        body = (*binds, *self._vectors(vectors, str(lane), lanes, active))
        if self.kernel.chain is None:
            return (outer_loops(outer, body),)
        return serial_loops(outer, body)

    def _walked(self, name: str, tile: str, count: int | Batch, binds: list[Statement]) -> tuple[str, Index]:
        """The variable that counts an axis' tiles from the tensor's start, and where its loop stops."""
        axis = dict(self.kernel.walked).get(name)
        if self.kernel.chain is None or axis is None:
            self.ranges[tile] = (0, UNBOUNDED if isinstance(count, Batch) else count - 1)
            return tile, variable("N") if isinstance(count, Batch) else constant(count)
        walk = next(w for w in self.kernel.chain.walks if w.axis == axis)
        place = f"{tile}_at"
        binds.append(Bind(place, variable(walk.loop) * walk.block + variable(tile)))
        self.inside[place] = variable(tile)
        self.ranges[walk.loop] = (0, walk.blocks - 1 if isinstance(walk.blocks, int) else UNBOUNDED)
        self.ranges[tile] = (0, walk.block - 1)
        self.ranges[place] = (0, UNBOUNDED if isinstance(count, Batch) else count - 1)
        return place, held(walk.axis, walk.extent, walk.block)

    def _vectors(
        self, vectors: list[tuple[str, Index]], lane: str, lanes: int, active: Index | None
    ) -> tuple[Statement, ...]:
        self._compute()
        lane_loop = For(f"{lane}_l", constant(0), constant(lanes), tuple(self.statements), Mode.VECTOR, 1, active)
        body: tuple[Statement, ...] = (lane_loop,)
        return serial_loops(vectors, body)

    # ------------------------------------------------------------------------------------------- one tile

    def _compute(self) -> None:
        factors = self.form.factors
        columns = [range(len(f.matrix[0])) for f in factors]
        *leading, last = columns
        cells: Cells = {}
        for right in last:  # one column of the tile after another: few values wait in registers
            part = {(*left, right): self._let(self._read((*left, right))) for left in itertools.product(*leading)}
            for axis, factor in enumerate(factors[:-1]):
                part = self._apply(factor.matrix, axis, part)
            cells |= part
        if leading:
            rows = sorted({position[:-1] for position in cells})
            for row in rows:  # and one row of results after another
                part = {position: value for position, value in cells.items() if position[:-1] == row}
                self._finish(self._apply(factors[-1].matrix, len(leading), part))
        else:
            self._finish(self._apply(factors[-1].matrix, 0, cells))

    def _read(self, position: tuple[int, ...]) -> Expression:
        at = {f.column: constant(k) for f, k in zip(self.form.factors, position, strict=True)}
        return freeze(self.form.rest, self._scope(self.env | at, ""))

    def _apply(self, matrix: Matrix, axis: int, cells: Cells) -> Cells:
        """A matrix along one axis of a block of values."""
        result: Cells = {}
        around = sorted({(*p[:axis], *p[axis + 1 :]) for p in cells})
        for rest in around:
            inputs = [cells[(*rest[:axis], k, *rest[axis:])] for k in range(len(matrix[0]))]
            for k, value in enumerate(self._product(matrix, inputs)):
                result[(*rest[:axis], k, *rest[axis:])] = value
        return result

    def _product(self, matrix: Matrix, inputs: Sequence[Expression]) -> list[Expression]:
        """matrix · inputs, with what rows or columns have in common computed once."""
        matrix, inputs = self._paired_columns(matrix, list(inputs))
        results: dict[int, Expression] = {}
        for i, j in _pairs(matrix):
            even = [a if a == b else Fraction(0) for a, b in zip(matrix[i], matrix[j], strict=True)]
            odd = [a if a != b else Fraction(0) for a, b in zip(matrix[i], matrix[j], strict=True)]
            e, o = self._let(self._dot(even, inputs)), self._let(self._dot(odd, inputs))
            results[i], results[j] = self._let(Binary("add", e, o)), self._let(Binary("sub", e, o))
        return [
            results[i] if i in results else self._let(self._dot(row, inputs)) for i, row in enumerate(matrix)
        ]  # fmt: skip

    def _paired_columns(self, matrix: Matrix, inputs: list[Expression]) -> tuple[Matrix, list[Expression]]:
        """Inputs that occur only as sums and differences of two are replaced by these."""
        columns = [list(c) for c in zip(*matrix, strict=True)]
        for i, j in _pairs(tuple(map(tuple, columns))):
            a, b = columns[i], columns[j]
            total, difference = Binary("add", inputs[i], inputs[j]), Binary("sub", inputs[i], inputs[j])
            inputs[i], inputs[j] = self._let(total), self._let(difference)
            columns[i] = [x if x == y else Fraction(0) for x, y in zip(a, b, strict=True)]
            columns[j] = [x if x != y else Fraction(0) for x, y in zip(a, b, strict=True)]
        return tuple(zip(*columns, strict=True)), inputs

    def _dot(self, row: Sequence[Fraction], inputs: Sequence[Expression]) -> Expression:
        terms = sorted(
            ((k, x) for k, x in zip(row, inputs, strict=True) if k), key=lambda t: (t[0] != 1, abs(t[0]) != 1)
        )
        if not terms:
            return Const(0.0, self.dtype)
        (k, result), *rest = terms
        if k == -1:
            result = Unary("neg", result)
        elif k != 1:
            result = Binary("mul", Const(float(k), self.dtype), result)
        for k, x in rest:
            if abs(k) == 1:
                result = Binary("add" if k == 1 else "sub", result, x)
            else:
                result = Fma(Const(float(k), self.dtype), x, result)
        return result

    # ------------------------------------------------------------------------------------------- results

    def _finish(self, cells: Cells) -> None:
        """The pointwise stages and the stores of some results."""
        first = self.kernel.stages[0].formula
        extents = {a.name: a.extent for a in first.axes}
        for position, value in cells.items():
            env, conditions = dict(self.env), []
            for factor, k in zip(self.form.factors, position, strict=True):
                if not factor.period:
                    env[factor.row] = constant(k)
                    continue
                env[factor.row] = self.env[factor.row] + k
                extent = extents[factor.row]
                assert isinstance(extent, int)
                if k >= (extent - 1) % factor.period + 1:
                    conditions.append(Condition("ge", constant(extent - 1) - env[factor.row]))
            body = self._stages(env, "_".join(map(str, position)), value)
            self.statements += [If(tuple(conditions), body)] if conditions else body

    def _stages(self, env: dict[str, Index], suffix: str, value: Expression) -> tuple[Statement, ...]:
        scope = self._scope(env, suffix)
        body: list[Statement] = []
        for position, stage in enumerate(self.kernel.stages):
            if position:
                value = freeze(stage.formula.body, scope)
                for condition in reversed(stage.formula.conditions):
                    value = Select(freeze_test(condition, scope), value, Const(0.0, self.dtype))
            body.append(Let(f"{stage.name}_{suffix}", value))
        for name, memory_name in self.kernel.stores:
            memory = self.memories[memory_name]
            layout = memory.layout
            logical = tuple(env.get(a.name, variable(a.name)) for a in self.kernel.axes)
            exact = constant(1) if layout.halo[layout.order[-1]] != (0, 0) else None
            index = physical(layout, self._local(memory, logical), self.ranges)
            body.append(Store(buffer_of(memory), index, Name(f"{name}_{suffix}", self.dtype), exact))
        return tuple(body)

    def _scope(self, env: Mapping[str, Index], suffix: str) -> Scope:
        names = {s.name for s in self.kernel.stages}

        def access(operand: str, index: tuple[Index, ...]) -> Expression:
            if operand in names:
                return Name(f"{operand}_{suffix}", self.dtype)
            memory = self.memories[operand]
            return load(memory, self._local(memory, index), self.ranges)

        def element(operand: str, index: tuple[Index, ...]) -> Element:
            return Element(operand, physical(self.memories[operand].layout, index, self.ranges))

        dtypes = {o: self.memories[o].value.type.dtype for o in self.kernel.reads}
        dtypes |= {s.name: s.value.type.dtype for s in self.kernel.stages}
        return Scope(self.dtype, env, self.ranges, access, element, dtypes)

    def _local(self, memory: Memory, index: tuple[Index, ...]) -> tuple[Index, ...]:
        """Scratch holds one block: its indices count from the block's start."""
        if memory.role != "scratch":
            return index
        return tuple(i.substitute(self.inside, self.ranges) for i in index)

    def _let(self, value: Expression) -> Expression:
        """The value under a name, unless it has one."""
        if isinstance(value, Name | Const):
            return value
        name = f"w{self.count}"
        self.count += 1
        self.statements.append(Let(name, value))
        return Name(name, self.dtype)


def held(axis: str, extent: int | Batch, block: int) -> Index:
    """How many values of a walked axis the block at hand holds: a variable where the last block can be shorter."""
    whole = block == 1 or (isinstance(extent, int) and extent % block == 0)
    return constant(block) if whole else variable(f"{axis}_held")


def _pairs(rows: Matrix) -> list[tuple[int, int]]:
    """Disjoint pairs of rows that differ only in signs, in some elements and not in all."""
    found: list[tuple[int, int]] = []
    taken: set[int] = set()
    for i, j in itertools.combinations(range(len(rows)), 2):
        if taken & {i, j} or any(abs(a) != abs(b) for a, b in zip(rows[i], rows[j], strict=True)):
            continue
        same = sum(a == b != 0 for a, b in zip(rows[i], rows[j], strict=True))
        opposite = sum(a == -b != 0 for a, b in zip(rows[i], rows[j], strict=True))
        if same and opposite:
            found.append((i, j))
            taken |= {i, j}
    return found
