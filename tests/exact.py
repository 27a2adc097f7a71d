"""The meaning of formulas in exact arithmetic, one element after the other, written from the definition alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import numpy as np
import sympy as sp

from graphc.ops.formula import Cond, FloorDiv, Formula, Mod, Read, Table, Where
from graphc.ops.scalars import ScalarFunction

Tensors = dict[str, np.ndarray]
DIGITS = 60


def evaluations(f: Formula) -> int:
    """How often the body is evaluated."""
    return prod(a.extent for a in (*f.axes, *f.over))


@dataclass(frozen=True)
class Exact:
    """Evaluates formulas over arrays of expressions; `point` gives the numbers by which conditions decide."""

    point: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)

    def formula(self, f: Formula, tensors: Tensors) -> np.ndarray:
        """The value of a formula: an array of expressions."""
        result = np.empty(f.shape, object)
        for at in product(*(range(a.extent) for a in f.axes)):
            here = {a.symbol: sp.Integer(i) for a, i in zip(f.axes, at, strict=True)}
            terms = []
            for inner in product(*(range(a.extent) for a in f.over)):
                index = here | {a.symbol: sp.Integer(i) for a, i in zip(f.over, inner, strict=True)}
                if all(self.holds(c, index, tensors) for c in f.conditions):
                    terms.append(self.value(f.body, index, tensors))
            result[at] = self.reduced(f.reduction, terms)
        return result

    def reduced(self, kind: str | None, terms: list[sp.Expr]) -> sp.Expr:
        match kind:
            case None | "sum":
                return sp.Add(*terms)
            case "prod":
                return sp.Mul(*terms)
            case "max":
                return max(terms, key=self.number, default=-sp.oo)
            case "min":
                return min(terms, key=self.number, default=sp.oo)
            case _:
                raise NotImplementedError(kind)

    def number(self, e: sp.Expr) -> Any:
        """What an expression is at the point: a rational number, or one of many digits."""
        e = e.xreplace(self.point) if e.free_symbols else e
        return e if e.is_Rational else e.evalf(DIGITS)

    def value(self, e: sp.Expr, index: Mapping[sp.Symbol, sp.Expr], tensors: Tensors) -> sp.Expr:
        """One element of a body."""
        if e in index:
            return index[e]
        match e:
            case sp.Float():
                return sp.Rational(float(e))
            case Read() | Table():
                at = [self.number(self.value(i, index, tensors)) for i in e.index]
                rows = [list(map(sp.nsimplify, row)) for row in e.constants.rows] if isinstance(e, Table) else None
                array = tensors[e.name] if rows is None else np.array(rows, object)
                inside = all(i.is_Integer and 0 <= i < n for i, n in zip(at, array.shape, strict=True))
                return array[tuple(map(int, at))] if inside else sp.S.Zero
            case Where():
                return self.value(e.args[1 if self.holds(e.args[0], index, tensors) else 2], index, tensors)
            case FloorDiv():
                a, b = (self.value(x, index, tensors) for x in e.args)
                return sp.floor(a / b)
            case Mod():
                a, b = (self.value(x, index, tensors) for x in e.args)
                return a - b * sp.floor(a / b)
            case sp.floor():
                return sp.floor(self.number(self.value(e.args[0], index, tensors)))
            case ScalarFunction():
                return self.value(e.expansion(*[self.value(a, index, tensors) for a in e.args]), index, tensors)
        return e.func(*[self.value(a, index, tensors) for a in e.args]) if e.args else e

    def holds(self, c: Cond, index: Mapping[sp.Symbol, sp.Expr], tensors: Tensors) -> bool:
        """Whether a condition is true at the point."""
        a = [self.number(self.value(x, index, tensors)) for x in c.args[1:]]
        match c.kind:
            case "ge":
                return bool(a[0] >= 0)
            case "divides":
                return bool((a[1] / a[0]).is_integer)
            case "eq":
                return bool(a[0] == a[1])
            case "lt":
                return bool(a[0] < a[1])
            case "le":
                return bool(a[0] <= a[1])
            case _:
                raise NotImplementedError(c.kind)
