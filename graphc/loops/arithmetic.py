"""The scalar operations of Loop IR as numpy functions of the element type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Value = Any


def _in_double(f: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """f evaluated in float64 and rounded to the type of its operand: a float32 result is right to 1/2 ulp."""

    def rounded(x: Value) -> Value:
        x = np.asarray(x)
        return np.asarray(f(x.astype(np.float64))).astype(x.dtype)[()]

    return rounded


def _sigmoid(x: Value) -> Value:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), np.where(np.isnan(x), x, e / (1 + e)))


_erf = np.vectorize(math.erf, otypes=[np.float64])


def fma(a: Value, b: Value, c: Value) -> Value:
    """a·b + c rounded once (float32: through float64, whose second rounding shows once in 2^29 cases)."""
    a, b, c = np.asarray(a), np.asarray(b), np.asarray(c)
    if a.dtype == np.float32:
        return (a.astype(np.float64) * b + c).astype(np.float32)[()]
    # Error-free transformations: p + e = a·b and s + t = p + c exactly, then one rounding of s + (t + e).
    p = a * b
    e = _product_error(a, b, p)
    s = p + c
    z = s - p
    t = (p - (s - z)) + (c - z)
    result = s + (t + e)
    return np.where(np.isfinite(result), result, s)[()]


def _halves(x: Value) -> tuple[Value, Value]:
    """x = high + low, each with at most 26 bits."""
    scaled = x * 134217729.0
    high = scaled - (scaled - x)
    return high, x - high


def _product_error(a: Value, b: Value, product: Value) -> Value:
    """a·b - product, exactly, where nothing overflows."""
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    return al * bl - (((product - ah * bh) - al * bh) - ah * bl)


UNARY: dict[str, Callable[[Value], Value]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rint": np.rint,
    "floor": np.floor,
    "exp": _in_double(np.exp),
    "log": _in_double(np.log),
    "expm1": _in_double(np.expm1),
    "log1p": _in_double(np.log1p),
    "tanh": _in_double(np.tanh),
    "erf": _in_double(_erf),
    "sigmoid": _in_double(_sigmoid),
    "softplus": _in_double(lambda x: np.logaddexp(x, 0.0)),
    "erfc": _in_double(np.vectorize(math.erfc, otypes=[np.float64])),
    "normal_cdf": _in_double(np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[np.float64])),
    "atan": _in_double(np.arctan),
    "sin": _in_double(np.sin),
    "cos": _in_double(np.cos),
    "not": np.invert,
}

BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": lambda a, b: np.power(np.float64(a), np.float64(b)).astype(np.asarray(a).dtype),
    "copysign": np.copysign,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "ashr": np.right_shift,
}

COMPARE: dict[str, Callable[[Value, Value], Value]] = {
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
}
