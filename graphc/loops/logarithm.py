"""log, log1p and a logarithm in two parts: x = 2ᵏ·m, √½ <= m < √2, by the bits of x.

Small arguments need no comparison of x itself: a processor that counts numbers below the smallest normal one as
zero would not see them.
"""

from __future__ import annotations

import math

from graphc.loops import minimax
from graphc.loops.exponential import ln2_in_parts
from graphc.loops.term import Format, Term, horner
from graphc.types import DType


def _log_of_parts(exponent: Term, f: Term) -> Term:
    """exponent·ln 2 + log(1 + f) for √½ <= 1 + f <= √2."""
    high, low = ln2_in_parts(f.format)
    square = (f * f).named()
    if f.format.float is DType.FLOAT32:
        q = horner(minimax.polynomial(minimax.log_remainder, "-0.2929", "0.4143", f.format.log_degree), f)
        rest = (square * f * q) + exponent * low
        return exponent.fma(high, square.fma(-0.5, rest) + f)
    # In s = f / (2 + f) the series converges faster: log(1 + f) = f - f²/2 + s·(f²/2 + z·q(z)), z = s².
    s = (f / (f + 2.0)).named()
    z = (s * s).named()
    q = horner(minimax.polynomial(minimax.log_quotient_remainder, "0", "0.02945", f.format.log_degree), z)
    half = (square * 0.5).named()
    rest = s.fma(q.fma(z, half), exponent * low)
    return exponent.fma(high, f - (half - rest))


def _split(x: Term) -> tuple[Term, Term, Term]:
    """(k, shifted, m) with x = 2ᵏ·m, √½ <= m < √2, for a positive normal number.

    shifted = (k + bias)·2^mantissa, an integer.
    """
    f = x.format
    one, root = f.bias << f.mantissa, _bits_of(math.sqrt(0.5), f)
    bits = x.bits().named()
    shifted = ((bits + (one - root)) & -(1 << f.mantissa)).named()
    mantissa = (bits - shifted + one).from_bits()
    # The exponent's bits under those of 2^mantissa are the number 2^mantissa + k + bias.
    offset = (f.bias + f.mantissa) << f.mantissa
    return ((shifted >> f.mantissa) + offset).from_bits() - (2.0**f.mantissa + f.bias), shifted, mantissa


def _bits_of(value: float, f: Format) -> int:
    """The integer with the bits of a positive normal number."""
    fraction, exponent = math.frexp(value)
    return ((exponent - 2 + f.bias) << f.mantissa) + round(math.ldexp(fraction, f.mantissa + 1))


def log(x: Term) -> Term:
    """log x = k·ln 2 + log m; log 0 = -inf, log of less is NaN.

    Numbers below the smallest normal one are integers in units of the smallest number of all.
    """
    x = x.named()
    exponent, m = _split_any(x)
    return _log_outside(x, x, _log_of_parts(exponent, (m - 1.0).named()))


def _split_any(x: Term) -> tuple[Term, Term]:
    """(k, m) with x = 2ᵏ·m, √½ <= m < √2, for a positive number."""
    f = x.format
    bits = x.bits().named()
    tiny = (bits < 1 << f.mantissa).named()
    counted = (bits | ((f.bias + f.mantissa) << f.mantissa)).from_bits() - 2.0**f.mantissa
    exponent, _, m = _split(tiny.then(counted, x).named())
    return (exponent - tiny.then(x.constant(f.bias - 1 + f.mantissa), x.constant(0))).named(), m


def _log_outside(u: Term, x: Term, finite: Term) -> Term:
    """The value at and beyond the ends of 0 < u < inf, where x is the argument: -inf, NaN, inf."""
    bits = u.bits().named()
    below = (bits + bits).equals(0).then(x.constant(-math.inf), x.constant(math.nan))
    return (bits <= 0).then(below, (bits < u.format.infinity).then(finite, x))


def log1p(x: Term) -> Term:
    """log(1 + x), the part of x that 1 + x rounds away put back; its sign is that of x."""
    x = x.named()
    u = (x + 1.0).named()
    return _log_outside(u, x, log1p_within(x, u).sign_of(x))


def log1p_within(x: Term, u: Term) -> Term:
    """log(1 + x) for u = 1 + x, positive and finite."""
    f = x.format
    exponent, shifted, m = _split(u)
    lost = x - (u - 1.0)
    # 2⁻ᵏ has the exponent bits 2·bias - (k + bias); for the largest k nothing was lost that matters.
    inverse = (shifted.constant((2 * f.bias) << f.mantissa) - shifted).at_least(0).from_bits()
    return _log_of_parts(exponent.named(), lost.fma(inverse, m - 1.0).named())


def log_in_parts(x: Term) -> tuple[Term, Term]:
    """log x as the sum of two numbers, the smaller one to working precision.

    log m = 2s + s·z·q(z) with s = (m - 1) / (m + 1), z = s², where s is corrected by what its division left.
    """
    f = x.format
    k, m = _split_any(x)
    m = m.named()
    above, below = (m - 1.0).named(), (m + 1.0).named()
    inverse = (x.constant(1.0) / below).named()
    s = (above * inverse).named()
    lost = (x.constant(1.0) - below) + m
    correction = (s.fma(-lost, (-s).fma(below, above)) * (inverse + inverse)).named()
    z = (s * s).named()
    q = horner(minimax.polynomial(minimax.log_quotient_remainder, "0", "0.02945", f.quotient_degree), z)
    change = correction.fma(z, correction)  # the slope of the logarithm by s is 2 / (1 - z)
    ln2_high, ln2_low = ln2_in_parts(f)
    large, twice = (k * ln2_high).named(), (s + s).named()
    most = (large + twice).named()
    rest = (((large - most) + twice) + q.fma(s * z, k.fma(ln2_low, change))).named()
    total = (most + rest).named()
    return _log_outside(x, x, total).named(), (rest - (total - most)).named()
