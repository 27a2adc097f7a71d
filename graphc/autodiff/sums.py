"""Sums of an adjoint: loop-invariant factors outside, each sum computed once, the forward ones included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from graphc.autodiff.factor import cancel, size
from graphc.autodiff.output_forms import OutputForms
from graphc.ops.formula import (
    Axis,
    Cond,
    Expr,
    Read,
    Where,
    formula,
    free_symbols,
    index_symbol,
    replace,
    size_of,
    tensor_symbol,
    value_reads,
)
from graphc.ops.intervals import extents_of
from graphc.ops.operator import Statement
from graphc.types import DType, Extent, TensorType

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
        self, forward: tuple[Statement, ...], forms: OutputForms, types: Mapping[str, TensorType], dtype: DType
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

    def sum(
        self, axes: tuple[Axis, ...], over: tuple[Axis, ...], conditions: tuple[Cond, ...], body: Expr
    ) -> Expr:
        """Σ_{over | conditions} body as an expression over `axes` that reads the sums it needs."""
        if body == 0:
            return sp.S.Zero
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
        summand = self._contraction(own, loops, varying) if loops else varying
        f = formula(own, summand, "sum" if loops else None, loops, conditions)
        self.known[key] = self._new(f.axes, f, key)
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

    def _contraction(self, axes: tuple[Axis, ...], over: tuple[Axis, ...], body: Expr) -> Expr:
        """The body with what depends on fewer axes than the sum has loops read from statements of their own."""
        groups: dict[frozenset[sp.Symbol], list[Expr]] = {}
        everything = (*axes, *over)
        for f in sp.Mul.make_args(body):
            groups.setdefault(free_symbols(f), []).append(f)
        parts = []
        for symbols, factors in groups.items():
            part = _product(factors)
            own = tuple(a for a in everything if a.symbol in symbols)
            at_axes = all(i.is_Symbol or i.is_Integer for r in value_reads(part) for i in r.index)
            if isinstance(part, Read) or len(own) == len(everything) or not value_reads(part) or not at_axes:
                parts.append(part)
                continue
            key, _ = _key(own, (), (), part)
            if key not in self.pointwise:
                self.pointwise[key] = self._new(own, formula(own, part), key)
            parts.append(_at(self.pointwise[key], own))
        return _product(parts)

    def _new(self, axes: tuple[Axis, ...], f: object, key: Key) -> Expr:
        """A new statement; returns how it is read, at the places of its key."""
        name = f"t~{len(self.statements)}"
        self.statements[name] = Statement(name, f, TensorType(tuple(a.extent for a in axes), self.dtype))  # type: ignore[arg-type]
        return Read(tensor_symbol(name), *[_place(k) for k in range(len(axes))])


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
