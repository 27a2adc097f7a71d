"""Arithmetic, comparisons and elementary functions, element by element with numpy's broadcasting."""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops import scalars
from graphc.ops.formula import Where, eq, le, lt
from graphc.ops.formula import where as formula_where
from graphc.ops.pointwise import pointwise

POSITIVE, INSIDE = (0.5, 2.0), (-0.9, 0.9)


@pointwise(commutative=True, integers=True)
def add(a: Expr, b: Expr) -> Expr:
    """a + b"""
    return a + b


@pointwise(integers=True)
def subtract(a: Expr, b: Expr) -> Expr:
    """a - b"""
    return a - b


@pointwise(commutative=True, integers=True)
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


@pointwise(integers=True)
def negative(a: Expr) -> Expr:
    """-a"""
    return -a


@pointwise(commutative=True, integers=True)
def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of a and b; NaN if one of them is."""
    return scalars.maximum(a, b)


@pointwise(commutative=True, integers=True)
def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of a and b; NaN if one of them is."""
    return scalars.minimum(a, b)


# --------------------------------------------------------------------------------------------- comparisons


@pointwise(in_formulas=lt, integers=True)
def less(a: Expr, b: Expr) -> Expr:
    """1 where a < b, else 0."""
    return Where(lt(a, b), 1, 0)


@pointwise(in_formulas=le, integers=True)
def less_equal(a: Expr, b: Expr) -> Expr:
    """1 where a <= b, else 0."""
    return Where(le(a, b), 1, 0)


@pointwise(in_formulas=lambda a, b: lt(b, a), integers=True)
def greater(a: Expr, b: Expr) -> Expr:
    """1 where a > b, else 0."""
    return Where(lt(b, a), 1, 0)


@pointwise(in_formulas=lambda a, b: le(b, a), integers=True)
def greater_equal(a: Expr, b: Expr) -> Expr:
    """1 where a >= b, else 0."""
    return Where(le(b, a), 1, 0)


@pointwise(in_formulas=eq, commutative=True, integers=True)
def equal(a: Expr, b: Expr) -> Expr:
    """1 where a = b, else 0."""
    return Where(eq(a, b), 1, 0)


@pointwise(commutative=True, integers=True)
def not_equal(a: Expr, b: Expr) -> Expr:
    """1 where a and b differ, else 0."""
    return Where(eq(a, b), 0, 1)


