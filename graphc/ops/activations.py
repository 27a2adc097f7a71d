"""Activation functions of single elements; those that compare elements with each other are in `competition`.

At a kink the derivative is that of the flat side, so 0 for the rectifiers; NaN stays NaN.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, le, lt
from graphc.ops.notation import Operand, axes, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number, pointwise
from graphc.ops.random import INTEGERS, STATE, drawn
from graphc.types import Extent

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""The fixed point of mean 0 and variance 1 (Klambauer et al., Self-normalizing neural networks, 2017)."""


@pointwise()
def identity(a: Expr) -> Expr:
    """a"""
    return a


# --------------------------------------------------------------------------------------------- rectifiers


@pointwise()
def relu(a: Expr) -> Expr:
    """max(a, 0), with derivative 0 at 0; NaN stays NaN."""
    return Where(le(a, 0), 0, a)


@pointwise()
def relu6(a: Expr) -> Expr:
    """min(max(a, 0), 6), with derivative 0 at both ends."""
    return Where(le(a, 0), 0, Where(le(6, a), 6, a))


@pointwise(variants=[{"negative_slope": 0.2}])
def leaky_relu(a: Expr, *, negative_slope: float = 0.01) -> Expr:
    """a where a > 0, else negative_slope · a (Maas, Hannun, Ng 2013)."""
    return Where(le(a, 0), number(negative_slope) * a, a)


@op(register=True, samples=[Sample(((3, 4), (1,))), Sample(((2, 3, 2), (3,))), Sample(((4,), (1,)))])
def prelu(X: Operand, weight: Operand) -> Expr:
    """x where x > 0, else weight · x, with one weight or one for each channel (He et al. 2015).

    X is [n, channels, ...], weight [1] or [channels]. Raises ShapeError.
    """
    index = axes(" ".join(pointwise_names(X.rank)))
    channels: Extent = X.shape[1] if X.rank > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ShapeError(
            f"prelu: an input {X.shape} takes 1 or {channels} weights, got {weight.shape}",
            hint=f"use a weight of shape ({channels},), one for each channel of axis 1, or (1,)",
        )
    x = X[index]
    return Where(le(x, 0), weight[index[1] if weight.shape != (1,) else 0] * x, x)


@op(register=True, integer=INTEGERS, samples=[Sample(((3, 4), *STATE))])
def rrelu(X: Operand, KEY: Operand, STEP: Operand, *, lower: float = 1 / 8, upper: float = 1 / 3) -> Expr:
    """x where x > 0, else u · x with u uniform in lower..upper for each element (Xu, Wang, Chen, Li 2015).

    Raises GraphcError unless lower <= upper.
    """
    if not lower <= upper:
        raise GraphcError(f"rrelu: lower must not exceed upper, got {lower} and {upper}")
    index = axes(" ".join(pointwise_names(X.rank)))
    x = X[index]
    slope = number(lower) + (number(upper) - number(lower)) * drawn(KEY, STEP, index)
    return Where(le(x, 0), slope * x, x)


@pointwise(variants=[{"min_val": -0.5, "max_val": 1.5}])
def hardtanh(a: Expr, *, min_val: float = -1.0, max_val: float = 1.0) -> Expr:
    """a limited to min_val..max_val, with derivative 0 at both ends. Raises GraphcError unless min_val < max_val."""
    if not min_val < max_val:
        raise GraphcError(f"hardtanh: min_val must be below max_val, got {min_val} and {max_val}")
    low, high = number(min_val), number(max_val)
    return Where(le(a, low), low, Where(le(high, a), high, a))


@pointwise(domain=(-4.0, 4.0))
def hardsigmoid(a: Expr) -> Expr:
    """(a + 3) / 6 limited to 0..1."""
    return Where(le(a, -3), 0, Where(le(3, a), 6, a + 3)) / 6  # a/6 + 1/2 would lose its digits near -3


@pointwise(domain=(-4.0, 4.0))
def hardswish(a: Expr) -> Expr:
    """a · hardsigmoid(a) (Howard et al. 2019)."""
    return Where(le(a, -3), 0, Where(le(3, a), a, a * (a + 3) / 6))


