"""Metrics that are compiled into the step, and their sums over the batches of an epoch."""

from graphc.train.metrics.classification import (
    accuracy,
    average_precision,
    balanced_accuracy,
    cohen_kappa,
    confusion_matrix,
    dice,
    f1,
    fbeta,
    log_loss,
    matthews,
    mean_iou,
    perplexity,
    precision,
    recall,
    roc_auc,
    specificity,
    top_k_accuracy,
)
from graphc.train.metrics.metric import Metric, Totals, statistics_of
from graphc.train.metrics.names import named
from graphc.train.metrics.regression import explained_variance, mae, mape, mse, r2, rmse

__all__ = [
    "Metric",
    "Totals",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "cohen_kappa",
    "confusion_matrix",
    "dice",
    "explained_variance",
    "f1",
    "fbeta",
    "log_loss",
    "mae",
    "mape",
    "matthews",
    "mean_iou",
    "mse",
    "named",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "specificity",
    "statistics_of",
    "top_k_accuracy",
]
