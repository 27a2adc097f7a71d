"""Reductions over axes: Σ, Π, max, min, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, lt
from graphc.ops.movement import Axes, chosen_axes, normal_axis
from graphc.ops.notation import Max, Min, Operand, Product, Sum, axes, axis, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import Batch, DType

SAMPLES = [
    Sample(((3, 4),)),
    Sample(((2, 3, 4),), {"axis": 1}),
    Sample(((2, 3, 4),), {"axis": (0, -1), "keepdims": True}),
]


class Reduced(NamedTuple):
    """A tensor whose axes are told apart: `read` is its element, `over` the axes that go away."""

    read: Expr
    over: tuple[Expr, ...]

    def by(self, reduce: Callable[..., Expr], body: Expr | None = None) -> Expr:
        """The reduction of an expression, of the element itself by default."""
        body = self.read if body is None else body
        return reduce(body, over=self.over) if self.over else body

    @property
    def count(self) -> Expr:
        """The number of elements in each reduction."""
        return sp.Mul(*map(extent, self.over))

    @property
    def position(self) -> Expr:
        """The place of an element among those that it is reduced with, in C order."""
        place: Expr = sp.S.Zero
        for symbol in self.over:
            place = place * extent(symbol) + symbol
        return place


def reduced(name: str, X: Operand, over: Axes, keepdims: bool) -> Reduced:
    """The axes of X for a reduction over some of them. Raises ShapeError."""
    gone = sorted(chosen_axes(name, over, X.rank))
    symbols: list[Any] = []
    for position, letter in enumerate(pointwise_names(X.rank)):
        symbols += axes(letter)
        if position in gone and keepdims:
            axis(f"{letter}_", 1)
    return Reduced(X[tuple(symbols)], tuple(symbols[a] for a in gone))


# --------------------------------------------------------------------------------- the reductions themselves


@op(register=True, either="X", samples=SAMPLES)
def sum(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """Σ over the given axes, all of them by default. Raises ShapeError for an axis that X does not have."""
    return reduced("sum", X, axis, keepdims).by(Sum)


@op(register=True, samples=SAMPLES)
def mean(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """1/count · Σ over the given axes, all of them by default. Raises ShapeError."""
    x = reduced("mean", X, axis, keepdims)
    return x.by(Sum) / x.count


@op(register=True, either="X", samples=[*SAMPLES, Sample(((3, 4),), {"axis": ()})])
def prod(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """Π over the given axes, all of them by default.

    The derivative of a product is the product of the other factors, and so exact where some of them are 0; it takes
    count² multiplications. Raises ShapeError.
    """
    return reduced("prod", X, axis, keepdims).by(Product)


@op(register=True, either="X", samples=SAMPLES)
def max(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """The largest element over the given axes; the derivative goes to the first. Raises ShapeError."""
    return reduced("max", X, axis, keepdims).by(Max)


@op(register=True, either="X", samples=SAMPLES)
def min(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """The smallest element over the given axes; the derivative goes to the first. Raises ShapeError."""
    return reduced("min", X, axis, keepdims).by(Min)


@op(register=True, samples=SAMPLES)
def logsumexp(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """m + log Σ exp(x - m) over the given axes, m being their maximum: no exponent is above 0. Raises ShapeError.

    Where all elements are -∞, or one is +∞, that is the result.
    """
    x = reduced("logsumexp", X, axis, keepdims)
    largest = x.by(Max)
    shift = Where(eq(largest - largest, 0), largest, 0)
    return shift + scalars.log(x.by(Sum, scalars.exp(x.read - shift)))


# ------------------------------------------------------------------------------------------- of second order


def _squares(name: str, X: Operand, over: Axes, keepdims: bool, correction: float) -> Expr:
    """Σ (x - mean)² / (count - correction). Raises ShapeError where nothing is left to divide by."""
    x = reduced(name, X, over, keepdims)
    count = x.count
    if count.is_number and count <= correction:
        raise ShapeError(
            f"{name}: {count} elements with correction {correction} leave nothing to divide by",
            hint="use correction=0, the mean of the squares",
        )
    center = x.by(Sum) / count
    return x.by(Sum, (x.read - center) ** 2) / (count - number(correction))


@op(register=True, samples=[*SAMPLES, Sample(((3, 4),), {"axis": 0, "correction": 0})])
def var(X: Operand, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Expr:
    """Σ (x - mean)² / (count - correction), in two passes. Raises ShapeError.

    The default is torch's estimate of the variance that samples come from; numpy's is correction=0.
    """
    return _squares("var", X, axis, keepdims, correction)


@op(register=True, samples=[*SAMPLES, Sample(((3, 4),), {"axis": 0, "correction": 0})])
def std(X: Operand, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Expr:
    """√ var, with derivative 0 where it is 0. Raises ShapeError."""
    return root(_squares("std", X, axis, keepdims, correction))


def root(square: Expr) -> Expr:
    """√square, with derivative 0 at 0."""
    return Where(eq(square, 0), 0, scalars.sqrt(square))


# ------------------------------------------------------------------------------------------------- norms

Order = float | str


def norm_of(x: Reduced, p: Order, body: Expr | None = None) -> Expr:
    """(Σ |x|^p)^(1/p): p = 1, 2, ∞, -∞, 0 (how many are not 0), "fro" for 2. Raises GraphcError for p < 0.

    Its derivative is 0 where the norm is.
    """
    value = x.read if body is None else body
    match p:
        case 2 | "fro":
            return root(x.by(Sum, value**2))
        case 1:
            return x.by(Sum, scalars.absolute(value))
        case 0:
            return x.by(Sum, Where(eq(value, 0), 0, 1))
        case float() if p == float("inf"):
            return x.by(Max, scalars.absolute(value))
        case float() if p == -float("inf"):
            return x.by(Min, scalars.absolute(value))
        case int() | float() if p > 0:
            powers = x.by(Sum, magnitude_to(value, p))
            return Where(eq(powers, 0), 0, _power(powers, sp.Integer(1) / number(p)))
    raise GraphcError(f'norm: p must be positive, 0, inf, -inf or "fro", got {p!r}')


def magnitude_to(value: Expr, p: float) -> Expr:
    """|x|^p, with derivative 0 at 0."""
    if p == int(p) and p % 2 == 0:
        return value ** int(p)
    return Where(eq(value, 0), 0, _power(scalars.absolute(value), number(p)))


def _power(base: Expr, exponent: Expr) -> Expr:
    return base ** (sp.Integer(int(exponent)) if exponent == int(exponent) else exponent)


@op(
    register=True,
    samples=[
        Sample(((3, 4),)),
        Sample(((2, 3, 4),), {"axis": 1, "p": 1}, (0.3, 2.0)),
        Sample(((3, 4),), {"axis": -1, "p": float("inf"), "keepdims": True}),
        Sample(((3, 4),), {"axis": 0, "p": 3}, (0.3, 2.0)),
    ],
)
def norm(X: Operand, *, p: Order = 2, axis: Axes = None, keepdims: bool = False) -> Expr:
    """(Σ |x|^p)^(1/p) over the given axes; p = 1, 2, ∞, -∞, 0 or "fro", which is 2. Raises GraphcError, ShapeError.

    The derivative is 0 where the norm is.
    """
    return norm_of(reduced("norm", X, axis, keepdims), p)


@op(
    register=True,
    samples=[Sample(((3, 4),)), Sample(((2, 3, 4),), {"axis": -1, "p": 1}, (0.3, 2.0))],
)
def normalize(X: Operand, *, p: Order = 2, axis: int = 1, eps: float = 1e-12) -> Expr:
    """x / max(‖x‖_p, eps) along an axis. Raises GraphcError, ShapeError."""
    position = normal_axis("normalize", axis, X.rank)
    index = axes(" ".join(pointwise_names(X.rank)))
    inner = axes("j")[0]
    along = Reduced(X[(*index[:position], inner, *index[position + 1 :])], (inner,))
    return X[index] / scalars.maximum(norm_of(along, p), number(eps))


# ------------------------------------------------------------------------------------- questions and places


@op(register=True, either="X", samples=SAMPLES)
def any(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """1 where some element over the given axes is not 0, else 0. Raises ShapeError."""
    x = reduced("any", X, axis, keepdims)
    return x.by(Max, Where(eq(x.read, 0), 0, 1))


@op(register=True, either="X", samples=SAMPLES)
def all(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """1 where no element over the given axes is 0, else 0. Raises ShapeError."""
    x = reduced("all", X, axis, keepdims)
    return x.by(Min, Where(eq(x.read, 0), 0, 1))


@op(register=True, either="X", result=DType.INT64, samples=SAMPLES)
def count_nonzero(X: Operand, *, axis: Axes = None, keepdims: bool = False) -> Expr:
    """How many elements over the given axes are not 0, as int64. Raises ShapeError."""
    x = reduced("count_nonzero", X, axis, keepdims)
    return x.by(Sum, Where(eq(x.read, 0), 0, 1))


PLACES = [Sample(((3, 4),)), Sample(((2, 3, 4),), {"axis": 1}), Sample(((3, 4),), {"axis": 0, "keepdims": True})]


def _first(name: str, X: Operand, over: int | None, keepdims: bool, reduce: Callable[..., Expr]) -> Expr:
    """The place of the first element that no other is beyond. Raises ShapeError."""
    x = reduced(name, X, over, keepdims)
    if over is None and any_batch_inside(X):
        raise ShapeError(f"{name}: the batch must be the first axis of {X.shape}", hint="name an axis")
    extreme = x.by(reduce)
    behind = lt(x.read, extreme) if reduce is Max else lt(extreme, x.read)
    return x.by(Min, Where(behind, x.count, x.position))


def any_batch_inside(X: Operand) -> bool:
    """Whether the batch stands behind another axis."""
    return X.shape[1:].count(Batch()) > 0


@op(register=True, either="X", result=DType.INT64, samples=PLACES)
def argmax(X: Operand, *, axis: int | None = None, keepdims: bool = False) -> Expr:
    """The place of the first largest element along an axis, or among all in C order, as int64. Raises ShapeError."""
    return _first("argmax", X, axis, keepdims, Max)


@op(register=True, either="X", result=DType.INT64, samples=PLACES)
def argmin(X: Operand, *, axis: int | None = None, keepdims: bool = False) -> Expr:
    """The place of the first smallest element along an axis, or among all in C order, as int64. Raises ShapeError."""
    return _first("argmin", X, axis, keepdims, Min)
