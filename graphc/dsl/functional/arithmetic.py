"""Arithmetic, comparisons and elementary functions; numbers may stand where tensors do.

They also accept scalar expressions, and so serve inside the formulas of user-declared operators.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcError
from graphc.ops import elementwise
from graphc.ops.division import remainder
from graphc.ops.elementwise import (
    abs,
    acos,
    add,
    asin,
    atan,
    ceil,
    cos,
    cosh,
    divide,
    equal,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    floor,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    log_cosh,
    log_sigmoid,
    maximum,
    minimum,
    multiply,
    negative,
    normal_cdf,
    not_equal,
    power,
    reciprocal,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from graphc.ops.pairs import atan2, hypot, logaddexp, xlogy

__all__ = [
    "abs",
    "acos",
    "add",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "clamp",
    "clip",
    "cos",
    "cosh",
    "divide",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "greater",
    "greater_equal",
    "hypot",
    "lerp",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_cosh",
    "log_sigmoid",
    "logaddexp",
    "logsigmoid",
    "masked_fill",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "normal_cdf",
    "not_equal",
    "power",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "where",
    "xlogy",
]


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x limited to min..max, either of which may be left out; max where min > max.

    Limits are numbers or tensors that broadcast; the derivative is 1 at both. Raises GraphcError without a limit.
    """
    if min is None and max is None:
        raise GraphcError("clip needs min, max or both")
    if max is None:
        return elementwise.at_least(x, min)
    return elementwise.at_most(x, max) if min is None else elementwise.clip(x, min, max)


clamp = clip

logsigmoid = log_sigmoid
"""torch's name."""


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight · (end - start)"""
    return start + weight * (end - start)


def frac(x: Any) -> Any:
    """x without its integer part, with the sign of x."""
    return x - trunc(x)


def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """The value where the mask is not 0, else x."""
    return where(mask, value, x)
