"""Losses of classes and of chances: cross-entropies, focal losses, and logits with margins.

Scores are [n, classes, ...]; labels are class numbers [n, ...], or one probability for each class where the name ends
in _dense. `reduction` is over samples and their places. `ignore_index` is a label that marks places without one: they
count neither in the loss nor in its mean, and the mean over none is 0. `sample_weight` broadcasts to the labels; with
weights the mean is Σ w·loss / Σ w, as torch has it for class weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, lt
from graphc.ops.loss_terms import Classes, broadcast, not_negative, positive, reduced, same_elements
from graphc.ops.notation import Max, Operand, Sum, axes
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

SMALLEST_LOG = -100
"""The least logarithm of a probability (torch's BCELoss): an error made with certainty costs 100."""

SMALLEST_PROBABILITY = sp.Float(1e-7)
"""Class probabilities are limited to 1e-7 .. 1 - 1e-7 (Keras' epsilon)."""

CHANCES = (0.1, 0.9)
LABELS = ("int", 3, (4,))
SPARSE = [
    Sample(((4, 3), LABELS, None, None)),
    Sample(((4, 3), LABELS, None, None), {"reduction": "sum", "temperature": 2.0}),
    Sample(((2, 3, 2, 2), ("int", 3, (2, 2, 2)), None, None), {"reduction": "none"}),
    Sample(((4, 3), LABELS, (3,), None), {"ignore_index": 1, "label_smoothing": 0.1}),
    Sample(((4, 3), LABELS, None, (4,)), {"label_smoothing": 0.2}),
]
DENSE = [
    Sample(((4, 3), (4, 3), None, None)),
    Sample(((4, 3), (4, 3), (3,), None), {"reduction": "none", "label_smoothing": 0.1}),
    Sample(((2, 3, 4), (2, 3, 4), None, (2, 1)), {"reduction": "sum"}),
]


# ------------------------------------------------------------------------------------ of logits and log p


def _from_logits(c: Classes, temperature: float) -> tuple[Expr, Expr, Expr]:
    """(m, 1/T, log Σ_k e^((x_k - m) / T)) with m the largest logit: log p_k = (x_k - m) / T - the last."""
    positive(c.name, temperature=temperature)
    j, k = axes("j k")
    largest, scale = Max(c.at(j), over=j), 1 / number(temperature)
    return largest, scale, scalars.log(Sum(scalars.exp((c.at(k) - largest) * scale), over=k))


def _smoothing(name: str, label_smoothing: float) -> float:
    if not 0 <= label_smoothing < 1:
        raise GraphcError(
            f"{name}: label_smoothing must lie in 0 <= label_smoothing < 1, got {label_smoothing}",
            hint="it is the part of a label that is shared among all classes: 0.1 is usual",
        )
    return label_smoothing


@dataclass(frozen=True, slots=True)
class Weights:
    """What the places of a loss of class numbers count: class weight · sample weight, 0 where the label is ignored."""

    classes: Classes
    weight: Operand | None
    sample_weight: Operand | None
    ignore_index: int | None

    @property
    def sample(self) -> Expr:
        c, s = self.classes, self.sample_weight
        return sp.S.One if s is None else c.sample_weight(s)

    def of_class(self, k: Expr) -> Expr:
        return sp.S.One if self.weight is None else self.classes.class_weight(self.weight, k)

    def kept(self, value: Expr) -> Expr:
        """The value, but 0 where the label is ignored."""
        return value if self.ignore_index is None else Where(eq(self.classes.label, self.ignore_index), 0, value)

    def reduced(self, reduction: str, loss: Expr, spread: Callable[[Expr], Expr] | None = None, e: float = 0.0) -> Expr:
        """The reduction of w_label·loss, of which the part e is the mean of w_k·spread(k) over all classes k."""
        c = self.classes
        own = self.of_class(c.label) * self.sample
        weighted = own * loss
        if spread is not None and e:
            (k,) = axes("l")
            everywhere = Sum(self.of_class(k) * spread(k), over=k) * self.sample
            weighted = (1 - number(e)) * weighted + number(e) / c.count * everywhere
        counts = None if own == 1 and self.ignore_index is None else self.kept(own)
        return reduced(c.name, reduction, self.kept(weighted), c.over, counts)


@op(register=True, integer="labels", samples=SPARSE)
def cross_entropy(
    logits: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
) -> Expr:
    """-log softmax(x / T)[label] = log Σ_k e^(x_k - m) - (x_label - m), m being the largest logit.

    logits [n, classes, ...], labels [n, ...] of an integer dtype, weight [classes]. With label smoothing ε it is
    (1 - ε)·w_label·loss_label + ε/K·Σ_k w_k·loss_k (Szegedy et al. 2015). Raises ShapeError, GraphcError.
    """
    c = Classes("cross_entropy", logits, labels)
    largest, scale, log_total = _from_logits(c, temperature)

    def loss(k: Expr) -> Expr:
        return log_total - (c.at(k) - largest) * scale

    w = Weights(c, weight, sample_weight, ignore_index)
    return w.reduced(reduction, loss(c.label), loss, _smoothing(c.name, label_smoothing))


@op(register=True, samples=DENSE)
def cross_entropy_dense(
    logits: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
) -> Expr:
    """-Σ_k w_k · t_k · log softmax(x / T)_k, the labels t being one probability for each class.

    logits and labels [n, classes, ...], weight [classes], which the mean does not divide by. Smoothed labels are
    (1 - ε)·t + ε/K. Raises ShapeError, GraphcError.
    """
    c = Classes("cross_entropy", logits, labels, dense=True)
    largest, scale, log_total = _from_logits(c, temperature)
    (k,) = axes("c")
    t = c.share(k, _smoothing(c.name, label_smoothing))
    return _dense(c, k, t * (log_total - (c.at(k) - largest) * scale), weight, sample_weight, reduction)


def _dense(
    c: Classes, k: Expr, loss: Expr, weight: Operand | None, sample_weight: Operand | None, reduction: str
) -> Expr:
    """The reduction of s · Σ_k w_k · loss_k."""
    total = Sum(loss if weight is None else c.class_weight(weight, k) * loss, over=k)
    if sample_weight is None:
        return reduced(c.name, reduction, total, c.over)
    s = c.sample_weight(sample_weight)
    return reduced(c.name, reduction, s * total, c.over, s)


@op(register=True, integer="labels", samples=[s for s in SPARSE if s.attributes.keys() <= {"reduction"}])
def nll_loss(
    log_probabilities: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Expr:
    """-log p[label] of logarithms of probabilities [n, classes, ...]; otherwise as cross_entropy."""
    c = Classes("nll_loss", log_probabilities, labels)
    return Weights(c, weight, sample_weight, ignore_index).reduced(reduction, -c.at(c.label))


@op(register=True, integer="labels", samples=[Sample(s.tensors, s.attributes, CHANCES) for s in nll_loss.samples])
def categorical_cross_entropy(
    probabilities: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Expr:
    """-log p[label], p limited to 1e-7 .. 1 - 1e-7; otherwise as cross_entropy."""
    c = Classes("categorical_cross_entropy", probabilities, labels)
    w = Weights(c, weight, sample_weight, ignore_index)
    return w.reduced(reduction, -scalars.log(_limited(c.at(c.label))))


@op(register=True, samples=[Sample(s.tensors, {**s.attributes, "label_smoothing": 0.1}, CHANCES) for s in DENSE])
def categorical_cross_entropy_dense(
    probabilities: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Expr:
    """-Σ_k w_k · t_k · log p_k, p limited to 1e-7 .. 1 - 1e-7; otherwise as cross_entropy_dense."""
    c = Classes("categorical_cross_entropy", probabilities, labels, dense=True)
    (k,) = axes("c")
    t = c.share(k, _smoothing(c.name, label_smoothing))
    return _dense(c, k, -t * scalars.log(_limited(c.at(k))), weight, sample_weight, reduction)


def _limited(p: Expr) -> Expr:
    return scalars.clip(p, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


@op(
    register=True,
    integer="labels",
    samples=[
        Sample(((4, 3), LABELS, None, None)),
        Sample(((4, 3), LABELS, (3,), None), {"gamma": 0.5, "reduction": "sum"}),
        Sample(((2, 3, 2), ("int", 3, (2, 2)), None, None), {"ignore_index": 0}),
    ],
)
def focal_loss(
    logits: Operand,
    labels: Operand,
    weight: Operand | None = None,
    sample_weight: Operand | None = None,
    *,
    gamma: float = 2.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Expr:
    """-(1 - p)^γ · log p of p = softmax(x)[label]: cross-entropy with little weight on what is right already.

    Operands and weights as in cross_entropy. Lin et al., Focal loss for dense object detection, 2017.
    """
    not_negative("focal_loss", gamma=gamma)
    c = Classes("focal_loss", logits, labels)
    largest, _, log_total = _from_logits(c, 1.0)
    log_p = c.at(c.label) - largest - log_total
    # at p = 1 the derivative of a root of 1 - p would be infinite, times nothing
    loss = Where(lt(log_p, 0), -log_p * (-scalars.expm1(log_p)) ** number(gamma), 0)
    return Weights(c, weight, sample_weight, ignore_index).reduced(reduction, loss)


# ------------------------------------------------------------------------------------------ of two classes

PAIRS = [
    Sample(((3, 4), (3, 4), None), {"reduction": "none"}, CHANCES),
    Sample(((2, 3, 4), (2, 3, 4), (4,)), {}, CHANCES),
]


@op(register=True, either="target", samples=PAIRS)
def binary_cross_entropy(
    probability: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean"
) -> Expr:
    """-t·log p - (1-t)·log(1-p), logarithms not below -100, times a weight that broadcasts. Raises ShapeError."""
    name = "binary_cross_entropy"
    index, (p, t) = same_elements(name, probability, target)
    loss = -t * _limited_log(scalars.log(p)) - (1 - t) * _limited_log(scalars.log1p(-p))
    return reduced(name, reduction, _times(name, weight, index, probability, loss), index)


def _limited_log(logarithm: Expr) -> Expr:
    return Where(lt(logarithm, SMALLEST_LOG), SMALLEST_LOG, logarithm)


def _times(name: str, weight: Operand | None, index: tuple[Expr, ...], like: Operand, loss: Expr) -> Expr:
    return loss if weight is None else broadcast(name, weight, index, like.shape) * loss


@op(
    register=True,
    either="target",
    samples=[
        Sample(((3, 4), (3, 4), None, None)),
        Sample(((3, 4), (3, 4), (3, 1), (4,)), {}, CHANCES),
        Sample(((2, 3, 4), (2, 3, 4), None, (4,)), {"reduction": "none"}, CHANCES),
    ],
)
def binary_cross_entropy_with_logits(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    pos_weight: Operand | None = None,
    *,
    reduction: str = "mean",
) -> Expr:
    """-t·log s(x) - (1-t)·log(1-s(x)) = softplus(x) - x·t, s being the sigmoid.

    With pos_weight q it is q·t·softplus(-x) + (1-t)·softplus(x); both weights broadcast. Raises ShapeError.
    """
    name = "binary_cross_entropy_with_logits"
    index, (x, t) = same_elements(name, logits, target)
    if pos_weight is None:
        loss = scalars.softplus(x) - x * t
    else:
        q = broadcast(name, pos_weight, index, logits.shape)
        loss = q * t * scalars.softplus(-x) + (1 - t) * scalars.softplus(x)
    return reduced(name, reduction, _times(name, weight, index, logits, loss), index)


@op(
    register=True,
    either="target",
    samples=[
        Sample(((3, 4), (3, 4)), {"reduction": "mean"}, CHANCES),
        Sample(((3, 4), (3, 4)), {"alpha": -1, "gamma": 1.5}, CHANCES),
        Sample(((2, 3, 2), (2, 3, 2)), {"gamma": 0.5, "reduction": "sum"}, CHANCES),
    ],
)
def sigmoid_focal_loss(
    logits: Operand, target: Operand, *, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Expr:
    """α·t·(1-p)^γ·softplus(-x) + (1-α)·(1-t)·p^γ·softplus(x), p = sigmoid(x); without α and 1-α if α < 0.

    Names and defaults as in torchvision. Raises ShapeError, GraphcError. Lin et al. 2017.
    """
    name = "sigmoid_focal_loss"
    not_negative(name, gamma=gamma)
    if alpha > 1:
        raise GraphcError(f"{name}: alpha must be at most 1, or negative for none, got {alpha}")
    index, (x, t) = same_elements(name, logits, target)
    here, there = (number(alpha), 1 - number(alpha)) if alpha >= 0 else (1, 1)
    power = number(gamma)
    # (1-p)^γ as an exponential: its derivative has no pole where 1-p vanishes
    yes = scalars.exp(-power * scalars.softplus(x)) * scalars.softplus(-x)
    no = scalars.exp(-power * scalars.softplus(-x)) * scalars.softplus(x)
    return reduced(name, reduction, here * t * yes + there * (1 - t) * no, index)
