"""Losses, penalties and metrics.

`reduction` is "mean", "sum" or "none": over all elements for errors of single elements, over samples for
cross-entropies.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, extent_of, le, lt
from graphc.ops.notation import Max, Min, Operand, Sum, axes, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.reductions import reduce_loss

SMALLEST_LOG = -100
"""The least logarithm of a probability (torch's BCELoss): an error made with certainty costs 100."""

SMALLEST_PROBABILITY = sp.Float(1e-7)
"""Class probabilities are limited to 1e-7 .. 1 - 1e-7 (Keras' epsilon)."""

PAIRS = [
    Sample(((3, 4), (3, 4))),
    Sample(((3, 4), (3, 4)), {"reduction": "sum"}),
    Sample(((4,), (4,)), {"reduction": "none"}),
]
CHANCES = [Sample(s.tensors, s.attributes, (0.1, 0.9)) for s in PAIRS]
CLASSES = [
    Sample(((4, 3), ("int", 3, (4,)))),
    Sample(((4, 3), ("int", 3, (4,))), {"reduction": "sum"}),
    Sample(((2, 3, 2, 2), ("int", 3, (2, 2, 2))), {"reduction": "none"}),
]


# -------------------------------------------------------------------------------- errors of single elements


def _same_elements(name: str, a: Operand, b: Operand) -> tuple[Expr, Expr, tuple[Expr, ...]]:
    """(a[index], b[index], index) over all elements. Raises ShapeError unless the shapes are equal."""
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: {a.name} has shape {a.shape} but {b.name} has shape {b.shape}",
            hint="losses do not broadcast; reshape one of them",
        )
    index = axes(" ".join(pointwise_names(a.rank)))
    return a[index], b[index], index


