"""What later stages may know about a formula: the structure of its equation, as plain data without sympy."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Axis,
    Cond,
    FloorDiv,
    Formula,
    Mod,
    Read,
    Where,
    affine,
    all_reads,
    formula,
    free_symbols,
    index_symbol,
    reads,
    tensor_symbol,
    walk,
)
from graphc.types import Extent


@dataclass(frozen=True, slots=True)
class Access:
    """One read: for each axis of the tensor the axes that move it, the axis that it follows alone, if any, and those
    that move it by how much: 1/2 where two neighbours read the same element."""

    operand: str
    moves: tuple[frozenset[str], ...]
    bare: tuple[str | None, ...]
    steps: tuple[tuple[tuple[str, Fraction], ...], ...]

    @property
    def axes(self) -> frozenset[str]:
        """All axes that occur in the index."""
        return frozenset().union(*self.moves)


@lru_cache(maxsize=16384)
def accesses(f: Formula) -> tuple[Access, ...]:
    """Every distinct read of a formula, conditions included."""
    found = []
    for r in reads(f):
        moves = tuple(frozenset(s.name for s in free_symbols(i) if s.name != "N") for i in r.index)
        bare = tuple(i.name if i.is_Symbol and i.name != "N" else None for i in r.index)
        found.append(Access(r.name, moves, bare, tuple(map(_steps, r.index))))
    return tuple(found)


def _steps(index: Expr) -> tuple[tuple[str, Fraction], ...]:
    """How far each axis moves an index, where that is nearly the same everywhere."""
    found = []
    for term, k in index.as_coefficients_dict().items():
        divisor = term.args[1] if isinstance(term, FloorDiv) else sp.S.One
        axis = term.args[0] if isinstance(term, FloorDiv) else term
        if axis.is_Symbol and axis.name != "N":
            step = k / divisor
            found.append((axis.name, Fraction(int(step.p), int(step.q))))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Product:
    """A sum of products: the axes on which each factor depends, and whether it is a single read."""

    factors: tuple[tuple[str | None, frozenset[str]], ...]


@lru_cache(maxsize=16384)
def product(f: Formula) -> Product | None:
    """The factors of a sum of products of at least two reads, or None for other formulas."""
    if f.reduction != "sum":
        return None
    factors: list[tuple[str | None, frozenset[str]]] = []
    for factor in sp.Mul.make_args(f.body):
        base, power = factor.as_base_exp()
        times = int(power) if power.is_Integer and power > 0 else 1
        names = _axes(factor)
        if isinstance(base, Read) and power.is_Integer and power > 0:
            factors += [(base.name, names)] * times
        elif names:
            factors.append((None, names))
    return Product(tuple(factors)) if len(factors) >= 2 else None


def _axes(e: Expr) -> frozenset[str]:
    return frozenset(s.name for s in free_symbols(e) if s.name != "N")


def reads_identity(f: Formula, operand: str) -> bool:
    """Whether every read of the operand is at the formula's own axes, in order."""
    own = tuple(a.symbol for a in f.axes)
    mine = [r for r in reads(f) if r.name == operand]
    return bool(mine) and all(r.index == own for r in mine)


def identity(operand: str, shape: tuple[Extent, ...]) -> Formula:
    """out[i0, ...] = operand[i0, ...]"""
    axes = tuple(Axis(index_symbol(f"i{k}"), e) for k, e in enumerate(shape))
    return formula(axes, Read(tensor_symbol(operand), *[a.symbol for a in axes]))


@lru_cache(maxsize=16384)
def radices(f: Formula) -> dict[str, tuple[int, ...]]:
    """For axes that are taken apart by // and %, the divisors in increasing order."""
    found: dict[str, set[int]] = {}
    for e in (f.body, *f.conditions):
        for node in walk(e):
            if isinstance(node, (FloorDiv, Mod)):
                for name, divisor in _digits(node):
                    found.setdefault(name, set()).add(divisor)
    return {name: tuple(sorted(d for d in ds if d > 1)) for name, ds in found.items()}


def _digits(node: Expr) -> list[tuple[str, int]]:
    """Where floor(axis / d) or axis mod d, possibly nested, would split a bare axis."""
    divisor, inner, scale = int(node.args[1]), node.args[0], 1
    while isinstance(inner, FloorDiv):
        scale *= int(inner.args[1])
        inner = inner.args[0]
    while isinstance(inner, Mod):
        inner = inner.args[0]
    if inner.is_Symbol and inner.name != "N":
        return [(inner.name, divisor * scale)] + ([(inner.name, scale)] if scale > 1 else [])
    return []


