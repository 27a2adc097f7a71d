"""Interval analysis of index expressions, with the batch extent N known only to be at least one.

Bound     constant + slope · N
Interval  low <= expression <= high, either side unknown as None
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import NamedTuple

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import Axis, FloorDiv, Mod, N, Random, Read, Table, denominator, replace, walk
from graphc.types import BATCH, Batch, Extent


class Bound(NamedTuple):
    """constant + slope · N"""

    constant: Fraction
    slope: Fraction = Fraction(0)

    def __add__(self, other: Bound) -> Bound:  # type: ignore[override]
        return Bound(self.constant + other.constant, self.slope + other.slope)

    def __sub__(self, other: Bound) -> Bound:
        return Bound(self.constant - other.constant, self.slope - other.slope)

    def scaled(self, k: Fraction) -> Bound:
        """k · bound"""
        return Bound(self.constant * k, self.slope * k)

    @property
    def never_negative(self) -> bool:
        """Whether constant + slope · N >= 0 for every N >= 1."""
        return self.slope >= 0 and self.constant + self.slope >= 0


class Interval(NamedTuple):
    """Smallest and largest value of an expression, None where nothing is known."""

    low: Bound | None
    high: Bound | None

    @property
    def never_negative(self) -> bool:
        """Whether every value is >= 0."""
        return self.low is not None and self.low.never_negative

    def below(self, extent: Extent) -> bool:
        """Whether every value is < extent; values are integers."""
        return self.high is not None and (last(extent) - self.high).never_negative

    def inside(self, extent: Extent) -> bool:
        """Whether every value is in 0 .. extent - 1."""
        return self.never_negative and self.below(extent)


UNKNOWN = Interval(None, None)
ZERO = Bound(Fraction(0))


def last(extent: Extent) -> Bound:
    """extent - 1"""
    return Bound(Fraction(-1), Fraction(1)) if isinstance(extent, Batch) else Bound(Fraction(extent - 1))


def interval(e: Expr, extents: Mapping[sp.Symbol, Extent]) -> Interval:
    """The interval of an index expression whose axes run over `extents`."""
    low: Bound | None = ZERO
    high: Bound | None = ZERO
    for atom, factor in e.as_coefficients_dict().items():
        k = Fraction(int(factor.p), int(factor.q)) if factor.is_Rational else None
        a, b = _atom_interval(atom, extents) if k is not None else UNKNOWN
        if k is not None and k < 0:
            a, b = b, a
        low = low + a.scaled(k) if low is not None and a is not None and k is not None else None
        high = high + b.scaled(k) if high is not None and b is not None and k is not None else None
    return Interval(low, high)


def _atom_interval(atom: Expr, extents: Mapping[sp.Symbol, Extent]) -> Interval:
    if atom is sp.S.One:
        return Interval(Bound(Fraction(1)), Bound(Fraction(1)))
    if atom is N:
        return Interval(Bound(Fraction(0), Fraction(1)), Bound(Fraction(0), Fraction(1)))
    if atom in extents:
        return Interval(ZERO, last(extents[atom]))
    if isinstance(atom, FloorDiv) and atom.args[1].is_Integer:
        d = int(atom.args[1])
        of = interval(atom.args[0], extents)
        return Interval(_floor(of.low, d, d - 1), _floor(of.high, d, 0))
    if isinstance(atom, Mod):
        of, divisor = interval(atom.args[0], extents), atom.args[1]
        if divisor.is_Integer:
            return of if of.inside(int(divisor)) else Interval(ZERO, last(int(divisor)))
        if divisor is N:
            return of if of.inside(BATCH) else Interval(ZERO, last(BATCH))
    return UNKNOWN


def _floor(b: Bound | None, d: int, slack: int) -> Bound | None:
    """A bound of (constant + slope · N) // d; where d does not divide the slope, off by at most one."""
    if b is None:
        return None
    if b.slope % d == 0:
        return Bound(Fraction(b.constant // d), b.slope / d)
    return Bound((b.constant - slack) / d, b.slope / d)


# ---------------------------------------------------------------------------------------- simplification


def extents_of(*axes: tuple[Axis, ...]) -> dict[sp.Symbol, Extent]:
    """The extent of each axis symbol."""
    return {a.symbol: a.extent for group in axes for a in group}


def simplify_index(e: Expr, extents: Mapping[sp.Symbol, Extent]) -> Expr:
    """The same index with quotients and remainders folded where the ranges of the axes allow it."""
    return _simplify(e, tuple(extents.items()))


@lru_cache(maxsize=65536)
def _simplify(e: Expr, items: tuple[tuple[sp.Symbol, Extent], ...]) -> Expr:
    extents = dict(items)
    if isinstance(e, (Read, Table)):
        return e.func(e.args[0], *[_simplify(i, items) for i in e.index])
    if isinstance(e, (FloorDiv, Mod)):
        of, divisor = _simplify(e.args[0], items), e.args[1]
        if not divisor.is_Integer or denominator(of) != 1:
            return e.func(of, divisor)
        d = int(divisor)
        return _quotient(of, d, extents) if isinstance(e, FloorDiv) else _remainder(of, d, extents)
    if not e.args:
        return e
    return _join_digits(e.func(*[_simplify(a, items) for a in e.args]))


def _split(e: Expr, d: int) -> tuple[Expr, Expr]:
    """e = d · first + second, whole multiples of d in the first."""
    whole, rest = [], []
    for atom, k in e.as_coefficients_dict().items():
        if atom is sp.S.One:
            whole.append(k // d)
            rest.append(k % d)
        else:
            (whole if k % d == 0 else rest).append((k / d if k % d == 0 else k) * atom)
    return sp.Add(*whole), sp.Add(*rest)


def _quotient(e: Expr, d: int, extents: Mapping[sp.Symbol, Extent]) -> Expr:
    """e // d"""
    if d == 1:
        return e
    whole, rest = _split(e, d)
    bounds = interval(rest, extents)
    if bounds.inside(d):
        return whole
    terms = rest.as_coefficients_dict()
    constant = terms.pop(sp.S.One, sp.S.Zero)
    common = gcd(d, *[int(k) for k in terms.values()])
    if common > 1:
        # (g·z + c) // (g·d') = (z + c // g) // d'
        reduced = sp.Add(*[k / common * a for a, k in terms.items()], constant // common)
        return whole + _quotient(reduced, d // common, extents)
    # digits below g do not matter: (g·z + t) // (g·d') = z // d' for 0 <= t < g
    for g in sorted({gcd(int(k), d) for k in terms.values()} - {1}, reverse=True):
        high = sp.Add(*[k * a for a, k in terms.items() if int(k) % g == 0])
        low = sp.Add(*[k * a for a, k in terms.items() if int(k) % g], constant)
        if interval(low, extents).inside(g):
            return whole + _quotient(sp.expand(high / g), d // g, extents)
    if len(terms) == 1:
        (atom, k), *_ = terms.items()
        if isinstance(atom, FloorDiv) and k == 1:
            # (x // a + c) // d = (x + a·c) // (a·d)
            x, a = atom.args
            return whole + _quotient(x + a * constant, int(a) * d, extents)
        if isinstance(atom, Mod) and k == 1 and constant == 0 and atom.args[1] % d == 0:
            # (x mod a) // d = (x // d) mod (a / d)
            x, a = atom.args
            return whole + _remainder(_quotient(x, d, extents), int(a) // d, extents)
    return whole + FloorDiv(rest, d)


def _remainder(e: Expr, d: int, extents: Mapping[sp.Symbol, Extent]) -> Expr:
    """e mod d"""
    if d == 1:
        return sp.S.Zero
    _, rest = _split(e, d)
    bare = sp.S.Zero
    for atom, k in rest.as_coefficients_dict().items():
        # k·(x mod a) = k·x modulo d, when d divides k·a
        inner = isinstance(atom, Mod) and atom.args[1].is_Integer and (k * atom.args[1]) % d == 0
        bare += k * (atom.args[0] if inner else atom)
    if bare != rest:
        return _remainder(bare, d, extents)
    return rest if interval(rest, extents).inside(d) else Mod(rest, d)


def _join_digits(e: Expr) -> Expr:
    """m·(x // dm) + (x // d) mod m = x // d, and m·((x // m) mod p) + x mod m = x mod mp."""
    terms = e.as_coefficients_dict()
    for low, b in terms.items():
        if not isinstance(low, Mod) or not low.args[1].is_Integer:
            continue
        y, m = low.args
        x, d = (y.args[0], y.args[1]) if isinstance(y, FloorDiv) else (y, sp.S.One)
        above = {FloorDiv(x, d * m): y}
        for high in terms:
            if isinstance(high, Mod) and high.args[0] == FloorDiv(x, d * m):
                above[high] = Mod(y, m * high.args[1])
        for high, joined in above.items():
            a = terms.get(high, sp.S.Zero)
            if a != 0 and a == b * m:
                return _join_digits(e - a * high - b * low + b * joined)
    return e


def simplify_reads(e: Expr, extents: Mapping[sp.Symbol, Extent]) -> Expr:
    """A scalar expression with the indices of all its reads and tables simplified."""
    mapping = {}
    for read in (node for node in walk(e) if isinstance(node, (Random, Read, Table))):
        new = simplify_index(read, extents)
        if new != read:
            mapping[read] = new
    return replace(e, mapping)
