"""Activations as layers, and by name."""

from __future__ import annotations

from collections.abc import Callable

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.applied import Applied
from graphc.dsl.nn.arguments import Activation, count
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError

__all__ = [
    "CELU",
    "ELU",
    "GEGLU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Maxout",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SwiGLU",
    "Swish",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "celu": functional.celu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "glu": functional.glu,
    "hardshrink": functional.hardshrink,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "hardtanh": functional.hardtanh,
    "identity": functional.identity,
    "leaky_relu": functional.leaky_relu,
    "log_sigmoid": functional.log_sigmoid,
    "log_softmax": functional.log_softmax,
    "mish": functional.mish,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "selu": functional.selu,
    "sigmoid": functional.sigmoid,
    "silu": functional.silu,
    "softmax": functional.softmax,
    "softmin": functional.softmin,
    "softplus": functional.softplus,
    "softshrink": functional.softshrink,
    "softsign": functional.softsign,
    "tanh": functional.tanh,
    "tanhshrink": functional.tanhshrink,
    "linear": functional.identity,
    "swish": functional.swish,
}


def activation_function(spelling: Activation) -> Callable[[Tensor], Tensor] | None:
    """An activation by its name, or as a function or layer. Raises GraphError for an unknown name."""
    if not isinstance(spelling, str):
        return spelling
    if spelling not in ACTIVATIONS:
        raise GraphError(f'there is no activation "{spelling}"', hint=f"choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[spelling]


class ReLU(Applied):
    function = functional.relu


class ReLU6(Applied):
    function = functional.relu6


class LeakyReLU(Applied):
    function = functional.leaky_relu


class PReLU(Layer):
    """x where x > 0, else weight · x: one weight to be learnt, or one for each of the channels of axis 1.

    He et al. 2015. Raises ShapeError where the channels differ.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, name: str | None = None) -> None:
        self.name, self.num_parameters, self.init = name, count(self, "num_parameters", num_parameters), init

    def forward(self, x: Tensor) -> Tensor:
        return functional.prelu(x, self.parameter("weight", (self.num_parameters,), self.init, x.dtype))


class RReLU(Applied):
    function = staticmethod(functional.rrelu)


class ELU(Applied):
    function = functional.elu


class SELU(Applied):
    function = functional.selu


class CELU(Applied):
    function = functional.celu


class GELU(Applied):
    function = functional.gelu


class SiLU(Applied):
    function = functional.silu


Swish = SiLU


class Mish(Applied):
    function = functional.mish


class Softplus(Applied):
    function = functional.softplus


class Softsign(Applied):
    function = functional.softsign


class Hardtanh(Applied):
    function = functional.hardtanh


class Hardsigmoid(Applied):
    function = functional.hardsigmoid


class Hardswish(Applied):
    function = functional.hardswish


class Hardshrink(Applied):
    function = functional.hardshrink


class Softshrink(Applied):
    function = functional.softshrink


class Tanhshrink(Applied):
    function = functional.tanhshrink


class Threshold(Applied):
    function = functional.threshold


class Sigmoid(Applied):
    function = functional.sigmoid


class LogSigmoid(Applied):
    function = functional.log_sigmoid


class Tanh(Applied):
    function = functional.tanh


class Softmax(Applied):
    function = functional.softmax


class LogSoftmax(Applied):
    function = functional.log_softmax


class Softmin(Applied):
    function = functional.softmin


class Softmax2d(Layer):
    """softmax over the channels of images [n, channels, height, width]. Raises ShapeError for other inputs."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ShapeError(
                f"Softmax2d: expected images [n, channels, height, width], got {x.shape}", location=caller(),
                hint="for other tensors use Softmax(axis)",
            )  # fmt: skip
        return functional.softmax(x, 1)


class GLU(Applied):
    function = functional.glu


class SwiGLU(Applied):
    function = functional.swiglu


class GEGLU(Applied):
    function = functional.geglu


class Maxout(Applied):
    function = functional.maxout
