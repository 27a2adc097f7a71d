"""Convolution."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.notation import Operand, Sum, axes, axis
from graphc.ops.operator import Sample, op
from graphc.ops.window import Pair, pair, windows


@op(
    register=True,
    samples=[
        Sample(((2, 3, 6, 5), (4, 3, 3, 3))),
        Sample(((2, 2, 7, 6), (3, 2, 3, 2)), {"stride": 2, "padding": (1, 0)}),
        Sample(((1, 2, 7, 7), (2, 2, 3, 3)), {"dilation": 2, "padding": 2, "stride": (2, 1)}),
        Sample(((1, 1, 5, 4), (2, 1, 2, 3)), {"padding": "same"}),
    ],
)
def conv2d(X: Operand, W: Operand, *, stride: Pair = 1, padding: Pair | str = 0, dilation: Pair = 1) -> Expr:
    """Y[n, k, y, x] = Σ_{c, r, q} X[n, c, s·y + d·r - p, s·x + d·q - p] · W[k, c, r, q]

    X is [n, channels, height, width], W is [out, channels, kernel height, kernel width]; X is 0 outside.
    padding "same" gives ⌈extent / stride⌉ positions, an odd surplus going to the end. Raises ShapeError.
    """
    if W.rank != 4:
        raise ShapeError(f"conv2d: expected a weight [out, in, kernel height, kernel width], got {W.shape}")
    if X.rank == 4 and X.shape[1] != W.shape[1]:
        raise ShapeError(
            f"conv2d: the input {X.shape} has {X.shape[1]} channels, the weight {W.shape} needs {W.shape[1]}",
            hint="images are (batch, channels, height, width); permute them if channels stand last",
        )
    kernel = pair("conv2d", "kernel", W.shape[2:], 1)
    height, width = windows("conv2d", X.shape, kernel, stride, padding, dilation)
    n, k = axes("n k")
    y, x = axis("y", height.positions), axis("x", width.positions)
    c, r, q = axes("c r q")
    return Sum(X[n, c, height.at(y, r), width.at(x, q)] * W[k, c, r, q], over=(c, r, q))
