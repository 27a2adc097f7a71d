"""Settings that must lie in a range."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from graphc.dsl.parameter import Seed
from graphc.errors import GraphcError


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raises GraphcError unless low <= value < high, for a number or each of several."""
    values = np.asarray(value)
    if values.dtype.kind not in "biuf":
        raise GraphcError(f"{name} must be a number, got {value!r}")
    outside = values[~((low <= values) & (values < high))]
    if outside.size:
        raise GraphcError(f"{name} must be in {low:g} <= {name} < {high:g}, got {outside.flat[0]:g}")


def count(name: str, value: Any, least: int = 1) -> int:
    """The value as a number of things. Raises GraphcError unless it is a whole one, at least `least`."""
    try:
        number = index(value)
    except TypeError:
        whole = isinstance(value, float) and value.is_integer()
        hint = f"{name}={int(value)}" if whole else ""
        raise GraphcError(f"{name} must be a whole number, got {value!r}", hint=hint) from None
    if number < least:
        raise GraphcError(f"{name} must be at least {least}, got {number}")
    return number


def seed_or_common(seed: int | None) -> int:
    """The seed, or without one that of `graphc.seed`. Raises GraphcError."""
    return count("seed", Seed.value if seed is None else seed, least=0)
