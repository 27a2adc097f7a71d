"""Metrics of classifications.

Outputs are scores [n, classes, ...] for integer labels [n, ...], or one score for each label, which says yes above a
threshold: 0 fits logits, 0.5 probabilities. Labels that are `ignore_index` are left out. A score that is NaN makes a
prediction wrong. Classes that are neither a label nor a prediction are left out of means over classes; what would be
divided by 0 is 0. All this is what scikit-learn computes from labels and predictions of a whole data set.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import Any

from graphc.dsl.functional.loss import cross_entropy
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphcError
from graphc.ops import counting
from graphc.ops.cross_entropies import binary_cross_entropy_with_logits
from graphc.train.metrics import scores
from graphc.train.metrics.metric import SAMPLES, Metric, Sums
from graphc.train.metrics.outcome import Outcome, check_classes, check_yes_or_no, one_score_each, outcome
from graphc.train.metrics.scores import Counts, ratio
from graphc.types import DType, Extent

AVERAGES = ("auto", "macro", "micro", "weighted", "binary", None)


def accuracy(outputs: Tensor, labels: Tensor, *, ignore_index: int | None = None, threshold: float = 0.0) -> Metric:
    """The share of labels that were predicted. Raises ShapeError, DTypeError."""
    o = outcome("accuracy", outputs, labels, ignore_index, threshold)
    return Metric({"right": o.right, "all": o.all}, lambda s: ratio(s["right"], s["all"]), "accuracy")


def top_k_accuracy(outputs: Tensor, labels: Tensor, *, k: int = 5, ignore_index: int | None = None) -> Metric:
    """The share of labels before which fewer than k classes come: with a larger score, or an equal one and earlier.

    Raises GraphcError for k outside of 1..classes, ShapeError, DTypeError.
    """
    check_classes("top_k_accuracy", outputs, labels)
    right = counting.top_k_hits(outputs, labels, k=k, ignore_index=ignore_index)
    kept = labels if ignore_index is None else counting.left_out(labels, labels, ignore_index=ignore_index)
    parts = {"right": right, "all": counting.counted(kept.astype(DType.INT64))}
    return Metric(parts, lambda s: ratio(s["right"], s["all"]), f"top_{k}_accuracy")


def confusion_matrix(
    outputs: Tensor, labels: Tensor, *, normalize: str | None = None, ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """[true class, predicted class]: how many samples, or shares of "true" (rows), "pred" (columns) or "all".

    Raises ShapeError, DTypeError, GraphcError.
    """
    _check_choice("confusion_matrix", "normalize", normalize, ("true", "pred", "all", None))
    o = outcome("confusion_matrix", outputs, labels, ignore_index, threshold)
    return Metric({"counts": o.matrix}, lambda s: scores.normalized(s["counts"][:, :-1], normalize), "confusion_matrix")


def balanced_accuracy(
    outputs: Tensor, labels: Tensor, *, ignore_index: int | None = None, threshold: float = 0.0
) -> Metric:
    """The mean recall of the classes that are a label. Raises ShapeError, DTypeError."""
    o = outcome("balanced_accuracy", outputs, labels, ignore_index, threshold)
    return Metric(o.by_class, lambda s: scores.mean(Counts.of(s).recall()[s["true"] > 0]), "balanced_accuracy")


def precision(
    outputs: Tensor, labels: Tensor, *, average: str | None = "auto", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """The share of the samples predicted as a class that are of it.

    `average` over classes is "macro" (their mean), "micro" (of all decisions), "weighted" (by labels), "binary" (class
    1 alone), None (an array), or "auto": "binary" for one score for each label, else "macro". Raises ShapeError,
    DTypeError, GraphcError.
    """
    return _averaged("precision", Counts.precision, outputs, labels, average, ignore_index, threshold)


def recall(
    outputs: Tensor, labels: Tensor, *, average: str | None = "auto", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """The share of the samples of a class that are predicted as it; otherwise as `precision`."""
    return _averaged("recall", Counts.recall, outputs, labels, average, ignore_index, threshold)


def specificity(
    outputs: Tensor, labels: Tensor, *, average: str | None = "auto", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """The share of the samples of other classes that are not predicted as it; otherwise as `precision`."""
    return _averaged("specificity", Counts.specificity, outputs, labels, average, ignore_index, threshold)


def fbeta(
    outputs: Tensor, labels: Tensor, *, beta: float = 1.0, average: str | None = "auto",
    ignore_index: int | None = None, threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """The harmonic mean of precision and recall, in which recall weighs β²; otherwise as `precision`.

    (1 + β²)·right / (β²·true + predicted). Source: van Rijsbergen 1979, "Information Retrieval".
    """
    return _averaged("fbeta", lambda counts: counts.fbeta(beta), outputs, labels, average, ignore_index, threshold)


def f1(
    outputs: Tensor, labels: Tensor, *, average: str | None = "auto", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """2·right / (true + predicted), the harmonic mean of precision and recall; otherwise as `precision`."""
    return _averaged("f1", lambda counts: counts.fbeta(1), outputs, labels, average, ignore_index, threshold)


def dice(
    outputs: Tensor, labels: Tensor, *, average: str | None = "macro", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """2·|A ∩ B| / (|A| + |B|), A being the places predicted as a class and B those of it: the F1 of places.

    Scores [n, classes, height, width] and labels [n, height, width]; otherwise as `precision`. Source: Dice 1945.
    """
    return _averaged("dice", lambda counts: counts.fbeta(1), outputs, labels, average, ignore_index, threshold)


def mean_iou(
    outputs: Tensor, labels: Tensor, *, average: str | None = "macro", ignore_index: int | None = None,
    threshold: float = 0.0,
) -> Metric:  # fmt: skip
    """|A ∩ B| / |A ∪ B|, A being the places predicted as a class and B those of it; otherwise as `dice`."""
    return _averaged("mean_iou", Counts.overlap, outputs, labels, average, ignore_index, threshold)


def matthews(outputs: Tensor, labels: Tensor, *, ignore_index: int | None = None, threshold: float = 0.0) -> Metric:
    """Matthews' correlation of predictions and labels, -1 to 1, for any number of classes (Gorodkin 2004).

    Raises ShapeError, DTypeError.
    """
    return Metric(outcome("matthews", outputs, labels, ignore_index, threshold).by_class, scores.matthews, "matthews")


def cohen_kappa(outputs: Tensor, labels: Tensor, *, ignore_index: int | None = None, threshold: float = 0.0) -> Metric:
    """How far the accuracy is above that of chance, as a share of what is possible (Cohen 1960).

    Raises ShapeError, DTypeError.
    """
    o = outcome("cohen_kappa", outputs, labels, ignore_index, threshold)
    return Metric(o.by_class, scores.cohen_kappa, "cohen_kappa")


# ---------------------------------------------------------------------------------- rankings and likelihoods


def roc_auc(outputs: Tensor, labels: Tensor, *, bins: int = 1024, ignore_index: int | None = None) -> Metric:
    """The area under the curve of hits over false alarms, for one score for each label.

    It is read off a histogram of x/(1 + |x|), whose bins are narrow near 0: a pair of samples in one bin counts as
    half, so the error is at most half the share of such pairs. NaN for scores that are NaN and where one class is
    missing. Raises ShapeError, GraphcError.
    """
    histogram = _histogram("roc_auc", outputs, labels, bins, ignore_index)
    return Metric({"counts": histogram}, lambda s: scores.roc_auc(s["counts"]), "roc_auc")


def average_precision(outputs: Tensor, labels: Tensor, *, bins: int = 1024, ignore_index: int | None = None) -> Metric:
    """The mean precision over the recall, for one score for each label; thresholds and errors as for `roc_auc`."""
    histogram = _histogram("average_precision", outputs, labels, bins, ignore_index)
    return Metric({"counts": histogram}, lambda s: scores.average_precision(s["counts"]), "average_precision")


def log_loss(logits: Tensor, labels: Tensor, *, ignore_index: int | None = None) -> Metric:
    """The mean of -log p(label): cross-entropy of logits [n, classes, ...], or of one logit for each label.

    Raises ShapeError, DTypeError, GraphcError.
    """
    return _likelihood("log_loss", logits, labels, ignore_index, float)


def perplexity(logits: Tensor, labels: Tensor, *, ignore_index: int | None = None) -> Metric:
    """exp of the mean of -log p(label) over all labels, not a mean over batches; otherwise as `log_loss`."""
    return _likelihood("perplexity", logits, labels, ignore_index, _exponential)


# ------------------------------------------------------------------------------------------------ pieces


def _averaged(
    name: str, score: Callable[[Counts], Any], outputs: Tensor, labels: Tensor, average: str | None,
    ignore_index: int | None, threshold: float,
) -> Metric:  # fmt: skip
    _check_choice(name, "average", average, AVERAGES)
    o = outcome(name, outputs, labels, ignore_index, threshold)
    how = _average(name, average, o)

    def value(sums: Sums) -> Any:
        counts = Counts.of(sums)
        match how:
            case "micro":
                return score(counts.together)
            case "binary":
                return score(counts)[1]
            case "macro":
                return scores.mean(score(counts)[counts.present])
            case "weighted":
                return ratio((score(counts) * counts.true).sum(), counts.true.sum())
        return score(counts)

    return Metric(o.by_class, value, name)


def _average(name: str, average: str | None, o: Outcome) -> str | None:
    if average == "binary" and o.classes != 2:
        raise GraphcError(
            f'{name}: average="binary" needs 2 classes, got {o.classes}', location=caller(),
            hint='use average="macro", "micro" or "weighted"',
        )  # fmt: skip
    return ("binary" if o.binary else "macro") if average == "auto" else average


def _histogram(metric: str, outputs: Tensor, labels: Tensor, bins: int, ignore_index: int | None) -> Tensor:
    outputs = one_score_each(outputs, labels)
    check_yes_or_no(metric, outputs, labels)
    true = outcome(metric, outputs, labels, ignore_index, 0.0).labels
    bin = counting.score_place(outputs, bins=bins).astype(DType.INT64)
    histogram: Tensor = counting.pair_counts(true, bin, extents=(2, bins + 1))
    return histogram


def _likelihood(
    name: str, logits: Tensor, labels: Tensor, ignore_index: int | None, of: Callable[[float], float]
) -> Metric:
    logits = one_score_each(logits, labels)
    if logits.shape == labels.shape:
        if ignore_index is not None:
            raise GraphcError(f"{name}: ignore_index is for classes, not for one logit for each label")
        total = binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    else:
        check_classes(name, logits, labels)
        total = cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")
    if ignore_index is None:
        each = places(labels.shape)
        return Metric({"total": total}, lambda s: of(float(s["total"] / (s[SAMPLES] * each))), name)
    kept = counting.counted(counting.left_out(labels, labels, ignore_index=ignore_index))
    return Metric({"total": total, "all": kept}, lambda s: of(float(ratio(s["total"], s["all"]))), name)


def _exponential(x: float) -> float:
    try:
        return exp(x)
    except OverflowError:
        return float("inf")


def places(shape: tuple[Extent, ...]) -> int:
    """How many elements belong to each sample that a program counts: all of them where there is no batch axis."""
    number = 1
    for extent in shape:
        number *= extent if isinstance(extent, int) else 1
    return number


def _check_choice(metric: str, option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise GraphcError(
            f"{metric}: {option} is {value!r}, expected one of {', '.join(map(repr, known))}", location=caller()
        )
