"""Small algebra on scalar expressions without sympy's search: cancelling sums, taking out common factors."""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.conditions import finite
from graphc.ops.formula import Where, walk

SMALL = 80
"""Expressions of more nodes are left alone."""


def size(e: Expr) -> int:
    """The number of distinct nodes."""
    return sum(1 for _ in walk(e))


def cancel(e: Expr) -> Expr:
    """Zero where multiplying out shows that a sum vanishes, else the sum as it is."""
    if not e.is_Add:
        return e
    nested = any(any(f.is_Add or (f.is_Pow and f.base.is_Add) for f in sp.Mul.make_args(t)) for t in e.args)
    if not nested or size(e) > SMALL:
        return e
    return sp.S.Zero if sp.expand(e) == 0 else e


def factor(e: Expr) -> Expr:
    """G·Y - s·Y = Y·(G - s), the indicators Where(c, a, 0) counting as a·Where(c, 1, 0)."""
    if not e.is_Add or len(e.args) > 8 or size(e) > 4 * SMALL:
        return e
    terms = [_unfolded(t) for t in e.args]
    split = [t.as_coeff_Mul() for t in terms]
    powers = [rest.as_powers_dict() for _, rest in split]
    common = sp.S.One
    for base, exponent in powers[0].items():
        exponents = [p.get(base, sp.S.Zero) for p in powers]
        if all(x.is_Rational for x in exponents) and exponent.is_Rational:
            same_sign = all(x > 0 for x in exponents) or all(x < 0 for x in exponents)
            if same_sign:
                common *= base ** min(exponents, key=abs)
    coefficients = [abs(c) for c, _ in split]
    if all(c == coefficients[0] for c in coefficients) and coefficients[0] != 1:
        common *= coefficients[0]
    if common == 1:
        return e
    rest = sp.Add(*[t / common for t in terms])
    return sp.Mul(common, rest, evaluate=not common.is_Number)


def _unfolded(term: Expr) -> Expr:
    if not isinstance(term, Where):
        return term
    condition, a, b = term.args
    if b == 0 and a.is_Mul and finite(a):
        return a * Where(condition, 1, 0)
    if b == 0 and a.is_Number:
        return a * Where(condition, 1, 0)
    return term
