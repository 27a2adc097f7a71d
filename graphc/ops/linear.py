"""Linear maps of feature vectors."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Operand, Sum, axes, broadcast_shape
from graphc.ops.notation import axis as new_axis
from graphc.ops.operator import Sample, op


def leading_axes(count: int) -> tuple[Expr, ...]:
    """Axes for what stands before the features: n alone, n and t for sequences, b0, b1, ... beyond."""
    return axes(("", "n", "n t")[count] if count < 3 else " ".join(f"b{k}" for k in range(count)))


def shared_axes(operator: str, *operands: Operand) -> list[tuple[Expr | int, ...]]:
    """How each operand reads its axes in front of the last two, which broadcast. Raises ShapeError."""
    shapes = [x.shape[:-2] for x in operands]
    batch = broadcast_shape(operator, shapes)
    lead = leading_axes(len(batch))
    return [
        tuple(
            a if e == w else 0
            for a, e, w in zip(lead[len(lead) - len(own) :], own, batch[len(batch) - len(own) :], strict=True)
        )
        for own in shapes
    ]


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


@op(
    register=True,
    samples=[
        Sample(((3, 4), (4, 2))),
        Sample(((2, 1, 3, 4), (5, 4, 2))),
        Sample(((4,), (2, 4, 3))),
        Sample(((3,), (3,))),
    ],
)
def matmul(A: Operand, B: Operand) -> Expr:
    """C[..., i, j] = Σ_k A[..., i, k] · B[..., k, j], leading axes broadcast.

    A vector on the left is a row, one on the right a column, and that axis is not in the result. Raises ShapeError
    where the inner extents differ, and for a scalar.
    """
    if not A.rank or not B.rank:
        raise ShapeError(f"matmul: an operand is a scalar, got {A.shape} and {B.shape}", hint="multiply it: a * b")
    if A.shape[-1] != B.shape[-2:][0]:
        _inner_extents(A, B)
    first, second = shared_axes("matmul", A, B)
    i = axes("i") if A.rank > 1 else ()
    j = axes("j") if B.rank > 1 else ()
    k = axes("k")
    return Sum(A[(*first, *i, *k)] * B[(*second, *k, *j)], over=k)


def _inner_extents(A: Operand, B: Operand) -> None:
    """Raises ShapeError: what a product is summed over has two extents."""
    fits = " or ".join(
        name
        for name, matches in (
            ("a @ b.T", A.shape[-1] == B.shape[-1] and B.rank == 2),
            ("a.T @ b", A.rank == 2 and A.shape[-2] == B.shape[-2:][0]),
        )
        if matches
    )
    raise ShapeError(
        f"matmul: {A.shape} @ {B.shape}: the inner extents are {A.shape[-1]} and {B.shape[-2:][0]}",
        hint=f"did you mean {fits}?" if fits else "the last axis of a is summed against the last but one of b",
    )


@op(
    register=True,
    samples=[Sample(((4, 3), (4, 2), (5, 3, 2), None)), Sample(((2, 4, 3), (2, 4, 2), (5, 3, 2), (5,)))],
)
def bilinear(X: Operand, Z: Operand, W: Operand, bias: Operand | None = None) -> Expr:
    """Y[..., o] = Σ_{i, j} X[..., i] · W[o, i, j] · Z[..., j] + bias[o]

    X is [..., in1], Z [..., in2], W [out, in1, in2], bias [out]. Raises ShapeError where they do not fit.
    """
    if W.rank != 3 or not X.rank or not Z.rank:
        raise ShapeError(
            f"bilinear: expected inputs [..., in1], [..., in2] and a weight [out, in1, in2], "
            f"got {X.shape}, {Z.shape} and {W.shape}"
        )
    if X.shape[:-1] != Z.shape[:-1]:
        raise ShapeError(f"bilinear: the inputs are {X.shape} and {Z.shape}: only their last axes may differ")
    if (X.shape[-1], Z.shape[-1]) != W.shape[1:]:
        raise ShapeError(
            f"bilinear: the inputs have {X.shape[-1]} and {Z.shape[-1]} features, "
            f"the weight {W.shape} needs {W.shape[1]} and {W.shape[2]}",
            hint=f"use a weight of shape ({W.shape[0]}, {X.shape[-1]}, {Z.shape[-1]})",
        )
    lead = leading_axes(X.rank - 1)
    o, i, j = axes("o i j")
    # by j first: one product of matrices, then one sum
    inner = Sum(W[o, i, j] * Z[(*lead, j)], over=j)
    total = Sum(X[(*lead, i)] * inner, over=i)
    return total if bias is None else total + bias[o]


@op(register=True, samples=[Sample(((3,), (4,))), Sample(((2, 3), (2,)))])
def outer(A: Operand, B: Operand) -> Expr:
    """C[i, ..., j, ...] = A[i, ...] · B[j, ...]: all products of two elements; vectors give a matrix."""
    i, j = (
        axes(" ".join(f"{letter}{k}" if x.rank > 1 else letter for k in range(x.rank)))
        for x, letter in ((A, "i"), (B, "j"))
    )
    return A[i] * B[j]


@op(
    register=True,
    samples=[
        Sample(((2, 3, 4), (3, 4, 5))),
        Sample(((2, 3), (4, 3)), {"axes": ((1,), (1,))}),
        Sample(((2,), (3,)), {"axes": 0}),
    ],
)
def tensordot(A: Operand, B: Operand, *, axes: int | tuple[tuple[int, ...], tuple[int, ...]] = 2) -> Expr:
    """The sum of products over pairs of axes: the last `axes` of A with the first of B, or (of A, of B).

    Raises ShapeError where they do not exist or differ in extent.
    """
    if isinstance(axes, int):
        axes = tuple(range(A.rank - axes, A.rank)), tuple(range(axes))
    left, right = ([normal_axis("tensordot", a, x.rank) for a in own] for x, own in zip((A, B), axes, strict=True))
    if [A.shape[a] for a in left] != [B.shape[b] for b in right]:
        raise ShapeError(
            f"tensordot: axes {tuple(left)} of {A.shape} are {tuple(A.shape[a] for a in left)}, "
            f"axes {tuple(right)} of {B.shape} are {tuple(B.shape[b] for b in right)}"
        )
    free = [
        [new_axis(f"{letter}{k}", e) for k, e in enumerate(x.shape) if k not in own]
        for x, own, letter in ((A, left, "i"), (B, right, "j"))
    ]
    bound = [new_axis(f"k{n}", A.shape[a]) for n, a in enumerate(left)]
    index = [
        [bound[own.index(k)] if k in own else next(rest) for k in range(x.rank)]
        for x, own, rest in ((A, left, iter(free[0])), (B, right, iter(free[1])))
    ]
    product = A[tuple(index[0])] * B[tuple(index[1])]
    return Sum(product, over=bound) if bound else product


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