@dataclass(frozen=True, slots=True)
class Divisibility:
    """divisor | Σ coefficient·axis + constant"""

    divisor: int
    coefficients: tuple[tuple[str, int], ...]
    constant: int


def divisibilities(f: Formula) -> tuple[Divisibility, ...] | None:
    """The divisibility conditions of a formula; None if one of them is not affine with integer constants."""
    found = []
    for c in f.conditions:
        if c.kind != "divides":
            continue
        form = affine(c.args[2])
        if form is None or not all(k.is_Integer for k in form[0].values()) or not form[1].is_Integer:
            return None
        terms = tuple((s.name, int(k)) for s, k in form[0].items())
        found.append(Divisibility(int(c.args[1]), terms, int(form[1])))
    return tuple(found)


Interval = tuple[int, int]


Ranges = dict[Expr, Interval]
"""The smallest and largest value of each axis symbol."""


@lru_cache(maxsize=16384)
def reach(f: Formula, cut: frozenset[str] = frozenset()) -> tuple[tuple[str, tuple[Interval | None, ...]], ...]:
    """For every read, the smallest and largest index that it takes on each axis of its tensor.

    An axis that follows the batch is reported as (0, 0) plus its offset: it is compared with extent 1. None where
    the index depends on data. Where loops are `cut` at the thresholds of conditions on an axis, a read under such a
    condition reaches only so far.
    """
    everything = (*f.axes, *f.over)
    whole: Ranges = {a.symbol: (0, a.extent - 1 if isinstance(a.extent, int) else 0) for a in everything}
    found: dict[Read, tuple[Interval | None, ...]] = {}
    for read, ranges in (*_placed(f.body, whole, cut), *((r, whole) for c in f.conditions for r in all_reads(c))):
        here = tuple(_rounded(i, ranges) for i in read.index)
        found[read] = _union(found.get(read, here), here)
    nowhere: tuple[Interval | None, ...]
    result = []
    for r in reads(f):
        nowhere = tuple((0, 0) for _ in r.index)
        result.append((r.name, found.get(r, nowhere)))
    return tuple(result)


def _placed(e: Expr, ranges: Ranges, cut: frozenset[str]) -> Iterator[tuple[Read, Ranges]]:
    """Every read of an expression with the ranges of the axes where it stands; none where it never does."""
    if isinstance(e, Where) and cut:
        condition, a, b = e.args
        yield from ((r, ranges) for r in all_reads(condition))
        for branch, inside in ((a, _where(condition, ranges, cut, True)), (b, _where(condition, ranges, cut, False))):
            if all(low <= high for low, high in inside.values()):
                yield from _placed(branch, inside, cut)
        return
    if isinstance(e, Read) or not cut:
        yield from ((r, ranges) for r in all_reads(e))
        return
    for a in e.args:
        yield from _placed(a, ranges, cut)


def _where(condition: Expr, ranges: Ranges, cut: frozenset[str], holds: bool) -> Ranges:
    """The ranges where a condition holds or fails; unchanged unless it compares one axis that is cut with a number."""
    for symbol, threshold, below in threshold_of(condition, cut):
        low, high = ranges[symbol]
        inside = (low, min(high, threshold - 1)) if below == holds else (max(low, threshold), high)
        return ranges | {symbol: inside}
    return ranges


def threshold_of(condition: Expr, axes: Container[str]) -> Iterator[tuple[Expr, int, bool]]:
    """(axis, t, True) for a condition that says axis < t, (axis, t, False) for axis >= t."""
    match condition.kind:
        case "lt":
            margin = condition.args[2] - condition.args[1] - 1
        case "le":
            margin = condition.args[2] - condition.args[1]
        case "ge":
            margin = condition.args[1]
        case _:
            return
    form = affine(margin)
    if form is None or len(form[0]) != 1 or not form[1].is_Integer:
        return
    ((symbol, k),) = form[0].items()
    if symbol.name in axes and abs(k) == 1:
        yield symbol, int(form[1]) + 1 if k < 0 else -int(form[1]), k < 0


