"""erfc, Φ and atan: functions of |x| whose approximation takes a division, and a symmetry for the other sign.

    erfc a = e^(-a²)·t·q(t)              t = 1 / (1 + 0.3·a)        erfc(-a) = 2 - erfc a
    Φ(-x)  = erfc(x / √2) / 2                                       Φ(x) = 1 - Φ(-x)
    atan a = a + a³·p(a²), a <= 1        atan a = π/2 - atan(1/a)   atan(-a) = -atan a

The square in the exponent is taken in two parts, for e^(-a²) multiplies its error by a²: so Φ has an approximation
of its own, as a rounded x/√2 would cost that much. t·q(t) falls like 1/a and is smooth in t, so one polynomial does
(form: W. J. Cody, "Rational Chebyshev approximations for the error function", 1969).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache

from graphc.loops import minimax
from graphc.loops.exponential import Exponential
from graphc.loops.term import Term, horner


def erfc(x: Term) -> Term:
    """1 - erf x with a small relative error; zero where it would be below the smallest normal number."""
    x = x.named()
    tail = _tail(abs(x).named(), "1", "0.3125")
    return (x < 0.0).then(x.constant(2.0) - tail, tail)


def normal_cdf(x: Term) -> Term:
    """Φ x, the chance that a standard normal number is below x, with a small relative error; zero as erfc."""
    x = x.named()
    tail = (_tail(abs(x).named(), "0.5", "0.21875") * 0.5).named()
    return (x < 0.0).then(tail, x.constant(1.0) - tail)


def _tail(a: Term, share: str, steepness: str) -> Term:
    """erfc(a·√share) = e^(-share·a²)·t·q(t) with t = 1 / (1 + steepness·a), zero where it is not a normal number.

    A last bit of t is worth several of q, so what t lost by rounding is added to u.
    """
    f = a.format
    scale, slope, end = Decimal(share).sqrt(), Decimal(steepness), Decimal(f.erfc_zero) / Decimal(share).sqrt()
    below = a.fma(slope, 1.0).named()
    t = (a.constant(1.0) / below).named()
    wrong = (-t).named().fma(a.fma(slope, -(below - 1.0)), (-t).named().fma(below, 1.0))
    least = _least_t(slope, end)
    u = (t * wrong).fma(2 / (1 - least), t.fma(2 / (1 - least), -(1 + least) / (1 - least))).named()
    q = horner(minimax.polynomial(_scaled_tail(slope / scale, least), "-1", "1", f.erfc_degree), u)
    # NaN passes through t
    inside = (a < float(end)).then(a, a.constant(0.0)).named()
    square = (inside * inside).named()
    lost = inside.fma(inside, -square)
    exponential = Exponential.of((square * -Decimal(share)).named(), (lost * -Decimal(share)).named()).value()
    return (a.constant(end) <= a).then(a.constant(0.0), exponential * (t * q)).named()


def _least_t(slope: Decimal, end: Decimal) -> Decimal:
    return round(1 / (1 + slope * end), 6)


@cache
def _scaled_tail(slope: Decimal, least: Decimal) -> Callable[[Decimal], Decimal]:
    """e^(a²)·erfc(a) / t with t = 1 / (1 + slope·a), which goes from `least` to 1 as u goes from -1 to 1."""

    def tail(u: Decimal) -> Decimal:
        t = least + (1 + u) * (1 - least) / 2
        return minimax.scaled_erfc((1 / t - 1) / slope) / t

    return tail


def atan(x: Term) -> Term:
    """The angle whose tangent is x, in -π/2 .. π/2."""
    x = x.named()
    f = x.format
    a = abs(x).named()
    steep = (x.constant(1.0) < a).named()
    r = steep.then(x.constant(1.0) / a, a).named()
    z = (r * r).named()
    p = horner(minimax.polynomial(minimax.arctangent_remainder, "0", "1", f.arctangent_degree), z)
    angle = (p * z).fma(r, r).named()
    high, low = minimax.high_and_low(minimax.pi() / 2, f.mantissa)
    return steep.then((x.constant(low) - angle) + high, angle).sign_of(x)
