"""Elements in other places."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.ops import movement

__all__ = [
    "flatten",
    "permute",
    "reshape",
    "transpose",
]


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same elements with another shape, one extent of which may be -1."""
    return x.reshape(*shape)


def flatten(x: Tensor, start: int = 1) -> Tensor:
    """The axes from `start` on as one."""
    return x.flatten(start)


def permute(x: Tensor, *order: Any) -> Tensor:
    """The axes in another order."""
    return x.transpose(*order)


def transpose(x: Tensor, first: int = -1, second: int = -2) -> Tensor:
    """Two axes exchanged, by default the last two."""
    order = list(range(x.ndim))
    a, b = (movement.normal_axis("transpose", axis, x.ndim) for axis in (first, second))
    order[a], order[b] = b, a
    return x.transpose(*order)
