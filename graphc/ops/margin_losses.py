"""Losses with a margin: hinges, and logits that leave a margin between classes.

Targets of two classes are -1 and 1. `reduction` is over elements, for several classes over samples.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, lt
from graphc.ops.loss_terms import Classes, hinge, positive, reduced, same_elements
from graphc.ops.notation import Min, Operand, Sum, axes, extent
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

PAIRS = [Sample(((3, 4), (3, 4)))]


@op(register=True, either="target", samples=PAIRS)
def hinge_loss(scores: Operand, target: Operand, *, margin: float = 1.0, reduction: str = "mean") -> Expr:
    """max(0, margin - t·x), t being -1 or 1 (Cortes, Vapnik 1995). Raises ShapeError, GraphcError."""
    index, (x, t) = same_elements("hinge_loss", scores, target)
    return reduced("hinge_loss", reduction, hinge(number(margin) - t * x), index)


@op(register=True, either="target", samples=PAIRS)
def squared_hinge_loss(scores: Operand, target: Operand, *, margin: float = 1.0, reduction: str = "mean") -> Expr:
    """max(0, margin - t·x)², t being -1 or 1. Raises ShapeError, GraphcError."""
    index, (x, t) = same_elements("squared_hinge_loss", scores, target)
    return reduced("squared_hinge_loss", reduction, hinge(number(margin) - t * x) ** 2, index)


@op(register=True, either="target", samples=PAIRS)
def soft_margin_loss(scores: Operand, target: Operand, *, reduction: str = "mean") -> Expr:
    """log(1 + e^(-t·x)), t being -1 or 1. Raises ShapeError, GraphcError."""
    index, (x, t) = same_elements("soft_margin_loss", scores, target)
    return reduced("soft_margin_loss", reduction, scalars.softplus(-t * x), index)


@op(register=True, either="target", samples=PAIRS)
def hinge_embedding_loss(distance: Operand, target: Operand, *, margin: float = 1.0, reduction: str = "mean") -> Expr:
    """x where t = 1, max(0, margin - x) where t = -1. Raises ShapeError, GraphcError."""
    index, (x, t) = same_elements("hinge_embedding_loss", distance, target)
    near, far = Where(eq(t, -1), 0, x), Where(eq(t, 1), 0, hinge(number(margin) - x))
    return reduced("hinge_embedding_loss", reduction, near + far, index)


@op(register=True, either="target", samples=[Sample(((3, 4), (3, 4), (3, 4)))])
def margin_ranking_loss(
    first: Operand, second: Operand, target: Operand, *, margin: float = 0.0, reduction: str = "mean"
) -> Expr:
    """max(0, margin - t·(a - b)): a should be larger where t = 1, b where t = -1. Raises ShapeError, GraphcError."""
    index, (a, b, t) = same_elements("margin_ranking_loss", first, second, target)
    return reduced("margin_ranking_loss", reduction, hinge(number(margin) - t * (a - b)), index)


# ------------------------------------------------------------------------------------------- several classes


@op(
    register=True,
    integer="labels",
    samples=[
        Sample(((4, 3), ("int", 3, (4,)), None)),
        Sample(((4, 3), ("int", 3, (4,)), (3,)), {"p": 2, "margin": 0.5, "reduction": "none"}),
    ],
)
def multi_margin_loss(
    scores: Operand,
    labels: Operand,
    weight: Operand | None = None,
    *,
    p: int = 1,
    margin: float = 1.0,
    reduction: str = "mean",
) -> Expr:
    """w_label/K · Σ_{k ≠ label} max(0, margin - x_label + x_k)^p, p being 1 or 2.

    scores [n, classes], labels [n], weight [classes], which the mean does not divide by. Crammer, Singer 2001.
    Raises ShapeError, GraphcError.
    """
    if p not in (1, 2):
        raise GraphcError(f"multi_margin_loss: p must be 1 or 2, got {p}")
    c = Classes("multi_margin_loss", scores, labels)
    (k,) = axes("c")
    violation = hinge(number(margin) - c.at(c.label) + c.at(k)) ** p
    loss = Sum(Where(eq(k, c.label), 0, violation), over=k) / c.count
    if weight is not None:
        loss = c.class_weight(weight, c.label) * loss
    return reduced(c.name, reduction, loss, c.over)


def _of_rows(name: str, scores: Operand, target: Operand) -> None:
    if scores.rank != 2 or target.shape != scores.shape:
        raise ShapeError(
            f"{name}: expected scores [n, classes] and {target.name} like them, got {scores.shape} and {target.shape}"
        )


@op(
    register=True,
    integer="labels",
    samples=[Sample(((4, 3), ("int", 3, (4, 3)))), Sample(((2, 4), ("int", 4, (2, 4))), {"reduction": "none"})],
)
def multilabel_margin_loss(scores: Operand, labels: Operand, *, reduction: str = "mean") -> Expr:
    """1/K · Σ_{j in labels} Σ_{i not in labels} max(0, 1 - (x_j - x_i)).

    scores and labels [n, classes]: the class numbers of a row up to the first negative one. Raises ShapeError,
    GraphcError.
    """
    name = "multilabel_margin_loss"
    _of_rows(name, scores, labels)
    n, j, i, p, q = axes("n j i p q")
    label = labels[n, p]
    end = Min(Where(lt(labels[n, q], 0), q, extent(q)), over=q)

    def mentioned(k: Expr) -> Expr:
        """How often class k is among the labels."""
        return Sum(Where(lt(p, end), Where(eq(label, k), 1, 0), 0), over=p)

    violation = mentioned(j) * hinge(1 - scores[n, j] + scores[n, i])
    loss = Sum(Where(eq(mentioned(i), 0), violation, 0), over=(j, i)) / extent(j)
    return reduced(name, reduction, loss, (n,))


@op(
    register=True,
    either="target",
    samples=[Sample(((3, 4), (3, 4), None)), Sample(((3, 4), (3, 4), (4,)), {"reduction": "none"})],
)
def multilabel_soft_margin_loss(
    scores: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean"
) -> Expr:
    """1/K · Σ_k w_k · (softplus(x_k) - t_k·x_k): the mean of two-way cross-entropies over the classes.

    scores and target [..., classes], weight [classes]. Raises ShapeError, GraphcError.
    """
    name = "multilabel_soft_margin_loss"
    index, (x, t) = same_elements(name, scores, target)
    if weight is not None and weight.shape != scores.shape[-1:]:
        raise ShapeError(f"{name}: {weight.name} must have shape {scores.shape[-1:]}, got {weight.shape}")
    loss = scalars.softplus(x) - t * x
    k = index[-1]
    return reduced(name, reduction, Sum(loss if weight is None else weight[k] * loss, over=k) / extent(k), index[:-1])


# --------------------------------------------------------------------------------------- logits with margins

EMBEDDED = ((4, 3), (3, 3), ("int", 3, (4,)))
SMALLEST_SQUARE = sp.Float(1e-12)
"""A squared length below counts as this one, so that a vector of zeros has a direction: none."""


def _cosine(name: str, features: Operand, prototypes: Operand, labels: Operand) -> tuple[Any, ...]:
    """(sample, class, label, length of the feature, length of the prototype, cosine of their angle)."""
    if features.rank != 2 or prototypes.rank != 2 or features.shape[1] != prototypes.shape[1]:
        raise ShapeError(
            f"{name}: expected features [n, d] and prototypes [classes, d], got {features.shape} and {prototypes.shape}"
        )
    if labels.shape != features.shape[:1]:
        raise ShapeError(
            f"{name}: features {features.shape} need labels of shape {features.shape[:1]}, got {labels.shape}"
        )
    n, k, d, e, f = axes("n k d e f")
    square = Sum(features[n, e] ** 2, over=e), Sum(prototypes[k, f] ** 2, over=f)
    one, other = (scalars.sqrt(Where(lt(s, SMALLEST_SQUARE), SMALLEST_SQUARE, s)) for s in square)
    return n, k, labels[n], one, other, Sum(features[n, d] * prototypes[k, d], over=d) / (one * other)


@op(register=True, integer="labels", samples=[Sample(EMBEDDED, {"margin": 2}), Sample(EMBEDDED, {"margin": 4})])
def large_margin_logits(features: Operand, prototypes: Operand, labels: Operand, *, margin: int = 4) -> Expr:
    """‖x‖·‖w_k‖·cos θ_k, but ‖x‖·‖w_k‖·ψ(θ_k) for the label's class: ψ(θ) = (-1)^j·cos(m·θ) - 2j for θ in the j-th of
    m equal parts of 0..π.

    cos(m·θ) is Chebyshev's polynomial in cos θ. features [n, d], prototypes [classes, d], labels [n]; no bias.
    L-softmax: Liu, Wen, Yu, Yang, Large-margin softmax loss, 2016. Raises ShapeError, GraphcError.
    """
    if not isinstance(margin, int) or not 1 <= margin <= 8:
        raise GraphcError(f"large_margin_logits: margin must be an integer in 1..8, got {margin}")
    _, k, label, one, other, c = _cosine("large_margin_logits", features, prototypes, labels)
    folded = sp.chebyshevt(margin, c)
    psi: Expr = (-1) ** (margin - 1) * folded - 2 * (margin - 1)
    for j in reversed(range(margin - 1)):
        psi = Where(lt(c, number(cos((j + 1) * pi / margin))), psi, (-1) ** j * folded - 2 * j)
    return one * other * Where(eq(k, label), psi, c)


@op(register=True, integer="labels", samples=[Sample(EMBEDDED, {"scale": 4.0})])
def additive_margin_logits(
    features: Operand, prototypes: Operand, labels: Operand, *, margin: float = 0.35, scale: float = 30.0
) -> Expr:
    """scale · (cos θ_k - margin for the label's class).

    Operands as for large_margin_logits. AM-softmax, CosFace: Wang et al. 2018. Raises ShapeError, GraphcError.
    """
    positive("additive_margin_logits", scale=scale)
    _, k, label, _, _, c = _cosine("additive_margin_logits", features, prototypes, labels)
    return number(scale) * (c - Where(eq(k, label), number(margin), 0))


@op(register=True, integer="labels", samples=[Sample(EMBEDDED, {"scale": 4.0})])
def angular_margin_logits(
    features: Operand, prototypes: Operand, labels: Operand, *, margin: float = 0.5, scale: float = 64.0
) -> Expr:
    """scale · cos(θ_k + margin for the label's class), continued by a line of slope 1 where θ + margin > π.

    cos(θ + m) = cos θ·cos m - sin θ·sin m. Operands as for large_margin_logits. ArcFace: Deng et al. 2019. Raises
    ShapeError, GraphcError.
    """
    positive("angular_margin_logits", scale=scale)
    if not 0 <= margin < pi:
        raise GraphcError(f"angular_margin_logits: margin is an angle in 0..π, got {margin}")
    _, k, label, _, _, c = _cosine("angular_margin_logits", features, prototypes, labels)
    square = (1 - c) * (1 + c)
    sine = scalars.sqrt(Where(lt(square, SMALLEST_SQUARE), SMALLEST_SQUARE, square))
    turned = c * number(cos(margin)) - sine * number(sin(margin))
    straight = c - number(margin * sin(margin))
    return number(scale) * Where(eq(k, label), Where(lt(number(-cos(margin)), c), turned, straight), c)
