"""Index expressions mean what their simplified form means."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.loops.index import (
    UNBOUNDED,
    Element,
    Index,
    bounds,
    constant,
    maximum,
    minimum,
    of_atom,
    quotient,
    remainder,
    variable,
)
from graphc.loops.interpreter import Frame, evaluate_index

RANGES = {"i": (0, 6), "j": (-3, 4)}
i, j = variable("i"), variable("j")


def value(index: Index, **variables: int) -> int:
    return evaluate_index(index, Frame({}, variables, {}, {}))


def grid():
    axes = [range(low, high + 1) for low, high in RANGES.values()]
    return [dict(zip(RANGES, point, strict=True)) for point in itertools.product(*axes)]


sums = st.builds(lambda p, q, r: i * p + j * q + r, st.integers(-9, 9), st.integers(-9, 9), st.integers(-20, 20))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sums, sums, st.integers(1, 8))
def test_simplification_keeps_the_value(a, b, divisor):
    cases = [
        (a + b, lambda x, y: x + y),
        (a - b, lambda x, y: x - y),
        (quotient(a, divisor, RANGES), lambda x, y: x // divisor),
        (remainder(a, divisor, RANGES), lambda x, y: x % divisor),
        (minimum(a, b, RANGES), min),
        (maximum(a, b, RANGES), max),
        (quotient(a * divisor + b, divisor, RANGES), lambda x, y: (x * divisor + y) // divisor),
    ]
    for index, meaning in cases:
        low, high = bounds(index, RANGES)
        for point in grid():
            got = value(index, **point)
            assert got == meaning(value(a, **point), value(b, **point))
            assert low <= got <= high


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sums, sums, st.integers(1, 8))
def test_substitution_keeps_the_value(a, b, divisor):
    index = quotient(a, divisor) + remainder(b, divisor) * 3 + minimum(a, b)
    swapped = index.substitute({"i": j * 2 + 1}, RANGES)
    assert "i" not in swapped.variables()
    for y in range(-3, 5):
        assert value(swapped, j=y) == value(index, i=2 * y + 1, j=y)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (i + i - j, "2*i-j"),
        (i - i, "0"),
        (j * -2 + 5, "-2*j+5"),
        (quotient(i * 8 + 3, 8, {"i": (0, 9)}), "i"),
        (quotient(i * 8 + j, 8, {"j": (0, 7)}), "i"),
        (remainder(i * 8 + j, 8, {"j": (0, 7)}), "j"),
        (remainder(i * 8 + j, 8), "j%8"),
        (quotient(i, 1), "i"),
        (remainder(i, 1), "0"),
        (minimum(i, i + 3), "i"),
        (maximum(i, i + 3), "i+3"),
        (of_atom(Element("t", (i, j + 1))) * 2 + 1, "2*t[i, j+1]+1"),
    ],
)
def test_normal_form(index, text):
    assert str(index) == text


def test_queries():
    inner = of_atom(Element("rows", (i,)))
    outer = Element("columns", (inner + 1,))
    index = of_atom(outer) * 3 + j
    assert index.variables() == {"i", "j"}
    assert index.elements() == (Element("rows", (i,)), outer)
    assert index.coefficient("j") == 1
    assert index.coefficient("i") == 0
    assert constant(4).is_constant
    assert bounds(variable("unknown") + 1, {}) == (-UNBOUNDED + 1, UNBOUNDED)
