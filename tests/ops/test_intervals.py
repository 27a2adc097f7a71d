"""Interval analysis and index simplification against brute force over all values of the axes."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
import sympy as sp

from graphc.ops.formula import Axis, FloorDiv, Mod, N, index_symbol
from graphc.ops.intervals import Bound, extents_of, interval, simplify_index
from graphc.types import BATCH

A, B, C = (index_symbol(name) for name in "abc")
EXTENTS = {A: 6, B: 4, C: 5}


def value(e: sp.Expr, at: dict[sp.Symbol, int]) -> Fraction:
    """The index by definition, one node at a time."""
    if e.is_Rational:
        return Fraction(int(e.p), int(e.q))
    if e.is_Symbol:
        return Fraction(at[e])
    args = [value(a, at) for a in e.args]
    if isinstance(e, FloorDiv):
        return Fraction(args[0] // args[1])
    if isinstance(e, Mod):
        return args[0] % args[1]
    return sum(args, Fraction(0)) if e.is_Add else args[0] * args[1]


def points(extents: dict[sp.Symbol, int]):
    for numbers in itertools.product(*map(range, extents.values())):
        yield dict(zip(extents, numbers, strict=True))


def random_index(chance: random.Random, depth: int) -> sp.Expr:
    if depth == 0:
        return chance.choice([A, B, C, sp.Integer(chance.randint(-3, 5))])
    match chance.randint(0, 3):
        case 0:
            return FloorDiv(random_index(chance, depth - 1), chance.choice([2, 3, 4, 6]))
        case 1:
            return Mod(random_index(chance, depth - 1), chance.choice([2, 3, 4, 6]))
        case _:
            factor = chance.choice([-2, -1, 1, 2, 3, 4, 6, 12])
            return factor * random_index(chance, depth - 1) + random_index(chance, depth - 1)


@pytest.mark.parametrize("seed", range(120))
def test_simplified_indices_are_equal_and_inside_their_bounds(seed: int) -> None:
    chance = random.Random(seed)
    e = random_index(chance, chance.randint(1, 4))
    simple = simplify_index(e, EXTENTS)
    bounds = interval(e, EXTENTS)
    for at in points(EXTENTS):
        expected = value(e, at)
        assert value(simple, at) == expected, (e, simple, at)
        assert bounds.low.constant <= expected <= bounds.high.constant, (e, bounds, at)


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (FloorDiv(4 * A + B, 4), A),
        (Mod(4 * A + B, 4), B),
        (FloorDiv(FloorDiv(A, 2), 3), 0),
        (FloorDiv(FloorDiv(21 * A + C, 2), 3), FloorDiv(21 * A + C, 6)),
        (4 * FloorDiv(A, 4) + Mod(A, 4), A),
        (2 * Mod(FloorDiv(A, 2), 2) + Mod(A, 2), Mod(A, 4)),
        (FloorDiv(Mod(7 * A, 6), 2), Mod(FloorDiv(7 * A, 2), 3)),
        (Mod(Mod(7 * A, 6) + 1, 3), Mod(7 * A + 1, 3)),
        (FloorDiv(6 * A + 2 * B, 4), FloorDiv(3 * A + B, 2)),
        (FloorDiv(A + 12, 6), 2),
        (Mod(-1 - A, 6), 5 - A),
        (Mod(-2 - A, 6), Mod(4 - A, 6)),
    ],
)
def test_textbook_cases(e: sp.Expr, expected: sp.Expr) -> None:
    assert simplify_index(sp.sympify(e), EXTENTS) == expected


def test_the_batch_is_any_number_from_one() -> None:
    n = index_symbol("n")
    extents = extents_of((Axis(n, BATCH), Axis(A, 6)))
    assert interval(n, extents).inside(BATCH)
    assert not interval(n + 1, extents).inside(BATCH)
    assert not interval(n, extents).inside(100)
    assert interval(N - 1 - n, extents).never_negative
    assert interval(FloorDiv(2 * n + 1, 2), extents).inside(BATCH)
    assert interval(A, extents).inside(6)
    assert not interval(A, extents).inside(5)
    assert not interval(N - 2, extents).never_negative
    assert interval(2 * N - 2, extents).never_negative
    assert Bound(Fraction(-1), Fraction(1)).never_negative
    assert not Bound(Fraction(5), Fraction(-1)).never_negative


def test_fractions_under_a_divisibility_condition() -> None:
    found = interval((A + 1) / 2, EXTENTS)
    assert (found.low.constant, found.high.constant) == (Fraction(1, 2), Fraction(3))
