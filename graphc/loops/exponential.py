"""exp and the functions that follow from it: expm1, sigmoid, tanh, erf.

x = n·ln 2 + r, |r| <= ln 2 / 2, with ln 2 in two parts (Cody, Waite, "Software Manual for the Elementary Functions",
1980). The integer n is made by adding 1.5·2^mantissa, whose lowest bits then hold n: no conversion, so no undefined
result for NaN and infinities, and no instruction that some vector units lack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from graphc.loops import minimax
from graphc.loops.term import FORMATS, Format, Term, horner


def nearest_multiple(x: Term, inverse: Decimal) -> tuple[Term, Term]:
    """(t, n): n = the integer nearest to x·inverse, whose lowest bits are also those of t."""
    magic = 1.5 * 2.0**x.format.mantissa
    t = x.fma(inverse, magic).named()
    return t, (t - magic).named()


def ln2_in_parts(f: Format) -> tuple[Decimal, Decimal]:
    """ln 2 as a number whose multiples by any exponent are exact, and the rest."""
    return minimax.high_and_low(minimax.ln2(), f.mantissa - 11)


def exp(x: Term) -> Term:
    """eˣ = 2ⁿ·eʳ, the factor 2ⁿ by adding n to the exponent bits.

    Zero where the result would be below the smallest normal number; infinity where it would be too large.
    """
    x = x.named()
    return within_exp_range(x, _exp_within(x))


def _exp_within(x: Term) -> Term:
    """eˣ where that is a normal number."""
    t, n = nearest_multiple(x, 1 / minimax.ln2())
    high, low = ln2_in_parts(x.format)
    r = n.fma(-low, n.fma(-high, x)).named()
    return _scaled(_polynomial(r).fma(r, 1.0).fma(r, 1.0), t)


def _polynomial(r: Term) -> Term:
    """(eʳ - 1 - r) / r²."""
    return horner(minimax.polynomial(minimax.exp_remainder, "-0.3466", "0.3466", r.format.exp_degree), r)


def _scaled(mantissa: Term, t: Term) -> Term:
    """mantissa·2ⁿ by adding n, the lowest bits of t, to the exponent."""
    return (mantissa.bits() + (t.bits() << mantissa.format.mantissa)).from_bits()


def within_exp_range(x: Term, inside: Term) -> Term:
    """`inside` where eˣ is a normal number; zero below. Beyond, x + inf is inf, and NaN for NaN."""
    lowest, highest = _range(x.format)
    return (x <= highest).then((x < lowest).then(x.constant(0.0), inside), x + math.inf)


def _range(f: Format) -> tuple[float, float]:
    """The arguments between which eˣ is a normal number."""
    lowest = -(f.bias - 1) * minimax.ln2()
    highest = (f.bias + 1) * minimax.ln2() - Decimal(2) ** -(f.mantissa + 2)
    return _rounded_towards_zero(lowest, f), _rounded_towards_zero(highest, f)


def _rounded_towards_zero(value: Decimal, f: Format) -> float:
    """value rounded to a multiple of its unit in the last place, two units closer to zero at most."""
    exponent = math.frexp(float(value))[1]
    unit = Decimal(2) ** (exponent - f.mantissa - 1)
    return float(int(value / unit) * unit)


@dataclass(frozen=True, slots=True)
class Exponential:
    """e^(x + extra) = 2ⁿ·(1 + head + rest), the lowest bits of t holding n.

    The head is exact and below 0.35, the rest, which has all errors, below 0.1: the sum is rounded well.
    """

    t: Term
    head: Term
    rest: Term

    @classmethod
    def of(cls, x: Term, extra: Term | None = None) -> Exponential:
        t, n = nearest_multiple(x, 1 / minimax.ln2())
        high, low = ln2_in_parts(x.format)
        head = n.fma(-high, x).named()
        missing = (n * low if extra is None else n.fma(low, -extra)).named()
        r = (head - missing).named()
        return cls(t, head, _polynomial(r).fma(r * r, -missing).named())

    def value(self) -> Term:
        """The exponential itself, for -bias < n <= bias + 1."""
        return _scaled((self.head + self.rest) + 1.0, self.t)

    def less_one(self, halved: int = 0) -> Term:
        """2^-halved · (eˣ - 1), for |n - halved| < bias."""
        scale = self._scale(halved)
        return scale.fma(self.rest, scale.fma(self.head, scale - 2.0**-halved))

    def less_one_below_zero(self) -> Term:
        """eˣ - 1 for x <= 0: then 2ⁿ·(head + rest) is no larger than the result, and rounded finer."""
        scale = self._scale(0)
        return scale.fma(self.head + self.rest, scale - 1.0)

    def _scale(self, halved: int) -> Term:
        f = self.head.format
        return ((self.t.bits() + (f.bias - halved)) << f.mantissa).from_bits().named()


def expm1(x: Term) -> Term:
    """eˣ - 1 = 2·(2ⁿ⁻¹·(eʳ - 1) + (2ⁿ⁻¹ - ½)): 2ⁿ⁻¹ does not overflow before the result does. x where x is tiny."""
    x = x.named()
    f = x.format
    # Beyond these ends the result is -1 and infinity, and the scale still is a number.
    bounded = x.at_least(-float(f.mantissa + 2)).at_most((f.bias + 1.25) * math.log(2))
    return (abs(x) < 2.0 ** -(f.mantissa + 2)).then(x, Exponential.of(bounded).less_one(halved=1) * 2.0)


def sigmoid(x: Term) -> Term:
    """eˣ / (eˣ + 1): for large x an error of eˣ cancels, for small x it is the only one."""
    x = x.named()
    inside = _exp_within(x.at_most(float(x.format.mantissa + 2)))
    # max(x, 0) is zero for -inf, and NaN for NaN.
    return _share((x.constant(_range(x.format)[0]) <= x).then(inside, x.at_least(0.0)), 1.0)


def tanh(x: Term) -> Term:
    """t / (t + 2) with t = e^2|x| - 1, under the sign of x: an error of t fades as t grows."""
    x = x.named()
    # From here on tanh is 1 to the last bit.
    size = abs(x).at_most((x.format.mantissa + 4) / 2 * math.log(2))
    return _share(Exponential.of((size + size).named()).less_one(), 2.0).sign_of(x)


def _share(t: Term, other: float) -> Term:
    """t / (t + other) for t >= 0, with what the sum, the inverse and the product round away put back.

    What the sum lost is found exactly unless t is so large that the result is 1 to the last bit.
    """
    t = t.named()
    total = (t + other).named()
    lost = t - (total - other)
    inverse = (t.constant(1.0) / total).named()
    quotient = (t * inverse).named()
    minus = (-quotient).named()
    return minus.fma(lost, minus.fma(total, t)).fma(inverse, quotient)


def erf(x: Term) -> Term:
    """1 - e^(-a·(2/√π + a·p(a))) under the sign of x, where a = |x|: one smooth p, no pieces."""
    x = x.named()
    f = x.format
    end = float(f.erf_one)
    a = abs(x).at_most(end)
    # Fitted in -1 <= u <= 1: powers of a itself would lose digits to cancellation.
    u = a.fma(2.0 / end, -1.0).named()
    p = horner(minimax.polynomial(_ERF_REMAINDER[f.erf_one], "-1", "1", f.erf_degree), u)
    high, low = minimax.high_and_low(minimax.two_over_root_pi(), f.mantissa)
    first, second = (a * high).named(), (p.fma(a, low) * a).named()
    exponent = (first + second).named()
    lost = a.fma(high, -first) + (second - (exponent - first))
    return Exponential.of((-exponent).named(), -lost).less_one_below_zero().sign_of(x)


def _moved_erf_remainder(end: str) -> Callable[[Decimal], Decimal]:
    def moved(u: Decimal) -> Decimal:
        return minimax.erf_exponent_remainder((1 + u) * Decimal(end) / 2)

    return moved


_ERF_REMAINDER = {f.erf_one: _moved_erf_remainder(f.erf_one) for f in FORMATS.values()}
