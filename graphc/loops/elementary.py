"""Elementary functions as Loop IR arithmetic: fma, shifts, comparisons and selects on any number of lanes.

exp reduces x = n·ln 2 + r, log splits x = 2ᵏ·m; the rest follows from these two. A polynomial stands for
the reduced function (see minimax). The integer n is made by adding 1.5·2^mantissa, whose lowest bits then
hold n: no conversion, so no undefined result for NaN and infinities, and no instruction that some vector
units lack.

Largest errors measured, in units in the last place:

              exp   log   expm1  log1p  tanh  erf   sigmoid  softplus
    float32   0.94  0.91  1.6    1.5    2.5   2.0   2.4      1.9
    float64   0.82  0.80  1.7    0.8    2.5   1.4   1.9      1.5

Results of exp below the smallest normal number become zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from graphc.loops import minimax
from graphc.loops.expressions import Const, Unary
from graphc.loops.term import FORMATS, Format, Term, horner
from graphc.types import DType


def _at_least(x: Term, low: float) -> Term:
    """max(x, low), NaN staying NaN."""
    return (x < low).then(x.constant(low), x).named()


def _at_most(x: Term, high: float) -> Term:
    """min(x, high), NaN staying NaN."""
    return (x.constant(high) < x).then(x.constant(high), x).named()


def _high_and_low(value: Decimal, mantissa: int, spare: int) -> tuple[Decimal, Decimal]:
    """value as a number whose last `spare` bits are zero, and what is missing."""
    scale = Decimal(2) ** (mantissa - spare)
    high = (value * scale).to_integral_value() / scale
    return high, value - high


# ----------------------------------------------------------------------------------------- exp and its family


def _nearest_multiple(x: Term, inverse: Decimal) -> tuple[Term, Term]:
    """(t, n): n = the integer nearest to x·inverse, whose lowest bits are also those of t."""
    magic = 1.5 * 2.0**x.format.mantissa
    t = x.fma(inverse, magic).named()
    return t, (t - magic).named()


def _exp_reduction(x: Term) -> tuple[Term, Term]:
    """(t, r) with x = n·ln 2 + r, |r| <= ln 2 / 2, the lowest bits of t holding n."""
    ln2 = minimax.ln2()
    t, n = _nearest_multiple(x, 1 / ln2)
    high, low = _high_and_low(ln2, x.format.mantissa, 11)
    return t, n.fma(-low, n.fma(-high, x)).named()


def _exp_polynomial(r: Term) -> Term:
    """(eʳ - 1 - r) / r²."""
    return horner(minimax.polynomial(minimax.exp_remainder, "-0.3466", "0.3466", r.format.exp_degree), r)


def exp(x: Term) -> Term:
    """eˣ = 2ⁿ·eʳ, the factor 2ⁿ by adding n to the exponent bits.

    Zero where the result would be below the smallest normal number; infinity where it would be too large.
    """
    x = x.named()
    f = x.format
    t, r = _exp_reduction(x)
    mantissa = _exp_polynomial(r).fma(r, 1.0).fma(r, 1.0)
    scaled = (mantissa.bits() + (t.bits() << f.mantissa)).from_bits()
    lowest = _rounded_towards_zero(-(f.bias - 1) * minimax.ln2(), f)
    highest = _rounded_towards_zero((f.bias + 1) * minimax.ln2() - Decimal(2) ** -(f.mantissa + 2), f)
    # Outside, the exponent bits have overflowed; x + inf is inf there, and NaN for NaN.
    return (x <= highest).then((x < lowest).then(x.constant(0.0), scaled), x + math.inf)


def _rounded_towards_zero(value: Decimal, f: Format) -> float:
    """value rounded to a multiple of its unit in the last place, two units closer to zero at most."""
    exponent = math.frexp(float(value))[1]
    unit = Decimal(2) ** (exponent - f.mantissa - 1)
    return float(int(value / unit) * unit)


def expm1(x: Term) -> Term:
    """eˣ - 1 = 2ⁿ·(eʳ - 1) + (2ⁿ - 1), from halves, so that 2ⁿ does not overflow before the result does."""
    x = x.named()
    f = x.format
    # Beyond these ends the result is -1 and infinity, and the scale still is a number.
    return _expm1_within(_at_most(_at_least(x, -float(f.mantissa)), (f.bias + 1.25) * math.log(2)))


def _expm1_within(x: Term) -> Term:
    """eˣ - 1 for -bias·ln 2 < x < (bias + 1.4)·ln 2."""
    f = x.format
    t, r = _exp_reduction(x)
    small = _exp_polynomial(r).fma(r * r, r)
    half = ((t.bits() + (f.bias - 1)) << f.mantissa).from_bits().named()
    return half.fma(small, half - 0.5) * 2.0


def sigmoid(x: Term) -> Term:
    """1 / (1 + e⁻ˣ)."""
    return x.constant(1.0) / (exp(-x) + 1.0)


def tanh(x: Term) -> Term:
    """-t / (t + 2) with t = e^(-2|x|) - 1, under the sign of x: nothing overflows, nothing cancels."""
    x = x.named()
    t = _expm1_within(_at_least(abs(x) * -2.0, -float(x.format.mantissa))).named()
    return (t / (t + 2.0)).sign_of(x)


def erf(x: Term) -> Term:
    """1 - e^(-a·(2/√π + a·p(a))) under the sign of x, where a = |x|: one smooth p, no pieces."""
    x = x.named()
    f = x.format
    end = float(f.erf_one)
    a = _at_most(abs(x), end)
    # Fitted in -1 <= u <= 1: powers of a itself would lose digits to cancellation.
    u = a.fma(2.0 / end, -1.0).named()
    p = horner(minimax.polynomial(_ERF_REMAINDER[f.erf_one], "-1", "1", f.erf_degree), u)
    high, low = _high_and_low(minimax.two_over_root_pi(), f.mantissa, 0)
    exponent = a.fma(high, p.fma(a, low) * a)
    return _expm1_within((-exponent).named()).sign_of(x)


def _moved_erf_remainder(end: str) -> Callable[[Decimal], Decimal]:
    def moved(u: Decimal) -> Decimal:
        return minimax.erf_exponent_remainder((1 + u) * Decimal(end) / 2)

    return moved


_ERF_REMAINDER = {f.erf_one: _moved_erf_remainder(f.erf_one) for f in FORMATS.values()}


# ----------------------------------------------------------------------------------------- log and its family


def _log_of_parts(exponent: Term, f: Term) -> Term:
    """exponent·ln 2 + log(1 + f) for √½ <= 1 + f <= √2."""
    high, low = _high_and_low(minimax.ln2(), f.format.mantissa, 11)
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
    """log x = k·ln 2 + log m; log 0 = -inf, log of less is NaN."""
    x = x.named()
    f = x.format
    tiny = (x < 2.0 ** (1 - f.bias)).named()
    scale = 2.0 ** (f.mantissa + 1)
    exponent, _, m = _split(tiny.then(x * scale, x).named())
    exponent = (exponent - tiny.then(x.constant(f.mantissa + 1), x.constant(0))).named()
    finite = _log_of_parts(exponent, (m - 1.0).named())
    return _log_outside(x, x, finite)


def _log_outside(u: Term, x: Term, finite: Term) -> Term:
    """The value at and beyond the ends of 0 < u < inf, where x is the argument: -inf, NaN, inf."""
    below = u.equals(0.0).then(x.constant(-math.inf), x.constant(math.nan))
    return (u <= 0.0).then(below, (x < math.inf).then(finite, x))


def log1p(x: Term) -> Term:
    """log(1 + x), the part of x that 1 + x rounds away put back."""
    x = x.named()
    u = (x + 1.0).named()
    return _log_outside(u, x, _log1p_within(x, u))


def _log1p_within(x: Term, u: Term) -> Term:
    """log(1 + x) for u = 1 + x, positive and finite."""
    f = x.format
    exponent, shifted, m = _split(u)
    lost = (x - (u - 1.0)) * 0.5
    # 2·2⁻ᵏ has the exponent bits 2·bias + 1 - (k + bias), which is zero or more for the largest k too.
    inverse = (shifted.constant((2 * f.bias + 1) << f.mantissa) - shifted).from_bits()
    return _log_of_parts(exponent.named(), lost.fma(inverse, m - 1.0).named())


def softplus(x: Term) -> Term:
    """log(1 + eˣ) = max(x, 0) + log1p(e^-|x|)."""
    x = x.named()
    e = exp(-abs(x)).named()
    return _at_least(x, 0.0) + _log1p_within(e, (e + 1.0).named())


def power(x: Term, y: Term) -> Term:
    """xʸ = e^(y·log|x|); for a negative x (-inf too) negated where y is odd, NaN where y is a fraction.

    A constant y among the small integers and ±1/2 is multiplied out or rooted. Otherwise the error grows
    with the exponent to |y·log x| units in the last place (relative 5e-6 at the ends of float32). x⁰ = 1
    for every x.
    """
    x, y = x.named(), y.named()
    if isinstance(y.e, Const) and (exact := _constant_power(x, float(y.e.value))) is not None:
        return exact
    size = abs(x).named()
    unit = y.equals(0.0) | size.equals(1.0)
    magnitude = unit.then(x.constant(1.0), exp(y * log(size))).named()
    half = (y * 0.5).named()
    even = half.equals(_rint(half))
    signed = even.then(magnitude, -magnitude)
    below = y.equals(_rint(y)).then(signed, x.constant(math.nan))
    return ((x < 0.0) & Term(Unary("not", y.equals(0.0).e), x.bind)).then(below, magnitude)


def _rint(x: Term) -> Term:
    return Term(Unary("rint", x.e), x.bind)


def _constant_power(x: Term, y: float) -> Term | None:
    """xʸ for |y| = 1/2 or an integer of at most 8."""
    if abs(y) == 0.5:
        root = Term(Unary("sqrt", x.e), x.bind)
    elif y == int(y) and abs(y) <= 8:
        root = _integer_power(x, int(abs(y)))
    else:
        return None
    return root if y >= 0 else x.constant(1.0) / root


def _integer_power(x: Term, n: int) -> Term:
    """xⁿ by squaring."""
    if n < 2:
        return x if n else x.constant(1.0)
    root = _integer_power(x, n // 2).named()
    return root * root * x if n % 2 else root * root


# --------------------------------------------------------------------------------------------------- sin, cos


def sin(x: Term) -> Term:
    """sin x, right to 4 units in the last place for |x| < 1000; NaN for |x| >= 2^(mantissa-3)."""
    return _circular(x, 0)


def cos(x: Term) -> Term:
    """cos x, as sin."""
    return _circular(x, 1)


def _circular(x: Term, quarter: int) -> Term:
    """sin(x + quarter·π/2): x = n·π/2 + r; the last bits of n + quarter choose among ±sin r and ±cos r."""
    x = x.named()
    f = x.format
    half_pi = minimax.pi() / 2
    t, n = _nearest_multiple(x, 1 / half_pi)
    r, rest = x, half_pi
    for _ in range(3):
        part, rest = _high_and_low(rest, f.mantissa + max(0, -rest.adjusted() * 10 // 3), 11)
        r = n.fma(-part, r)
    r = r.named()
    z = (r * r).named()
    degree = f.trigonometric_degree
    sine = horner(minimax.polynomial(minimax.sine_remainder, "0", "0.617", degree), z).fma(z * r, r)
    cosine = horner(minimax.polynomial(minimax.cosine_remainder, "0", "0.617", degree), z)
    cosine = cosine.fma(z * z, z.fma(-0.5, 1.0))
    quadrant = (t.bits() + quarter).named()
    value = (quadrant & 1).equals(0).then(sine, cosine).named()
    signed = (quadrant & 2).equals(0).then(value, -value)
    return (abs(x) < 2.0 ** (f.mantissa - 3)).then(signed, x.constant(math.nan))


UNARY: dict[str, Callable[[Term], Term]] = {
    "exp": exp, "log": log, "expm1": expm1, "log1p": log1p, "tanh": tanh, "erf": erf,
    "sigmoid": sigmoid, "softplus": softplus, "sin": sin, "cos": cos,
}  # fmt: skip
BINARY: dict[str, Callable[[Term, Term], Term]] = {"pow": power}
