"""Metrics of predictions that are numbers: outputs and targets of the same shape [n, ...].

Sums of deviations are taken about the first target of the training, so they are accurate for targets far from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import ShapeError
from graphc.ops import counting, elementwise
from graphc.train.metrics.classification import places
from graphc.train.metrics.metric import SAMPLES, Array, Metric, Sums
from graphc.train.metrics.outcome import one_score_each

SMALLEST = float(np.finfo(np.float64).eps)
"""What a target near 0 counts as where it is divided by."""


def mse(outputs: Tensor, targets: Tensor) -> Metric:
    """The mean of (y - t)² over all elements. Raises ShapeError."""
    return _mean("mse", _residual("mse", outputs, targets) ** 2)


def rmse(outputs: Tensor, targets: Tensor) -> Metric:
    """√ of the mean of (y - t)² over all elements and batches. Raises ShapeError."""
    return _mean("rmse", _residual("rmse", outputs, targets) ** 2, sqrt)


def mae(outputs: Tensor, targets: Tensor) -> Metric:
    """The mean of |y - t| over all elements. Raises ShapeError."""
    return _mean("mae", abs(_residual("mae", outputs, targets)))


def mape(outputs: Tensor, targets: Tensor) -> Metric:
    """The mean of |y - t| / max(|t|, 2⁻⁵²): a share, not a percentage. Raises ShapeError."""
    error = abs(_residual("mape", outputs, targets))
    return _mean("mape", error / elementwise.maximum(abs(targets), SMALLEST))


def r2(outputs: Tensor, targets: Tensor, *, average: bool = True) -> Metric:
    """1 - Σ(y - t)² / Σ(t - t̄)² for each column, and their mean unless `average` is False. Raises ShapeError.

    Of a column with equal targets it is 1 where all errors are 0, else 0, as in scikit-learn.
    """
    squares = (_residual("r2", outputs, targets) ** 2).sum(axis=0)
    move = _about_the_very_first(targets)

    def terms(results: Sums, first: Sums) -> Sums:
        return {"residual": results["residual"], **move(results, first)}

    def value(sums: Sums) -> Any:
        return _explained(sums["residual"], _variation(sums), average)

    return Metric({"residual": squares, **_about_first(targets)}, value, "r2", terms)


def explained_variance(outputs: Tensor, targets: Tensor, *, average: bool = True) -> Metric:
    """1 - Var(y - t) / Var(t) for each column: the same as `r2` after a constant error is taken off.

    The mean of the columns unless `average` is False. Raises ShapeError.
    """
    residual = {f"error {k}": v for k, v in _about_first(_residual("explained_variance", outputs, targets)).items()}
    move = _about_the_very_first(targets)

    def terms(results: Sums, first: Sums) -> Sums:
        moved = move(_errors(results), _errors(first))
        return {**move(results, first), **{f"error {k}": v for k, v in moved.items()}}

    def value(sums: Sums) -> Any:
        return _explained(_variation(_errors(sums)), _variation(sums), average)

    return Metric({**residual, **_about_first(targets)}, value, "explained_variance", terms)


def _residual(metric: str, outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = one_score_each(outputs, targets)
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"{metric}: outputs {outputs.shape} and targets {targets.shape} differ", location=caller(),
            hint=f"declare the targets as {outputs.shape}, or reshape the outputs",
        )  # fmt: skip
    return outputs - targets


def _mean(name: str, errors: Tensor, of: Callable[[float], float] = float) -> Metric:
    each = places(errors.shape)
    return Metric({"total": errors.sum()}, lambda s: of(float(s["total"] / (s[SAMPLES] * each))), name)


# ----------------------------------------------------------------------------- sums about the first row


def _about_first(rows: Tensor) -> dict[str, Tensor]:
    """The first row of a batch and, for each column, Σ(x - first) and Σ(x - first)²."""
    return {
        "first": counting.first_row(rows),
        "deviations": counting.about_first(rows, power=1),
        "squares": counting.about_first(rows, power=2),
    }


def _about_the_very_first(rows: Tensor) -> Callable[[Sums, Sums], Sums]:
    """Terms of sums about the first row of all batches instead of each batch's own.

    With d = first - very first: Σ(x - very first) = Σ(x - first) + n·d, and
    Σ(x - very first)² = Σ(x - first)² + 2·d·Σ(x - first) + n·d².
    """
    each = rows.shape[0] if isinstance(rows.shape[0], int) else 1

    def terms(results: Sums, first: Sums) -> Sums:
        deviations, squares = results["deviations"], results["squares"]
        d = results["first"] - first["first"]
        n = (results[SAMPLES] * each).reshape(-1, *[1] * (d.ndim - 1))
        moved = {"deviations": deviations + n * d, "squares": squares + 2 * d * deviations + n * d**2}
        return {**moved, "rows": n * np.ones(d.shape)}

    return terms


def _errors(results: Sums) -> Sums:
    """Those of the errors alone, by the names of the others."""
    own = {name.removeprefix("error "): r for name, r in results.items() if name.startswith("error ")}
    return {**own, SAMPLES: results[SAMPLES]} if SAMPLES in results else own


def _variation(sums: Sums) -> Array:
    """Σ(x - x̄)²"""
    return np.maximum(0.0, sums["squares"] - sums["deviations"] ** 2 / sums["rows"])


def _explained(left: Array, whole: Array, average: bool) -> Any:
    """1 - left / whole for each column; without anything to explain 1 if nothing is left, else 0."""
    constant = np.where(left == 0, 1.0, 0.0)
    share = np.where(whole == 0, constant, 1 - left / np.where(whole == 0, 1.0, whole))
    return share.mean() if average else share
