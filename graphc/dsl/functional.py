"""Everything that can be applied to tensors, as functions. Numbers may stand where tensors do in arithmetic.

The arithmetic, the comparisons, `where`, `exp`, `sigmoid` and their like also accept scalar expressions, and
so serve inside the formulas of user-declared operators.
"""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.errors import DTypeError, GraphError
from graphc.ops import activations, convolution, losses, movement, normalisation, pooling
from graphc.ops import linear as _linear
from graphc.ops import scalars as _scalars
from graphc.ops.activations import gelu, identity, relu, relu6, silu
from graphc.ops.elementwise import (
    abs,
    add,
    cos,
    divide,
    equal,
    erf,
    exp,
    expm1,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    log_sigmoid,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from graphc.ops.reductions import Axes
from graphc.ops.window import Pair

__all__ = [
    "abs",
    "accuracy",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "batch_norm",
    "bias",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "conv2d",
    "cos",
    "cross_entropy",
    "dense",
    "divide",
    "elu",
    "equal",
    "erf",
    "exp",
    "expm1",
    "flatten",
    "gelu",
    "global_avg_pool2d",
    "greater",
    "greater_equal",
    "identity",
    "l1_loss",
    "l1_penalty",
    "l2_penalty",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "log",
    "log1p",
    "log_sigmoid",
    "log_softmax",
    "mae_loss",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "multiply",
    "negative",
    "not_equal",
    "permute",
    "power",
    "relu",
    "relu6",
    "reshape",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "subsample",
    "subtract",
    "sum",
    "tanh",
    "transpose",
    "where",
]

# -------------------------------------------------------------------------------------------- linear maps


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · Wᵀ + b for x [..., in], weight [out, in], bias [out]."""
    y: Tensor = _linear.dense(x, weight)
    return y if bias is None else _linear.bias(y, bias)


linear = dense
"""torch's name."""


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product over the last two axes, leading axes broadcast."""
    return _linear.matmul(a, b)


def bias(x: Tensor, b: Tensor, axis: int = -1) -> Tensor:
    """x plus a vector along one axis."""
    return _linear.bias(x, b, axis=axis)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
) -> Tensor:
    """Two-dimensional convolution of x [n, in, h, w] with weight [out, in, kh, kw], plus bias [out]."""
    y: Tensor = convolution.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)
    return y if bias is None else _linear.bias(y, bias, axis=1)


def max_pool2d(
    x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> Tensor:
    """The largest element of each window; the stride is the kernel size unless given."""
    return pooling.max_pool2d(x, kernel=kernel_size, stride=stride, padding=padding, dilation=dilation)


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window, padding counted as zeros; the stride is the kernel size unless given."""
    return pooling.avg_pool2d(x, kernel=kernel_size, stride=stride, padding=padding)


def global_avg_pool2d(x: Tensor) -> Tensor:
    """The mean of each channel of x [n, channels, h, w] as [n, channels]."""
    return pooling.global_avg_pool2d(x)


def adaptive_avg_pool2d(x: Tensor, output_size: Pair) -> Tensor:
    """The means of equal windows, as many as asked for: [n, channels, *output_size]."""
    return pooling.adaptive_avg_pool2d(x, size=output_size)


def subsample(x: Tensor, stride: Pair, channels: int | None = None) -> Tensor:
    """Every s-th pixel; further channels, up to the number asked for, are zero."""
    return pooling.subsample(x, stride=stride, channels=channels)


# ---------------------------------------------------------------------------------------- normalisation


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


# -------------------------------------------------------------------------------------------- activations


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope · x."""
    return activations.leaky_relu(x, slope=negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha · (e^x - 1)."""
    return activations.elu(x, alpha=alpha)


def softplus(x: Any, beta: float = 1.0) -> Any:
    """log(1 + e^(beta·x)) / beta"""
    if not isinstance(x, Tensor):
        return _scalars.softplus(beta * x) / beta
    return activations.softplus(x, beta=beta)


def softmax(x: Tensor, axis: int = -1, temperature: float = 1.0) -> Tensor:
    """e^(x/T) / Σ e^(x/T) along an axis."""
    return activations.softmax(x, axis=axis, temperature=temperature)


def log_softmax(x: Tensor, axis: int = -1, temperature: float = 1.0) -> Tensor:
    """log softmax(x) along an axis, without taking a logarithm of a small number."""
    return activations.log_softmax(x, axis=axis, temperature=temperature)


# ---------------------------------------------------------------------------------- reductions, movement


def sum(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Σ over the given axes, all of them by default."""
    return x.sum(axis, keepdims)


def mean(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over the given axes, all of them by default."""
    return x.mean(axis, keepdims)


def max(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest element over the given axes, all of them by default."""
    return x.max(axis, keepdims)


def min(x: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest element over the given axes, all of them by default."""
    return x.min(axis, keepdims)


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


# ------------------------------------------------------------------------------------- losses and metrics


def mse_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The mean squared error."""
    return losses.mse(prediction, target, reduction=reduction)


def l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The mean absolute error."""
    return losses.mae(prediction, target, reduction=reduction)


mae_loss = l1_loss


def binary_cross_entropy_with_logits(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of sigmoid(logits), stable for logits of any size."""
    return losses.binary_cross_entropy_with_logits(logits, target, reduction=reduction)


def binary_cross_entropy(
    prediction: Tensor, target: Tensor, reduction: str = "mean", *, from_logits: bool = False
) -> Tensor:
    """Binary cross-entropy of probabilities, or of logits. Logits are the stable choice."""
    loss = losses.binary_cross_entropy_with_logits if from_logits else losses.binary_cross_entropy
    return loss(prediction, target, reduction=reduction)


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """-log softmax(logits) at the labels: class numbers of an integer dtype, or one probability per class."""
    _check_scores("cross_entropy", logits, labels)
    loss = losses.cross_entropy_dense if labels.dtype.is_float else losses.cross_entropy
    return loss(logits, labels, reduction=reduction)


def categorical_cross_entropy(
    prediction: Tensor, labels: Tensor, reduction: str = "mean", *, from_logits: bool = False
) -> Tensor:
    """-log p at the labels (class numbers or probabilities), of probabilities or of logits."""
    if from_logits:
        return cross_entropy(prediction, labels, reduction)
    _check_scores("categorical_cross_entropy", prediction, labels)
    dense_labels = labels.dtype.is_float
    loss = losses.categorical_cross_entropy_dense if dense_labels else losses.categorical_cross_entropy
    return loss(prediction, labels, reduction=reduction)


def l1_penalty(x: Tensor, weight: float = 1.0) -> Tensor:
    """weight · Σ |x|"""
    penalty: Tensor = losses.l1_penalty(x)
    return penalty if weight == 1 else penalty * weight


def l2_penalty(x: Tensor, weight: float = 1.0) -> Tensor:
    """weight · Σ x²"""
    penalty: Tensor = losses.l2_penalty(x)
    return penalty if weight == 1 else penalty * weight


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """The fraction of rows whose first largest score is the label's."""
    return losses.accuracy(scores, labels)


def _check_scores(name: str, scores: Any, labels: Any) -> None:
    for what, value in (("scores", scores), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise DTypeError(f"{name}: {what} must be a tensor, got {type(value).__name__}")
