"""Pooling over windows of images."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Cond, Mod, Where, ge, lt
from graphc.ops.notation import Max, Operand, Sum, axes, axis, extent
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


@op(register=True, samples=[Sample(((2, 3, 4, 5),)), Sample(((3, 2, 1, 4),))])
def global_avg_pool2d(X: Operand) -> Expr:
    """Y[n, c] = 1/(H·W) Σ_{y, x} X[n, c, y, x]

    X is [n, channels, height, width]. Raises ShapeError.
    """
    n, c, y, x = axes("n c y x")
    return Sum(X[n, c, y, x], over=(y, x)) / (extent(y) * extent(x))


@op(register=True, samples=[Sample(((2, 3, 4, 6),), {"size": (2, 3)}), Sample(((2, 2, 3, 5),), {"size": 1})])
def adaptive_avg_pool2d(X: Operand, *, size: Pair = 1) -> Expr:
    """Y[n, c, y, x] = the mean over equal windows, `size` of them along height and width.

    X is [n, channels, height, width]. Raises ShapeError where the windows would not be equal.
    """
    if X.rank != 4:
        raise ShapeError(f"adaptive_avg_pool2d: expected images [n, channels, height, width], got {X.shape}")
    counts = pair("adaptive_avg_pool2d", "size", size, 1)
    kernel = []
    for what, whole, count in zip(("height", "width"), X.shape[2:], counts, strict=True):
        if not isinstance(whole, int) or whole % count:
            raise ShapeError(
                f"adaptive_avg_pool2d: {what} {whole} has no {count} equal windows",
                hint=f"use a size that divides {whole}, or avg_pool2d",
            )
        kernel.append(whole // count)
    n, c = axes("n c")
    y, x = axis("y", counts[0]), axis("x", counts[1])
    r, q = axis("r", kernel[0]), axis("q", kernel[1])
    rows = r if counts[0] == 1 else kernel[0] * y + r
    columns = q if counts[1] == 1 else kernel[1] * x + q
    return Sum(X[n, c, rows, columns], over=(r, q)) / (kernel[0] * kernel[1])


@op(
    register=True,
    samples=[
        Sample(((2, 2, 5, 4),), {"stride": 2, "channels": 5}),
        Sample(((1, 3, 4, 4),), {"stride": (1, 2)}),
        Sample(((2, 2, 3, 3),), {"channels": 4}),
    ],
)
def subsample(X: Operand, *, stride: Pair = 1, channels: int | None = None) -> Expr:
    """Y[n, c, y, x] = X[n, c, s·y, s·x], 0 for channels that X does not have

    X is [n, channels, height, width]. Raises ShapeError for fewer channels than those of X.
    """
    if X.rank != 4 or not all(isinstance(e, int) for e in X.shape[1:]):
        raise ShapeError(f"subsample: expected images [n, channels, height, width], got {X.shape}")
    _, own, *image = (e if isinstance(e, int) else 0 for e in X.shape)
    wanted = own if channels is None else channels
    if wanted < own:
        raise ShapeError(
            f"subsample: {X.shape} has {own} channels, {wanted} are asked for", hint=f"use channels={own} or more"
        )
    (n,), c = axes("n"), axis("c", wanted)
    positions = [
        axis(name, -(-extent // s)) * s
        for name, extent, s in zip("yx", image, pair("subsample", "stride", stride, 1), strict=True)
    ]
    if wanted == own:
        return X[n, c, positions[0], positions[1]]
    return Where(lt(c, own), X[n, Mod(c, own), positions[0], positions[1]], 0)
