"""Normalisation."""

from __future__ import annotations

from math import prod

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops import normalisation
from graphc.ops.normalisation import DEFAULT_EPS, channel_affine, instance_norm, local_response_norm
from graphc.types import Batch

__all__ = [
    "batch_norm",
    "channel_affine",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "rms_norm",
]

Shape = int | tuple[int, ...] | list[int]


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = DEFAULT_EPS,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias for each channel of x [n, channels, ...].

    In training the statistics are those of the batch (the biased variance), otherwise the running ones, which it
    takes from the arguments and never changes: `nn.BatchNorm2d` does. Raises GraphError, ShapeError.
    """
    if training:
        return normalisation.batch_norm(x, weight, bias, eps=eps)
    if running_mean is None or running_var is None:
        raise GraphError("batch_norm needs running_mean and running_var unless training=True", location=caller())
    return normalisation.channel_norm(x, running_mean, running_var, weight, bias, eps=eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = DEFAULT_EPS
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight[c] + bias[c], statistics over groups of neighbouring channels.

    x is [n, channels, ...]. Raises ShapeError where the groups do not divide the channels.
    Wu, He: Group normalization, 2018.
    """
    channels = x.shape[1] if x.ndim > 1 else None
    if channels is None or isinstance(channels, Batch):
        raise ShapeError(f"group_norm: expected an input [n, channels, ...], got {x.shape}", location=caller())
    if not isinstance(num_groups, int) or num_groups < 1 or channels % num_groups:
        divisors = ", ".join(str(d) for d in range(1, channels + 1) if channels % d == 0)
        raise ShapeError(
            f"group_norm: {num_groups} groups do not divide the {channels} channels of {x.shape}",
            location=caller(),
            hint=f"use one of {divisors} groups",
        )
    positions = prod(e for e in x.shape[2:] if isinstance(e, int))
    groups = x.reshape(x.shape[0], num_groups, channels // num_groups * positions)
    y = instance_norm(groups, eps=eps).reshape(x.shape)
    return y if weight is None and bias is None else channel_affine(y, weight, bias)


def _last_axes(name: str, x: Tensor, shape: Shape) -> int:
    """How many axes `shape` names. Raises ShapeError unless they are the last ones of x."""
    wanted = (shape,) if isinstance(shape, int) else tuple(shape)
    if not wanted or x.shape[x.ndim - len(wanted) :] != wanted:
        raise ShapeError(
            f"{name}: normalized_shape {wanted} is not that of the last axes of the input {x.shape}",
            location=caller(),
            hint=f"use normalized_shape={x.shape[-1:]}, or another number of the last axes of the input",
        )
    return len(wanted)


def layer_norm(
    x: Tensor,
    normalized_shape: Shape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = DEFAULT_EPS,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias, statistics over the last axes, whose shape is given.

    Raises ShapeError. Ba, Kiros, Hinton: Layer normalization, 2016.
    """
    count = _last_axes("layer_norm", x, normalized_shape)
    return normalisation.layer_norm(x, weight, bias, count=count, eps=eps)


def rms_norm(x: Tensor, normalized_shape: Shape, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """x / √(mean of x² + eps) · weight, the mean over the last axes, whose shape is given.

    `eps` is the distance from 1 to the next number of the dtype unless given. Raises ShapeError.
    Zhang, Sennrich: Root mean square layer normalization, 2019.
    """
    return normalisation.rms_norm(x, weight, count=_last_axes("rms_norm", x, normalized_shape), eps=eps)
