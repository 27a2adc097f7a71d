"""Linear maps, sums of products, and distances of vectors."""

from __future__ import annotations

from string import ascii_letters

from graphc.dsl.functional.movement import permute
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphcError, ShapeError
from graphc.ops import einsum as sums
from graphc.ops import linear as _linear
from graphc.ops.distances import cdist, pairwise_distance
from graphc.ops.linear import bias, bilinear, matmul, outer, tensordot
from graphc.ops.reductions import normalize

__all__ = [
    "addmm",
    "baddbmm",
    "bias",
    "bilinear",
    "bmm",
    "cdist",
    "dense",
    "dot",
    "einsum",
    "kron",
    "linear",
    "matmul",
    "mm",
    "normalize",
    "outer",
    "pairwise_distance",
    "tensordot",
]


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · Wᵀ + b for x [..., in], weight [out, in], bias [out]."""
    y: Tensor = _linear.dense(x, weight)
    return y if bias is None else _linear.bias(y, bias)


linear = dense
"""torch's name."""

bmm = mm = matmul
"""torch's names for stacks of matrices and for two of them."""


def addmm(x: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · x + alpha · (a @ b), x broadcast, leading axes of a and b too. Raises ShapeError."""
    product: Tensor = matmul(a, b)
    return (x if beta == 1 else beta * x) + (product if alpha == 1 else alpha * product)


baddbmm = addmm
"""torch's name for stacks of matrices."""


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_i a_i · b_i of two vectors. Raises ShapeError for other tensors."""
    if (a.ndim, b.ndim) != (1, 1):
        raise ShapeError(f"dot: expected two vectors, got {a.shape} and {b.shape}", location=caller(), hint="use a @ b")
    return matmul(a, b)


def kron(a: Tensor, b: Tensor) -> Tensor:
    """The Kronecker product: a[i, j, ...] · b in place of each element of a. Raises ShapeError for the batch axis.

    The tensor with fewer axes has further ones of extent 1 in front.
    """
    rank = max(a.ndim, b.ndim)
    if not rank:
        return a * b
    a, b = (x[(*[None] * (rank - x.ndim), ...)] for x in (a, b))
    pairs = tuple(zip(a.shape, b.shape, strict=True))
    lengths = tuple(p * q for p, q in pairs if isinstance(p, int) and isinstance(q, int))
    if len(lengths) < rank:
        raise ShapeError(
            f"kron: an axis of {a.shape} or {b.shape} is the batch", location=caller(),
            hint="declare the input with a fixed number of samples",
        )  # fmt: skip
    return permute(outer(a, b), order=tuple(k + s for k in range(rank) for s in (0, rank))).reshape(lengths)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Σ of products by their indices: einsum("bij,bjk->bik", a, b). Three operands and more are multiplied two by two,
    in the order that takes the fewest multiplications.

    Raises GraphcError for a mistake in the equation, ShapeError for an index with two extents.
    """
    if len(operands) < 3:
        return sums.einsum(list(operands), equation)
    try:
        named, extents = sums.spread(sums.parse(equation), tuple(x.shape for x in operands))
    except GraphcError as error:
        raise error.at(caller()) from None
    free = (c for c in ascii_letters if c not in extents)
    letter = {s: next(free) if s.startswith(".") else s for s in extents}
    factors, letters = [], []
    for x, own in zip(operands, named.operands, strict=True):
        repeated = [e == 1 != extents[s] for s, e in zip(own, x.shape, strict=True)]
        factors.append(x[tuple(0 if once else slice(None) for once in repeated)] if any(repeated) else x)
        letters.append(tuple(letter[s] for s, once in zip(own, repeated, strict=True) if not once))
    whole = sums.Equation(tuple(letters), tuple(letter[s] for s in named.result))
    for (a, b), step in sums.cheapest(whole, {letter[s]: e for s, e in extents.items()}):
        product = sums.einsum([factors[a], factors[b]], str(step))
        factors = [x for k, x in enumerate(factors) if k not in (a, b)] + [product]
    return factors[0]
