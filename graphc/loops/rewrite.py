"""Structural rewriting of Loop IR: one function that rebuilds a statement or expression from rewritten parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

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
    Shuffle,
    Splat,
    Unary,
)
from graphc.loops.index import Index, Range
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Bind,
    Condition,
    Declare,
    For,
    If,
    Let,
    Prefetch,
    Statement,
    Store,
    Transpose,
)

OnIndex = Callable[[Index], Index]


@dataclass(slots=True)
class Rewriter:
    """Applies `index` to every index expression and `names` to every bound name."""

    index: OnIndex = lambda i: i
    names: Mapping[str, str] = field(default_factory=dict)
    memo: dict[Expression, Expression] = field(default_factory=dict)

    def indices(self, index: tuple[Index, ...]) -> tuple[Index, ...]:
        return tuple(self.index(i) for i in index)

    def optional(self, index: Index | None) -> Index | None:
        return None if index is None else self.index(index)

    def expression(self, e: Expression) -> Expression:
        """The expression with all its indices and names rewritten."""
        found = self.memo.get(e)
        if found is None:
            found = self.memo[e] = self._expression(e)
        return found

    def _expression(self, e: Expression) -> Expression:
        go = self.expression
        match e:
            case Const() | Iota():
                return e
            case Number(index, dtype, lanes):
                return Number(self.index(index), dtype, lanes)
            case Name(name, dtype, lanes):
                return Name(self.names.get(name, name), dtype, lanes)
            case Load(buffer, index, lanes, active):
                return Load(buffer, self.indices(index), lanes, self.optional(active))
            case Cell(array, index, dtype, lanes):
                return Cell(self.names.get(array, array), self.indices(index), dtype, lanes)
            case Unary(operation, x):
                return Unary(operation, go(x))
            case Binary(operation, a, b):
                return Binary(operation, go(a), go(b))
            case Fma(a, b, c):
                return Fma(go(a), go(b), go(c))
            case Compare(operation, a, b):
                return Compare(operation, go(a), go(b))
            case Select(condition, a, b):
                return Select(go(condition), go(a), go(b))
            case Cast(x, dtype):
                return Cast(go(x), dtype)
            case Bitcast(x, dtype):
                return Bitcast(go(x), dtype)
            case Splat(x, lanes):
                return Splat(go(x), lanes)
            case Pack(items):
                return Pack(tuple(go(i) for i in items))
            case Shuffle(a, b, order):
                return Shuffle(go(a), go(b), order)
            case Extract(x, lane):
                return Extract(go(x), lane)
            case Fold(reduction, x, width):
                return Fold(reduction, go(x), width)
            case Random(key, step, place, dtype):
                return Random(go(key), go(step), go(place), dtype)

    def statements(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """Each statement rewritten."""
        return tuple(self.statement(s) for s in body)

    def statement(self, s: Statement) -> Statement:
        """The statement with all its indices and names rewritten."""
        go = self.expression
        match s:
            case For(var, start, stop, body, mode, step, active):
                inner = self.statements(body)
                return For(var, self.index(start), self.index(stop), inner, mode, step, self.optional(active))
            case If(conditions, body):
                kept = tuple(Condition(c.kind, self.index(c.index), c.divisor) for c in conditions)
                return If(kept, self.statements(body))
            case Let(name, value):
                return Let(self.names.get(name, name), go(value))
            case Bind(var, index):
                return Bind(var, self.index(index))
            case Store(buffer, index, value, active):
                return Store(buffer, self.indices(index), go(value), self.optional(active))
            case Prefetch(buffer, index):
                return Prefetch(buffer, self.indices(index))
            case Declare(array, shape, dtype, initial, lanes):
                return Declare(self.names.get(array, array), shape, dtype, go(initial), lanes)
            case Assign(array, index, value):
                return Assign(self.names.get(array, array), self.indices(index), go(value))
            case Transpose(array):
                return Transpose(self.names.get(array, array))
            case Accumulate(array, index, reduction, value):
                return Accumulate(self.names.get(array, array), self.indices(index), reduction, go(value))


class BufferRenamer(Rewriter):
    """Gives buffers, and values, other names."""

    def __init__(self, buffers: Mapping[str, str], values: Mapping[str, str] | None = None) -> None:
        super().__init__(lambda index: index.with_buffers(buffers), values or {})
        self.buffers = buffers

    def renamed(self, buffer: Buffer) -> Buffer:
        """A buffer under its new name."""
        return replace(buffer, name=self.buffers[buffer.name])

    def _expression(self, e: Expression) -> Expression:
        e = super()._expression(e)
        return replace(e, buffer=self.renamed(e.buffer)) if isinstance(e, Load) else e

    def statement(self, s: Statement) -> Statement:
        s = super().statement(s)
        return replace(s, buffer=self.renamed(s.buffer)) if isinstance(s, Store | Prefetch) else s


def substitute(
    body: tuple[Statement, ...], mapping: Mapping[str, Index], ranges: Mapping[str, Range]
) -> tuple[Statement, ...]:
    """Replace loop variables by index expressions everywhere."""
    return Rewriter(lambda i: i.substitute(mapping, ranges)).statements(body)


def bound_names(body: tuple[Statement, ...]) -> tuple[str, ...]:
    """The names that Let introduces directly in a body."""
    return tuple(s.name for s in body if isinstance(s, Let))


def let_names(body: tuple[Statement, ...]) -> Iterator[str]:
    """The names of all values bound by Let, nested bodies included."""
    for s in body:
        match s:
            case For(body=inner) | If(body=inner):
                yield from let_names(inner)
            case Let(name):
                yield name
            case _:
                pass


def all_bound_names(body: tuple[Statement, ...]) -> Iterator[str]:
    """Every name that a body binds, nested bodies included: loop variables, values, register arrays."""
    for s in body:
        match s:
            case For(var, body=inner):
                yield var
                yield from all_bound_names(inner)
            case If(_, inner):
                yield from all_bound_names(inner)
            case Let(name) | Bind(name) | Declare(name):
                yield name
            case _:
                pass