@op(register=True, samples=PAIRS)
def mse(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Expr:
    """Mean squared error: 1/count · Σ (p - t)². Raises ShapeError."""
    p, t, index = _same_elements("mse", prediction, target)
    return reduce_loss(reduction, scalars.square(p - t), index)


@op(register=True, samples=PAIRS)
def mae(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Expr:
    """Mean absolute error: 1/count · Σ |p - t|. Raises ShapeError."""
    p, t, index = _same_elements("mae", prediction, target)
    return reduce_loss(reduction, scalars.absolute(p - t), index)


@op(register=True, samples=PAIRS)
def binary_cross_entropy_with_logits(logits: Operand, target: Operand, *, reduction: str = "mean") -> Expr:
    """-t·log s(x) - (1-t)·log(1-s(x)) = softplus(x) - x·t, s being the sigmoid. Raises ShapeError."""
    x, t, index = _same_elements("binary_cross_entropy_with_logits", logits, target)
    return reduce_loss(reduction, scalars.softplus(x) - x * t, index)


@op(register=True, samples=CHANCES)
def binary_cross_entropy(probability: Operand, target: Operand, *, reduction: str = "mean") -> Expr:
    """-t·log p - (1-t)·log(1-p), logarithms not below -100. Raises ShapeError."""
    p, t, index = _same_elements("binary_cross_entropy", probability, target)
    loss = -t * _limited_log(scalars.log(p)) - (1 - t) * _limited_log(scalars.log1p(-p))
    return reduce_loss(reduction, loss, index)


def _limited_log(logarithm: Expr) -> Expr:
    return Where(lt(logarithm, SMALLEST_LOG), SMALLEST_LOG, logarithm)


# ---------------------------------------------------------------------------------------- cross-entropies


def _class_axes(name: str, scores: Operand, labels: Operand, dense: bool) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Axes (before, after) the classes, which are the last axis of a matrix and axis 1 otherwise."""
    wanted = scores.shape if dense else (*scores.shape[:1], *scores.shape[2:])
    if scores.rank < 2 or labels.shape != wanted:
        raise ShapeError(
            f"{name}: scores of shape {scores.shape} need labels of shape {wanted}, got {labels.shape}"
            if scores.rank > 1
            else f"{name}: scores need the axes (batch, classes), got {scores.shape}",
            hint="labels are class numbers of an integer dtype, or one probability for each class",
        )
    rest = scores.rank - 2
    return axes("n"), axes("y x" if rest == 2 else " ".join(f"i{d}" for d in range(rest)))


def _from_logits(logits: Operand, before: tuple[Expr, ...], after: tuple[Expr, ...]) -> tuple[Expr, Expr]:
    """(m, log Σ_k e^(x_k - m)) with m the largest logit: log Σ e^x = m + the second."""
    j, k = axes("j k")
    largest = Max(logits[(*before, j, *after)], over=j)
    return largest, scalars.log(Sum(scalars.exp(logits[(*before, k, *after)] - largest), over=k))


@op(register=True, integer="labels", samples=CLASSES)
def cross_entropy(logits: Operand, labels: Operand, *, reduction: str = "mean") -> Expr:
    """-log softmax(x)[label] = log Σ_k e^(x_k - m) - (x_label - m), m being the largest logit.

    logits [n, classes, ...], labels [n, ...] of an integer dtype. Raises ShapeError.
    """
    before, after = _class_axes("cross_entropy", logits, labels, dense=False)
    largest, log_total = _from_logits(logits, before, after)
    chosen = logits[(*before, labels[(*before, *after)], *after)]
    return reduce_loss(reduction, log_total - (chosen - largest), (*before, *after))


DENSE = [
    Sample(((4, 3), (4, 3))),
    Sample(((4, 3), (4, 3)), {"reduction": "none"}),
    Sample(((2, 3, 4), (2, 3, 4)), {"reduction": "sum"}),
]


@op(register=True, samples=DENSE)
def cross_entropy_dense(logits: Operand, labels: Operand, *, reduction: str = "mean") -> Expr:
    """-Σ_k t_k · log softmax(x)_k, the labels t being one probability for each class.

    logits and labels [n, classes, ...]. Raises ShapeError.
    """
    before, after = _class_axes("cross_entropy", logits, labels, dense=True)
    largest, log_total = _from_logits(logits, before, after)
    (c,) = axes("c")
    index = (*before, c, *after)
    loss = Sum(labels[index] * (log_total - (logits[index] - largest)), over=c)
    return reduce_loss(reduction, loss, (*before, *after))


@op(register=True, integer="labels", samples=[Sample(s.tensors, s.attributes, (0.1, 0.9)) for s in CLASSES])
def categorical_cross_entropy(probabilities: Operand, labels: Operand, *, reduction: str = "mean") -> Expr:
    """-log p[label], p limited to 1e-7 .. 1 - 1e-7.

    probabilities [n, classes, ...], labels [n, ...] of an integer dtype. Raises ShapeError.
    """
    before, after = _class_axes("categorical_cross_entropy", probabilities, labels, dense=False)
    chosen = probabilities[(*before, labels[(*before, *after)], *after)]
    return reduce_loss(reduction, -scalars.log(_limited(chosen)), (*before, *after))


@op(register=True, samples=[Sample(s.tensors, s.attributes, (0.1, 0.9)) for s in DENSE])
def categorical_cross_entropy_dense(probabilities: Operand, labels: Operand, *, reduction: str = "mean") -> Expr:
    """-Σ_k t_k · log p_k, p limited to 1e-7 .. 1 - 1e-7.

    probabilities and labels [n, classes, ...]. Raises ShapeError.
    """
    before, after = _class_axes("categorical_cross_entropy", probabilities, labels, dense=True)
    (c,) = axes("c")
    index = (*before, c, *after)
    loss = Sum(-labels[index] * scalars.log(_limited(probabilities[index])), over=c)
    return reduce_loss(reduction, loss, (*before, *after))


def _limited(p: Expr) -> Expr:
    return scalars.clip(p, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


# --------------------------------------------------------------------------------- penalties and metrics


@op(register=True, samples=[Sample(((3, 4),)), Sample(((5,),))])
def l1_penalty(X: Operand) -> Expr:
    """Σ |x|"""
    index = axes(" ".join(pointwise_names(X.rank)))
    return Sum(scalars.absolute(X[index]), over=index)


@op(register=True, samples=[Sample(((3, 4),)), Sample(((5,),))])
def l2_penalty(X: Operand) -> Expr:
    """Σ x²"""
    index = axes(" ".join(pointwise_names(X.rank)))
    return Sum(scalars.square(X[index]), over=index)


@op(register=True, integer="labels", samples=[Sample(((5, 3), ("int", 3, (5,))))])
def accuracy(scores: Operand, labels: Operand) -> Expr:
    """The fraction of rows whose first largest score is the label's; a row with NaN counts as wrong.

    scores [n, classes], labels [n] of an integer dtype. Raises ShapeError.
    """
    if scores.rank != 2:
        raise ShapeError(f"accuracy: expected scores (batch, classes), got {scores.shape}")
    if labels.shape != scores.shape[:1]:
        raise ShapeError(f"accuracy: scores {scores.shape} need labels of shape {scores.shape[:1]}, got {labels.shape}")
    n, j, k = axes("n j k")
    largest = Max(scores[n, j], over=j)
    # classes that are not the largest count as a number beyond all, so that the minimum is the first largest
    beyond = extent_of(extent(j))
    winner = Min(Where(le(largest, scores[n, k]), k, beyond), over=k)
    return Sum(Where(eq(winner, labels[n]), 1, 0), over=n) / extent(n)
