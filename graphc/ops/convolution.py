"""Convolution over one, two or three axes, and its opposite, in groups of channels.

Spectra are not multiplied (FFT): docs/winograd.md says why.
"""

from __future__ import annotations

from math import gcd
from typing import Any

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import FloorDiv, Mod
from graphc.ops.notation import Operand, Sum, axes, axis
from graphc.ops.operator import Operator, Sample, op
from graphc.ops.window import SIDES, Sizes, image_shape, index_axes, offset_axes, opposite, sizes, windows

CONVOLUTIONS = {
    1: [
        Sample(((2, 3, 6), (4, 3, 3)), {"padding": 1}),
        Sample(((1, 4, 7), (6, 2, 2)), {"stride": 2, "dilation": 2, "groups": 2}),
    ],
    2: [
        Sample(((2, 3, 6, 5), (4, 3, 3, 3))),
        Sample(((2, 2, 6, 5), (3, 2, 3, 2)), {"stride": 2, "padding": (1, 0)}),
        Sample(((1, 2, 6, 6), (2, 2, 3, 3)), {"dilation": 2, "padding": 2, "stride": (2, 1)}),
        Sample(((1, 1, 5, 4), (2, 1, 2, 3)), {"padding": "same"}),
        Sample(((2, 3, 5, 4), (6, 1, 3, 3)), {"padding": 1, "groups": 3}),
    ],
    3: [Sample(((1, 2, 3, 4, 3), (2, 2, 2, 3, 2)), {"stride": (1, 2, 1), "padding": (0, 1, 1)})],
}

TRANSPOSED = {
    1: [
        Sample(((2, 3, 4), (3, 2, 4)), {"stride": 2, "padding": 1}),
        Sample(((1, 4, 3), (4, 1, 2)), {"stride": 3, "output_padding": 1, "groups": 2}),
    ],
    2: [
        Sample(((2, 3, 3, 4), (3, 2, 3, 3))),
        Sample(((2, 2, 3, 3), (2, 3, 4, 3)), {"stride": 2, "padding": 1, "output_padding": (0, 1)}),
        Sample(((1, 2, 3, 2), (2, 2, 2, 2)), {"dilation": 2, "stride": (1, 3)}),
    ],
    3: [Sample(((1, 2, 2, 3, 2), (2, 2, 3, 2, 2)), {"stride": (2, 1, 2), "padding": (1, 0, 0)})],
}


