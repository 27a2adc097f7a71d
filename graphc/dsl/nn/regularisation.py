"""Layers that act in training alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from graphc.dsl import functional
from graphc.dsl.functional.regularisation import probability
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor

__all__ = [
    "AlphaDropout",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "StochasticDepth",
    "drop_connect",
]


class _Dropout(Layer):
    """What the dropouts share: a probability, checked when the layer is made."""

    function: Callable[[Tensor, float], Tensor]

    def __init__(self, p: float = 0.5, name: str | None = None) -> None:
        self.name, self.p = name, probability(type(self).__name__, p)

    def forward(self, x: Tensor) -> Tensor:
        return type(self).function(x, self.p)


class Dropout(_Dropout):
    """In training 0 with probability p, else x / (1 - p)."""

    function = staticmethod(functional.dropout)


class Dropout1d(_Dropout):
    """Dropout of whole channels of x [n, channels, length]."""

    function = staticmethod(functional.dropout1d)


class Dropout2d(_Dropout):
    """Dropout of whole channels of images x [n, channels, height, width]."""

    function = staticmethod(functional.dropout2d)


class Dropout3d(_Dropout):
    """Dropout of whole channels of x [n, channels, depth, height, width]."""

    function = staticmethod(functional.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for SELU: elements take its limit, and mean 0 and variance 1 are kept."""

    function = staticmethod(functional.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels of x [n, channels, ...]."""

    function = staticmethod(functional.feature_alpha_dropout)


class GaussianDropout(_Dropout):
    """In training x · (1 + √(p / (1 - p)) · z), z normally distributed."""

    function = staticmethod(functional.gaussian_dropout)


SpatialDropout1D, SpatialDropout2D, SpatialDropout3D = Dropout1d, Dropout2d, Dropout3d
"""Keras' names."""


class GaussianNoise(Layer):
    """In training x + std · z, z normally distributed."""

    def __init__(self, std: float = 0.1, name: str | None = None) -> None:
        self.name, self.std = name, std

    def forward(self, x: Tensor) -> Tensor:
        return functional.gaussian_noise(x, self.std)


class StochasticDepth(Layer):
    """In training a whole sample (mode "row") or the whole batch ("batch") is 0 with probability p, else x / (1 - p).

    Put it at the end of a residual branch. Huang, Sun, Liu, Sedra, Weinberger: Deep networks with stochastic depth.
    ECCV 2016.
    """

    def __init__(self, p: float, mode: str = "row", name: str | None = None) -> None:
        self.name, self.p, self.mode = name, probability(type(self).__name__, p), mode

    def forward(self, x: Tensor) -> Tensor:
        return functional.stochastic_depth(x, self.p, self.mode)


class DropPath(StochasticDepth):
    """`StochasticDepth` by its other name; with p=0 it does nothing."""

    def __init__(self, p: float = 0.0, mode: str = "row", name: str | None = None) -> None:
        super().__init__(p, mode, name)


L = TypeVar("L", bound=Layer)


def drop_connect(layer: L, p: float = 0.5, name: str = "weight") -> L:
    """The layer with connections dropped in training: dropout of its weights, one mask for a batch; returns it.

    Wan, Zeiler, Zhang, LeCun, Fergus: Regularization of neural networks using DropConnect, 2013.
    """
    probability("drop_connect", p)
    layer.reparameterise(name, lambda weight: functional.dropout(weight, p))
    return layer
