"""Losses, penalties and metrics."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.errors import DTypeError
from graphc.ops import cross_entropies, losses
from graphc.ops.boxes import (
    box_area,
    box_iou,
    box_iou_loss,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
)
from graphc.ops.cross_entropies import (
    binary_cross_entropy_with_logits,
    focal_loss,
    nll_loss,
    sigmoid_focal_loss,
)
from graphc.ops.losses import (
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from graphc.ops.margin_losses import (
    additive_margin_logits,
    angular_margin_logits,
    hinge_embedding_loss,
    hinge_loss,
    large_margin_logits,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
    squared_hinge_loss,
)
from graphc.ops.metric_losses import (
    contrastive_loss,
    cosine_embedding_loss,
    cosine_similarity,
    info_nce,
    nt_xent,
    triplet_margin_loss,
)
from graphc.ops.metrics import (
    accuracy,
    top_k_accuracy,
)
from graphc.ops.overlap_losses import (
    dice_loss,
    jaccard_loss,
    tversky_loss,
)

__all__ = [
    "accuracy",
    "additive_margin_logits",
    "angular_margin_logits",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "box_area",
    "box_iou",
    "box_iou_loss",
    "categorical_cross_entropy",
    "complete_box_iou_loss",
    "contrastive_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "dice_loss",
    "distance_box_iou_loss",
    "focal_loss",
    "gaussian_nll_loss",
    "generalized_box_iou_loss",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "info_nce",
    "jaccard_loss",
    "kl_div",
    "l1_loss",
    "l1_penalty",
    "l2_penalty",
    "large_margin_logits",
    "log_cosh_loss",
    "mae_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "nt_xent",
    "poisson_nll_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "squared_hinge_loss",
    "top_k_accuracy",
    "triplet_margin_loss",
    "tversky_loss",
]

mae_loss = l1_loss


def binary_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    *,
    from_logits: bool = False,
) -> Tensor:
    """Binary cross-entropy of probabilities, or of logits. Logits are the stable choice."""
    loss = binary_cross_entropy_with_logits if from_logits else cross_entropies.binary_cross_entropy
    return loss(prediction, target, weight, reduction=reduction)


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """-log softmax(logits / temperature) at the labels: class numbers, or one probability for each class.

    logits [n, classes, ...], labels [n, ...] of an integer dtype or, as probabilities, of the shape of the logits;
    weight [classes], sample_weight broadcasts to [n, ...]. Labels that are `ignore_index` (none by default; torch
    has -100) do not count; the mean is over those that do, Σ w·loss / Σ w with weights, and 0 if there is none.
    Raises ShapeError, DTypeError, GraphcError.
    """
    options = {"reduction": reduction, "label_smoothing": label_smoothing, "temperature": temperature}
    return _by_labels("cross_entropy", logits, labels, weight, sample_weight, ignore_index, options)


def categorical_cross_entropy(
    prediction: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    sample_weight: Tensor | None = None,
    from_logits: bool = False,
) -> Tensor:
    """-log p at the labels (class numbers or probabilities), of probabilities or of logits; as cross_entropy."""
    name = "cross_entropy" if from_logits else "categorical_cross_entropy"
    return _by_labels(name, prediction, labels, weight, sample_weight, ignore_index, {"reduction": reduction})


def _by_labels(
    name: str, scores: Any, labels: Any, weight: Any, sample_weight: Any, ignore_index: Any, options: dict[str, Any]
) -> Tensor:
    """The operator for class numbers, or that for one probability for each class."""
    for what, value in (("scores", scores), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise DTypeError(f"{name}: {what} must be a tensor, got {type(value).__name__}")
    if labels.dtype.is_float:
        if ignore_index is not None:
            raise DTypeError(
                f"{name}: ignore_index marks class numbers, but the labels are {labels.type}",
                hint="give the samples to ignore a sample_weight of 0",
            )
        return getattr(cross_entropies, f"{name}_dense")(scores, labels, weight, sample_weight, **options)
    options["ignore_index"] = ignore_index
    return getattr(cross_entropies, name)(scores, labels, weight, sample_weight, **options)


def l1_penalty(x: Tensor, weight: float = 1.0) -> Tensor:
    """weight · Σ |x|"""
    penalty: Tensor = losses.l1_penalty(x)
    return penalty if weight == 1 else penalty * weight


def l2_penalty(x: Tensor, weight: float = 1.0) -> Tensor:
    """weight · Σ x²"""
    penalty: Tensor = losses.l2_penalty(x)
    return penalty if weight == 1 else penalty * weight
