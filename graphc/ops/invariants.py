"""Invariants of a formula: what it computes from few of its axes alone.

Y[n,c,y,x] = (X[n,c,y,x] - s[c]/M)·W[c]/√(q[c]/M + ε)   is   (X[n,c,y,x] - t[c])·t2[c]
with                                                         t[c] = s[c]/M,  t2[c] = W[c]/√(q[c]/M + ε)

Sums are not regrouped: terms that nearly cancel keep meeting first.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Cond,
    FloorDiv,
    Formula,
    Mod,
    N,
    Read,
    all_reads,
    formula,
    free_symbols,
    tensor_symbol,
)
from graphc.types import Batch

WORTH = 256
"""A value is stored if it is used at least as many times."""
TYPICAL_BATCH = 64


def invariants(f: Formula, usable: Container[str]) -> tuple[Formula, tuple[tuple[str, Formula], ...]]:
    """The formula reading its invariants from operands of their own, and these by name; only `usable` are read."""
    found = _Invariants(f, usable)
    body = found.visit(f.body)
    if not found.formulas:
        return f, ()
    names = {g: name for name, g in found.formulas.items()}
    return formula(f.axes, body, f.reduction, f.over, f.conditions), tuple((names[g], g) for g in names)


@dataclass(slots=True)
class _Invariants:
    f: Formula
    usable: Container[str]
    formulas: dict[str, Formula] = field(default_factory=dict)

    def visit(self, e: Expr) -> Expr:
        """The expression with its invariants replaced by reads."""
        if not e.args or isinstance(e, (Read, Cond, FloorDiv, Mod)):
            return e
        if self._worthwhile(e):
            return self._read(e)
        if e.is_Mul:
            few = [a for a in e.args if a != -1 and (not free_symbols(a) - {N} or self._few(a))]
            together = sp.Mul(*few)
            if self._worthwhile(together):
                return sp.Mul(self._read(together), *[self.visit(a) for a in e.args if a not in few])
        args = [self.visit(a) for a in e.args]
        return e if all(a is b for a, b in zip(args, e.args, strict=True)) else e.func(*args)

    def _few(self, e: Expr) -> bool:
        """Whether the loops run much more often than an expression has values."""
        symbols = free_symbols(e) - {N}
        loops = {a.symbol: a.extent for a in (*self.f.axes, *self.f.over)}
        repeats = 1
        for symbol, extent in loops.items():
            if symbol not in symbols:
                repeats *= TYPICAL_BATCH if isinstance(extent, Batch) else extent
        return bool(symbols) and symbols <= loops.keys() and repeats >= WORTH

    def _worthwhile(self, e: Expr) -> bool:
        """Whether an expression reads, computes, and has few values."""
        found = all_reads(e)
        scaled = e.is_Mul and len(e.args) == 2 and e.args[0].is_Number
        computes = bool(found) and not isinstance(e, Read) and not scaled
        return computes and self._few(e) and all(r.name in self.usable for r in found)

    def _read(self, e: Expr) -> Expr:
        """A read of the invariant, its sign left outside."""
        negative = bool(e.could_extract_minus_sign())
        e = -e if negative else e
        own = tuple(a for a in (*self.f.axes, *self.f.over) if a.symbol in free_symbols(e))
        g = formula(own, e)
        name = next((n for n, known in self.formulas.items() if known == g), None) or self._fresh()
        self.formulas[name] = g
        read = Read(tensor_symbol(name), *[a.symbol for a in own])
        return -read if negative else read

    def _fresh(self) -> str:
        k = 1
        while (name := f"t{k}") in self.formulas or name in self.f.operands:
            k += 1
        return name
