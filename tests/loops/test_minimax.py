"""The fitted polynomials against the functions themselves, in many more digits than float64 has."""

from decimal import Decimal, localcontext

import mpmath
import pytest

from graphc.loops import minimax


def test_constants():
    with mpmath.workdps(100):
        assert abs(mpmath.mpf(str(minimax.pi())) - mpmath.pi) < mpmath.mpf(10) ** -98
        assert abs(mpmath.mpf(str(minimax.ln2())) - mpmath.log(2)) < mpmath.mpf(10) ** -98
        assert abs(mpmath.mpf(str(minimax.two_over_root_pi())) - 2 / mpmath.sqrt(mpmath.pi)) < 1e-98


@pytest.mark.parametrize(
    ("f", "reference"),
    [
        (minimax.exp_remainder, lambda r: (mpmath.exp(r) - 1 - r) / r**2),
        (minimax.log_remainder, lambda f: (mpmath.log(1 + f) - f + f**2 / 2) / f**3),
        (
            minimax.log_quotient_remainder,
            lambda z: (2 * mpmath.atanh(mpmath.sqrt(z)) / mpmath.sqrt(z) - 2) / z,
        ),
        (minimax.sine_remainder, lambda z: (mpmath.sin(z**0.5) / z**0.5 - 1) / z),
        (minimax.cosine_remainder, lambda z: (mpmath.cos(z**0.5) - 1 + z / 2) / z**2),
        (
            minimax.erf_exponent_remainder,
            lambda a: (-mpmath.log(mpmath.erfc(a)) / a - 2 / mpmath.sqrt(mpmath.pi)) / a,
        ),
    ],
)
def test_functions_to_be_fitted(f, reference):
    for x in ("0.001", "0.0294", "0.25", "0.34"):
        with localcontext(minimax.EXACT), mpmath.workdps(110):
            assert abs(mpmath.mpf(str(f(Decimal(x)))) - reference(mpmath.mpf(x))) < mpmath.mpf(10) ** -80


def test_erf_exponent_at_the_far_end():
    with localcontext(minimax.EXACT), mpmath.workdps(110):
        got = mpmath.mpf(str(minimax.erf_exponent_remainder(Decimal(6))))
        expected = (-mpmath.log(mpmath.erfc(6)) / 6 - 2 / mpmath.sqrt(mpmath.pi)) / 6
        assert abs(got - expected) < mpmath.mpf(10) ** -60


def test_interpolation_returns_a_polynomial_unchanged():
    with localcontext(minimax.EXACT):
        coefficients = minimax.polynomial(lambda x: 3 * x**3 - x / 2 + 7, "-1", "2", 4)
    expected = [7, Decimal(-1) / 2, 0, 3, 0]
    assert all(abs(c - e) < Decimal(10) ** -100 for c, e in zip(coefficients, expected, strict=True))


@pytest.mark.parametrize("degree", [2, 4, 6, 8])
def test_the_error_is_near_the_best_possible(degree):
    """No polynomial of degree d does better for eˣ on [-1, 1] than about 1 / (2ᵈ·(d+1)!)."""

    def exponential(x):
        return x.exp()

    coefficients = minimax.polynomial(exponential, "-1", "1", degree)
    best = 1 / (2**degree * mpmath.factorial(degree + 1))
    worst = max(
        abs(mpmath.exp(x) - mpmath.polyval([mpmath.mpf(str(c)) for c in reversed(coefficients)], x))
        for x in mpmath.linspace(-1, 1, 201)
    )
    assert best / 2 < worst < 2 * best
