"""Normalisation."""

from __future__ import annotations

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphError
from graphc.ops import normalisation

__all__ = [
    "batch_norm",
]


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = normalisation.DEFAULT_EPS,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias for each channel of x [n, channels, ...].

    In training the statistics are those of the batch (the biased variance), otherwise the running ones, which it
    takes from the arguments and never changes: `nn.BatchNorm2d` does. Raises GraphError, ShapeError.
    """
    if (weight is None) != (bias is None):
        raise GraphError("batch_norm takes weight and bias together, or neither", hint="give ones or zeros")
    affine = () if weight is None else (weight, bias)
    if training:
        return (normalisation.batch_norm_affine if affine else normalisation.batch_norm)(x, *affine, eps=eps)
    if running_mean is None or running_var is None:
        raise GraphError("batch_norm needs running_mean and running_var unless training=True")
    given = normalisation.channel_norm_affine if affine else normalisation.channel_norm
    return given(x, running_mean, running_var, *affine, eps=eps)
