"""What the layers of the catalogue ask of their arguments and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.dsl.initialisers import Initialiser, for_activation
from graphc.dsl.layers import Layer
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.types import Batch

Initial = str | float | Initialiser
Activation = str | Callable[[Tensor], Tensor] | None

AUTO = "auto"
"""The initial weights that suit a layer's activation."""


def weights_for(activation: Activation, spelling: Initial) -> Initial:
    """The initial weights of a layer: what it was told, or for "auto" what suits its activation."""
    if spelling != AUTO:
        return spelling
    match activation:
        case str() | None:
            name = activation or ""
        case Layer():
            name = type(activation).__name__
        case _:
            name = str(getattr(activation, "name", None) or getattr(activation, "__name__", ""))
    return for_activation(name)


def count(layer: Layer, what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ShapeError(f"{type(layer).__name__}: {what} must be a positive integer, got {value!r}", location=caller())
    return value


def fixed(layer: Layer, x: Any, axis: int, what: str) -> int:
    """The extent of an axis from which a parameter's shape follows. Raises ShapeError."""
    if not isinstance(x, Tensor):
        raise GraphError(
            f"{layer!r} needs a tensor, got {type(x).__name__}", location=caller(), layer=str(current.get())
        )
    extent = x.shape[axis] if -x.ndim <= axis < x.ndim else None
    if extent is None or isinstance(extent, Batch):
        raise ShapeError(
            f"axis {axis} must hold the {what}, but the input is {x.type}",
            location=caller(),
            layer=str(current.get()),
        )
    return extent
