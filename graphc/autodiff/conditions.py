"""Conditions in lowest terms: those that always hold are dropped, one that never holds is reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import gcd

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    DIVIDES,
    EQ,
    GE,
    LE,
    LT,
    Cond,
    FloorDiv,
    Mod,
    N,
    Random,
    Read,
    Table,
    Where,
    denominator,
    divides,
    eq,
    free_symbols,
    ge,
    replace,
    size_of,
    walk,
)
from graphc.ops.intervals import ZERO, Bound, Interval, interval, simplify_index
from graphc.types import Extent, TensorType

Extents = Mapping[sp.Symbol, Extent]

MINUS_ONE = Bound(Fraction(-1))

TAME = frozenset(
    ["sigmoid", "tanh", "erf", "erfc", "normal_cdf", "softplus", "sin", "cos",
     "atan", "floor", "rint", "maximum", "minimum", "Abs", "sign"]
)  # fmt: skip
"""Functions that are finite wherever their arguments are."""


def simplify(e: Expr, extents: Extents) -> Expr:
    """An expression without quotients and remainders that the ranges decide, or that are of a fraction."""
    if not e.args or not e.has(FloorDiv, Mod):
        return e
    whole = {}
    for node in walk(e):
        if isinstance(node, (FloorDiv, Mod)) and (d := denominator(node.args[0])) != 1:
            # a/d is whole wherever it is read: floor((a/d)/s) = floor(a/ds), (a/d) mod s = (a mod ds)/d
            scaled = node.func(d * node.args[0], d * node.args[1])
            whole[node] = scaled if isinstance(node, FloorDiv) else FloorDiv(scaled, sp.Integer(d))
    return simplify_index(replace(e, whole), extents)


def decide(e: Expr, extents: Extents) -> Expr:
    """An expression without the conditionals that the ranges of its indices decide."""
    if not e.args or isinstance(e, (Read, Cond)):
        return e
    args = [decide(a, extents) for a in e.args]
    if isinstance(e, Where) and not e.args[0].has(Read):
        left = simplify_conditions(e.args[:1], extents)
        if not left:
            return args[2] if left is None else args[1]
    return e if all(a is b for a, b in zip(args, e.args, strict=True)) else e.func(*args)


def simplify_conditions(conditions: Iterable[Cond], extents: Extents) -> tuple[Cond, ...] | None:
    """Conditions in lowest terms, without those that always hold; None if one of them never holds."""
    kept: dict[Cond, None] = {}
    for condition in conditions:
        kind, *args = condition.args
        args = [simplify(a, extents) for a in args]
        if kind == GE and not args[0].has(Read):
            simple = _simplify_ge(args[0], extents)
        elif kind == DIVIDES:
            simple = _simplify_divides(int(args[0]), args[1])
        elif kind == EQ:
            simple = _simplify_eq(args[0], args[1], extents)
        elif kind in (LT, LE) and not any(a.has(Read) for a in args):
            simple = _simplify_order(kind, args[0], args[1], extents)
        else:
            simple = Cond(kind, *args)
        if simple is False:
            return None
        if simple is not True:
            kept.setdefault(simple)
    return tuple(kept)


def _simplify_order(kind: sp.Symbol, a: Expr, b: Expr, extents: Extents) -> Cond | bool:
    """a < b or a <= b, by what the ranges of the axes tell."""
    less, more = interval(b - a, extents), interval(a - b, extents)
    strict = kind == LT
    if _positive(less) if strict else less.never_negative:
        return True
    never = more.never_negative if strict else _positive(more)
    return False if never else Cond(kind, a, b)


def _positive(i: Interval) -> bool:
    """Whether every value is > 0."""
    return i.low is not None and i.low.slope >= 0 and i.low.constant + i.low.slope > 0


def _never(i: Interval) -> bool:
    """Whether every value is < 0; values are integers."""
    return i.high is not None and (MINUS_ONE - i.high).never_negative


def _integer_terms(e: Expr) -> list[tuple[Expr, int]]:
    return [(term, int(k)) for term, k in e.as_coefficients_dict().items()]


def _simplify_ge(e: Expr, extents: Extents) -> Cond | bool:
    e = denominator(e) * e
    values = interval(e, extents)
    if values.never_negative:
        return True
    if _never(values):
        return False
    terms = _integer_terms(e)
    common = gcd(*[k for term, k in terms if term is not sp.S.One])
    # for whole numbers common·u + c >= 0 says u + floor(c / common) >= 0
    return ge(sp.Add(*[k // common * term for term, k in terms]) if common > 1 else e)


def _simplify_divides(divisor: int, e: Expr) -> Cond | bool:
    d = denominator(e)
    divisor, e = d * divisor, d * e
    terms = []
    for term, k in _integer_terms(e):
        rest = k % divisor if k > 0 or term is sp.S.One else -(-k % divisor)
        if rest:
            terms.append((term, rest))
    common = gcd(divisor, *[k for _, k in terms])
    divisor //= common
    if divisor == 1:
        return True
    terms = [(term, k // common) for term, k in terms]
    if gcd(divisor, *[k for term, k in terms if term is not sp.S.One]) != 1:
        return False  # the variable terms only reach numbers that differ from every multiple by the constant
    return divides(divisor, sp.Add(*[k * term for term, k in terms]))


def _simplify_eq(a: Expr, b: Expr, extents: Extents) -> Cond | bool:
    if a == b:
        return True
    if a.has(Read) or b.has(Read):
        return eq(a, b)
    d = int(sp.ilcm(denominator(a), denominator(b)))
    values = interval(d * (a - b), extents)
    if _never(values) or _never(interval(d * (b - a), extents)):
        return False
    return True if values == Interval(ZERO, ZERO) else eq(d * a, d * b)


# ------------------------------------------------------------------------------------- implied by a read


def drop_implied(
    conditions: tuple[Cond, ...], body: Expr, types: Mapping[str, TensorType], extents: Extents
) -> tuple[Cond, ...]:
    """Conditions e >= 0 that only fail where a factor of the body is read outside its box, and so is zero.

    They all stay where another factor might not be finite there, because 0 · inf is not zero.
    """
    if not any(c.kind == "ge" for c in conditions) or not finite(body):
        return conditions
    implied = [
        edge
        for read in vanishing_reads(body)
        for index, extent in zip(read.index, types[read.name].shape, strict=True)
        for edge in (index, size_of(extent) - 1 - index)
    ]
    return tuple(c for c in conditions if c.kind != "ge" or not _follows(c.args[1], implied, extents))


def _follows(e: Expr, edges: list[Expr], extents: Extents) -> bool:
    """Whether e >= 0 follows from edge >= 0, for one of the edges."""
    symbols = free_symbols(e)
    for edge in edges:
        if not symbols & free_symbols(edge):
            continue
        scaled = denominator(edge) * edge
        common = gcd(*[int(k) for term, k in scaled.as_coefficients_dict().items() if term is not sp.S.One] or [1])
        for candidate in dict.fromkeys((scaled, scaled / common)):
            # (edge - c) / common >= 0 rounds like the condition did, so compare up to less than one
            slack = interval(e - candidate, extents)
            if slack.low is not None and (slack.low + Bound(Fraction(common - 1, common))).never_negative:
                return True
    return False


def vanishing_reads(e: Expr) -> frozenset[Read]:
    """The reads that make an expression zero when they are zero."""
    if isinstance(e, Read):
        return frozenset({e})
    if e.is_Mul:
        return frozenset().union(*map(vanishing_reads, e.args))
    if e.is_Pow and e.exp.is_positive:
        return vanishing_reads(e.base)
    if isinstance(e, Where) or e.is_Add:
        parts = [vanishing_reads(a) for a in (e.args[1:] if isinstance(e, Where) else e.args) if a != 0]
        return frozenset.intersection(*parts) if parts else frozenset()
    return frozenset()


def finite(e: Expr) -> bool:
    """Whether an expression is finite for all finite values of its reads (overflow apart)."""
    if isinstance(e, (Read, Table, Random, Cond, FloorDiv, Mod)) or e.is_Atom or e.free_symbols == {N}:
        return True
    if e.is_Pow:
        return bool(e.exp.is_number and e.exp.is_nonnegative and e.exp.is_Integer and finite(e.base))
    if e.is_Add or e.is_Mul or isinstance(e, Where) or e.func.__name__ in TAME:
        return all(finite(a) for a in e.args)
    return False