@pointwise(variants=[{"threshold": 0.5, "value": -1.0}])
def threshold(a: Expr, *, threshold: float = 0.0, value: float = 0.0) -> Expr:
    """a where a > threshold, else value."""
    return Where(le(a, number(threshold)), number(value), a)


@pointwise(variants=[{"lambd": 0.3}])
def hardshrink(a: Expr, *, lambd: float = 0.5) -> Expr:
    """0 where |a| <= lambd, else a. Raises GraphcError for a negative lambd."""
    width = _width("hardshrink", lambd)
    return Where(lt(a, -width), a, Where(le(a, width), 0, a))


@pointwise(variants=[{"lambd": 0.3}])
def softshrink(a: Expr, *, lambd: float = 0.5) -> Expr:
    """a moved towards 0 by lambd, 0 where |a| <= lambd. Raises GraphcError for a negative lambd."""
    width = _width("softshrink", lambd)
    return Where(lt(a, -width), a + width, Where(le(a, width), 0, a - width))


def _width(name: str, lambd: float) -> Expr:
    if not lambd >= 0:
        raise GraphcError(f"{name}: lambd must not be negative, got {lambd}")
    return number(lambd)


# ---------------------------------------------------------------------------------------- smooth rectifiers


@pointwise(variants=[{"alpha": 0.5}])
def elu(a: Expr, *, alpha: float = 1.0) -> Expr:
    """a where a > 0, else alpha · (e^a - 1) (Clevert, Unterthiner, Hochreiter 2015)."""
    return Where(le(a, 0), number(alpha) * scalars.expm1(a), a)


@pointwise()
def selu(a: Expr) -> Expr:
    """1.0507 · elu(a, 1.6733), which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    scale = number(SELU_SCALE)
    return Where(le(a, 0), number(SELU_SCALE * SELU_ALPHA) * scalars.expm1(a), scale * a)


@pointwise(variants=[{"alpha": 0.5}])
def celu(a: Expr, *, alpha: float = 1.0) -> Expr:
    """a where a > 0, else alpha · (e^(a / alpha) - 1) (Barron 2017). Raises GraphcError for alpha = 0."""
    if alpha == 0:
        raise GraphcError("celu: alpha must not be 0: a is divided by it")
    return Where(le(a, 0), number(alpha) * scalars.expm1(a / number(alpha)), a)


@pointwise(variants=[{"beta": 1.5}])
def silu(a: Expr, *, beta: float = 1.0) -> Expr:
    """a · sigmoid(beta · a), Swish (Ramachandran, Zoph, Le 2017)."""
    return a * scalars.sigmoid(number(beta) * a)


@pointwise()
def mish(a: Expr) -> Expr:
    """a · tanh(softplus(a)) (Misra 2019)."""
    return a * scalars.tanh(scalars.softplus(a))


@pointwise(variants=[{"approximate": "tanh"}])
def gelu(a: Expr, *, approximate: str = "none") -> Expr:
    """a · Φ(a), Φ(a) = (1 + erf(a / √2)) / 2; with "tanh" a/2 · (1 + tanh(√(2/π)·(a + 0.044715·a³))).

    Hendrycks, Gimpel: Gaussian error linear units, 2016. Raises GraphcError for another word.
    """
    match approximate:
        case "none":
            return a * scalars.normal_cdf(a)
        case "tanh":
            # (1 + tanh u) / 2 = sigmoid(2·u), which has its digits where tanh is near -1
            return a * scalars.sigmoid(2 * scalars.sqrt(2 / sp.pi) * (a + number(0.044715) * a**3))
    raise GraphcError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')


@pointwise(variants=[{"beta": 1.5}])
def softplus(a: Expr, *, beta: float = 1.0) -> Expr:
    """1/beta · log(1 + e^(beta·a)), accurate for any a. Raises GraphcError unless beta > 0."""
    if not beta > 0:
        raise GraphcError(f"softplus: beta must be positive, got {beta}")
    return scalars.softplus(number(beta) * a) / number(beta)


@pointwise()
def softsign(a: Expr) -> Expr:
    """a / (1 + |a|)"""
    return scalars.softsign(a)


@pointwise()
def tanhshrink(a: Expr) -> Expr:
    """a - tanh(a)"""
    return a - scalars.tanh(a)
