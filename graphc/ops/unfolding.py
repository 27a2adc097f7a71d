"""Windows as axes of their own, and their sum where they overlap: im2col and col2im."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.notation import Operand, Sum, axes
from graphc.ops.operator import Sample, op
from graphc.ops.window import Sizes, index_axes, offset_axes, sizes, windows


@op(
    register=True,
    samples=[
        Sample(((2, 2, 4, 5),), {"kernel_size": 2}),
        Sample(((1, 2, 4, 4),), {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1}),
        Sample(((1, 2, 6),), {"kernel_size": 2, "dilation": 2}),
    ],
)
def sliding_windows(
    X: Operand, *, kernel_size: Sizes = 2, dilation: Sizes = 1, padding: Sizes | str = 0, stride: Sizes = 1
) -> Expr:
    """Y[n, c, r, y] = X[n, c, s·y + d·r - p]

    y and r stand for one, two or three axes. X is [n, channels, *image] and 0 outside, Y is
    [n, channels, *kernel, *positions]. Raises ShapeError.
    """
    kernel = sizes("sliding_windows", "kernel_size", kernel_size, max(X.rank - 2, 1), 1)
    sides = windows("sliding_windows", X.shape, kernel, stride, padding, dilation)
    n, c = axes("n c")
    offsets, positions = offset_axes(kernel), index_axes([w.positions for w in sides])
    return X[(n, c, *[w.at(y, r) for w, y, r in zip(sides, positions, offsets, strict=True)])]


@op(
    register=True,
    samples=[
        Sample(((2, 2, 2, 2, 3, 4),), {"output_size": (4, 5)}),
        Sample(((1, 2, 3, 2, 4, 3),), {"output_size": 4, "stride": (1, 2), "padding": 1}),
        Sample(((1, 2, 2, 4),), {"output_size": 6, "dilation": 2}),
    ],
)
def overlap_add(
    X: Operand, *, output_size: Sizes = 1, dilation: Sizes = 1, padding: Sizes | str = 0, stride: Sizes = 1
) -> Expr:
    """Y[n, c, h] = Σ_{r : s | h + p - d·r} X[n, c, r, (h + p - d·r) / s]

    The adjoint of sliding_windows: X is [n, channels, *kernel, *positions] as that gives it for images of
    `output_size`, Y is [n, channels, *output_size]. Raises ShapeError.
    """
    count = max((X.rank - 2) // 2, 1)
    image = sizes("overlap_add", "output_size", output_size, count, 1)
    kernel = sizes("overlap_add", "the windows", X.shape[2 : 2 + count], count, 1)
    sides = windows("overlap_add", (*X.shape[:2], *image), kernel, stride, padding, dilation)
    if X.shape[2 + count :] != tuple(w.positions for w in sides):
        raise ShapeError(
            f"overlap_add: images of {image} have {tuple(w.positions for w in sides)} windows, "
            f"the input {X.shape} holds {X.shape[2 + count :]}"
        )
    n, c = axes("n c")
    places, offsets = index_axes(image), offset_axes(kernel)
    found = [w.position(h, r) for w, h, r in zip(sides, places, offsets, strict=True)]
    return Sum(
        X[(n, c, *offsets, *[y for y, _ in found])],
        over=offsets,
        where=[condition for _, conditions in found for condition in conditions],
    )
