"""Metrics by name: `Model(..., metrics=["accuracy", "f1"])`."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphcError
from graphc.train.metrics import classification as c
from graphc.train.metrics import regression as r
from graphc.train.metrics.metric import Metric

NAMED: dict[str, Callable[[Tensor, Tensor], Metric]] = {
    **{f.__name__: f for f in (c.accuracy, c.balanced_accuracy, c.top_k_accuracy, c.precision, c.recall)},
    **{f.__name__: f for f in (c.specificity, c.f1, c.dice, c.mean_iou, c.matthews, c.cohen_kappa)},
    **{f.__name__: f for f in (c.confusion_matrix, c.roc_auc, c.average_precision, c.log_loss, c.perplexity)},
    **{f.__name__: f for f in (r.mse, r.rmse, r.mae, r.mape, r.r2, r.explained_variance)},
    "acc": c.accuracy,
    "auc": c.roc_auc,
    "iou": c.mean_iou,
    "mean_squared_error": r.mse,
    "mean_absolute_error": r.mae,
}
TOP = re.compile(r"top_(\d+)_accuracy")


def named(name: str, outputs: Tensor, y: Tensor) -> Metric:
    """The metric of a name for the outputs of a model and its targets: "accuracy", "top_3_accuracy", "r2", ...

    Raises GraphcError for a name that is not known, with the nearest one; ShapeError, DTypeError.
    """
    if name in NAMED:
        return NAMED[name](outputs, y)
    if isinstance(name, str) and (top := TOP.fullmatch(name)):
        return c.top_k_accuracy(outputs, y, k=int(top[1]))
    near = get_close_matches(str(name), NAMED, 1)
    raise GraphcError(
        f"there is no metric named {name!r}", location=caller(),
        hint=f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(sorted(NAMED))}, top_<k>_accuracy",
    )  # fmt: skip
