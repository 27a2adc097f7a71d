"""Activation functions."""

from __future__ import annotations

from graphc.dsl.chance import drawing
from graphc.dsl.phase import phased
from graphc.dsl.tensor import Tensor
from graphc.ops import activations
from graphc.ops.activations import (
    celu,
    elu,
    gelu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    identity,
    leaky_relu,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    silu,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from graphc.ops.competition import geglu, glu, hardmax, log_softmax, maxout, softmax, softmin, swiglu

__all__ = [
    "celu",
    "elu",
    "geglu",
    "gelu",
    "glu",
    "hardmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "leaky_relu",
    "log_softmax",
    "maxout",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "swiglu",
    "swish",
    "tanhshrink",
    "threshold",
]

swish = silu


def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool | None = None) -> Tensor:
    """x where x > 0, else u · x: in training u is uniform in lower..upper for each element, otherwise their mean.

    Where `training` is given, it decides instead. Raises GraphcError unless lower <= upper.
    """
    changed = drawing(activations.rrelu, x, lower=lower, upper=upper)
    mean = leaky_relu(x, (lower + upper) / 2)
    return phased(changed, mean) if training is None else changed if training else mean
