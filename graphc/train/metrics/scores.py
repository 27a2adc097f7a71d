"""Numbers that are made of counts: of right, predicted and true for each class, of a matrix, of a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.train.metrics.metric import Array, Sums


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Any:
    """above / below, and 0 where there is nothing below."""
    a, b = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.divide(a, b, out=np.zeros(a.shape), where=b != 0)[()]


def mean(values: Array) -> float:
    """The mean, NaN of nothing."""
    return float(values.mean()) if values.size else float("nan")


class Counts:
    """Counts by class from the sums of `Outcome.by_class`: right (true positives), false alarms, misses, the rest."""

    def __init__(self, right: Array, predicted: Array, true: Array, total: float) -> None:
        self.right, self.predicted, self.true, self.total = right, predicted, true, total

    @staticmethod
    def of(sums: Sums) -> Counts:
        """Of all classes; predictions that are NaN only count as misses."""
        return Counts(sums["right"], sums["predicted"][:-1], sums["true"], float(sums["true"].sum()))

    @property
    def together(self) -> Counts:
        """The counts of all classes added up."""
        total = self.total * len(self.true)
        return Counts(self.right.sum(), self.predicted.sum(), self.true.sum(), total)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which classes are the label or the prediction of some sample."""
        return (self.true + self.predicted) > 0

    def precision(self) -> Any:
        """right / predicted"""
        return ratio(self.right, self.predicted)

    def recall(self) -> Any:
        """right / true"""
        return ratio(self.right, self.true)

    def specificity(self) -> Any:
        """Of the samples of other classes, the share that was not predicted."""
        others = self.total - self.true
        return ratio(others - (self.predicted - self.right), others)

    def fbeta(self, beta: float) -> Any:
        """(1 + β²)·right / (β²·true + predicted), van Rijsbergen 1979; for β = 1 the same as the Dice coefficient."""
        return ratio((1 + beta**2) * self.right, beta**2 * self.true + self.predicted)

    def overlap(self) -> Any:
        """right / (true + predicted - right), Jaccard's intersection over union."""
        return ratio(self.right, self.true + self.predicted - self.right)


def cohen_kappa(sums: Sums) -> float:
    """(p - e) / (1 - e), p being the accuracy and e what it is by chance; Cohen 1960. 0 where e is 1."""
    total, predicted = sums["true"].sum(), sums["predicted"][:-1]
    chance = ratio(np.dot(sums["true"], predicted), total**2)
    return float(ratio(ratio(sums["right"].sum(), total) - chance, 1 - chance))


def matthews(sums: Sums) -> float:
    """The correlation of predictions and labels, Gorodkin 2004; 0 where one of them is constant."""
    true, predicted, total = sums["true"], sums["predicted"], sums["true"].sum()
    both = sums["right"].sum() * total - np.dot(true, predicted[:-1])
    spread = (total**2 - np.dot(predicted, predicted)) * (total**2 - np.dot(true, true))
    return float(ratio(both, np.sqrt(spread)))


def roc_auc(histogram: Array) -> float:
    """The chance that a sample of class 1 has a higher score than one of class 0; the same bin counts as half.

    `histogram` [class, bin], whose last bin counts NaN. NaN for NaN and where a class is missing. Hanley, McNeil 1982.
    """
    no, yes = histogram[:, :-1]
    if histogram[:, -1].any() or not (no.any() and yes.any()):
        return float("nan")
    below = np.cumsum(no) - no
    return float(np.dot(yes, below + no / 2) / (no.sum() * yes.sum()))


def average_precision(histogram: Array) -> float:
    """Σ_b precision_b · (recall_b - recall_{b+1}) over the bins from the highest down; otherwise as `roc_auc`."""
    no, yes = histogram[:, -2::-1]
    if histogram[:, -1].any() or not yes.any():
        return float("nan")
    found = np.cumsum(yes)
    return float(np.dot(ratio(found, found + np.cumsum(no)), yes) / yes.sum())


def normalized(matrix: Array, by: str | None) -> Array:
    """A confusion matrix as shares of the true classes (rows), of the predicted ones (columns) or of all."""
    match by:
        case "true":
            return np.asarray(ratio(matrix, matrix.sum(axis=1, keepdims=True)))
        case "pred":
            return np.asarray(ratio(matrix, matrix.sum(axis=0, keepdims=True)))
        case "all":
            return np.asarray(ratio(matrix, matrix.sum()))
        case _:
            return matrix