@pointwise(
    ((3, 4), (3, 4), (3, 4)),
    ((3, 1), (4,), (2, 1, 1)),
    in_formulas=formula_where,
    always=["condition"],
    integers=True,
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
def log2(a: Expr) -> Expr:
    """The logarithm to the base 2."""
    return scalars.log(a) / scalars.log(2)


@pointwise(domain=POSITIVE)
def log10(a: Expr) -> Expr:
    """The logarithm to the base 10."""
    return scalars.log(a) / scalars.log(10)


@pointwise()
def exp2(a: Expr) -> Expr:
    """2^a"""
    return sp.Integer(2) ** a


@pointwise(domain=POSITIVE)
def log1p(a: Expr) -> Expr:
    """log(1 + a), accurate near 0."""
    return scalars.log1p(a)


@pointwise(domain=POSITIVE)
def sqrt(a: Expr) -> Expr:
    """The square root."""
    return scalars.sqrt(a)


@pointwise(domain=POSITIVE)
def rsqrt(a: Expr) -> Expr:
    """1 / √a"""
    return 1 / scalars.sqrt(a)


@pointwise(domain=POSITIVE)
def reciprocal(a: Expr) -> Expr:
    """1 / a"""
    return scalars.reciprocal(a)


@pointwise(integers=True)
def abs(a: Expr) -> Expr:
    """|a|"""
    return scalars.absolute(a)


@pointwise(integers=True)
def sign(a: Expr) -> Expr:
    """-1, 0 or 1 by the sign of a."""
    return scalars.sign(a)


@pointwise(integers=True)
def square(a: Expr) -> Expr:
    """a²"""
    return scalars.square(a)


@pointwise()
def erf(a: Expr) -> Expr:
    """The error function 2/√π ∫₀ᵃ exp(-t²) dt."""
    return scalars.erf(a)


@pointwise()
def erfc(a: Expr) -> Expr:
    """1 - erf(a), accurate where that is small."""
    return scalars.erfc(a)


@pointwise()
def normal_cdf(a: Expr) -> Expr:
    """Φ(a) = (1 + erf(a / √2)) / 2, the chance that a standard normal number is below a; accurate where small."""
    return scalars.normal_cdf(a)


@pointwise()
def sin(a: Expr) -> Expr:
    """The sine."""
    return scalars.sin(a)


@pointwise()
def cos(a: Expr) -> Expr:
    """The cosine."""
    return scalars.cos(a)


@pointwise(domain=(-1.0, 1.0))
def tan(a: Expr) -> Expr:
    """The tangent sin a / cos a."""
    return scalars.sin(a) / scalars.cos(a)


@pointwise(domain=INSIDE)
def asin(a: Expr) -> Expr:
    """The angle in -π/2 .. π/2 whose sine is a; NaN beyond -1 .. 1."""
    return scalars.atan(a / scalars.sqrt((1 - a) * (1 + a)))


@pointwise(domain=INSIDE)
def acos(a: Expr) -> Expr:
    """The angle in 0 .. π whose cosine is a; NaN beyond -1 .. 1."""
    return 2 * scalars.atan(scalars.sqrt((1 - a) / (1 + a)))


@pointwise()
def atan(a: Expr) -> Expr:
    """The angle in -π/2 .. π/2 whose tangent is a."""
    return scalars.atan(a)


@pointwise()
def sinh(a: Expr) -> Expr:
    """(e^a - e^-a) / 2, accurate near 0."""
    return (scalars.expm1(a) - scalars.expm1(-a)) / 2


@pointwise()
def cosh(a: Expr) -> Expr:
    """(e^a + e^-a) / 2, between -1 and 1 as 1 + 2·sinh²(a/2), whose derivative is accurate near 0."""
    near, far = 1 + 2 * sinh(a / 2) ** 2, (scalars.exp(a) + scalars.exp(-a)) / 2
    return Where(lt(a, -1), far, Where(lt(1, a), far, near))


@pointwise()
def log_cosh(a: Expr) -> Expr:
    """log((e^a + e^-a) / 2), about a²/2 near 0 and |a| - log 2 far from it; finite for any a."""
    return scalars.log_cosh(a)


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


# -------------------------------------------------------------------------------------- limits and rounding


@pointwise(((3, 4), (3, 4), (3, 4)), ((2, 3, 4), (4,), (3, 1)), always=["a"])
def clip(a: Expr, min: Expr, max: Expr) -> Expr:
    """a limited to min..max, with derivative 1 at both limits; max where min > max. NaN stays NaN."""
    raised = Where(lt(a, min), min, a)
    return Where(lt(max, raised), max, raised)


@pointwise(always=["a"])
def at_least(a: Expr, low: Expr) -> Expr:
    """a limited from below, with derivative 1 at the limit; NaN stays NaN."""
    return Where(lt(a, low), low, a)


@pointwise(always=["a"])
def at_most(a: Expr, high: Expr) -> Expr:
    """a limited from above, with derivative 1 at the limit; NaN stays NaN."""
    return Where(lt(high, a), high, a)


@pointwise()
def stop_gradient(a: Expr) -> Expr:
    """a, counted as a constant when it is differentiated."""
    return scalars.stop_gradient(a)


def _rounded(a: Expr, value: Expr, straight_through: bool) -> Expr:
    """The value, with derivative 0 or that of a: the difference to a is exact, so the sum is the value."""
    return a + scalars.stop_gradient(value - a) if straight_through else value


@pointwise()
def floor(a: Expr, *, straight_through: bool = False) -> Expr:
    """The largest integer that is not above a; its derivative is 0, or 1 if it is straight_through."""
    return _rounded(a, scalars.floor(a), straight_through)


@pointwise()
def ceil(a: Expr, *, straight_through: bool = False) -> Expr:
    """The smallest integer that is not below a; its derivative is 0, or 1 if it is straight_through."""
    return _rounded(a, -scalars.floor(-a), straight_through)


@pointwise()
def round(a: Expr, *, straight_through: bool = False) -> Expr:
    """The nearest integer, the even one of two; its derivative is 0, or 1 if it is straight_through.

    Straight-through estimator: Bengio, Léonard, Courville 2013.
    """
    return _rounded(a, scalars.rint(a), straight_through)


@pointwise()
def trunc(a: Expr, *, straight_through: bool = False) -> Expr:
    """The integer part, towards 0; its derivative is 0, or 1 if it is straight_through."""
    return _rounded(a, Where(lt(a, 0), -scalars.floor(-a), scalars.floor(a)), straight_through)
