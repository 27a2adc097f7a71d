"""Losses, penalties and metrics."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.errors import DTypeError
from graphc.ops import losses

__all__ = [
    "accuracy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "l1_loss",
    "l1_penalty",
    "l2_penalty",
    "mae_loss",
    "mse_loss",
]


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
