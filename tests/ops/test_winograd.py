"""The derived matrices compute the filter exactly, and their points are the most exact ones."""

from fractions import Fraction
from itertools import combinations

import pytest
import sympy as sp

from graphc.errors import LoweringError
from graphc.ops.winograd import Transform, amplification, points, winograd


def matrix(constants) -> sp.Matrix:
    return sp.Matrix([[sp.Rational(v) for v in row] for row in constants.rows])


@pytest.mark.parametrize("outputs", range(1, 7))
@pytest.mark.parametrize("taps", range(1, 7))
def test_the_filter_for_all_numbers(outputs: int, taps: int) -> None:
    f = winograd(outputs, taps)
    d, g = sp.symbols(f"d:{f.size}"), sp.symbols(f"g:{taps}")
    products = (matrix(f.G) * sp.Matrix(g)).multiply_elementwise(matrix(f.B) * sp.Matrix(d))
    wanted = [sum(d[i + k] * g[k] for k in range(taps)) for i in range(outputs)]
    assert [sp.expand(v) for v in matrix(f.A) * products] == wanted


def test_fewer_multiplications() -> None:
    f = winograd(4, 3)
    assert (f.size, f.A.shape, f.G.shape, f.B.shape) == (6, (4, 6), (6, 3), (6, 6))


def test_the_textbook_case() -> None:
    """Lavin & Gray 2015, section 4.1, up to the sign of whole rows."""
    f = winograd(2, 3)
    half = Fraction(1, 2)
    assert f.G.rows == ((-1, 0, 0), (half, half, half), (half, -half, half), (0, 0, 1))
    assert f.B.rows == ((-1, 0, 1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    assert f.A.rows == ((1, 1, 1, 0), (0, 1, -1, 1))


@pytest.mark.parametrize("size", range(3, 9))
def test_data_is_transformed_alike_for_filters_and_their_gradients(size: int) -> None:
    assert len({winograd(m, size + 1 - m).B for m in range(1, size + 1)}) == 1


@pytest.mark.parametrize("size", [4, 6, 8])
def test_pairs_of_points_share_even_and_odd_parts(size: int) -> None:
    f = winograd(size - 2, 3)
    for k in range(1, size - 2, 2):
        plus, minus = f.B.rows[k], f.B.rows[k + 1]
        differ = [a == -b != 0 for a, b in zip(plus, minus, strict=True)]
        assert [abs(v) for v in plus] == [abs(v) for v in minus]
        assert differ[1:-1:2] == [True] * (size // 2 - 1)
        assert not any(differ[::2])
    assert sum(v in (0, 1, -1) for row in f.B.rows for v in row) >= size * size / 2


def variance(outputs: int, taps: int, magnitudes: tuple[Fraction, ...]) -> float:
    """The square of the mean amplification for other points, from the definition of the matrices."""
    finite = [Fraction(0), *(s * p for p in magnitudes for s in (1, -1))]
    total = Fraction(0)
    for p in finite:
        others = [q for q in finite if q != p]
        scale, row = Fraction(1), [Fraction(1)]
        for q in others:
            scale *= p - q
            row = [a - q * b for a, b in zip([Fraction(0), *row], [*row, Fraction(0)], strict=True)]
        weight = sum((p**k / scale) ** 2 for k in range(taps)) * sum(v * v for v in row)
        total += weight * sum(p ** (2 * i) for i in range(outputs))
    row = [Fraction(1)]
    for q in finite:
        row = [a - q * b for a, b in zip([Fraction(0), *row], [*row, Fraction(0)], strict=True)]
    return float((total + sum(v * v for v in row)) / taps / outputs)


@pytest.mark.parametrize(("size", "pairs"), [(4, 1), (6, 2), (8, 3)])
def test_no_simple_points_are_more_exact(size: int, pairs: int) -> None:
    simple = sorted({Fraction(a, b) for a in range(1, 6) for b in range(1, 6) if a <= 4 * b and b <= 4 * a})
    best = min(variance(size - 2, 3, chosen) for chosen in combinations(simple, pairs))
    assert amplification(size - 2, 3).mean ** 2 == pytest.approx(best)


def test_amplification_of_the_direct_form_is_one() -> None:
    for found in (amplification(1, 1), amplification(3, 1)):
        assert found.mean <= found.worst
    assert amplification(1, 1).worst == 1


def test_the_textbook_points_are_worse() -> None:
    textbook = variance(4, 3, (Fraction(1), Fraction(2)))
    assert textbook > 2 * amplification(4, 3).mean ** 2


def test_more_points_than_are_known() -> None:
    assert len(set(points(11))) == 11
    with pytest.raises(LoweringError, match="use at most 11"):
        points(12)


def test_equal_transforms_are_one() -> None:
    assert isinstance(winograd(4, 3), Transform)
    assert winograd(4, 3) is winograd(4, 3)
