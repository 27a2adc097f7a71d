"""Losses of the overlap of regions, given as chances [n, classes, ...] for every place."""

from __future__ import annotations

from typing import Any

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.loss_terms import not_negative, reduced, same_elements
from graphc.ops.notation import Operand, Sum
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

REGIONS = [
    Sample(((2, 3, 2, 2), (2, 3, 2, 2)), {}, (0.1, 0.9)),
    Sample(((3, 4), (3, 4)), {"reduction": "none"}, (0.1, 0.9)),
    Sample(((2, 3, 4), (2, 3, 4)), {"per_class": False, "smooth": 0.0, "reduction": "sum"}, (0.1, 0.9)),
]


def _overlap(
    name: str, prediction: Operand, target: Operand, missed: Any, smooth: float, per_class: bool, reduction: str,
    false_alarm: Any,
) -> Expr:  # fmt: skip
    """1 - (I + smooth) / (I + false_alarm·(P - I) + missed·(T - I) + smooth), I = Σ p·t, P = Σ p, T = Σ t."""
    not_negative(name, smooth=smooth)
    if prediction.rank < 2:
        raise ShapeError(f"{name}: expected regions [n, classes, ...] or [n, places], got {prediction.shape}")
    index, (p, t) = same_elements(name, prediction, target)
    first = 2 if per_class and prediction.rank > 2 else 1
    common, predicted, true = (Sum(e, over=index[first:]) for e in (p * t, p, t))
    below = common + false_alarm * (predicted - common) + missed * (true - common) + number(smooth)
    return reduced(name, reduction, 1 - (common + number(smooth)) / below, index[:first])


@op(register=True, either="target", samples=REGIONS)
def dice_loss(
    prediction: Operand, target: Operand, *, smooth: float = 1.0, per_class: bool = True, reduction: str = "mean"
) -> Expr:
    """1 - (2·Σ p·t + smooth) / (Σ p + Σ t + smooth) for each sample and class, over all places.

    Without `per_class` the sums are over the classes too, as they are where there are none: [n, places]. Milletari,
    Navab, Ahmadi, V-Net, 2016. Raises ShapeError, GraphcError.
    """
    half = number(0.5)
    return _overlap("dice_loss", prediction, target, half, smooth / 2, per_class, reduction, half)


@op(register=True, either="target", samples=REGIONS)
def jaccard_loss(
    prediction: Operand, target: Operand, *, smooth: float = 1.0, per_class: bool = True, reduction: str = "mean"
) -> Expr:
    """1 - (Σ p·t + smooth) / (Σ p + Σ t - Σ p·t + smooth), intersection over union; otherwise as dice_loss."""
    return _overlap("jaccard_loss", prediction, target, 1, smooth, per_class, reduction, 1)


@op(
    register=True,
    either="target",
    samples=[Sample(s.tensors, {"alpha": 0.3, "beta": 0.7, **s.attributes}, s.domain) for s in REGIONS],
)
def tversky_loss(
    prediction: Operand,
    target: Operand,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    per_class: bool = True,
    reduction: str = "mean",
) -> Expr:
    """1 - (I + smooth) / (I + alpha·Σ p·(1-t) + beta·Σ (1-p)·t + smooth), I = Σ p·t; otherwise as dice_loss.

    Salehi, Erdogmus, Gholipour 2017.
    """
    not_negative("tversky_loss", alpha=alpha, beta=beta)
    return _overlap("tversky_loss", prediction, target, number(beta), smooth, per_class, reduction, number(alpha))
