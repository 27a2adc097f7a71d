"""Pooling over windows of images."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Cond, ge
from graphc.ops.notation import Max, Operand, Sum, axes, axis
from graphc.ops.operator import Sample, op
from graphc.ops.window import Pair, Window, pair, windows

SAMPLES = [
    Sample(((2, 3, 6, 5),), {"kernel": 2}),
    Sample(((2, 2, 7, 6),), {"kernel": 3, "stride": 2, "padding": 1}),
    Sample(((1, 2, 5, 6),), {"kernel": (2, 3), "stride": (2, 1)}),
]


def _windows(
    operator: str, X: Operand, kernel: Pair, stride: Pair | None, padding: Pair, dilation: Pair
) -> tuple[Window, Window]:
    """Pooling windows; the stride is the kernel unless given. Raises ShapeError."""
    kernels = pair(operator, "kernel", kernel, 1)
    for k, p in zip(kernels, pair(operator, "padding", padding, 0), strict=True):
        if 2 * p > k:
            raise ShapeError(
                f"{operator}: padding {p} is more than half of the kernel {k}, so windows could be empty",
                hint=f"use padding of at most {k // 2} or a kernel of at least {2 * p}",
            )
    return windows(operator, X.shape, kernels, kernels if stride is None else stride, padding, dilation)


@op(register=True, samples=[*SAMPLES, Sample(((1, 1, 7, 6),), {"kernel": 2, "dilation": 2, "stride": 1})])
def max_pool2d(
    X: Operand, *, kernel: Pair = 2, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> Expr:
    """Y[n, c, y, x] = max_{r, q inside the image} X[n, c, s·y + d·r - p, s·x + d·q - p]

    X is [n, channels, height, width]; the stride is the kernel unless given. Raises ShapeError.
    """
    height, width = _windows("max_pool2d", X, kernel, stride, padding, dilation)
    n, c = axes("n c")
    y, x = axis("y", height.positions), axis("x", width.positions)
    r, q = axis("r", height.kernel), axis("q", width.kernel)
    row, column = height.at(y, r), width.at(x, q)
    return Max(X[n, c, row, column], over=(r, q), where=(*_inside(height, row), *_inside(width, column)))


def _inside(window: Window, index: Expr) -> tuple[Cond, ...]:
    """The conditions under which an index is inside of the image, none where it always is."""
    return (ge(index), ge(window.extent - 1 - index)) if window.leaves_input else ()


@op(register=True, samples=SAMPLES)
def avg_pool2d(X: Operand, *, kernel: Pair = 2, stride: Pair | None = None, padding: Pair = 0) -> Expr:
    """Y[n, c, y, x] = 1/(R·Q) Σ_{r<R, q<Q} X[n, c, s·y + r - p, s·x + q - p]

    X is [n, channels, height, width]; the stride is the kernel unless given; padding is zeros.
    Raises ShapeError.
    """
    height, width = _windows("avg_pool2d", X, kernel, stride, padding, 1)
    n, c = axes("n c")
    y, x = axis("y", height.positions), axis("x", width.positions)
    r, q = axis("r", height.kernel), axis("q", width.kernel)
    return Sum(X[n, c, height.at(y, r), width.at(x, q)], over=(r, q)) / (height.kernel * width.kernel)