def _convolution(count: int) -> Operator:
    operator = f"conv{count}d"

    @op(name=operator, samples=CONVOLUTIONS[count], register=True)
    def conv(
        X: Operand,
        W: Operand,
        *,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Expr:
        """Y[n, k, y] = Σ_{c, r} X[n, c, s·y + d·r - p] · W[k, c, r]

        y and r stand for one, two or three axes. X is [n, channels, *image] and 0 outside, W is
        [out, channels / groups, *kernel]. A group of the results sees its own channels,
        c + (channels / groups)·(k // (out / groups)); with as many groups as channels the convolution is depthwise.
        padding "same" gives ⌈extent / stride⌉ positions, an odd surplus going to the end; "valid" is 0.
        Raises ShapeError.
        """
        channels, _ = image_shape(operator, X.shape, count)
        features, own, *kernel = _weight(operator, W, count, "out", "in / groups")
        check_groups(operator, groups, in_channels=channels, out_channels=features)
        if channels != own * groups:
            apart = f" in {groups} groups of {channels // groups}" if groups > 1 else ""
            raise ShapeError(
                f"{operator}: the input {X.shape} has {channels} channels{apart}, the weight {W.shape} needs {own}",
                hint=_fitting(X, W, channels // groups, own, groups),
            )
        sides = windows(operator, X.shape, kernel, stride, padding, dilation)
        n, k = axes("n k")
        positions = index_axes([w.positions for w in sides])
        c, offsets = _channel(own, groups), offset_axes(kernel)
        image = [w.at(y, r) for w, y, r in zip(sides, positions, offsets, strict=True)]
        channel = c + own * _group(k, features, groups)
        return Sum(X[(n, channel, *image)] * W[(k, c, *offsets)], over=[a for a in (c, *offsets) if a != 0])

    return conv


conv1d, conv2d, conv3d = map(_convolution, (1, 2, 3))


def _grouped(count: int) -> Operator:
    operator = f"grouped_conv{count}d"
    image, kernel = (5, 4, 3)[:count], (3, 2, 2)[:count]
    samples = [
        Sample(((2, 2, 3, *image), (2, 2, 3, *kernel)), {"padding": 1}),
        Sample(((1, 3, 2, *image), (3, 1, 2, *kernel)), {"stride": 2, "dilation": (1,) * (count - 1) + (2,)}),
    ]

    @op(name=operator, samples=samples, register=True)
    def grouped_conv(
        X: Operand, W: Operand, *, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1
    ) -> Expr:
        """Y[n, g, k, y] = Σ_{c, r} X[n, g, c, s·y + d·r - p] · W[g, k, c, r]

        Convolutions side by side, the groups an axis of its own: X is [n, groups, channels, *image], W is
        [groups, out, channels, *kernel]; options as in conv. Raises ShapeError.
        """
        _, *kernel = _weight(operator, W, count + 1, "groups", "out", "in")[2:]
        sides = windows(operator, X.shape[:1] + X.shape[2:], kernel, stride, padding, dilation)
        n, g, k = axes("n g k")
        positions = index_axes([w.positions for w in sides])
        c, *offsets = (*axes("c"), *offset_axes(kernel))
        image = [w.at(y, r) for w, y, r in zip(sides, positions, offsets, strict=True)]
        return Sum(X[(n, g, c, *image)] * W[(g, k, c, *offsets)], over=(c, *offsets))

    return grouped_conv


grouped_conv1d, grouped_conv2d, grouped_conv3d = map(_grouped, (1, 2, 3))


def _transposed(count: int) -> Operator:
    operator = f"conv_transpose{count}d"

    @op(name=operator, samples=TRANSPOSED[count], register=True)
    def conv_transpose(
        X: Operand,
        W: Operand,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Expr:
        """Y[n, k, h] = Σ_{c, r : s | h + p - d·r} X[n, c, (h + p - d·r) / s] · W[c, k, r]

        What a convolution with these options does to the gradient of its result (Dumoulin, Visin 2016); h and r stand
        for one, two or three axes. X is [n, channels, *image], W is [channels, out / groups, *kernel]; the
        image becomes (extent - 1)·s - 2·p + d·(kernel - 1) + 1 + output_padding. Raises ShapeError.
        """
        channels, _ = image_shape(operator, X.shape, count)
        inputs, own, *kernel = _weight(operator, W, count, "in", "out / groups")
        check_groups(operator, groups, in_channels=channels)
        if channels != inputs:
            raise ShapeError(
                f"{operator}: the input {X.shape} has {channels} channels, the weight {W.shape} needs {inputs}",
                hint="a transposed weight is [in, out / groups, *kernel]",
            )
        sides = opposite(operator, X.shape, kernel, stride, padding, output_padding, dilation)
        (n,), k = axes("n"), axis("k", own * groups)
        image = index_axes([w.extent for w in sides])
        c, offsets = _channel(channels // groups, groups), offset_axes(kernel)
        found = [w.position(h, r) for w, h, r in zip(sides, image, offsets, strict=True)]
        channel = c + channels // groups * _group(k, own * groups, groups)
        feature = k if groups == 1 else Mod(k, own) if own > 1 else 0
        return Sum(
            X[(n, channel, *[position for position, _ in found])] * W[(channel, feature, *offsets)],
            over=[a for a in (c, *offsets) if a != 0],
            where=[condition for _, conditions in found for condition in conditions],
        )

    return conv_transpose


conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_transposed, (1, 2, 3))


def _grouped_transposed(count: int) -> Operator:
    operator = f"grouped_conv_transpose{count}d"
    image, kernel = (3, 2, 2)[:count], (3, 2, 2)[:count]
    samples = [Sample(((2, 2, 3, *image), (2, 3, 2, *kernel)), {"stride": 2, "padding": (1,) + (0,) * (count - 1)})]

    @op(name=operator, samples=samples, register=True)
    def grouped_conv_transpose(
        X: Operand,
        W: Operand,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
    ) -> Expr:
        """Y[n, g, k, h] = Σ_{c, r : s | h + p - d·r} X[n, g, c, (h + p - d·r) / s] · W[g, c, k, r]

        Transposed convolutions side by side: X is [n, groups, channels, *image], W is
        [groups, channels, out, *kernel]; options as in conv_transpose. Raises ShapeError.
        """
        _, *kernel = _weight(operator, W, count + 1, "groups", "in", "out")[2:]
        sides = opposite(operator, X.shape[:1] + X.shape[2:], kernel, stride, padding, output_padding, dilation)
        n, g, k = axes("n g k")
        image = index_axes([w.extent for w in sides])
        c, *offsets = (*axes("c"), *offset_axes(kernel))
        found = [w.position(h, r) for w, h, r in zip(sides, image, offsets, strict=True)]
        return Sum(
            X[(n, g, c, *[position for position, _ in found])] * W[(g, c, k, *offsets)],
            over=(c, *offsets),
            where=[condition for _, conditions in found for condition in conditions],
        )

    return grouped_conv_transpose


grouped_conv_transpose1d, grouped_conv_transpose2d, grouped_conv_transpose3d = map(_grouped_transposed, (1, 2, 3))


# ---------------------------------------------------------------------------------------------------- groups


def _group(k: Expr, features: int, groups: int) -> Any:
    """The group of a feature."""
    return 0 if groups == 1 else FloorDiv(k, features // groups) if groups < features else k


def _channel(own: int, groups: int) -> Any:
    """The axis over the channels of a group; a group of one channel needs none."""
    return 0 if own == 1 and groups > 1 else axis("c", own)


def check_groups(operator: str, groups: Any, **channels: int) -> None:
    """Raises ShapeError unless the groups divide these numbers of channels."""
    if not isinstance(groups, int) or groups < 1:
        raise ShapeError(f"{operator}: groups must be a positive integer, got {groups!r}")
    common = gcd(*channels.values())
    divisors = [d for d in range(1, common + 1) if common % d == 0]
    for name, number in channels.items():
        if number % groups:
            near = sorted({max(d for d in divisors if d <= groups), min(d for d in (*divisors, groups) if d >= groups)})
            fitting = " or ".join(str(d) for d in near if d in divisors)
            raise ShapeError(
                f"{operator}: {groups} groups do not divide {name}={number}",
                hint=f"use groups={fitting}, or {name}={number + -number % groups}",
            )


def _weight(operator: str, W: Operand, window: int, *leading: str) -> tuple[int, ...]:
    """The shape of a weight [*leading, *kernel]. Raises ShapeError for another number of axes."""
    count = window + 2 - len(leading)
    if W.rank != window + 2:
        expected = ", ".join((*leading, *(f"kernel {s}" for s in SIDES[count])))
        raise ShapeError(f"{operator}: expected a weight [{expected}], got {W.shape}")
    return sizes(operator, "the shape of the weight", W.shape, W.rank, 1)


def _fitting(X: Operand, W: Operand, wanted: int, own: int, groups: int) -> str:
    """What would make a weight for `own` channels in each group and an input that has `wanted` of them fit."""
    if groups == 1 and X.shape[-1] == own != 1:
        return "images are (batch, channels, height, width); permute them if channels stand last"
    features, *_ = W.shape
    weight = f"a weight of shape {(features, wanted, *W.shape[2:])}"
    other, uneven = divmod(wanted * groups, own)
    if not uneven and isinstance(features, int) and features % other == 0:
        return f"use groups={other} or {weight}"
    return f"use {weight} or an input with {own * groups} channels"
