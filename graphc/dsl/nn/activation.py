"""Activations as layers, and by name."""

from __future__ import annotations

from collections.abc import Callable

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import Activation
from graphc.dsl.tensor import Tensor
from graphc.errors import GraphError

__all__ = ["LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "identity": functional.identity,
    "leaky_relu": functional.leaky_relu,
    "linear": functional.identity,
    "log_softmax": functional.log_softmax,
    "relu": functional.relu,
    "sigmoid": functional.sigmoid,
    "silu": functional.silu,
    "softmax": functional.softmax,
    "softplus": functional.softplus,
    "tanh": functional.tanh,
}


def activation_function(spelling: Activation) -> Callable[[Tensor], Tensor] | None:
    """An activation by its name, or as a function or layer. Raises GraphError for an unknown name."""
    if not isinstance(spelling, str):
        return spelling
    if spelling not in ACTIVATIONS:
        raise GraphError(f'there is no activation "{spelling}"', hint=f"choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[spelling]


class ReLU(Layer):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, name: str | None = None) -> None:
        self.name, self.negative_slope = name, negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.negative_slope)


class Sigmoid(Layer):
    """1 / (1 + e^-x)"""

    def forward(self, x: Tensor) -> Tensor:
        return functional.sigmoid(x)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanh(x)


class Softplus(Layer):
    """log(1 + e^(beta·x)) / beta"""

    def __init__(self, beta: float = 1.0, name: str | None = None) -> None:
        self.name, self.beta = name, beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x, self.beta)


class Softmax(Layer):
    """e^(x/T) / Σ e^(x/T) along an axis."""

    def __init__(self, axis: int = -1, temperature: float = 1.0, name: str | None = None) -> None:
        self.name, self.axis, self.temperature = name, axis, temperature

    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(x, self.axis, self.temperature)


class LogSoftmax(Softmax):
    """log softmax(x) along an axis."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(x, self.axis, self.temperature)
