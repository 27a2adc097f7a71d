"""What later stages may know about a formula: the structure of its equation, as plain data without sympy."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Axis,
    FloorDiv,
    Formula,
    Mod,
    Read,
    affine,
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


@lru_cache(maxsize=16384)
def reach(f: Formula) -> tuple[tuple[str, tuple[Interval | None, ...]], ...]:
    """For every read, the smallest and largest index that it takes on each axis of its tensor.

    An axis that follows the batch is reported as (0, 0) plus its offset: it is compared with extent 1. None where
    the index depends on data.
    """
    extents = {a.symbol: a.extent for a in (*f.axes, *f.over) if isinstance(a.extent, int)}
    batched = {a.symbol for a in (*f.axes, *f.over) if not isinstance(a.extent, int)}

    def interval(e: Expr) -> tuple[sp.Rational, sp.Rational] | None:
        if isinstance(e, (FloorDiv, Mod)):
            inner, divisor = interval(e.args[0]), e.args[1]
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
            elif term in batched:
                a = b = sp.S.Zero
            elif term in extents:
                a, b = sp.S.Zero, sp.Integer(extents[term] - 1)
            elif isinstance(term, (FloorDiv, Mod)):
                inner = interval(term)
                if inner is None:
                    return None
                a, b = inner
            else:
                return None
            low += min(k * a, k * b)
            high += max(k * a, k * b)
        return low, high

    def rounded(e: Expr) -> Interval | None:
        found = interval(e)
        return None if found is None else (int(sp.ceiling(found[0])), int(sp.floor(found[1])))

    return tuple((r.name, tuple(rounded(i) for i in r.index)) for r in reads(f))


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
def gather_limits(f: Formula) -> tuple[tuple[str, str, int], ...]:
    """(integer operand, tensor, axis) for every read of a tensor at an index that is itself read."""
    found = []
    for r in reads(f):
        for axis, index in enumerate(r.index):
            found += [(inner.name, r.name, axis) for inner in [index] if isinstance(inner, Read)]
    return tuple(dict.fromkeys(found))
