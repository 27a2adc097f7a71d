"""The value and the slope of a scalar expression in arithmetic of many digits, by mpmath.

The slope is a central difference with a step of 10⁻⁴⁰: it knows nothing of symbolic derivatives, and so can judge
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add, mul
from typing import Any, TypeAlias

import mpmath
import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError
from graphc.ops.formula import Cond, Where
from graphc.ops.scalars import ScalarFunction

Number: TypeAlias = Any
"""mpmath's mpf."""

Function: TypeAlias = Callable[[Number], Number]

DIGITS = 130
"""Digits of the arithmetic: 45 for the range of float32, 2 · 40 for the steps of slopes."""

STEP = mpmath.mpf(10) ** -40
"""The step of a slope, relative to the argument."""

NEAR = mpmath.mpf(10) ** -20
"""How far slopes to both sides may differ, relatively."""

LEAST = mpmath.mpf(10) ** -46
"""Smaller than every number of float32."""

COMPARISONS: Mapping[str, Callable[..., bool]] = {
    "ge": lambda e: e >= 0,
    "eq": lambda a, b: a == b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}


def precise(e: Expr, variable: Expr) -> Function:
    """x -> the value of an expression at variable = x; NaN where it has none.

    Call it within mpmath.workdps(DIGITS). Raises GraphcError for an expression that is not one of scalars.
    """
    compiled = _compiled(e, variable)

    def value(x: Number) -> Number:
        try:
            result = compiled(x)
        except (ZeroDivisionError, ValueError):
            return mpmath.nan
        return mpmath.nan if isinstance(result, mpmath.mpc) else result

    return value


def slope_of(f: Function, x: Number) -> Number:
    """The derivative of f at x; NaN where it bends or jumps there, or is not defined on both sides."""
    h = STEP * max(abs(x), LEAST)
    here, below, above = f(x), f(x - h), f(x + h)
    left, right = (here - below) / h, (above - here) / h
    slope = (left + right) / 2
    if not abs(right - left) <= NEAR * max(abs(left), abs(right)):
        return mpmath.nan
    jumps = abs(above - below) > NEAR * (abs(above) + abs(below))  # or passes through 0, with the same slope further on
    return mpmath.nan if jumps and abs(f(x + 2 * h) - f(x - 2 * h) - 4 * h * slope) > abs(h * slope) else slope


def breakpoints(e: Expr, variable: Expr) -> tuple[float, ...]:
    """The numbers with which an expression compares its variable: there its formula changes."""
    found: set[float] = set()
    for node in sp.preorder_traversal(_expanded(e)):
        if isinstance(node, Cond) and variable in node.args[1:]:
            found |= {float(a) for a in node.args[1:] if a.is_number}
    return tuple(sorted(found))


def holds_constants(e: Expr) -> bool:
    """Whether an expression has a part that counts as a constant when it is differentiated."""
    return any(isinstance(node, ScalarFunction) and node.constant for node in sp.preorder_traversal(e))


def _expanded(e: Expr) -> Expr:
    """Declared functions replaced by their formulas."""
    if not e.args:
        return e
    args = [_expanded(a) for a in e.args]
    return _expanded(e.expansion(*args)) if isinstance(e, ScalarFunction) else e.func(*args)


def _compiled(e: Expr, variable: Expr) -> Function:
    if e == variable:
        return lambda x: x
    match e:
        case sp.Rational():
            p, q = int(e.p), int(e.q)
            return lambda x: mpmath.mpf(p) / q
        case sp.Float():
            double = float(e)
            return lambda x: mpmath.mpf(double)
        case sp.NumberSymbol():
            constant = getattr(mpmath, {"Exp1": "e", "Pi": "pi"}[type(e).__name__])
            return lambda x: +constant
        case ScalarFunction():
            inner = [_compiled(a, variable) for a in e.args]
            names = [sp.Dummy() for _ in e.args]
            if len(inner) == 1:
                outer = _compiled(e.expansion(names[0]), names[0])
                return lambda x: outer(inner[0](x))
            return _compiled(e.expansion(*e.args), variable)
        case Where():
            condition, a, b = e.args
            holds, yes, no = _condition(condition, variable), _compiled(a, variable), _compiled(b, variable)
            return lambda x: yes(x) if holds(x) else no(x)
    parts = [_compiled(a, variable) for a in e.args]
    match e:
        case sp.Add():
            return lambda x: reduce(add, [p(x) for p in parts])
        case sp.Mul():
            return lambda x: reduce(mul, [p(x) for p in parts])
        case sp.Pow():
            base, power = parts
            return lambda x: _power(base(x), power(x))
        case sp.Function() if hasattr(mpmath, type(e).__name__):
            function = getattr(mpmath, type(e).__name__)
            return lambda x: function(*[p(x) for p in parts])
    raise GraphcError(f"{e} is not a function of one number")


def _power(base: Number, power: Number) -> Number:
    """A power, infinite at a pole as in floating point."""
    return mpmath.inf if base == 0 and power < 0 else mpmath.power(base, power)


def _condition(c: Cond, variable: Expr) -> Callable[[Number], bool]:
    parts, compare = [_compiled(a, variable) for a in c.args[1:]], COMPARISONS[c.kind]
    return lambda x: compare(*[p(x) for p in parts])
