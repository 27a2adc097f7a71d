"""What makes training harder on purpose: elements dropped at random, noise, smooth labels, penalties.

Everything random acts in training alone; a program for inference holds none of it. Where `training` is given, it
decides instead.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from graphc.dsl.chance import drawing
from graphc.dsl.functional.loss import l1_penalty, l2_penalty
from graphc.dsl.phase import phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops import random
from graphc.ops.indexing import one_hot
from graphc.ops.operator import Operator
from graphc.types import DType

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elastic_net_penalty",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "smooth_labels",
    "stochastic_depth",
]

ROWS = {"row": (0,), "batch": ()}
"""Along which axes stochastic depth draws: for each sample, or once."""

SPATIAL = {3: "dropout1d", 4: "dropout2d", 5: "dropout3d"}
"""What drops whole channels of a tensor with so many axes."""


def probability(name: str, p: Any) -> float:
    """p itself. Raises GraphError unless 0 <= p < 1."""
    if isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p < 1:
        return p
    hint = "p=0.5 drops every second element"
    if isinstance(p, int | float) and 1 < p < 100:
        hint = f"{p:g} % is p={p / 100:g}"
    elif p == 1:
        hint = "with p=1 nothing would be left; multiply by 0 if that is meant"
    raise GraphError(
        f"{name}: p is the probability that an element is dropped, expected 0 <= p < 1, got {p!r}",
        location=caller(), layer=str(current.get()), hint=hint,
    )  # fmt: skip


def _in_training(operator: Operator, x: Tensor, training: bool | None, **options: Any) -> Tensor:
    if training is False:
        return x
    changed = drawing(operator, x, **options)
    return changed if training else phased(changed, x)


def _dropout(
    name: str, operator: Operator, x: Tensor, p: float, training: bool | None, axes: tuple[int, ...] | None = None
) -> Tensor:
    if not probability(name, p):
        return x
    options = {} if axes is None else {"axes": axes}
    return _in_training(operator, x, training, p=p, **options)


def dropout(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """In training 0 with probability p, else x / (1 - p). Raises GraphError unless 0 <= p < 1."""
    return _dropout("dropout", random.dropout, x, p, training)


def _channels(name: str, x: Tensor, rank: int) -> tuple[int, int]:
    if x.ndim != rank:
        raise ShapeError(
            f"{name} drops whole channels of x [n, channels, ...] with {rank} axes, got {x.shape}",
            location=caller(), layer=str(current.get()),
            hint=f"use {SPATIAL.get(x.ndim, 'alpha_dropout' if 'alpha' in name else 'dropout')}",
        )  # fmt: skip
    return 0, 1


def dropout1d(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """Dropout of whole channels of x [n, channels, length]. Raises GraphError, ShapeError."""
    return _dropout("dropout1d", random.dropout, x, p, training, _channels("dropout1d", x, 3))


def dropout2d(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """Dropout of whole channels of images x [n, channels, height, width]. Raises GraphError, ShapeError."""
    return _dropout("dropout2d", random.dropout, x, p, training, _channels("dropout2d", x, 4))


def dropout3d(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """Dropout of whole channels of x [n, channels, depth, height, width]. Raises GraphError, ShapeError."""
    return _dropout("dropout3d", random.dropout, x, p, training, _channels("dropout3d", x, 5))


def alpha_dropout(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """Dropout for SELU: elements take its limit, and mean 0 and variance 1 are kept. Raises GraphError."""
    return _dropout("alpha_dropout", random.alpha_dropout, x, p, training)


def feature_alpha_dropout(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """`alpha_dropout` of whole channels of x [n, channels, ...]. Raises GraphError, ShapeError."""
    axes = _channels("feature_alpha_dropout", x, max(x.ndim, 3))
    return _dropout("feature_alpha_dropout", random.alpha_dropout, x, p, training, axes)


def gaussian_dropout(x: Tensor, p: float = 0.5, training: bool | None = None) -> Tensor:
    """In training x · (1 + √(p / (1 - p)) · z), z normally distributed. Raises GraphError unless 0 <= p < 1."""
    return _dropout("gaussian_dropout", random.gaussian_dropout, x, p, training)


def gaussian_noise(x: Tensor, std: float = 0.1, training: bool | None = None) -> Tensor:
    """In training x + std · z, z normally distributed. Raises GraphError for a negative std."""
    if std < 0:
        raise GraphError(f"gaussian_noise: expected a standard deviation std >= 0, got {std}", location=caller())
    return x if std == 0 else _in_training(random.gaussian_noise, x, training, std=std)


def stochastic_depth(x: Tensor, p: float, mode: str = "row", training: bool | None = None) -> Tensor:
    """In training a whole sample (mode "row") or the whole batch ("batch") is 0 with probability p, else x / (1 - p).

    Raises GraphError unless 0 <= p < 1, and for another mode.
    """
    if mode not in ROWS:
        raise GraphError(
            f'stochastic_depth: mode is "row" or "batch", got {mode!r}', location=caller(), layer=str(current.get())
        )
    return _dropout("stochastic_depth", random.dropout, x, p, training, ROWS[mode])


def smooth_labels(
    labels: Tensor, classes: int | None = None, smoothing: float = 0.1, dtype: npt.DTypeLike | DType = "float32"
) -> Tensor:
    """(1 - smoothing) · one_hot(labels) + smoothing / classes; labels may also be probabilities [..., classes].

    A loss that takes probabilities takes them. Raises GraphError unless 0 <= smoothing <= 1, and for an unknown number
    of classes. Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture, 2016.
    """
    if not 0 <= smoothing <= 1:
        raise GraphError(f"smooth_labels: expected 0 <= smoothing <= 1, got {smoothing}", location=caller())
    if labels.dtype.is_float:
        last = labels.shape[-1] if labels.ndim else None
        if not isinstance(last, int) or classes not in (None, last):
            raise GraphError(
                f"smooth_labels: the last axis of the probabilities {labels.shape} holds the classes, "
                f"got classes={classes}", location=caller(), layer=str(current.get()),
            )  # fmt: skip
        return labels * (1 - smoothing) + smoothing / last
    if classes is None:
        raise GraphError(
            "smooth_labels: how many classes there are does not follow from their numbers", location=caller(),
            layer=str(current.get()), hint="smooth_labels(labels, classes=10)",
        )  # fmt: skip
    hot = one_hot(labels, classes=classes, dtype=as_dtype(dtype, "smooth_labels"))
    return hot * (1 - smoothing) + smoothing / classes


def elastic_net_penalty(x: Tensor, l1: float = 0.01, l2: float = 0.01) -> Tensor:
    """l1 · Σ |x| + l2 · Σ x²"""
    return l1_penalty(x, l1) + l2_penalty(x, l2)
