"""Vectorisation: VECTOR loops become expressions with lanes.

**Memory accesses** that move by one element with the lane are contiguous vector accesses; those that do not move are
scalar and broadcast where a vector is needed; all others become one scalar access for each lane.
**Masks** Where the last vector is partial, an access is masked only if it could leave the buffer: padded layouts need
no masks. Reductions over lanes take the neutral element in inactive lanes.
**Legality** is not checked: a VECTOR loop is one whose iterations are independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from graphc.loops.expressions import (
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Cell,
    Compare,
    Const,
    Expression,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Name,
    Number,
    Pack,
    Random,
    Select,
    Splat,
    Unary,
    neutral_element,
)
from graphc.loops.index import UNBOUNDED, Index, Range, bounds, constant, minimum
from graphc.loops.ir import (
    Accumulate,
    Assign,
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
from graphc.loops.nearby import nearby
from graphc.loops.rewrite import Rewriter
from graphc.loops.turn import turned
from graphc.types import DType


def vectorise(function: Function) -> Function:
    """The function without VECTOR loops; register arrays lose their last axis to the lanes."""
    return Function(
        function.name,
        function.buffers,
        _serial(function.body, {"N": (1, UNBOUNDED)}, _Arrays(_folded(function.body))),
        function.scope,
    )


@dataclass(slots=True)
class _Arrays:
    """Register arrays: how many lanes each has, and which are folded over their lanes."""

    folded: frozenset[str]
    lanes: dict[str, int] = field(default_factory=dict)


def _folded(body: tuple[Statement, ...]) -> frozenset[str]:
    found: set[str] = set()

    def expression(e: Expression) -> None:
        match e:
            case Fold(_, Cell(array)):
                found.add(array)
            case Unary(_, x) | Cast(x, _):
                expression(x)
            case Binary(_, a, b) | Compare(_, a, b):
                expression(a)
                expression(b)
            case Select(c, a, b):
                for x in (c, a, b):
                    expression(x)
            case _:
                pass

    for s in body:
        match s:
            case For(body=inner) | If(body=inner):
                found |= _folded(inner)
            case Let(_, value):
                expression(value)
            case _:
                pass
    return frozenset(found)


def _serial(body: tuple[Statement, ...], ranges: dict[str, Range], arrays: _Arrays) -> tuple[Statement, ...]:
    """Statements outside VECTOR loops."""
    ranges = dict(ranges)
    result: list[Statement] = []
    scalar = _Lanes("", 1, None, ranges, arrays)
    for s in body:
        match s:
            case For(var, start, stop, inner, Mode.VECTOR, _, active):
                result += _Lanes(var, stop.constant, active, ranges, arrays).statements(inner)
            case For(var, start, stop, inner, mode, step, active):
                low, high = bounds(start, ranges)[0], bounds(stop, ranges)[1] - 1
                local = ranges | {var: (low, high)}
                if mode is Mode.UNROLL:
                    before, loop, squares = turned(s, ranges, len(arrays.lanes))
                    arrays.lanes |= squares
                    result, inner = [*result, *before], loop.body
                result.append(For(var, start, stop, _serial(inner, local, arrays), mode, step, active))
            case If(conditions, inner):
                result.append(If(conditions, _serial(inner, ranges, arrays)))
            case Bind(var, index):
                ranges[var] = bounds(index, ranges)
                result.append(s)
            case Declare(array, shape, dtype, initial):
                arrays.lanes[array] = shape[-1]
                result.append(Declare(array, shape[:-1], dtype, _widen(initial, shape[-1]), shape[-1]))
            case _:
                result += scalar.statements((s,))
    return tuple(result)


@dataclass(slots=True)
class _Lanes:
    """One VECTOR loop: its variable, its width, how many lanes are active."""

    var: str
    width: int
    active: Index | None
    ranges: Mapping[str, Range]
    arrays: _Arrays
    names: dict[str, int] = field(default_factory=dict)
    memo: dict[Expression, Expression] = field(default_factory=dict)

    def statements(self, body: tuple[Statement, ...]) -> list[Statement]:
        result: list[Statement] = []
        for s in body:
            match s:
                case Let(name, value):
                    new = self.expression(value)
                    self.names[name] = new.lanes
                    result.append(Let(name, new))
                case Accumulate(array, index, reduction, value):
                    lanes = self.arrays.lanes[array]
                    new = _widen(self.expression(value), lanes)
                    if self.active is not None and array in self.arrays.folded:
                        new = self.neutral_where_idle(new, reduction)
                    result.append(Accumulate(array, index[:-1], reduction, new))
                case Assign(array, index, value):
                    lanes = self.arrays.lanes[array]
                    result.append(Assign(array, index[:-1], _widen(self.expression(value), lanes)))
                case Store(buffer, index, value, exact):
                    result += self.store(buffer, index, self.expression(value), exact is not None)
                case If(conditions, inner):
                    result.append(If(conditions, tuple(self.statements(inner))))
                case Bind():
                    result.append(s)
                case Prefetch(buffer, index):
                    result.append(Prefetch(buffer, tuple(self.at(i, 0) for i in index)))
                case _:
                    raise AssertionError(f"{type(s).__name__} inside a vector loop")
        return result

    def at(self, index: Index, lane: int) -> Index:
        """The index in one lane."""
        return index.substitute({self.var: constant(lane)}, self.ranges)

    def moves(self, index: tuple[Index, ...]) -> bool:
        return any(i.uses(self.var) for i in index)

    def contiguous(self, index: tuple[Index, ...]) -> bool:
        """Whether neighbouring lanes are neighbours along the last physical axis."""
        if not index or self.moves(index[:-1]):
            return False
        last = index[-1]
        return (
            last.coefficient(self.var) == 1
            and not (last - self.at(last, 0)).constant
            and not (self.at(last, 0).uses(self.var))
        )

    def masked(self, buffer: Buffer, index: tuple[Index, ...]) -> Index | None:
        """The number of active lanes if the access could leave the buffer, else None."""
        if self.active is None:
            return None
        extent = buffer.shape[-1]
        last = bounds(self.at(index[-1], 0), self.ranges)[1] + self.width
        return None if isinstance(extent, int) and last <= extent else self.active

    def mask(self) -> Expression:
        """Which lanes are active."""
        assert self.active is not None
        return Compare("lt", Iota(DType.INT32, self.width), Splat(Number(self.active, DType.INT32), self.width))

    def neutral_where_idle(self, e: Expression, reduction: str) -> Expression:
        """The expression in active lanes; a product's factors are cleared rather than itself, so that it can be
        added in one instruction."""
        match e:
            case Binary("mul", a, b) if reduction == "sum":
                return Binary("mul", self.neutral_where_idle(a, reduction), self.neutral_where_idle(b, reduction))
            case _:
                assert isinstance(e.dtype, DType)
                return Select(self.mask(), e, Const(neutral_element(reduction, e.dtype), e.dtype, e.lanes))

    def store(self, buffer: Buffer, index: tuple[Index, ...], value: Expression, exact: bool) -> list[Statement]:
        if self.width == 1 or not self.moves(index):
            moved = tuple(self.at(i, 0) for i in index)
            return [Store(buffer, moved, Extract(value, 0) if value.lanes > 1 else value)]
        if self.contiguous(index):
            start = tuple(self.at(i, 0) for i in index)
            # idle lanes of a digit of the axis are places of other elements, not padding
            inner = self.active is not None and not (start[-1] + self.active).is_constant
            active = self.active if exact or inner else self.masked(buffer, index)
            return [Store(buffer, start, _widen(value, self.width), active)]
        result: list[Statement] = []
        for lane in range(self.width):
            item = Extract(value, lane) if value.lanes > 1 else value
            store = Store(buffer, tuple(self.at(i, lane) for i in index), item)
            if self.active is None:
                result.append(store)
            elif self.active.is_constant:
                if lane < self.active.constant:
                    result.append(store)
            else:
                result.append(If((Condition("ge", self.active - (lane + 1)),), (store,)))
        return result

    def expression(self, e: Expression) -> Expression:
        found = self.memo.get(e)
        if found is None:
            found = self.memo[e] = self._expression(e)
        return found

    def pair(self, a: Expression, b: Expression) -> tuple[Expression, Expression]:
        a, b = self.expression(a), self.expression(b)
        lanes = max(a.lanes, b.lanes)
        return _widen(a, lanes), _widen(b, lanes)

    def each_lane(self, e: Expression) -> Expression:
        """One scalar expression for each lane; inactive lanes repeat the last active one."""
        items: list[Expression] = []
        for lane in range(self.width):
            at = constant(lane)
            if self.active is not None:
                at = minimum(at, self.active - 1, self.ranges)
            rewriter = Rewriter(partial(Index.substitute, mapping={self.var: at}, ranges=self.ranges))
            items.append(rewriter.expression(e))
        return Pack(tuple(items))

    def number(self, e: Number) -> Expression:
        """An index as a number in each lane."""
        if not e.index.uses(self.var):
            return e
        step = e.index.coefficient(self.var)
        rest = e.index - Index(tuple((a, k) for a, k in e.index.terms if str(a) == self.var))
        if rest.uses(self.var):
            distances = [self.at(e.index, k) - self.at(e.index, 0) for k in range(self.width)]
            if not all(d.is_constant for d in distances):
                return self.each_lane(e)
            pattern = Pack(tuple(Const(d.constant, e.dtype) for d in distances))
            return Binary("add", Splat(Number(self.at(e.index, 0), e.dtype), self.width), pattern)
        lanes: Expression = Iota(e.dtype, self.width)
        if step != 1:
            lanes = Binary("mul", lanes, Const(step, e.dtype, self.width))
        return Binary("add", Splat(Number(self.at(e.index, 0), e.dtype), self.width), lanes)

    def _expression(self, e: Expression) -> Expression:
        go = self.expression
        match e:
            case Load(buffer, index):
                if not self.moves(index):
                    return e
                if self.width > 1 and self.contiguous(index):
                    start = tuple(self.at(i, 0) for i in index)
                    return Load(buffer, start, self.width, self.masked(buffer, index))
                if self.width == 1:
                    return Rewriter(lambda i: self.at(i, 0)).expression(e)
                places = tuple(tuple(self.at(i, k) for i in index) for k in range(self.width))
                return nearby(buffer, places, self.ranges) or self.each_lane(e)
            case Number():
                return self.number(e)
            case Cell(array, index, dtype):
                return Cell(array, index[:-1], dtype, self.arrays.lanes[array])
            case Fold(reduction, x, width):
                inner = go(x)
                return Fold(reduction, inner, width) if inner.lanes > 1 else inner
            case Name(name, dtype):
                return Name(name, dtype, self.names.get(name, 1))
            case Unary(operation, x):
                return Unary(operation, go(x))
            case Binary(operation, a, b):
                return Binary(operation, *self.pair(a, b))
            case Compare(operation, a, b):
                return Compare(operation, *self.pair(a, b))
            case Fma(a, b, c):
                x, y, z = go(a), go(b), go(c)
                lanes_ = max(x.lanes, y.lanes, z.lanes)
                return Fma(_widen(x, lanes_), _widen(y, lanes_), _widen(z, lanes_))
            case Select(condition, a, b):
                c, x, y = go(condition), go(a), go(b)
                lanes_ = max(c.lanes, x.lanes, y.lanes)
                return Select(_widen(c, lanes_), _widen(x, lanes_), _widen(y, lanes_))
            case Cast(x, dtype):
                return Cast(go(x), dtype)
            case Bitcast(x, dtype):
                return Bitcast(go(x), dtype)
            case Random(key, step, place, dtype):
                return Random(key, step, go(place), dtype)
            case _:
                return e


def _widen(e: Expression, lanes: int) -> Expression:
    """The expression in every lane."""
    if e.lanes == lanes:
        return e
    match e:
        case Const(value, dtype):
            return Const(value, dtype, lanes)
        case _:
            return Splat(e, lanes)
