"""Operators that draw random numbers, and what they do to activations and weights in training.

KEY tells the applications apart, STEP the steps of training, and the position in the tensor its elements: the same
three integers give the same number wherever and in whatever order it is computed. So the adjoint of a mask holds the
mask itself, computed again: nothing is stored for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import pi, sqrt
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops import scalars
from graphc.ops.formula import Cond, N, Random, Where, lt
from graphc.ops.notation import Operand, axis, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import DType, Extent

INTEGERS = "KEY STEP"
STATE = ("int", 1000, ()), ("int", 10, ())


def position(symbols: Iterable[sp.Symbol]) -> Expr:
    """The number of an element, the last axis fastest and the batch slowest: the same in a batch of any size.

    Rows begin at even numbers, one being left out where they are of odd length, for two numbers are computed at a time.
    """
    row: Expr = sp.S.Zero
    *outer, last = sorted(symbols, key=lambda s: extent(s) != N) or [row]
    for symbol in outer:
        row = row * extent(symbol) + symbol
    length = extent(last) if outer else 1
    return sp.expand(row * (length + length % 2) + last)


def drawn(KEY: Operand, STEP: Operand, symbols: Iterable[sp.Symbol]) -> Expr:
    """A uniform number in (0, 1) for each element."""
    return Random(KEY[()], STEP[()], position(symbols))


def drawn_normal(KEY: Operand, STEP: Operand, symbols: Iterable[sp.Symbol]) -> Expr:
    """√(-2·log u) · cos(2π·v), normally distributed; finite, for u is never 0.

    Box, Muller: A note on the generation of random normal deviates. Ann. Math. Stat. 29 (1958).
    """
    u, v = (Random(KEY[()], STEP[()], sp.expand(2 * position(symbols) + k)) for k in (0, 1))
    return scalars.sqrt(-2 * scalars.log(u)) * scalars.cos(number(2 * pi) * v)


# --------------------------------------------------------------------------------------------- random tensors


def _axes(shape: tuple[Extent, ...]) -> tuple[sp.Symbol, ...]:
    return tuple(axis(name, extent) for name, extent in zip(pointwise_names(len(shape)), shape, strict=True))


@op(register=True, integer=INTEGERS, samples=[Sample(STATE, {"shape": (3, 4)})])
def uniform(
    KEY: Operand, STEP: Operand, *, shape: tuple[Extent, ...] = (), low: float = 0.0, high: float = 1.0,
    dtype: DType = DType.FLOAT32,
) -> Expr:  # fmt: skip
    """low + (high - low) · u, u uniform in (0, 1): the middle of one of 2^23 equal cells, in float64 of 2^52."""
    return number(low) + (number(high) - number(low)) * drawn(KEY, STEP, _axes(shape))


@op(register=True, integer=INTEGERS, samples=[Sample(STATE, {"shape": (3, 4), "dtype": DType.FLOAT64})])
def normal(
    KEY: Operand, STEP: Operand, *, shape: tuple[Extent, ...] = (), mean: float = 0.0, std: float = 1.0,
    dtype: DType = DType.FLOAT32,
) -> Expr:  # fmt: skip
    """mean + std · z, z normally distributed."""
    return number(mean) + number(std) * drawn_normal(KEY, STEP, _axes(shape))


@op(register=True, integer=INTEGERS, samples=[Sample(STATE, {"shape": (3, 4)})])
def bernoulli(
    KEY: Operand, STEP: Operand, *, shape: tuple[Extent, ...] = (), p: float = 0.5, dtype: DType = DType.FLOAT32
) -> Expr:
    """1 with probability p, else 0."""
    return Where(lt(drawn(KEY, STEP, _axes(shape)), number(p)), 1, 0)


@op(register=True, integer="STEP", result=DType.INT64, samples=[Sample(STATE[1:])])
def next_step(STEP: Operand) -> Expr:
    """STEP + 1"""
    return STEP[()] + 1


# ------------------------------------------------------------------------------------------- regularisation


def _dropped(X: Operand, KEY: Operand, STEP: Operand, p: float, axes: tuple[int, ...] | None) -> tuple[Expr, Cond]:
    """(an element, whether it is dropped); elements that differ only along other axes are dropped together."""
    x = X[...]
    own = x.index if axes is None else [x.index[a] for a in axes]
    return x, lt(drawn(KEY, STEP, own), number(p))


@op(
    register=True,
    integer=INTEGERS,
    samples=[Sample(((3, 4), *STATE), {"p": 0.25}), Sample(((2, 3, 2, 2), *STATE), {"axes": (0, 1)})],
)
def dropout(X: Operand, KEY: Operand, STEP: Operand, *, p: float = 0.5, axes: tuple[int, ...] | None = None) -> Expr:
    """0 with probability p, else X / (1 - p): the mean is X. With `axes`, one draw for each place along these.

    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout. JMLR 15 (2014); of whole channels: Tompson and
    others 2015; of weights: Wan and others 2013; of whole samples, so that a branch is left out: Huang and others 2016.
    """
    x, dropped = _dropped(X, KEY, STEP, p, axes)
    return x * Where(dropped, 0, 1 / (1 - number(p)))  # a product, so that NaN stays NaN


SATURATION = -1.0507009873554805 * 1.6732632423543772
"""The limit of SELU for large negative arguments."""


@op(register=True, integer=INTEGERS, samples=[Sample(((3, 4), *STATE), {"p": 0.25})])
def alpha_dropout(
    X: Operand, KEY: Operand, STEP: Operand, *, p: float = 0.5, axes: tuple[int, ...] | None = None
) -> Expr:
    """a·s + b with probability p, else a·X + b; s is where SELU saturates, a and b keep mean 0 and variance 1.

    Klambauer, Unterthiner, Mayr, Hochreiter: Self-normalizing neural networks, 2017.
    """
    x, dropped = _dropped(X, KEY, STEP, p, axes)
    a = 1 / sqrt((1 - p) * (1 + p * SATURATION**2))
    b = -a * p * SATURATION
    return Where(dropped, number(a * SATURATION + b), number(a) * x + number(b))


@op(register=True, integer=INTEGERS, samples=[Sample(((3, 4), *STATE), {"std": 0.5})])
def gaussian_noise(X: Operand, KEY: Operand, STEP: Operand, *, std: float = 0.1) -> Expr:
    """X + std · z, z normally distributed."""
    x = X[...]
    return x + number(std) * drawn_normal(KEY, STEP, x.index)


@op(register=True, integer=INTEGERS, samples=[Sample(((3, 4), *STATE), {"p": 0.25})])
def gaussian_dropout(X: Operand, KEY: Operand, STEP: Operand, *, p: float = 0.5) -> Expr:
    """X · (1 + √(p / (1 - p)) · z), z normally distributed: mean and variance are those of dropout."""
    x: Any = X[...]
    return x * (1 + number(sqrt(p / (1 - p))) * drawn_normal(KEY, STEP, x.index))
