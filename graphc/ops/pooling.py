"""Pooling over windows of sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Cond, FloorDiv, Mod, Where, eq, ge, lt, size_of, where
from graphc.ops.notation import Max, Min, Operand, Sum, axes, axis
from graphc.ops.operator import Operator, Sample, op
from graphc.ops.pointwise import number
from graphc.ops.window import Sizes, Window, image_shape, index_axes, offset_axes, sizes, windows
from graphc.types import DType, Extent

SAMPLES = {
    1: [Sample(((2, 3, 6),), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True})],
    2: [
        Sample(((2, 3, 6, 5),), {"kernel_size": 2}),
        Sample(((2, 2, 6, 5),), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
        Sample(((1, 2, 5, 6),), {"kernel_size": (2, 3), "stride": (2, 1)}),
    ],
    3: [Sample(((1, 2, 4, 3, 4),), {"kernel_size": 2, "stride": (2, 1, 2), "padding": (1, 0, 0)})],
}
IMAGES = {1: (2, 2, 5), 2: (2, 2, 5, 4), 3: (1, 2, 3, 4, 3)}


@dataclass(frozen=True, slots=True)
class View:
    """What a pooling operator sees while it is traced: X[n, c, index], the offsets within windows running over `over`,
    where it is `inside` of the image; `counts` elements along each axis."""

    X: Operand
    n: Expr
    c: Expr
    over: list[Expr]
    index: list[Expr]
    inside: tuple[Cond, ...]
    counts: list[Expr]

    @property
    def element(self) -> Expr:
        return self.X[(self.n, self.c, *self.index)]

    @property
    def largest(self) -> Expr:
        return Max(self.element, over=self.over, where=self.inside)

    @property
    def place_of_largest(self) -> Expr:
        """The place of the first maximum in the image, counted in rows; of the first NaN where there is one."""
        extents, x = self.X.shape[2:], self.element
        place, none = in_rows(self.index, extents), sp.Mul(*map(size_of, extents))
        number = Where(eq(x, x), none, place)
        return Min(Where(eq(x, self.largest), place, number), over=self.over, where=self.inside)


def in_rows(index: Sequence[Expr], extents: Sequence[Extent]) -> Expr:
    """The number of an element of an image."""
    place: Expr = sp.S.Zero
    for i, e in zip(index, extents, strict=True):
        place = place * e + i
    return place


def _sliding(
    operator: str, count: int, X: Operand, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    padding_counts: bool = True,
) -> View:  # fmt: skip
    """Sliding windows; the stride is the kernel unless given. Raises ShapeError."""
    kernels = sizes(operator, "kernel_size", kernel_size, count, 1)
    for k, p in zip(kernels, sizes(operator, "padding", padding, count, 0), strict=True):
        if 2 * p > k:
            raise ShapeError(
                f"{operator}: padding {p} is more than half of the kernel {k}, so windows could be empty",
                hint=f"use padding of at most {k // 2} or a kernel of at least {2 * p}",
            )
    strides = kernels if stride is None else stride
    halves = [k // 2 for k in kernels]
    sides = windows(operator, X.shape, kernels, strides, padding, dilation, bool(ceil_mode), halves)
    n, c = axes("n c")
    positions, offsets = index_axes([w.positions for w in sides]), offset_axes([w.kernel for w in sides])
    index = [w.at(y, r) for w, y, r in zip(sides, positions, offsets, strict=True)]
    inside = tuple(c for w, i in zip(sides, index, strict=True) for c in w.inside(i))
    counts = [_counted(w, y, padding_counts) for w, y in zip(sides, positions, strict=True)]
    return View(X, n, c, offsets, index, inside, counts)


def _counted(window: Window, position: Expr, padding_counts: bool) -> Expr:
    """How many elements of a window count: those inside of the image, or inside of its padding."""
    limit = window.extent + (window.before if padding_counts else 0)
    start = window.at(position, 0)
    end = start + window.kernel
    if window.at(window.positions - 1, window.kernel) > limit:
        end = where(ge(limit - end), end, limit)
    if window.before and not padding_counts:
        start = where(ge(start), start, 0)
    return end - start


def _parts(operator: str, count: int, X: Operand, output_size: Any) -> View:
    """As many parts as asked for, from ⌊i·extent / parts⌋ to ⌈(i + 1)·extent / parts⌉. Raises ShapeError."""
    _, extents = image_shape(operator, X.shape, count)
    wanted = output_size if isinstance(output_size, tuple) else (output_size,) * count
    if len(wanted) == count:
        wanted = tuple(e if w is None else w for w, e in zip(wanted, extents, strict=True))
    outputs = sizes(operator, "output_size", wanted, count, 1)
    n, c = axes("n c")
    places = index_axes(outputs)
    offsets = offset_axes(
        [max(-(-(i + 1) * e // o) - i * e // o for i in range(o)) for e, o in zip(extents, outputs, strict=True)]
    )
    index: list[Expr] = []
    inside: list[Cond] = []
    counts: list[Expr] = []
    for e, o, y, r in zip(extents, outputs, places, offsets, strict=True):
        equal, uneven = divmod(e, o)
        start = FloorDiv(e * y, o) if uneven else equal * y if o > 1 else 0
        end = FloorDiv(e * (y + 1) + o - 1, o) if uneven else start + equal
        index.append(start + r)
        inside += [ge(end - 1 - start - r)] if uneven else []
        counts.append(end - start)
    return View(X, n, c, offsets, index, tuple(inside), counts)


# ------------------------------------------------------------------------------------------------- largest


def _max_pool(count: int) -> tuple[Operator, Operator]:
    operator = f"max_pool{count}d"
    dilated = Sample((IMAGES[count],), {"kernel_size": 2, "dilation": 2, "stride": 1})

    @op(name=operator, samples=[*SAMPLES[count], dilated], register=True)
    def max_pool(
        X: Operand,
        *,
        kernel_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> Expr:
        """Y[n, c, y] = max_{r inside the image} X[n, c, s·y + d·r - p]

        y and r stand for one, two or three axes. X is [n, channels, *image]; the stride is the kernel unless given;
        with `ceil_mode` the last window may reach over the end. The gradient goes to the first maximum.
        Raises ShapeError.
        """
        return _sliding(operator, count, X, kernel_size, stride, padding, dilation, ceil_mode).largest

    @op(name=f"{operator}_indices", samples=[*SAMPLES[count], dilated], result=DType.INT64, register=True)
    def max_pool_indices(
        X: Operand,
        *,
        kernel_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> Expr:
        """Y[n, c, y] = the place h·W + w in the image of the first maximum of each window, for max_unpool.

        Options and shapes are those of max_pool. Raises ShapeError.
        """
        return _sliding(operator, count, X, kernel_size, stride, padding, dilation, ceil_mode).place_of_largest

    return max_pool, max_pool_indices


max_pool1d, max_pool1d_indices = _max_pool(1)
max_pool2d, max_pool2d_indices = _max_pool(2)
max_pool3d, max_pool3d_indices = _max_pool(3)


# ---------------------------------------------------------------------------------------------------- means


def _avg_pool(count: int) -> Operator:
    operator = f"avg_pool{count}d"
    samples = [
        *SAMPLES[count],
        Sample(SAMPLES[count][0].tensors, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
        Sample((IMAGES[count],), {"kernel_size": 2, "divisor_override": 3}),
    ]

    @op(name=operator, samples=samples, register=True)
    def avg_pool(
        X: Operand,
        *,
        kernel_size: Sizes = 2,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Expr:
        """Y[n, c, y] = 1/|R| Σ_{r < R} X[n, c, s·y + r - p]

        y and r stand for one, two or three axes. X is [n, channels, *image], 0 outside; the stride is the kernel
        unless given. |R| counts the elements of a window, without those of the padding unless `count_include_pad`,
        and never those that `ceil_mode` adds beyond it; or it is `divisor_override`. Raises ShapeError.
        """
        view = _sliding(operator, count, X, kernel_size, stride, padding, 1, ceil_mode, bool(count_include_pad))
        total = Sum(view.element, over=view.over)
        if divisor_override is not None:
            if not isinstance(divisor_override, int) or divisor_override == 0:
                raise ShapeError(
                    f"{operator}: divisor_override must be an integer other than 0, got {divisor_override!r}"
                )
            return total / divisor_override
        return total / sp.Mul(*view.counts)

    return avg_pool


avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool, (1, 2, 3))


def _lp_pool(count: int) -> Operator:
    operator = f"lp_pool{count}d"
    shape = IMAGES[count]
    samples = [
        Sample((shape,), {"norm_type": 2, "kernel_size": 2, "stride": 1}, (0.5, 2.0)),
        Sample((shape,), {"norm_type": 3, "kernel_size": 2, "ceil_mode": True}, (0.5, 2.0)),
    ]

    @op(name=operator, samples=samples, register=True)
    def lp_pool(
        X: Operand,
        *,
        norm_type: float = 2,
        kernel_size: Sizes = 2,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> Expr:
        """Y[n, c, y] = (Σ_r X[n, c, s·y + r]^p)^(1/p) for p = norm_type

        y and r stand for one, two or three axes. X is [n, channels, *image]; the stride is the kernel unless given. A
        window that `ceil_mode` lets reach over the end counts as if its other elements were like those inside. Where
        the sum is 0 so is the gradient. Raises ShapeError.
        """
        if not norm_type > 0:
            raise ShapeError(f"{operator}: norm_type must be positive, got {norm_type}")
        power = sp.sympify(number(norm_type))
        view = _sliding(operator, count, X, kernel_size, stride, 0, 1, ceil_mode)
        kernel = sp.Mul(*sizes(operator, "kernel_size", kernel_size, count, 1))
        total = Sum(view.element**power, over=view.over) * (kernel / sp.Mul(*view.counts))
        return total if power == 1 else Where(eq(total, 0), 0, total ** (1 / power))

    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool, (1, 2, 3))


# ---------------------------------------------------------------------------------- whole images, equal parts


def _global(count: int) -> tuple[Operator, Operator]:
    samples = [Sample((IMAGES[count],)), Sample(((3, 2, *(1, 4, 2)[:count]),))]

    @op(name=f"global_avg_pool{count}d", samples=samples, register=True)
    def global_avg_pool(X: Operand) -> Expr:
        """Y[n, c] = the mean of X[n, c, y] over y, which stands for one, two or three axes. Raises ShapeError."""
        element, image, extents = _whole(f"global_avg_pool{count}d", X, count)
        return Sum(element, over=image) / sp.Mul(*extents)

    @op(name=f"global_max_pool{count}d", samples=samples, register=True)
    def global_max_pool(X: Operand) -> Expr:
        """Y[n, c] = max_y X[n, c, y], where y stands for one, two or three axes. Raises ShapeError."""
        element, image, _ = _whole(f"global_max_pool{count}d", X, count)
        return Max(element, over=image)

    return global_avg_pool, global_max_pool


def _whole(operator: str, X: Operand, count: int) -> tuple[Expr, list[Expr], tuple[int, ...]]:
    _, extents = image_shape(operator, X.shape, count)
    n, c = axes("n c")
    image = index_axes(extents)
    return X[(n, c, *image)], image, extents


global_avg_pool1d, global_max_pool1d = _global(1)
global_avg_pool2d, global_max_pool2d = _global(2)
global_avg_pool3d, global_max_pool3d = _global(3)


def _adaptive(count: int) -> tuple[Operator, Operator, Operator]:
    average, largest = f"adaptive_avg_pool{count}d", f"adaptive_max_pool{count}d"
    samples = [
        Sample(((2, 2, *(4, 6, 2)[:count]),), {"output_size": (2, 3, 1)[:count]}),
        Sample((IMAGES[count],), {"output_size": 2}),
    ]

    @op(name=average, samples=samples, register=True)
    def adaptive_avg_pool(X: Operand, *, output_size: int | tuple[int | None, ...] = 1) -> Expr:
        """Y[n, c, i] = the mean of X[n, c, h] over ⌊i·H / parts⌋ <= h < ⌈(i + 1)·H / parts⌉

        i and h stand for one, two or three axes. X is [n, channels, *image]; `output_size` counts the parts of each
        axis, None those that leave it as it is. Parts may differ by one and overlap. Raises ShapeError.
        """
        view = _parts(average, count, X, output_size)
        return Sum(view.element, over=view.over, where=view.inside) / sp.Mul(*view.counts)

    @op(name=largest, samples=samples, register=True)
    def adaptive_max_pool(X: Operand, *, output_size: int | tuple[int | None, ...] = 1) -> Expr:
        """Y[n, c, i] = max X[n, c, h] over ⌊i·H / parts⌋ <= h < ⌈(i + 1)·H / parts⌉

        Shapes and `output_size` as in adaptive_avg_pool. Raises ShapeError.
        """
        return _parts(largest, count, X, output_size).largest

    @op(name=f"{largest}_indices", samples=samples, result=DType.INT64, register=True)
    def adaptive_max_pool_indices(X: Operand, *, output_size: int | tuple[int | None, ...] = 1) -> Expr:
        """Y[n, c, i] = the place h·W + w in the image of the first maximum of each part. Raises ShapeError."""
        return _parts(largest, count, X, output_size).place_of_largest

    return adaptive_avg_pool, adaptive_max_pool, adaptive_max_pool_indices


adaptive_avg_pool1d, adaptive_max_pool1d, adaptive_max_pool1d_indices = _adaptive(1)
adaptive_avg_pool2d, adaptive_max_pool2d, adaptive_max_pool2d_indices = _adaptive(2)
adaptive_avg_pool3d, adaptive_max_pool3d, adaptive_max_pool3d_indices = _adaptive(3)


@op(
    register=True,
    samples=[
        Sample(((2, 2, 5, 4),), {"stride": 2, "channels": 5}),
        Sample(((1, 3, 4, 4),), {"stride": (1, 2)}),
        Sample(((2, 2, 3, 3),), {"channels": 4}),
    ],
)
def subsample(X: Operand, *, stride: Sizes = 1, channels: int | None = None) -> Expr:
    """Y[n, c, y, x] = X[n, c, s·y, s·x], 0 for channels that X does not have

    X is [n, channels, height, width]. Raises ShapeError for fewer channels than those of X.
    """
    own, image = image_shape("subsample", X.shape, 2)
    wanted = own if channels is None else channels
    if wanted < own:
        raise ShapeError(
            f"subsample: {X.shape} has {own} channels, {wanted} are asked for", hint=f"use channels={own} or more"
        )
    (n,), c = axes("n"), axis("c", wanted)
    positions = [
        axis(name, -(-extent // s)) * s
        for name, extent, s in zip("yx", image, sizes("subsample", "stride", stride, 2, 1), strict=True)
    ]
    if wanted == own:
        return X[n, c, positions[0], positions[1]]
    return Where(lt(c, own), X[n, Mod(c, own), positions[0], positions[1]], 0)
