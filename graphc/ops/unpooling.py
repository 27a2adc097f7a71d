"""Max-unpooling: maxima at the places from which they came."""

from __future__ import annotations

from collections.abc import Sequence

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Cond, FloorDiv, Where, eq, ge
from graphc.ops.notation import Min, Operand, Sum, axes
from graphc.ops.operator import Operator, Sample, op
from graphc.ops.pooling import in_rows
from graphc.ops.window import Sizes, Window, index_axes, offset_axes, opposite, sizes


def _max_unpool(count: int) -> Operator:
    operator = f"max_unpool{count}d"
    image = (1, 2, *(3, 2, 2)[:count])
    samples = [
        Sample((image, ("int", 2**count, image)), {"kernel_size": 2}),
        Sample((image, ("int", 6, image)), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ]

    @op(name=operator, samples=samples, integer="P", register=True)
    def max_unpool(
        X: Operand,
        P: Operand,
        *,
        kernel_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        output_size: tuple[int, ...] | None = None,
    ) -> Expr:
        """Y[n, c, h] = X[n, c, y] for the first window y over h whose maximum stood there: P[n, c, y] == h, else 0

        The opposite of max_pool: X is [n, channels, *pooled], P [n, channels, *pooled] the places that
        max_pool_indices found, with the same options; h counts the elements of the image in rows. The image is
        (extent - 1)·s - 2·p + kernel unless `output_size` says otherwise. Raises ShapeError.
        """
        kernels = sizes(operator, "kernel_size", kernel_size, count, 1)
        strides = kernels if stride is None else stride
        sides: Sequence[Window] = opposite(operator, X.shape, kernels, strides, padding, 0, 1)
        if P.shape != X.shape:
            raise ShapeError(f"{operator}: the indices {P.shape} do not belong to the values {X.shape}")
        if output_size is not None:
            image = sizes(operator, "output_size", tuple(output_size)[-count:], count, 1)
            sides = [_resized(operator, w, e) for w, e in zip(sides, image, strict=True)]
        n, c = axes("n c")
        places = index_axes([w.extent for w in sides])
        here = in_rows(places, [w.extent for w in sides])
        if all(w.kernel <= w.stride for w in sides):
            only = [FloorDiv(h + w.before, w.stride) for w, h in zip(sides, places, strict=True)]
            return Where(eq(P[(n, c, *only)], here), X[(n, c, *only)], 0)

        kernel = [w.kernel for w in sides]

        def covering() -> tuple[list[Expr], list[Expr], tuple[Cond, ...]]:
            offsets = offset_axes(kernel)
            found = [w.position(h, r) for w, h, r in zip(sides, places, offsets, strict=True)]
            windows = [y for y, _ in found]
            exist = [c for w, (y, several) in zip(sides, found, strict=True) for c in (*several, *_within(y, w))]
            return offsets, windows, (*exist, eq(P[(n, c, *windows)], here))

        offsets, _, matching = covering()
        first = Min(-in_rows(offsets, kernel), over=offsets, where=matching)
        offsets, windows, matching = covering()
        return Sum(X[(n, c, *windows)], over=offsets, where=(*matching, eq(-in_rows(offsets, kernel), first)))

    return max_unpool


def _within(position: Expr, window: Window) -> tuple[Cond, ...]:
    return ge(position), ge(window.positions - 1 - position)


def _resized(operator: str, window: Window, extent: int) -> Window:
    least, most = window.extent - window.stride + 1, window.extent + window.stride - 1
    if not least <= extent <= most:
        raise ShapeError(
            f"{operator}: {window.positions} windows of stride {window.stride} do not come from an image of {extent}",
            hint=f"use an output_size from {max(least, 1)} to {most}",
        )
    return window._replace(extent=extent)


max_unpool1d, max_unpool2d, max_unpool3d = map(_max_unpool, (1, 2, 3))
