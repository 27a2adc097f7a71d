"""Metrics: numbers to report, without a derivative."""

from __future__ import annotations

from sympy import Symbol
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.formula import Where, eq, extent_of, le, lt
from graphc.ops.notation import Max, Min, Operand, Sum, axes, extent
from graphc.ops.operator import Sample, op


def _check(name: str, scores: Operand, labels: Operand) -> None:
    if scores.rank != 2:
        raise ShapeError(f"{name}: expected scores (batch, classes), got {scores.shape}")
    if labels.shape != scores.shape[:1]:
        raise ShapeError(f"{name}: scores {scores.shape} need labels of shape {scores.shape[:1]}, got {labels.shape}")


@op(register=True, integer="labels", samples=[Sample(((5, 3), ("int", 3, (5,))))])
def accuracy(scores: Operand, labels: Operand) -> Expr:
    """The fraction of rows whose first largest score is the label's; a row with NaN counts as wrong.

    scores [n, classes], labels [n] of an integer dtype. Raises ShapeError.
    """
    _check("accuracy", scores, labels)
    n, j, k = axes("n j k")
    winner = first_largest(scores[n, j], j, scores[n, k], k)
    return Sum(Where(eq(winner, labels[n]), 1, 0), over=n) / extent(n)


def first_largest(some: Expr, j: Symbol, other: Expr, k: Symbol) -> Expr:
    """The first k whose score is the largest; their number where one is NaN. Both expressions are the scores."""
    # classes that are not the largest count as a number beyond all, so that the minimum is the first largest
    return Min(Where(le(Max(some, over=j), other), k, extent_of(extent(j))), over=k)


@op(register=True, integer="labels", samples=[Sample(((5, 4), ("int", 4, (5,))), {"k": 2})])
def top_k_accuracy(scores: Operand, labels: Operand, *, k: int = 5) -> Expr:
    """The fraction of rows in which fewer than k classes come before the label's: larger, or equal and earlier.

    A row whose label scores NaN counts as wrong. scores [n, classes], labels [n] of an integer dtype. Raises
    ShapeError, GraphcError.
    """
    _check("top_k_accuracy", scores, labels)
    if not 1 <= k <= int(str(scores.shape[1])):
        raise GraphcError(f"top_k_accuracy: k must lie in 1..{scores.shape[1]}, the number of classes, got {k}")
    n, j = axes("n j")
    before = classes_before(scores[n, labels[n]], labels[n], scores[n, j], j)
    return Sum(Where(lt(before, k), 1, 0), over=n) / extent(n)


def classes_before(own: Expr, label: Expr, other: Expr, j: Symbol) -> Expr:
    """How many classes j come before the label: with a score that is larger, or equal and earlier, or not a number."""
    earlier = Where(eq(own, other), Where(lt(j, label), 1, 0), 1)
    return Sum(Where(lt(other, own), 0, earlier), over=j)
