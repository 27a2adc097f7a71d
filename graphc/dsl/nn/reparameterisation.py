"""Layers that compute with something made of their parameters."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from graphc.dsl.initialisers import Array, Shape
from graphc.dsl.layers import Layer
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.ops.normalisation import weight_norm as normalised_weight

__all__ = ["weight_norm"]

L = TypeVar("L", bound=Layer)


def weight_norm(layer: L, name: str = "weight", axis: int | None = 0) -> L:
    """The layer with weight = g · v / ‖v‖: direction and length are trained apart; returns the layer itself.

    v is the parameter `name`, g = `name`_g starts as its norm over all axes but one (axis=None: over all), so that the
    layer begins as it would without. Salimans, Kingma: Weight normalization, 2016.
    """

    def normalised(direction: Parameter) -> Tensor:
        kept = () if axis is None else (axis % direction.ndim,)

        def norm(shape: Shape, generator: np.random.Generator) -> Array:
            v = direction.value.astype(np.float64)
            return np.asarray(np.sqrt(np.square(v).sum(tuple(a for a in range(v.ndim) if a not in kept))))

        extents = tuple(direction.shape[a] for a in kept)
        length = layer.parameter(f"{name}_g", extents, norm, direction.dtype)
        return normalised_weight(direction, length, axis=axis)

    layer.reparameterise(name, normalised)
    return layer
