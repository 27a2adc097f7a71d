"""Settings that must lie in a range."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcError


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raises GraphcError unless low <= value < high, for a number or each of several."""
    outside = np.asarray(value)[~((low <= np.asarray(value)) & (np.asarray(value) < high))]
    if outside.size:
        raise GraphcError(f"{name} must be in {low:g} <= {name} < {high:g}, got {outside.flat[0]:g}")
