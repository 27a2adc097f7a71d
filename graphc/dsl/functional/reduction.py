"""Reductions over axes: `axis` is one, a tuple, or None for all; `keepdims` leaves them with extent 1."""

from __future__ import annotations

from graphc.ops.cumulative import cummax, cummin, cumprod, cumsum
from graphc.ops.matrices import trace as matrix_trace
from graphc.ops.reductions import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "logsumexp",
    "matrix_trace",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "sum",
    "var",
]

amax, amin = max, min
"""numpy's names."""
