"""Arithmetic, comparisons and elementary functions, element by element with numpy's broadcasting."""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops import scalars
from graphc.ops.formula import Where, eq, le, lt
from graphc.ops.formula import where as formula_where
from graphc.ops.pointwise import pointwise

POSITIVE = (0.5, 2.0)


@pointwise(commutative=True)
def add(a: Expr, b: Expr) -> Expr:
    """a + b"""
    return a + b


@pointwise()
def subtract(a: Expr, b: Expr) -> Expr:
    """a - b"""
    return a - b


@pointwise(commutative=True)
def multiply(a: Expr, b: Expr) -> Expr:
    """a · b"""
    return a * b


@pointwise(domain=POSITIVE)
def divide(a: Expr, b: Expr) -> Expr:
    """a / b"""
    if b == 0:
        raise ZeroDivisionError("divide: the divisor is the number 0")
    return a / b


@pointwise(domain=POSITIVE)
def power(a: Expr, b: Expr) -> Expr:
    """a^b; with a varying exponent exp(b · log a), for a > 0."""
    if not b.is_Number:
        return scalars.exp(b * scalars.log(a))
    # halves are kept exact, so that a^0.5 is a square root
    return a ** (sp.Rational(int(2 * b), 2) if int(2 * b) == 2 * b else b)


@pointwise()
def negative(a: Expr) -> Expr:
    """-a"""
    return -a


@pointwise(commutative=True)
def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of a and b; NaN if one of them is."""
    return scalars.maximum(a, b)


@pointwise(commutative=True)
def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of a and b; NaN if one of them is."""
    return scalars.minimum(a, b)


# --------------------------------------------------------------------------------------------- comparisons


@pointwise(in_formulas=lt)
def less(a: Expr, b: Expr) -> Expr:
    """1 where a < b, else 0."""
    return Where(lt(a, b), 1, 0)


@pointwise(in_formulas=le)
def less_equal(a: Expr, b: Expr) -> Expr:
    """1 where a <= b, else 0."""
    return Where(le(a, b), 1, 0)


@pointwise(in_formulas=lambda a, b: lt(b, a))
def greater(a: Expr, b: Expr) -> Expr:
    """1 where a > b, else 0."""
    return Where(lt(b, a), 1, 0)


@pointwise(in_formulas=lambda a, b: le(b, a))
def greater_equal(a: Expr, b: Expr) -> Expr:
    """1 where a >= b, else 0."""
    return Where(le(b, a), 1, 0)


@pointwise(in_formulas=eq, commutative=True)
def equal(a: Expr, b: Expr) -> Expr:
    """1 where a = b, else 0."""
    return Where(eq(a, b), 1, 0)


@pointwise(commutative=True)
def not_equal(a: Expr, b: Expr) -> Expr:
    """1 where a and b differ, else 0."""
    return Where(eq(a, b), 0, 1)


@pointwise(
    ((3, 4), (3, 4), (3, 4)),
    ((3, 1), (4,), (2, 1, 1)),
    in_formulas=formula_where,
    always=["condition"],
)
def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    """a where the condition is not 0, else b."""
    return formula_where(eq(condition, 0), b, a)


# ------------------------------------------------------------------------------------ elementary functions


@pointwise()
def exp(a: Expr) -> Expr:
    """e^a"""
    return scalars.exp(a)


@pointwise()
def expm1(a: Expr) -> Expr:
    """e^a - 1, accurate near 0."""
    return scalars.expm1(a)


@pointwise(domain=POSITIVE)
def log(a: Expr) -> Expr:
    """The natural logarithm."""
    return scalars.log(a)


@pointwise(domain=POSITIVE)
def log1p(a: Expr) -> Expr:
    """log(1 + a), accurate near 0."""
    return scalars.log1p(a)


@pointwise(domain=POSITIVE)
def sqrt(a: Expr) -> Expr:
    """The square root."""
    return scalars.sqrt(a)


@pointwise()
def abs(a: Expr) -> Expr:
    """|a|"""
    return scalars.absolute(a)


@pointwise()
def sign(a: Expr) -> Expr:
    """-1, 0 or 1 by the sign of a."""
    return scalars.sign(a)


@pointwise()
def square(a: Expr) -> Expr:
    """a²"""
    return scalars.square(a)


@pointwise()
def erf(a: Expr) -> Expr:
    """The error function 2/√π ∫₀ᵃ exp(-t²) dt."""
    return scalars.erf(a)


@pointwise()
def sin(a: Expr) -> Expr:
    """The sine."""
    return scalars.sin(a)


@pointwise()
def cos(a: Expr) -> Expr:
    """The cosine."""
    return scalars.cos(a)


@pointwise()
def tanh(a: Expr) -> Expr:
    """The hyperbolic tangent."""
    return scalars.tanh(a)


@pointwise()
def sigmoid(a: Expr) -> Expr:
    """1 / (1 + e^-a)"""
    return scalars.sigmoid(a)


@pointwise()
def log_sigmoid(a: Expr) -> Expr:
    """log sigmoid(a) = -softplus(-a)"""
    return scalars.log_sigmoid(a)
