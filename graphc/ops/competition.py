"""Activations in which the elements along an axis compete: softmax and its kin, maxout, gates."""

from __future__ import annotations

from collections.abc import Callable

from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import activations, scalars
from graphc.ops.formula import Read, Where, eq, extent_of, le, tensor_symbol
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Max, Min, Operand, Sum, axes, axis, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import Batch

SAMPLES = [
    Sample(((3, 4),)),
    Sample(((2, 3, 4),), {"axis": 1}),
    Sample(((3, 4),), {"axis": 0, "temperature": 2.0}),
]


def _along(name: str, X: Operand, position: int) -> tuple[tuple[Expr, ...], Callable[[Expr], Expr]]:
    """(the axes of X, X read at those axes with another symbol along one of them). Raises ShapeError."""
    place = normal_axis(name, position, X.rank)
    index = axes(" ".join(pointwise_names(X.rank)))
    X[index]  # gives all axes their extents
    return index, lambda symbol: X[(*index[:place], symbol, *index[place + 1 :])]


def _shifted(name: str, X: Operand, axis: int, temperature: float) -> tuple[Expr, Expr]:
    """((x - m) / T, Σ_j e^((x_j - m) / T)) with m the maximum along the axis; for T < 0 the minimum.

    The shift makes every exponent at most 0, so nothing overflows; it cancels from the value.
    """
    index, at = _along(name, X, axis)
    j, k = axes("j k")
    largest = Max(at(j), over=j) if temperature > 0 else Min(at(j), over=j)
    scale = 1 / number(temperature)
    return (X[index] - largest) * scale, Sum(scalars.exp((at(k) - largest) * scale), over=k)


def _positive(name: str, temperature: float) -> float:
    if not temperature > 0:
        raise GraphcError(f"{name}: the temperature must be positive, got {temperature}")
    return temperature


@op(register=True, samples=SAMPLES)
def softmax(X: Operand, *, axis: int = -1, temperature: float = 1.0) -> Expr:
    """e^(x_i / T) / Σ_j e^(x_j / T) along the axis, less the maximum. Raises ShapeError, GraphcError."""
    shifted, total = _shifted("softmax", X, axis, _positive("softmax", temperature))
    return scalars.exp(shifted) / total


@op(register=True, samples=SAMPLES)
def log_softmax(X: Operand, *, axis: int = -1, temperature: float = 1.0) -> Expr:
    """x_i / T - log Σ_j e^(x_j / T) along the axis, less the maximum. Raises ShapeError, GraphcError."""
    shifted, total = _shifted("log_softmax", X, axis, _positive("log_softmax", temperature))
    return shifted - scalars.log(total)


@op(register=True, samples=SAMPLES)
def softmin(X: Operand, *, axis: int = -1, temperature: float = 1.0) -> Expr:
    """softmax(-x): e^(-x_i / T) / Σ_j e^(-x_j / T) along the axis. Raises ShapeError, GraphcError."""
    shifted, total = _shifted("softmin", X, axis, -_positive("softmin", temperature))
    return scalars.exp(shifted) / total


@op(register=True, samples=SAMPLES[:2])
def hardmax(X: Operand, *, axis: int = -1) -> Expr:
    """1 at the first largest element along the axis, 0 elsewhere; its derivative is 0. Raises ShapeError."""
    index, at = _along("hardmax", X, axis)
    j, k = axes("j k")
    largest = Max(at(j), over=j)
    # elements that are not the largest count as a position beyond all, so that the minimum is the first largest
    first = Min(Where(le(largest, at(k)), k, extent_of(extent(k))), over=k)
    return Where(eq(index[normal_axis("hardmax", axis, X.rank)], first), 1, 0)


@op(register=True, samples=[Sample(((3, 6),), {"pieces": 2}), Sample(((2, 6, 2),), {"pieces": 3, "axis": 1})])
def maxout(X: Operand, *, pieces: int = 2, axis: int = -1) -> Expr:
    """max_p X[..., c·pieces + p, ...]: the largest of each group of `pieces` neighbours along the axis.

    Goodfellow et al., Maxout networks, 2013. Raises ShapeError unless `pieces` divides the extent.
    """
    return _grouped("maxout", X, axis, pieces)


def _grouped(name: str, X: Operand, position: int, pieces: int) -> Expr:
    place = normal_axis(name, position, X.rank)
    size = X.shape[place]
    if isinstance(size, Batch) or pieces < 1 or size % pieces:
        divisors = "" if isinstance(size, Batch) else ", ".join(str(d) for d in range(1, size + 1) if size % d == 0)
        raise ShapeError(
            f"{name}: pieces must divide axis {place} of {X.shape}, got pieces={pieces}",
            hint=f"the divisors of {size} are {divisors}" if divisors else "choose another axis than the batch",
        )
    names = pointwise_names(X.rank)
    before, group = axes(" ".join(names[:place])), axis(names[place], size // pieces)
    after, piece = axes(" ".join(names[place + 1 :])), axis("p", pieces)
    return Max(X[(*before, group * pieces + piece, *after)], over=piece)


# --------------------------------------------------------------------------------------------------- gates

GATE_SAMPLES = [Sample(((3, 4),)), Sample(((2, 4, 3),), {"axis": 1})]


def _halves(name: str, X: Operand, position: int) -> tuple[Expr, Expr]:
    """The first and the second half of X along an axis. Raises ShapeError unless its extent is even."""
    place = normal_axis(name, position, X.rank)
    size = X.shape[place]
    if isinstance(size, Batch) or size % 2:
        raise ShapeError(
            f"{name}: axis {place} of {X.shape} is split in halves, so its extent must be even",
            hint=f"use {size - 1} or {size + 1}" if isinstance(size, int) else "choose another axis than the batch",
        )
    names = pointwise_names(X.rank)
    index = [axis(n, size // 2) if k == place else axes(n)[0] for k, n in enumerate(names)]
    second = X[tuple(i + size // 2 if k == place else i for k, i in enumerate(index))]
    # not X[index]: that would give the axis the whole extent
    return Read(tensor_symbol(X.name), *index), second


@op(register=True, samples=GATE_SAMPLES)
def glu(X: Operand, *, axis: int = -1) -> Expr:
    """a · sigmoid(b), a and b being the halves of X along the axis (Dauphin et al. 2016). Raises ShapeError."""
    a, b = _halves("glu", X, axis)
    return a * scalars.sigmoid(b)


@op(register=True, samples=GATE_SAMPLES)
def swiglu(X: Operand, *, axis: int = -1) -> Expr:
    """silu(a) · b, a and b being the halves of X along the axis (Shazeer 2020). Raises ShapeError."""
    a, b = _halves("swiglu", X, axis)
    return activations.silu(a) * b


@op(register=True, samples=GATE_SAMPLES)
def geglu(X: Operand, *, axis: int = -1, approximate: str = "none") -> Expr:
    """gelu(a) · b, a and b being the halves of X along the axis (Shazeer 2020). Raises ShapeError, GraphcError."""
    a, b = _halves("geglu", X, axis)
    return activations.gelu(a, approximate=approximate) * b
