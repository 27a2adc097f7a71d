"""Distances between vectors."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import index_symbol
from graphc.ops.linear import shared_axes
from graphc.ops.notation import Operand, axes, axis, broadcast_shape, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.ops.reductions import Order, Reduced, norm_of


@op(
    register=True,
    samples=[
        Sample(((3, 4), (5, 4))),
        Sample(((2, 3, 4), (1, 2, 4)), {"p": 1}),
        Sample(((3, 4), (2, 4)), {"p": float("inf")}),
        Sample(((3, 4), (2, 4)), {"p": 3}),
    ],
)
def cdist(A: Operand, B: Operand, *, p: Order = 2) -> Expr:
    """D[..., i, j] = ‖A[..., i, :] - B[..., j, :]‖_p, leading axes broadcast; the derivative is 0 where D is.

    Differences are taken before they are squared, so that near points keep their digits. Raises ShapeError where the
    numbers of features differ, GraphcError for p < 0.
    """
    if A.rank < 2 or B.rank < 2 or A.shape[-1] != B.shape[-1]:
        raise ShapeError(
            f"cdist: expected [..., points, features] with equal features, got {A.shape} and {B.shape}",
            hint="pairwise_distance compares row by row",
        )
    first, second = shared_axes("cdist", A, B)
    i, j, k = axes("i j k")
    return norm_of(Reduced(A[(*first, i, k)] - B[(*second, j, k)], (k,)), p)


@op(
    register=True,
    samples=[Sample(((3, 4), (3, 4))), Sample(((2, 3, 4), (4,)), {"p": 1, "keepdims": True})],
)
def pairwise_distance(A: Operand, B: Operand, *, p: Order = 2, eps: float = 1e-6, keepdims: bool = False) -> Expr:
    """D[...] = ‖A[..., :] - B[..., :] + eps‖_p, vectors of the last axis, the others broadcast. Raises ShapeError."""
    shape = broadcast_shape("pairwise_distance", [A.shape, B.shape])
    if not shape:
        raise ShapeError("pairwise_distance: expected vectors, got scalars", hint="use abs(a - b)")
    difference = A[...] - B[...] + number(eps)
    last = index_symbol(pointwise_names(len(shape))[-1])
    if keepdims:
        axis("j", 1)
    return norm_of(Reduced(difference, (last,)), p)
