"""What losses share: operands that fit each other, classes, weights, and how a loss is reduced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.formula import Where, eq, le
from graphc.ops.notation import Operand, Sum, axes, extent, pointwise_names
from graphc.ops.pointwise import number
from graphc.types import Extent

Axes = tuple[Expr, ...]

# ------------------------------------------------------------------------------------------------- reductions


def reduced(name: str, reduction: str, loss: Expr, over: Sequence[Expr], counts: Expr | None = None) -> Expr:
    """The "mean", the "sum" or "none" of a loss over its axes. Raises GraphcError for another word.

    The mean is Σ loss / Σ counts, `counts` being what each element counts, all the same by default. It is 0 where
    nothing counts.
    """
    if reduction not in ("mean", "sum", "none"):
        raise GraphcError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}')
    if reduction == "none":
        return loss
    total = Sum(loss, over=tuple(over)) if over else loss
    if reduction == "sum":
        return total
    if counts is None:
        return total / count(over)
    whole = Sum(counts, over=tuple(over)) if over else counts
    return total / Where(eq(whole, 0), 1, whole)


def count(over: Sequence[Expr]) -> Any:
    """The number of elements over these axes."""
    size: Any = 1
    for symbol in over:
        size = size * extent(symbol)
    return size


# --------------------------------------------------------------------------------------------------- operands


def same_elements(name: str, a: Operand, *others: Operand) -> tuple[Axes, list[Expr]]:
    """(axes, every operand read at them). Raises ShapeError unless all shapes are equal."""
    for b in others:
        if a.shape != b.shape:
            raise ShapeError(
                f"{name}: {a.name} has shape {a.shape} but {b.name} has shape {b.shape}",
                hint=f"losses do not broadcast; reshape {b.name} to {a.shape}",
            )
    index = axes(" ".join(pointwise_names(a.rank)))
    return index, [o[index] for o in (a, *others)]


def broadcast(name: str, w: Operand, index: Axes, shape: tuple[Extent, ...]) -> Expr:
    """w read at the axes of a tensor of this shape, unit extents being repeated. Raises ShapeError."""
    own = shape[len(shape) - w.rank :] if w.rank <= len(shape) else ()
    if len(own) != w.rank or any(e not in (1, whole) for e, whole in zip(w.shape, own, strict=True)):
        raise ShapeError(
            f"{name}: {w.name} of shape {w.shape} does not broadcast to {shape}",
            hint=f"use the shape {shape}, or 1 for axes along which it is the same",
        )
    last = index[len(index) - w.rank :]
    return w[tuple(0 if e == 1 and whole != 1 else i for i, e, whole in zip(last, w.shape, own, strict=True))]


def positive(name: str, **options: float) -> None:
    """Raises GraphcError for an option that is not positive."""
    for what, value in options.items():
        if not value > 0:
            raise GraphcError(f"{name}: {what} must be positive, got {value}")


def not_negative(name: str, **options: float) -> None:
    """Raises GraphcError for a negative option."""
    for what, value in options.items():
        if not value >= 0:
            raise GraphcError(f"{name}: {what} must not be negative, got {value}")


def hinge(x: Expr) -> Expr:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    return Where(le(x, 0), 0, x)


# ---------------------------------------------------------------------------------------------------- classes


class Classes:
    """Scores [n, classes, ...] with labels [n, ...] (class numbers) or, `dense`, of the shape of the scores.

    `before` and `after` are the axes around the classes. Raises ShapeError where shapes do not fit.
    """

    def __init__(self, name: str, scores: Operand, labels: Operand, dense: bool = False) -> None:
        self.name, self.scores, self.labels = name, scores, labels
        if scores.rank < 2:
            raise ShapeError(
                f"{name}: {scores.name} need the axes (batch, classes), got {scores.shape}",
                hint="one sample still needs the batch axis: reshape to (1, classes)",
            )
        numbers = (*scores.shape[:1], *scores.shape[2:])
        wanted = scores.shape if dense else numbers
        if labels.shape != wanted:
            other = numbers if dense else scores.shape
            mistaken = {
                numbers: "class numbers have an integer dtype: labels.astype('int64')",
                scores.shape: "one probability for each class has a floating-point dtype: labels.astype('float32')",
            }[other]
            raise ShapeError(
                f"{name}: {scores.name} of shape {scores.shape} need labels of shape {wanted}, got {labels.shape}",
                hint=mistaken if labels.shape == other else f"axis 1 of the {scores.name} holds the classes",
            )
        rest = scores.rank - 2
        self.before: Axes = axes("n")
        self.after: Axes = axes("y x" if rest == 2 else " ".join(f"i{d}" for d in range(rest)))
        self.over: Axes = (*self.before, *self.after)
        self.count: Any = scores.shape[1]

    def at(self, k: Any) -> Expr:
        """The scores of class k."""
        return self.scores[(*self.before, k, *self.after)]

    @property
    def label(self) -> Expr:
        """The class number."""
        return self.labels[self.over]

    def share(self, k: Any, smoothing: float = 0.0) -> Expr:
        """The dense label of class k, of which all classes get the same part of `smoothing`."""
        t = self.labels[(*self.before, k, *self.after)]
        return t if smoothing == 0 else (1 - number(smoothing)) * t + number(smoothing) / self.count

    def class_weight(self, weight: Operand, k: Any) -> Expr:
        """The weight of class k. Raises ShapeError unless there is one for each class."""
        if weight.shape != (self.count,):
            raise ShapeError(
                f"{self.name}: {weight.name} has shape {weight.shape}, but there are {self.count} classes",
                hint=f"use one number for each class: shape ({self.count},)",
            )
        return weight[k]

    def sample_weight(self, weight: Operand) -> Expr:
        """The weight of a sample, or of each of its places."""
        return broadcast(self.name, weight, self.over, (*self.scores.shape[:1], *self.scores.shape[2:]))