def thresholds(f: Formula) -> dict[str, frozenset[int]]:
    """Where conditions on single axes of the result change, for each axis that has such conditions."""
    names = {a.name for a in f.axes if isinstance(a.extent, int)}
    found: dict[str, set[int]] = {}
    for node in walk(f.body):
        if isinstance(node, Cond):
            for symbol, t, _ in threshold_of(node, names):
                found.setdefault(str(symbol.name), set()).add(t)
    return {name: frozenset(ts) for name, ts in found.items()}


def _union(a: tuple[Interval | None, ...], b: tuple[Interval | None, ...]) -> tuple[Interval | None, ...]:
    """The intervals that cover both."""
    return tuple(
        None if x is None or y is None else (min(x[0], y[0]), max(x[1], y[1])) for x, y in zip(a, b, strict=True)
    )


def _rounded(e: Expr, ranges: Ranges) -> Interval | None:
    found = _interval(e, ranges)
    return None if found is None else (int(sp.ceiling(found[0])), int(sp.floor(found[1])))


def _interval(e: Expr, ranges: Ranges) -> tuple[sp.Rational, sp.Rational] | None:
    """The smallest and largest value of an index."""
    if isinstance(e, (FloorDiv, Mod)):
        inner, divisor = _interval(e.args[0], ranges), e.args[1]
        if inner is None:
            return None
        if isinstance(e, FloorDiv):
            return inner[0] // divisor, inner[1] // divisor
        same = inner[0] // divisor == inner[1] // divisor
        return (inner[0] % divisor, inner[1] % divisor) if same else (sp.S.Zero, divisor - 1)
    low = high = sp.S.Zero
    for term, k in e.as_coefficients_dict().items():
        if term is sp.S.One:
            a = b = sp.S.One
        elif term in ranges:
            a, b = map(sp.Integer, ranges[term])
        elif isinstance(term, (FloorDiv, Mod)):
            inner = _interval(term, ranges)
            if inner is None:
                return None
            a, b = inner
        else:
            return None
        low += min(k * a, k * b)
        high += max(k * a, k * b)
    return low, high


def partial_sum(f: Formula, part: str, parts: int) -> tuple[Formula, Formula]:
    """A sum as `parts` partial sums, numbered by a new first axis, and the formula that totals them.

    Which terms belong to which part is left to the loops; together the parts hold every term once.
    """
    taken = {a.name for a in (*f.axes, *f.over)}
    name = next(n for n in ("p", *(f"p{k}" for k in range(len(taken) + 1))) if n not in taken)
    counter = Axis(index_symbol(name), parts)
    partial = formula((counter, *f.axes), f.body, "sum", f.over, f.conditions, f.operands)
    whole = Read(tensor_symbol(part), counter.symbol, *[a.symbol for a in f.axes])
    return partial, formula(f.axes, whole, "sum", (counter,))


@lru_cache(maxsize=16384)
def gather_limits(f: Formula) -> tuple[tuple[str, str, int, frozenset[int]], ...]:
    """(integer operand, tensor, axis, marks) for every read of a tensor at an index that is itself read.

    Marks are numbers that the index may be although the tensor has no such element: `Where(index == mark, a, b)` does
    not use what b reads there.
    """
    found: dict[tuple[str, str, int], frozenset[int]] = {}

    def visit(e: Expr, marks: dict[Expr, frozenset[int]]) -> None:
        if not any(isinstance(index, Read) for r in all_reads(e) for index in r.index):
            return
        if isinstance(e, Read):
            for axis, index in enumerate(e.index):
                if isinstance(index, Read):
                    key, allowed = (index.name, e.name, axis), marks.get(index, frozenset())
                    found[key] = found.get(key, allowed) & allowed
        if isinstance(e, Where) and (marked := _marked(e.args[0])):
            index, mark = marked
            visit(e.args[0], marks)
            visit(e.args[1], marks)
            visit(e.args[2], marks | {index: marks.get(index, frozenset()) | {mark}})
            return
        for a in e.args:
            visit(a, marks)

    for e in (f.body, *f.conditions):
        visit(e, {})
    return tuple((*key, marks) for key, marks in found.items())


def _marked(condition: Cond) -> tuple[Read, int] | None:
    """(read, number) of the condition read == number."""
    if condition.kind != "eq":
        return None
    a, b = sorted(condition.args[1:], key=lambda e: not isinstance(e, Read))
    return (a, int(b)) if isinstance(a, Read) and b.is_Integer else None
