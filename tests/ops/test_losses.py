"""Losses of elements and classes against torch, natively: values, gradients, weights, ignored labels; large numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.types import DType
from tests.torch_cases import Case, Numbers, alike, largest_errors, not_finite, reduce, reduced, torch

T = torch.nn.functional
draw = Numbers(np.random.default_rng(3))
ALL = ("mean", "sum", "none")


def weighted(loss: Any, weight: Any, reduction: str) -> Any:
    """Σ w·loss / Σ w and the like, of torch."""
    total = weight * loss
    mean = total.sum() / torch.broadcast_to(weight, loss.shape).sum()
    return {"none": total, "sum": total.sum(), "mean": mean}[reduction]


def torch_weighted(loss: Any) -> Any:
    return lambda x, y, w, **options: loss(x, y, weight=w, **options)


X, Y, W = draw(4, 6), draw(4, 6), draw.chances(4, 6)
ROWS, COUNTS = draw.chances(4, 1), draw(4, 6, low=0, high=5)


def absolute_by_rows(x: Any, y: Any, w: Any, reduction: str) -> Any:
    return weighted((x - y).abs(), w, reduction)


def log_cosh(x: Any, y: Any, reduction: str) -> Any:
    return reduce(torch.log(torch.cosh(x - y)), reduction)


def kl(x: Any, y: Any, reduction: str = "mean", **options: Any) -> Any:
    return T.kl_div(x, y, reduction=reduction, **options)


ELEMENTS = [
    *reduced("mse", gc.mse_loss, T.mse_loss, X, Y, kinds=ALL),
    *reduced("mse weighted", gc.mse_loss, torch_weighted(T.mse_loss), X, Y, W, kinds=ALL),
    *reduced("l1", gc.l1_loss, T.l1_loss, X, Y),
    *reduced("l1 by rows", gc.l1_loss, absolute_by_rows, X, Y, ROWS),
    *reduced("huber", gc.huber_loss, torch_weighted(T.huber_loss), X, Y, W, delta=0.7),
    *reduced("smooth l1", gc.smooth_l1_loss, T.smooth_l1_loss, X, Y, beta=0.5),
    alike("smooth l1 sharp", gc.smooth_l1_loss, T.smooth_l1_loss, X, Y, beta=0.0),
    *reduced("log cosh", gc.log_cosh_loss, log_cosh, X, Y),
    *reduced("kl", gc.kl_div, kl, np.log(W), draw.shares(4, 6)),
    alike("kl batch", gc.kl_div, kl, X, W, reduction="batchmean"),
    alike("kl log", gc.kl_div, kl, X, Y, log_target=True),
    alike("kl of none", gc.kl_div, kl, X, (Y > 0) * W, fixed=(1,)),
    *reduced("poisson", gc.poisson_nll_loss, T.poisson_nll_loss, X, COUNTS),
    alike("poisson full", gc.poisson_nll_loss, T.poisson_nll_loss, X, COUNTS, full=True),
    alike("poisson rates", gc.poisson_nll_loss, T.poisson_nll_loss, W, Y, log_input=False),
    *reduced("gaussian", gc.gaussian_nll_loss, T.gaussian_nll_loss, X, Y, W),
    alike("gaussian rows", gc.gaussian_nll_loss, T.gaussian_nll_loss, X, Y, ROWS, full=True),
]

LOGITS, LABELS = draw(5, 4), np.array([1, 3, 0, 2, 1])
IMAGES, PLACES = draw(2, 4, 2, 3), draw.among(range(4), 2, 2, 3, dtype="int64")
IGNORED = np.array([1, -100, 0, -100, 1])
CLASS, DENSE = draw.chances(4), draw.shares(5, 4)


def cross_entropy_at(x: Any, y: Any, temperature: float) -> Any:
    return T.cross_entropy(x / temperature, y)


def of_samples(x: Any, y: Any, w: Any) -> Any:
    return weighted(T.cross_entropy(x, y, reduction="none"), w, "mean")


def focal(x: Any, y: Any, w: Any = None, gamma: float = 2.0) -> Any:
    log_p = T.log_softmax(x, 1).gather(1, y[:, None])[:, 0]
    loss = -((1 - log_p.exp()) ** gamma) * log_p
    return loss.mean() if w is None else weighted(loss, w[y], "mean")


def sigmoid_focal(x: Any, t: Any, alpha: float, gamma: float = 2.0, reduction: str = "none") -> Any:
    """As torchvision writes it."""
    t = t.double()
    p = torch.sigmoid(x)
    loss = T.binary_cross_entropy_with_logits(x, t, reduction="none") * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    return reduce(loss * (alpha * t + (1 - alpha) * (1 - t)) if alpha >= 0 else loss, reduction)


def of_probabilities(p: Any, y: Any) -> Any:
    return T.nll_loss(p.log(), y)


def weighted_bce(x: Any, t: Any, w: Any, p: Any) -> Any:
    return T.binary_cross_entropy_with_logits(x, t, w, pos_weight=p)


SAMPLES = draw.chances(5)

CLASSES = [
    *reduced("ce", gc.cross_entropy, T.cross_entropy, LOGITS, LABELS, kinds=ALL),
    alike("ce images", gc.cross_entropy, T.cross_entropy, IMAGES, PLACES),
    *reduced("ce weights", gc.cross_entropy, T.cross_entropy, LOGITS, LABELS, CLASS, fixed=(2,)),
    *reduced("ce ignore", gc.cross_entropy, T.cross_entropy, LOGITS, IGNORED, ignore_index=-100),
    *reduced(
        "ce everything", gc.cross_entropy, T.cross_entropy, LOGITS, IGNORED, CLASS, fixed=(2,), kinds=ALL,
        ignore_index=-100, label_smoothing=0.1,
    ),
    alike("ce ignore a class", gc.cross_entropy, T.cross_entropy, IMAGES, PLACES, ignore_index=2),
    alike("ce temperature", gc.cross_entropy, cross_entropy_at, LOGITS, LABELS, temperature=2.5),
    Case("ce samples", lambda x, y, w: gc.cross_entropy(x, y, sample_weight=w), of_samples, (LOGITS, LABELS, SAMPLES)),
    *reduced(
        "ce dense", gc.cross_entropy, T.cross_entropy, LOGITS, DENSE, CLASS, fixed=(2,), label_smoothing=0.2
    ),
    alike("ce dense images", gc.cross_entropy, T.cross_entropy, IMAGES, draw.shares(2, 4, 2, 3)),
    *reduced("nll", gc.nll_loss, T.nll_loss, LOGITS, IGNORED, CLASS, fixed=(2,), ignore_index=-100),
    alike("categorical", gc.categorical_cross_entropy, of_probabilities, DENSE, LABELS),
    alike("focal", gc.focal_loss, focal, LOGITS, LABELS, gamma=1.5),
    alike("focal weights", gc.focal_loss, focal, LOGITS, LABELS, CLASS, fixed=(2,)),
    *reduced(
        "bce", gc.binary_cross_entropy, T.binary_cross_entropy, W, draw.chances(4, 6), draw.chances(6), fixed=(2,)
    ),
    *reduced("bce logits", gc.binary_cross_entropy_with_logits, T.binary_cross_entropy_with_logits, X, W),
    alike("bce weights", gc.binary_cross_entropy_with_logits, weighted_bce, X, W, ROWS, draw.chances(6), fixed=(2, 3)),
    *reduced("sigmoid focal", gc.sigmoid_focal_loss, sigmoid_focal, X, (W > 0.5).astype(int), alpha=0.3, gamma=1.5),
    alike("sigmoid focal plain", gc.sigmoid_focal_loss, sigmoid_focal, X, (W > 0.5) * 1.0, fixed=(1,), alpha=-1),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("cases", [ELEMENTS, CLASSES], ids=["elements", "classes"])
def test_values_and_gradients_are_those_of_torch(cases: list[Case]) -> None:
    errors = largest_errors(cases, DType.FLOAT64)
    assert {name: e for name, e in errors.items() if not e <= 1e-11} == {}


L, ONES, SCORES = draw.large(4, 6), draw.among([0.0, 1.0], 4, 6), draw.large(5, 4)

EXTREME = [
    alike("kl", gc.kl_div, T.relu, L, ONES),
    # e^1e4 is no number of float32
    alike("poisson", gc.poisson_nll_loss, T.relu, np.minimum(L, 80), COUNTS),
    alike("no labels", gc.cross_entropy, T.relu, SCORES, LABELS * 0 - 1, ignore_index=-1),
    alike("certain classes", gc.categorical_cross_entropy, T.relu, draw.among([0.0, 1.0], 5, 4), LABELS),
    alike("certain", gc.binary_cross_entropy, T.relu, ONES, W),
    alike("focal", gc.focal_loss, T.relu, SCORES, LABELS, gamma=0.5),
    alike("sigmoid focal", gc.sigmoid_focal_loss, T.relu, L, W, gamma=0.5),
]


def test_values_and_gradients_are_finite_at_the_ends() -> None:
    assert not_finite(EXTREME) == []


def test_what_is_not_finite_is_found() -> None:
    assert not_finite([alike("poisson", gc.poisson_nll_loss, T.relu, L, COUNTS)]) == ["poisson"]
