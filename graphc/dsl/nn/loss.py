"""Losses as layers with torch's names: `CrossEntropyLoss(label_smoothing=0.1)(logits, labels)`."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.nn.applied import Applied

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "ContrastiveLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "JaccardLoss",
    "KLDivLoss",
    "L1Loss",
    "LogCoshLoss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PairwiseDistance",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "SquaredHingeLoss",
    "TripletMarginLoss",
]


class MSELoss(Applied):
    function = functional.mse_loss


class L1Loss(Applied):
    function = functional.l1_loss


class HuberLoss(Applied):
    function = functional.huber_loss


class SmoothL1Loss(Applied):
    function = functional.smooth_l1_loss


class LogCoshLoss(Applied):
    function = functional.log_cosh_loss


class CrossEntropyLoss(Applied):
    function = staticmethod(functional.cross_entropy)
    held = ("weight",)


class NLLLoss(Applied):
    function = functional.nll_loss
    held = ("weight",)


class FocalLoss(Applied):
    function = functional.focal_loss
    held = ("weight",)


class BCELoss(Applied):
    function = staticmethod(functional.binary_cross_entropy)
    held = ("weight",)


class BCEWithLogitsLoss(Applied):
    function = functional.binary_cross_entropy_with_logits
    held = ("weight", "pos_weight")


class CTCLoss(Applied):
    function = staticmethod(functional.ctc_loss)


class KLDivLoss(Applied):
    function = functional.kl_div


class PoissonNLLLoss(Applied):
    function = functional.poisson_nll_loss


class GaussianNLLLoss(Applied):
    function = functional.gaussian_nll_loss


class HingeLoss(Applied):
    function = functional.hinge_loss


class SquaredHingeLoss(Applied):
    function = functional.squared_hinge_loss


class SoftMarginLoss(Applied):
    function = functional.soft_margin_loss


class HingeEmbeddingLoss(Applied):
    function = functional.hinge_embedding_loss


class MarginRankingLoss(Applied):
    function = functional.margin_ranking_loss


class MultiMarginLoss(Applied):
    function = functional.multi_margin_loss
    held = ("weight",)


class MultiLabelMarginLoss(Applied):
    function = functional.multilabel_margin_loss


class MultiLabelSoftMarginLoss(Applied):
    function = functional.multilabel_soft_margin_loss
    held = ("weight",)


class CosineSimilarity(Applied):
    function = functional.cosine_similarity


class PairwiseDistance(Applied):
    function = functional.pairwise_distance


class CosineEmbeddingLoss(Applied):
    function = functional.cosine_embedding_loss


class TripletMarginLoss(Applied):
    function = functional.triplet_margin_loss


class ContrastiveLoss(Applied):
    function = functional.contrastive_loss


class DiceLoss(Applied):
    function = functional.dice_loss


class JaccardLoss(Applied):
    function = functional.jaccard_loss
