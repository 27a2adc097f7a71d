"""Positions in a sequence, as formulas of the index itself.

Sinusoidal: Vaswani et al.: Attention is all you need, 2017. Rotary: Su et al.: RoFormer, 2021. A token in front of a
sequence: Devlin et al.: BERT, 2018; Dosovitskiy et al.: An image is worth 16x16 words, 2020.
"""

from __future__ import annotations

from math import log

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import FloorDiv, Mod, Where, eq, lt
from graphc.ops.linear import leading_axes
from graphc.ops.notation import Operand, axes, axis
from graphc.ops.operator import Sample, op

BASE = 10000.0


def _angle(name: str, t: Expr, pair: Expr, features: int, base: float) -> Expr:
    """t · base^(-2 · pair / features): the angle of a pair of features at a position. Raises GraphcError."""
    if not base > 1:
        raise GraphcError(f"{name}: base must be above 1, got {base}", hint="use base=10000")
    return t * scalars.exp(pair * sp.Float(-2.0 * log(base) / features))


def _sequence(name: str, X: Operand) -> int:
    """The number of features of [..., length, features]. Raises ShapeError unless it is even."""
    features = X.shape[-1] if X.rank >= 2 else None
    if not isinstance(features, int) or features % 2:
        raise ShapeError(f"{name}: expected an input [..., length, features] with pairs of features, got {X.shape}")
    return features


@op(register=True, samples=[Sample(((2, 3, 4),)), Sample(((5, 6),), {"base": 100.0})])
def sinusoidal_positions(X: Operand, *, base: float = BASE) -> Expr:
    """Y[..., t, 2i] = X[..., t, 2i] + sin(t · base^(-2i/d)), Y[..., t, 2i+1] = X[..., t, 2i+1] + cos(t · base^(-2i/d))

    X is [..., length, d] with an even d. Raises ShapeError, GraphcError.
    """
    features = _sequence("sinusoidal_positions", X)
    lead = leading_axes(X.rank - 2)
    t, c = axes("t c") if X.rank != 4 else axes("s c")
    angle = _angle("sinusoidal_positions", t, FloorDiv(c, 2), features, base)
    # cos a = sin(a + π/2); two branches keep the argument exact
    return X[(*lead, t, c)] + Where(eq(Mod(c, 2), 0), scalars.sin(angle), scalars.cos(angle))


@op(
    register=True,
    samples=[Sample(((2, 3, 4),)), Sample(((1, 2, 3, 6),), {"interleaved": True}), Sample(((3, 4),), {"start": 2})],
)
def rotary_positions(X: Operand, *, base: float = BASE, interleaved: bool = False, start: int = 0) -> Expr:
    """(Y[i], Y[i + d/2]) = (X[i], X[i + d/2]) turned by the angle (start + t) · base^(-2i/d), at each position t.

    X is [..., length, d] with an even d; with `interleaved` the pairs are (2i, 2i + 1). Raises ShapeError, GraphcError.
    """
    features = _sequence("rotary_positions", X)
    lead = leading_axes(X.rank - 2)
    t, c = axes("t c") if X.rank != 4 else axes("s c")
    half = features // 2
    pair = FloorDiv(c, 2) if interleaved else Mod(c, half)
    angle = _angle("rotary_positions", t + start, pair, features, base)

    def at(feature: Expr) -> Expr:
        return X[(*lead, t, feature)]

    # of neighbours half of the features away one is outside of the tensor, and so zero
    apart = at(c - half) - at(c + half)
    partner = Where(eq(Mod(c, 2), 0), -at(c + 1), at(c - 1)) if interleaved else apart
    return at(c) * scalars.cos(angle) + partner * scalars.sin(angle)


@op(register=True, samples=[Sample(((2, 3, 4), (4,)))])
def prepend_token(X: Operand, T: Operand) -> Expr:
    """Y[n, 0, c] = T[c], Y[n, t, c] = X[n, t - 1, c]: one more token in front of [n, length, features].

    Raises ShapeError.
    """
    if X.rank != 3 or not isinstance(X.shape[1], int) or T.shape != X.shape[2:]:
        raise ShapeError(
            f"prepend_token: expected a sequence [n, length, features] and a token [features], got {X.shape} "
            f"and {T.shape}"
        )
    (n,), t, (c,) = axes("n"), axis("t", X.shape[1] + 1), axes("c")
    return Where(lt(t, 1), T[c], X[n, t - 1, c])
