"""Sums of an adjoint: loop-invariant factors outside, each sum computed once, the forward ones included."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.conditions import decide
from graphc.autodiff.factor import cancel, size
from graphc.autodiff.output_forms import OutputForms
from graphc.ops.formula import (
    Axis,
    Cond,
    Formula,
    Read,
    Where,
    affine,
    all_reads,
    formula,
    free_symbols,
    index_symbol,
    replace,
    size_of,
    tensor_symbol,
    value_reads,
    walk,
)
from graphc.ops.intervals import extents_of, interval
from graphc.ops.operator import Statement
from graphc.types import Batch, DType, Extent, TensorType

FEW = 16
"""Loops of at most this many iterations are tried one by one."""

Key = tuple[tuple[Extent, ...], tuple[Extent, ...], tuple[Cond, ...], Expr]


def indicator(conditions: Iterable[Cond], body: Expr) -> Expr:
    """body where all conditions hold, else zero."""
    for condition in reversed(tuple(conditions)):
        body = Where(condition, body, 0) if body != 0 else body
    return body


def _product(factors: Iterable[Expr]) -> Expr:
    return sp.Mul(*factors)


class Sums:
    """The statements made so far, and every known sum by its structure."""

    def __init__(
        self, forward: tuple[Statement, ...], forms: OutputForms, dtype: DType
    ) -> None:  # fmt: skip
        self.statements: dict[str, Statement] = {}
        self.forms, self.dtype = forms, dtype
        self.known: dict[Key, Expr] = {}
        self.pointwise: dict[Key, Expr] = {}
        for s in forward:
            f = s.formula
            if f.reduction != "sum":
                continue
            scale, variable = f.body.as_coeff_Mul()
            key, places = _key(f.axes, f.over, f.conditions, variable)
            self.known.setdefault(key, Read(tensor_symbol(s.name), *places) / scale)

    def sum(self, axes: tuple[Axis, ...], over: tuple[Axis, ...], conditions: tuple[Cond, ...], body: Expr) -> Expr:
        """Σ_{over | conditions} body as an expression over `axes` that reads the sums it needs."""
        if body == 0:
            return sp.S.Zero
        pinned = _pinned(axes, over, body)
        if pinned is not None:
            at, body = pinned
            places: dict[Expr, Expr] = {axis.symbol: place for axis, place in at.items()}
            rest = tuple(a for a in over if a not in at)
            conditions, body = tuple(replace(c, places) for c in conditions), replace(body, places)
            if not rest and any(c.kind == "divides" for c in conditions):
                # indices may be fractions: nothing may be read outside of the conditions
                return _at(self._new(formula(axes, body, conditions=conditions)), axes)
            return self.sum(axes, rest, conditions, body)
        bound = {a.symbol for a in over}
        factors = sp.Mul.make_args(body)
        invariant = _product(f for f in factors if not free_symbols(f) & bound)
        varying = _product(f for f in factors if free_symbols(f) & bound)
        used = frozenset().union(free_symbols(varying), *map(free_symbols, conditions))
        loops = tuple(a for a in over if a.symbol in used)
        invariant *= _product(size_of(a.extent) for a in over if a.symbol not in used)
        own = tuple(a for a in axes if a.symbol in used)
        if not loops and all(c.kind != "divides" for c in conditions):
            return indicator(conditions, invariant * varying)
        key, _ = _key(own, loops, conditions, varying)
        if key in self.known:
            return invariant * _at(self.known[key], own)
        rewritten = self.forms.rewrite(body, extents_of(axes, over))
        if rewritten != body:
            return self.sum(axes, over, conditions, rewritten)
        split = self._by_terms(axes, loops, varying) if not conditions else None
        if split is not None:
            return invariant * split
        nested = self._nested(own, loops, varying) if not conditions else None
        if nested is not None:
            return invariant * nested
        summand = self._contraction(own, loops, varying) if loops else varying
        f = formula(own, summand, "sum" if loops else None, loops, conditions)
        self.known[key] = self._new(f)
        return invariant * _at(self.known[key], own)

    def _by_terms(self, axes: tuple[Axis, ...], over: tuple[Axis, ...], body: Expr) -> Expr | None:
        """Σ (b + c) = Σ b + Σ c if every part is known already and the result is short."""
        if not body.is_Add:
            return None
        bound = {a.symbol for a in over}
        total = []
        for term in body.args:
            factors = sp.Mul.make_args(term)
            invariant = _product(f for f in factors if not free_symbols(f) & bound)
            varying = _product(f for f in factors if free_symbols(f) & bound)
            used = free_symbols(varying)
            loops = tuple(a for a in over if a.symbol in used)
            invariant *= _product(size_of(a.extent) for a in over if a.symbol not in used)
            if not loops:
                total.append(invariant * varying)
                continue
            own = tuple(a for a in axes if a.symbol in used)
            key, _ = _key(own, loops, (), varying)
            if key not in self.known:
                return None
            total.append(invariant * _at(self.known[key], own))
        result = cancel(sp.expand(sp.Add(*total)))
        return result if result == 0 or size(result) <= 12 else None

    def _nested(self, axes: tuple[Axis, ...], over: tuple[Axis, ...], body: Expr) -> Expr | None:
        """Σ_{d, j} a(d)·b(d)·c(j) = Σ_j c(j) · Σ_d a(d)·b(d), if the inner sum has no axis that c has not."""
        factors = sp.Mul.make_args(body)
        for a in over if len(over) > 1 else ():
            inner = [f for f in factors if a.symbol in free_symbols(f)]
            outer = [f for f in factors if a.symbol not in free_symbols(f)]
            left = frozenset().union(*map(free_symbols, inner)) - {a.symbol}
            if len(inner) > 1 and outer and left <= frozenset().union(*map(free_symbols, outer)):
                rest = tuple(b for b in over if b != a)
                return self.sum(axes, rest, (), _product(outer) * self.sum((*axes, *rest), (a,), (), _product(inner)))
        return None

    def _contraction(self, axes: tuple[Axis, ...], over: tuple[Axis, ...], body: Expr) -> Expr:
        """The body, what depends on fewer axes than the sum has loops being read from its own statement."""
        everything = (*axes, *over)
        groups: dict[frozenset[sp.Symbol], Expr] = {}
        for f in sp.Mul.make_args(body):
            symbols = free_symbols(f)
            groups[symbols] = groups.get(symbols, sp.S.One) * f
        for few in sorted(groups, key=len):
            wider = [s for s in groups if few < s and len(s) < len(everything) and not isinstance(groups[s], Read)]
            if wider and few:
                groups[wider[0]] *= groups.pop(few)
        return _product(self._stored(part, everything) for part in groups.values())

    def _stored(self, part: Expr, loops: tuple[Axis, ...]) -> Expr:
        """A factor as a read, unless it is one, needs every loop, or is not taken at the axes themselves."""
        found = value_reads(part)
        bare = all(i.is_Symbol or i.is_Integer for r in found for i in r.index)
        symbols = free_symbols(part)
        extents = {a.symbol: a for a in loops if a.symbol in symbols}
        if isinstance(part, Read) or len(extents) == len(loops) or not found or not bare:
            return part
        # in the order of the largest tensor that is read, whatever the order of the loops is
        longest = max(found, key=lambda r: len(r.index))
        own = tuple(extents[s] for s in dict.fromkeys((*longest.index, *extents)) if s in extents)
        key, _ = _key(own, (), (), part)
        if key not in self.pointwise:
            self.pointwise[key] = self._new(formula(own, part))
        return _at(self.pointwise[key], own)

    def _new(self, f: Formula) -> Expr:
        """A new statement; returns how it is read, at the places of its key."""
        name = f"t~{len(self.statements)}"
        self.statements[name] = Statement(name, f, TensorType(f.shape, self.dtype))
        return Read(tensor_symbol(name), *[_place(k) for k in range(len(f.axes))])


def _pinned(axes: tuple[Axis, ...], over: tuple[Axis, ...], body: Expr) -> tuple[dict[Axis, Expr], Expr] | None:
    """Loops of which the conditions that the body stands under allow one iteration at most, and what is left of it.

    Σ_{q<2} (h + 16·q < 16 ? a(q) : 0) with h < 16 is a(0); Σ_{k<3} (k == 0 ? 0 : (k == 1 ? a(k) : 0)) is a(1);
    Σ_n (i - n == 0 ? a(n) : 0) is a(i).
    """
    if not body.has(Where):
        return None
    extents = extents_of(axes, over)
    if isinstance(body, Where) and body.args[2] == 0 and body.args[0].kind == "eq":
        solved = _solved(body.args[0], over, extents)
        if solved is not None:
            return {solved[0]: solved[1]}, body.args[1]
    asked = frozenset().union(*(free_symbols(c) for c in walk(body) if isinstance(c, Cond) and not all_reads(c)))
    for a in over:
        if a.symbol not in asked or isinstance(a.extent, Batch) or a.extent > FEW:
            continue
        bodies = {k: decide(replace(body, {a.symbol: sp.Integer(k)}), extents) for k in range(a.extent)}
        possible = [k for k, left in bodies.items() if left != 0]
        if len(possible) <= 1:
            k = possible[0] if possible else 0
            return {a: sp.Integer(k)}, bodies[k]
    return None


def _solved(c: Cond, over: tuple[Axis, ...], extents: dict[sp.Symbol, Extent]) -> tuple[Axis, Expr] | None:
    """The one place of a loop at which two indices are equal, where that is in its range."""
    difference = c.args[1] - c.args[2]
    terms = None if all_reads(c) else affine(difference)
    if terms is None:
        return None
    for a in over:
        k = terms[0].get(a.symbol, 0)
        place = a.symbol - difference / k if abs(k) == 1 else None
        if place is not None and interval(place, extents).inside(a.extent):
            return a, place
    return None


def _place(k: int) -> sp.Symbol:
    return index_symbol(f"~a{k}")


def _key(
    axes: tuple[Axis, ...], over: tuple[Axis, ...], conditions: tuple[Cond, ...], body: Expr
) -> tuple[Key, list[sp.Symbol]]:
    """What equal sums share, and the symbols that stand for their axes in it."""
    places = [_place(k) for k in range(len(axes))]
    names: dict[Expr, Expr] = {a.symbol: p for a, p in zip(axes, places, strict=True)}
    names |= {a.symbol: index_symbol(f"~r{k}") for k, a in enumerate(over)}
    key = (
        tuple(a.extent for a in axes),
        tuple(a.extent for a in over),
        tuple(replace(c, names) for c in conditions),
        replace(body, names),
    )
    return key, places


def _at(known: Expr, axes: tuple[Axis, ...]) -> Expr:
    return replace(known, {_place(k): a.symbol for k, a in enumerate(axes)})
