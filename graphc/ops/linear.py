"""Linear maps of feature vectors."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.notation import Operand, Sum, axes, broadcast_shape
from graphc.ops.operator import Sample, op


def leading_axes(count: int) -> tuple[Expr, ...]:
    """Axes for what stands before the features: n alone, n and t for sequences, b0, b1, ... beyond."""
    return axes(("", "n", "n t")[count] if count < 3 else " ".join(f"b{k}" for k in range(count)))


@op(register=True, samples=[Sample(((4, 7), (5, 7))), Sample(((2, 3, 4), (5, 4))), Sample(((4,), (3, 4)))])
def dense(X: Operand, W: Operand) -> Expr:
    """Y[..., o] = Σ_i X[..., i] · W[o, i]

    X is [..., in], W is [out, in]. Raises ShapeError where the numbers of features differ.
    """
    if W.rank != 2 or X.rank < 1:
        raise ShapeError(f"dense: expected an input [..., in] and a weight [out, in], got {X.shape} and {W.shape}")
    if X.shape[-1] != W.shape[1]:
        raise ShapeError(
            f"dense: the input {X.shape} has {X.shape[-1]} features, the weight {W.shape} needs {W.shape[1]}",
            hint=f"use a weight of shape ({W.shape[0]}, {X.shape[-1]}) or an input (..., {W.shape[1]})",
        )
    lead = leading_axes(X.rank - 1)
    o, i = axes("o i")
    return Sum(X[(*lead, i)] * W[o, i], over=i)


@op(register=True, samples=[Sample(((3, 4), (4, 2))), Sample(((2, 1, 3, 4), (5, 4, 2)))])
def matmul(A: Operand, B: Operand) -> Expr:
    """C[..., i, j] = Σ_k A[..., i, k] · B[..., k, j], leading axes broadcast.

    Raises ShapeError where the inner extents differ.
    """
    if A.rank < 2 or B.rank < 2:
        raise ShapeError(
            f"matmul: both operands need two axes or more, got {A.shape} and {B.shape}",
            hint="reshape a vector to a row (1, n) or a column (n, 1)",
        )
    if A.shape[-1] != B.shape[-2]:
        fits = " or ".join(
            name
            for name, matches in (
                ("a @ b.T", A.shape[-1] == B.shape[-1] and B.rank == 2),
                ("a.T @ b", A.shape[-2] == B.shape[-2] and A.rank == 2),
            )
            if matches
        )
        raise ShapeError(
            f"matmul: {A.shape} @ {B.shape}: the inner extents are {A.shape[-1]} and {B.shape[-2]}",
            hint=f"did you mean {fits}?" if fits else "the last axis of a is summed against the last but one of b",
        )
    batch = broadcast_shape("matmul", [A.shape[:-2], B.shape[:-2]])
    lead = leading_axes(len(batch))
    i, j, k = axes("i j k")

    def shared(operand: Operand) -> tuple[Expr | int, ...]:
        own = operand.shape[:-2]
        start = len(batch) - len(own)
        return tuple(
            a if extent == whole else 0 for a, extent, whole in zip(lead[start:], own, batch[start:], strict=True)
        )

    return Sum(A[(*shared(A), i, k)] * B[(*shared(B), k, j)], over=k)


@op(register=True, samples=[Sample(((4, 3), (3,))), Sample(((2, 3, 4, 5), (3,)), {"axis": 1})])
def bias(X: Operand, B: Operand, *, axis: int = -1) -> Expr:
    """Y[..., k, ...] = X[..., k, ...] + B[k], k being the given axis of X."""
    position = axis % X.rank if -X.rank <= axis < X.rank else None
    if position is None or B.shape != (X.shape[position],):
        wanted = X.shape[position] if position is not None else "?"
        raise ShapeError(f"bias: axis {axis} of the input {X.shape} has {wanted} entries, the bias has shape {B.shape}")
    names = {2: "n k", 4: "n k y x"}.get(X.rank) or " ".join(f"i{d}" for d in range(X.rank))
    index = axes(names)
    return X[index] + B[index[position]]
