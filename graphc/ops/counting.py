"""What metrics and statistics are made of: counts of what was predicted, sums about the first row, sizes of elements.

Counts are integers, so they are exact for any batch. -1 is the place of what is not counted.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, le, lt
from graphc.ops.metrics import classes_before, first_largest
from graphc.ops.notation import Max, Operand, Sum, axes, axis, extent, pointwise_names
from graphc.ops.operator import op
from graphc.ops.pointwise import number
from graphc.types import DType


@op(result=DType.INT64)
def predicted_class(scores: Operand) -> Expr:
    """The first class with the largest score, or the number of classes where a score is NaN.

    scores [n, classes, ...]; the result has the other axes.
    """
    n, j, k, *rest = axes(" ".join(["n", "j", "k", *_names(scores.rank - 2)]))
    return first_largest(scores[n, j, *rest], j, scores[n, k, *rest], k)


@op(either="scores", result=DType.INT64)
def predicted_side(scores: Operand, *, threshold: float = 0.0) -> Expr:
    """1 where the score is above the threshold, 0 where it is not, and 2 where it is NaN."""
    x, t = scores[...], number(threshold)
    return Where(lt(t, x), 1, Where(le(x, t), 0, 2))


@op(either="labels places", result=DType.INT64)
def left_out(labels: Operand, places: Operand, *, ignore_index: int = -100) -> Expr:
    """The places, but -1 where the label is `ignore_index`."""
    return Where(eq(labels[...], ignore_index), -1, places[...])


@op(integer="a b", result=DType.INT64)
def agreement(a: Operand, b: Operand) -> Expr:
    """a where it equals b, else -1."""
    return Where(eq(a[...], b[...]), a[...], -1)


@op(integer="places", result=DType.INT64)
def counted(places: Operand) -> Expr:
    """How many places are not negative, of all together."""
    index = axes(" ".join(_names(places.rank)))
    return Sum(Where(le(0, places[index]), 1, 0), over=index)


@op(integer="places", result=DType.INT64)
def counts(places: Operand, *, classes: int = 1) -> Expr:
    """Σ [place = c] for c below the number of classes; places of any shape."""
    index = axes(" ".join(_names(places.rank)))
    return Sum(1, over=index, where=[eq(axis("c", classes), places[index])])


@op(integer="rows columns", result=DType.INT64)
def pair_counts(rows: Operand, columns: Operand, *, extents: tuple[int, int] = (1, 1)) -> Expr:
    """Σ [row = r] [column = c] for r and c below the extents; both operands have the same shape."""
    index = axes(" ".join(_names(rows.rank)))
    r, c = axis("r", extents[0]), axis("c", extents[1])
    return Sum(1, over=index, where=[eq(r, rows[index]), eq(c, columns[index])])


@op(integer="labels", result=DType.INT64)
def top_k_hits(scores: Operand, labels: Operand, *, k: int = 5, ignore_index: int | None = None) -> Expr:
    """How many rows have fewer than k classes before the label's; those whose label is `ignore_index` are left out.

    scores [n, classes, ...], labels [n, ...]. Raises GraphcError, ShapeError.
    """
    if not 1 <= k <= int(str(scores.shape[1])):
        raise GraphcError(f"top_k_accuracy: k must lie in 1..{scores.shape[1]}, the number of classes, got {k}")
    n, j, *rest = axes(" ".join(["n", "j", *_names(scores.rank - 2)]))
    label = labels[n, *rest]

    def unless_ignored(value: Any) -> Any:
        return value if ignore_index is None else Where(eq(label, ignore_index), 0, value)

    before = classes_before(unless_ignored(scores[n, label, *rest]), label, scores[n, j, *rest], j)
    return Sum(unless_ignored(Where(lt(before, k), 1, 0)), over=(n, *rest))


@op
def score_place(scores: Operand, *, bins: int = 1024) -> Expr:
    """bins · (1 + x/(1 + |x|))/2: the whole part is a bin that never falls when the score rises, `bins` for NaN."""
    if bins < 2:
        raise GraphcError(f"roc_auc: bins must be at least 2, got {bins}")
    x, half = scores[...], number(0.5)
    share = Where(le(0, x), 1 - half / (1 + scalars.absolute(x)), half / (1 + scalars.absolute(x)))
    return Where(eq(x, x), scalars.minimum(bins * share, number(bins - 1)), number(bins))


@op
def first_row(Y: Operand) -> Expr:
    """Y[0, ...]"""
    rest = _rest(Y)
    return Y.at(0, *rest)


@op
def about_first(Y: Operand, *, power: int = 1) -> Expr:
    """Σ_n (Y[n, ...] - Y[0, ...])^power: no digits are lost where all rows are near one large number."""
    (n,) = axes("n")
    rest = _rest(Y)
    return Sum((Y[n, *rest] - Y.at(0, *rest)) ** power, over=n)


@op
def root_mean_square(X: Operand, *, keep: int | None = None) -> Expr:
    """m·√(mean (x/m)²) over all axes but `keep`, m being the largest |x|: squares of tiny numbers do not vanish."""
    index = axes(" ".join(_names(X.rank)))
    over = {i: axes(f"r{k}")[0] for k, i in enumerate(index) if k != keep}
    if not over:
        return scalars.absolute(X[index])
    m = Max(scalars.absolute(X[index]), over=tuple(over))
    x = X[tuple(over.get(i, i) for i in index)]
    return m * scalars.sqrt(_mean((x / Where(eq(m, 0), 1, m)) ** 2, tuple(over.values())))


@op
def share_up_to(X: Operand, *, limit: float = 0.0) -> Expr:
    """The share of elements with |x| <= limit."""
    index = axes(" ".join(_names(X.rank)))
    return _mean(Where(le(scalars.absolute(X[index]), number(limit)), 1, 0), index)


def _mean(body: Any, over: tuple[Any, ...]) -> Expr:
    return Sum(body, over=over) / sp.Mul(*map(extent, over)) if over else body


def _rest(Y: Operand) -> tuple[Any, ...]:
    if Y.rank < 1:
        raise ShapeError("a metric needs one target for each sample, got a scalar", hint="declare it as (gc.BATCH,)")
    return tuple(axis(name, extent) for name, extent in zip(_names(Y.rank - 1), Y.shape[1:], strict=True))


def _names(rank: int) -> list[str]:
    """Names for so many axes that no formula above has for another."""
    return [f"p{name}" for name in pointwise_names(rank)] if rank else []
