"""Elementary functions as Loop IR arithmetic: fma, shifts, comparisons and selects on any number of lanes.

exp reduces x = n·ln 2 + r, log splits x = 2ᵏ·m (see exponential, logarithm); most others follow from these two. A
polynomial stands for the reduced function (see minimax). How accurate each is, measured over all numbers of float32:
docs/vector_mathematics.md. Results of exp below the smallest normal number become zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.loops import minimax
from graphc.loops.exponential import Exponential, erf, exp, expm1, nearest_multiple, sigmoid, tanh, within_exp_range
from graphc.loops.expressions import Const, Unary
from graphc.loops.logarithm import log, log1p, log1p_within, log_in_parts
from graphc.loops.tails import atan, erfc, normal_cdf
from graphc.loops.term import Term, horner


def softplus(x: Term) -> Term:
    """log(1 + eˣ) = max(x, 0) + log1p(e^-|x|)."""
    x = x.named()
    e = exp(-abs(x)).named()
    return x.at_least(0.0) + log1p_within(e, (e + 1.0).named())


def power(x: Term, y: Term) -> Term:
    """xʸ = e^(y·log|x|); for a negative x (-inf too) negated where y is odd, NaN where y is a fraction.

    A constant y among the small integers and ±1/2 is multiplied out or rooted. x⁰ = 1 for every x.
    """
    x, y = x.named(), y.named()
    if isinstance(y.e, Const) and (exact := _constant_power(x, float(y.e.value))) is not None:
        return exact
    size = abs(x).named()
    unit = y.equals(0.0) | size.equals(1.0)
    magnitude = unit.then(x.constant(1.0), exp_of_log(size, y)).named()
    half = (y * 0.5).named()
    even = half.equals(_rint(half))
    signed = even.then(magnitude, -magnitude)
    below = y.equals(_rint(y)).then(signed, x.constant(math.nan))
    return ((x < 0.0) & Term(Unary("not", y.equals(0.0).e), x.bind)).then(below, magnitude)


def exp_of_log(x: Term, y: Term) -> Term:
    """e^(y·log x). The logarithm and its product with y are sums of two numbers, or the error would grow with the
    exponent, to 100 units in the last place at the ends of float32."""
    y = y.named()
    high, low = log_in_parts(x.named())
    product = (y * high).named()
    extra = y.fma(high, -product) + y * low
    # The smaller part may lead beyond the largest number, whose bits those of infinity follow.
    bits = Exponential.of(product, extra.named()).value().bits()
    return within_exp_range(product, bits.at_most(x.format.infinity).from_bits())


def reciprocal_root(x: Term) -> Term:
    """1 / √x with the error of both roundings put back: y + y/2·(1 - x·y·y), except at 0, at infinity and NaN."""
    x = x.named()
    y = (x.constant(1.0) / _root(x)).named()
    product = (x * y).named()
    error = (-x.fma(y, -product)).fma(y, (-product).fma(y, 1.0)).named()
    return (abs(error) < 1.0).then((y * 0.5).fma(error, y), y)


def _rint(x: Term) -> Term:
    return Term(Unary("rint", x.e), x.bind)


def _root(x: Term) -> Term:
    return Term(Unary("sqrt", x.e), x.bind)


def _constant_power(x: Term, y: float) -> Term | None:
    """xʸ for |y| = 1/2 or an integer of at most 8."""
    if abs(y) == 0.5:
        return _root(x) if y > 0 else reciprocal_root(x)
    if y != int(y) or abs(y) > 8:
        return None
    product = _integer_power(x, int(abs(y)))
    return product if y >= 0 else x.constant(1.0) / product


def _integer_power(x: Term, n: int) -> Term:
    """xⁿ by squaring."""
    if n < 2:
        return x if n else x.constant(1.0)
    root = _integer_power(x, n // 2).named()
    return root * root * x if n % 2 else root * root


# --------------------------------------------------------------------------------------------------- sin, cos


def sin(x: Term) -> Term:
    """sin x for |x| < 2^(mantissa-3), NaN beyond; x itself, with the sign of a zero, where x is small."""
    x = x.named()
    return (abs(x) < 2.0 ** -(x.format.mantissa // 2 + 2)).then(x, _circular(x, 0))


def cos(x: Term) -> Term:
    """cos x, as sin."""
    return _circular(x, 1)


def _circular(x: Term, quarter: int) -> Term:
    """sin(x + quarter·π/2): x = n·π/2 + r; the last bits of n + quarter choose among ±sin r and ±cos r.

    π/2 in three parts, and r in two, r + tail: near a multiple of π/2 most digits of x cancel.
    """
    x = x.named()
    f = x.format
    t, n = nearest_multiple(x, 2 / minimax.pi())
    first, second, third = minimax.parts(minimax.pi() / 2, f.mantissa + 1, 3)
    head = n.fma(-first, x).named()  # exact: a multiple of the last place of `first`, less than one
    product = (n * second).named()
    r = (head - product).named()
    tail = n.fma(-third, ((head - r) - product) - n.fma(second, -product)).named()
    z = (r * r).named()
    degree = f.trigonometric_degree
    sine = horner(minimax.polynomial(minimax.sine_remainder, "0", "0.667", degree), z).fma(z * r, tail) + r
    cosine = horner(minimax.polynomial(minimax.cosine_remainder, "0", "0.667", degree), z)
    most = z.fma(-0.5, 1.0).named()
    cosine = cosine.fma(z * z, z.fma(-0.5, x.constant(1.0) - most) - r * tail) + most
    quadrant = (t.bits() + quarter).named()
    value = (quadrant & 1).equals(0).then(sine, cosine).named()
    signed = (quadrant & 2).equals(0).then(value, -value)
    return (abs(x) < 2.0 ** (f.mantissa - 3)).then(signed, x.constant(math.nan))


UNARY: dict[str, Callable[[Term], Term]] = {
    "exp": exp, "log": log, "expm1": expm1, "log1p": log1p, "tanh": tanh, "erf": erf,
    "sigmoid": sigmoid, "softplus": softplus, "sin": sin, "cos": cos, "erfc": erfc,
    "normal_cdf": normal_cdf, "atan": atan,
}  # fmt: skip
BINARY: dict[str, Callable[[Term, Term], Term]] = {"pow": power}
