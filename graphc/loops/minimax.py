"""Polynomial approximation on an interval, derived when it is first asked for: no table of digits to trust.

A polynomial that meets f at the Chebyshev points of [low, high] is within a small factor of the best one of
its degree. Everything is computed with 110 decimal digits, far more than the cancellations below eat up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from functools import cache

Real = Decimal
EXACT = Context(prec=110)
"""The context of every computation with these numbers."""


def chebyshev_points(low: Real, high: Real, count: int) -> list[Real]:
    """The zeros of the Chebyshev polynomial of degree `count`, moved to [low, high]."""
    centre, radius = (low + high) / 2, (high - low) / 2
    # A node may be anywhere near the zero; ten digits make it the same node on every machine.
    cosines = [Decimal(round(math.cos(math.pi * (2 * k + 1) / (2 * count)), 10)) for k in range(count)]
    return [centre + radius * round(c, 10) for c in cosines]


def interpolate(points: list[Real], values: list[Real]) -> list[Real]:
    """Coefficients, lowest power first, of the polynomial through the points, by divided differences."""
    differences = list(values)
    for order in range(1, len(points)):
        for i in range(len(points) - 1, order - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / (points[i] - points[i - order])
    coefficients: list[Real] = []
    for point, difference in zip(reversed(points), reversed(differences), strict=True):
        shifted = [Decimal(0), *coefficients]
        scaled = [-point * c for c in coefficients] + [Decimal(0)]
        coefficients = [a + b for a, b in zip(shifted, scaled, strict=True)]
        coefficients[0] += difference
    return coefficients


def high_and_low(value: Real, places: int) -> tuple[Real, Real]:
    """value rounded to so many binary places after the point, and what is missing."""
    scale = Decimal(2) ** places
    high = (value * scale).to_integral_value() / scale
    return high, value - high


def parts(value: Real, bits: int, count: int) -> list[Real]:
    """value as the sum of `count` numbers of so many bits."""
    found: list[Real] = []
    for _ in range(count):
        part, value = high_and_low(value, bits - math.frexp(float(value))[1])
        found.append(part)
    return found


@cache
def polynomial(f: Callable[[Real], Real], low: str, high: str, degree: int) -> tuple[Real, ...]:
    """Coefficients, lowest power first, of a near-best polynomial for f on [low, high]."""
    with localcontext(EXACT):
        points = chebyshev_points(Decimal(low), Decimal(high), degree + 1)
        return tuple(interpolate(points, [f(p) for p in points]))


def series(first: Real, ratio: Callable[[int], Real]) -> Real:
    """first + first·ratio(1) + first·ratio(1)·ratio(2) + ... until the terms vanish."""
    total, term, k = first, first, 1
    while abs(term) > Decimal(10) ** -105:
        term *= ratio(k)
        total += term
        k += 1
    return total


@cache
def pi() -> Real:
    """π = 16 atan(1/5) - 4 atan(1/239)."""

    def arctangent(inverse: int) -> Real:
        first = Decimal(1) / inverse
        return series(first, lambda k: -Decimal(2 * k - 1) / (2 * k + 1) / inverse**2)

    with localcontext(EXACT):
        return 16 * arctangent(5) - 4 * arctangent(239)


@cache
def ln2() -> Real:
    """The natural logarithm of 2."""
    return Decimal(2).ln(EXACT)


@cache
def two_over_root_pi() -> Real:
    """The slope 2/√π of erf at zero."""
    with localcontext(EXACT):
        return 2 / pi().sqrt()


# --------------------------------------------------------------------------------- the functions to be fitted


def exp_remainder(r: Real) -> Real:
    """(eʳ - 1 - r) / r²."""
    return (r.exp() - 1 - r) / (r * r) if r else Decimal(1) / 2


def log_remainder(f: Real) -> Real:
    """(log(1+f) - f + f²/2) / f³."""
    return ((1 + f).ln() - f + f * f / 2) / (f * f * f)


def log_quotient_remainder(z: Real) -> Real:
    """(log((1+s)/(1-s)) / s - 2) / z where z = s²."""
    s = z.sqrt()
    return (((1 + s) / (1 - s)).ln() / s - 2) / z


def sine_remainder(z: Real) -> Real:
    """(sin r / r - 1) / z where z = r²."""
    return series(Decimal(-1) / 6, lambda k: -z / ((2 * k + 2) * (2 * k + 3)))


def cosine_remainder(z: Real) -> Real:
    """(cos r - 1 + z/2) / z² where z = r²."""
    return series(Decimal(1) / 24, lambda k: -z / ((2 * k + 3) * (2 * k + 4)))


def arctangent_remainder(z: Real) -> Real:
    """(atan r / r - 1) / z where z = r², by Euler's series, which converges everywhere."""
    total = series(Decimal(1), lambda k: 2 * k * z / ((2 * k + 1) * (1 + z))) / (1 + z)
    return (total - 1) / z if z else Decimal(-1) / 3


def scaled_erfc(a: Real) -> Real:
    """e^(a²)·erfc(a): by erf's series below 2, beyond by Laplace's continued fraction, from its far end."""
    if a < 2:
        erf = two_over_root_pi() * series(a, lambda k: -a * a * (2 * k - 1) / (k * (2 * k + 1)))
        return (a * a).exp() * (1 - erf)
    fraction = a
    for k in range(900, 0, -1):
        fraction = a + Decimal(k) / 2 / fraction
    return two_over_root_pi() / 2 / fraction


def erf_exponent_remainder(a: Real) -> Real:
    """(-log(1 - erf a) / a - 2/√π) / a."""
    square, slope = a * a, two_over_root_pi()
    erf = slope * series(a, lambda k: -square * (2 * k - 1) / (k * (2 * k + 1)))
    return (-(1 - erf).ln() / a - slope) / a
