"""Minimal filtering, derived: m outputs of an r-tap filter with m + r - 1 multiplications instead of m·r.

    y[i] = Σ_k d[i + k]·g[k]        y = A·[(G·g) ⊙ (B·d)]        A is m×α, G is α×r, B is α×α, α = m + r - 1

The product of two polynomials has α coefficients, so its values at α points determine it (Toom, Cook). Evaluation at a
point is a row of its powers, interpolation divides by products of differences: exact rationals, found with sympy.
Transposing that algorithm turns the product of polynomials into the filter (Winograd, Arithmetic Complexity of
Computations, 1980; Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2015).

The points are 0, infinity and pairs ±p. A pair gives rows E + O and E - O with even and odd parts in common; they
stand side by side. In floating point the points decide the error (Barabasz et al., Error Analysis and Improving the
Accuracy of Winograd Convolution for Deep Neural Networks, 2018): `amplification` predicts it, and `MAGNITUDES` are its
minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import prod, sqrt

import sympy as sp

from graphc.errors import LoweringError
from graphc.ops.formula import Constants

MAGNITUDES = {
    1: (sp.S.One,),
    2: (sp.Rational(2, 3), sp.Rational(3, 2)),
    3: (sp.S.Half, sp.S.One, sp.Integer(2)),
    4: (sp.S.Half, sp.Rational(3, 4), sp.Rational(4, 3), sp.Integer(2)),
    5: (sp.Rational(2, 5), sp.Rational(2, 3), sp.S.One, sp.Rational(3, 2), sp.Rational(5, 2)),
}
"""Magnitudes of the pairs, by their number. They are closed under p -> 1/p, which makes the first and last coefficients
of the products of differences ±1. For 1 to 3 pairs no fractions of integers up to 8 have a smaller amplification."""


@cache
def points(count: int) -> tuple[sp.Rational, ...]:
    """0, p, -p, q, -q, ... with p < q: the finite points, of which an even number lacks the last negative one.

    Raises LoweringError for more points than pairs are known for.
    """
    pairs = count // 2
    if pairs > len(MAGNITUDES):
        raise LoweringError(f"no {count} interpolation points", hint=f"use at most {2 * len(MAGNITUDES) + 1}")
    signed = chain.from_iterable((p, -p) for p in MAGNITUDES.get(pairs, ()))
    return (sp.S.Zero, *signed)[:count]


@dataclass(frozen=True, slots=True)
class Transform:
    """The matrices of F(m, r): y = A·[(G·g) ⊙ (B·d)]. B depends on m + r alone."""

    outputs: int
    taps: int
    A: Constants
    G: Constants
    B: Constants

    @property
    def size(self) -> int:
        """Multiplications, and inputs of one tile."""
        return self.outputs + self.taps - 1


@cache
def winograd(outputs: int, taps: int) -> Transform:
    """The exact matrices of F(outputs, taps). Raises LoweringError where more points are needed than are known."""
    size = outputs + taps - 1
    finite = points(size - 1)
    x = sp.Symbol("x")

    def coefficients(roots: list[sp.Rational]) -> list[sp.Rational]:
        """Π (x - root), the constant first, as long as a tile."""
        found = sp.Poly(prod((x - q for q in roots), start=sp.S.One), x).all_coeffs()[::-1]
        return found + [sp.S.Zero] * (size - len(found))

    def powers(p: sp.Rational, count: int) -> list[sp.Rational]:
        return [p**k for k in range(count)]

    def last(count: int) -> list[sp.Rational]:
        """The value at infinity is the leading coefficient."""
        return [sp.S.Zero] * (count - 1) + [sp.S.One]

    others = {p: [q for q in finite if q != p] for p in finite}
    data = [coefficients(others[p]) for p in finite] + [coefficients(list(finite))]
    scale = {p: prod((p - q for q in others[p]), start=sp.S.One) for p in finite}
    filters = [[v / scale[p] for v in powers(p, taps)] for p in finite] + [last(taps)]
    results = [powers(p, outputs) for p in finite] + [last(outputs)]
    return Transform(
        outputs,
        taps,
        Constants(f"A({outputs},{size})", zip(*results, strict=True)),
        Constants(f"G({size},{taps})", filters),
        Constants(f"B({size},{size})", data),
    )


@dataclass(frozen=True, slots=True)
class Amplification:
    """By how much F(m, r) amplifies the rounding of its products: over all outputs of a tile, and in the worst one."""

    mean: float
    worst: float


@cache
def amplification(outputs: int, taps: int) -> Amplification:
    """√(Σ_a (A[i,a]·|G[a]|·|B[a]|)² / taps): the error of y[i] if each product has one in proportion to its size.

    Data and filter are taken as independent with variance 1, so that y has variance `taps`. It is 1 for the direct form
    and multiplies over axes. Scaling a row of G or B against A changes nothing.
    """
    found = winograd(outputs, taps)
    sizes = [float(_square(g) * _square(b)) for g, b in zip(found.G.rows, found.B.rows, strict=True)]
    variance = [sum(float(a) ** 2 * s for a, s in zip(row, sizes, strict=True)) / taps for row in found.A.rows]
    return Amplification(sqrt(sum(variance) / outputs), sqrt(max(variance)))


def _square(row: tuple[object, ...]) -> sp.Rational:
    return sum((sp.Rational(v) ** 2 for v in row), start=sp.S.Zero)
