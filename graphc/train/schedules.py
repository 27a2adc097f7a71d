"""Learning rates as functions of the step, which counts from 1."""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.train.optimisers import check_range


def cosine(rate: float, steps: int) -> Callable[[int], float]:
    """rate · (1 + cos(π·(step - 1)/steps)) / 2: from `rate` to almost zero over `steps` steps, then zero.

    Raises GraphcError for a negative rate. Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983, without
    restarts.
    """
    check_range("lr", rate, 0, math.inf)

    def at(step: int) -> float:
        return rate * (1 + math.cos(math.pi * min(1.0, (step - 1) / steps))) / 2

    return at
