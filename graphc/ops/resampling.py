"""Images of another size: interpolation, and channels that become pixels."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Constants, FloorDiv, Mod, Table
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Operand, Sum, axes, pointwise_names
from graphc.ops.notation import axis as new_axis
from graphc.ops.operator import Sample, op
from graphc.ops.window import image_shape, index_axes, sizes

WEIGHTS = {
    "linear": Constants("linear", ((1, -1), (0, 1))),
    "cubic": Constants(
        "cubic",
        (
            ("0", "-3/4", "3/2", "-3/4"),
            ("1", "0", "-9/4", "5/4"),
            ("0", "3/4", "3/2", "-5/4"),
            ("0", "0", "-3/4", "3/4"),
        ),
    ),
}
"""The weights of the neighbours of a place, as polynomials of its distance t from the one before: Σ_m W[a, m]·tᵐ.

Linear between two, cubic between four (Keys 1981, with the slope -3/4 at distance 1 that libraries use).
"""


@op(
    register=True,
    samples=[
        Sample(((2, 2, 6),), {"size": 6, "step": Fraction(1, 2), "origin": Fraction(3, 4)}),
        Sample(((2, 5, 3),), {"axis": 1, "size": 3, "step": Fraction(2, 3), "origin": Fraction(1, 6)}),
        Sample(((1, 2, 7),), {"size": 4, "step": Fraction(3, 4), "origin": Fraction(9, 8), "mode": "cubic"}),
    ],
)
def resample(
    X: Operand,
    *,
    axis: int = -1,
    size: int = 1,
    step: Fraction = Fraction(1),
    origin: Fraction = Fraction(0),
    mode: str = "linear",
) -> Expr:
    """Y[i] = Σ_a w_a(t)·X[⌊p⌋ + a], t = p - ⌊p⌋, at the places p = origin + step·i along one axis

    a counts 2 neighbours for "linear": w = (1 - t, t), or 4 for "cubic" (Keys 1981, a = -3/4), of which ⌊p⌋ is the
    first. All is exact arithmetic of integers; X is 0 outside. Raises ShapeError.
    """
    place = normal_axis("resample", axis, X.rank)
    if not isinstance(X.shape[place], int):
        raise ShapeError(f"resample: the batch axis of {X.shape} cannot be resampled")
    symbols = [
        new_axis(name, size if k == place else e)
        for k, (name, e) in enumerate(zip(pointwise_names(X.rank), X.shape, strict=True))
    ]
    weights = WEIGHTS[mode]
    a = new_axis("a", weights.shape[0])
    start, rest = parts(symbols[place], step, origin)
    weight: Expr = sp.S.Zero
    for m in reversed(range(weights.shape[1])):
        weight = weight * rest + Table(weights, a, m)
    return Sum(weight * X.at(*symbols[:place], start + a, *symbols[place + 1 :]), over=a)


def parts(i: Expr, step: Fraction, origin: Fraction) -> tuple[Expr, Expr]:
    """(⌊p⌋, p - ⌊p⌋) for p = origin + step·i, with as small integers as possible."""
    whole = step.denominator * origin.denominator // gcd(step.denominator, origin.denominator)
    slope, constant = int(step * whole), int(origin * whole)
    common = gcd(slope, whole)
    place = slope // common * i + constant // common
    period = whole // common
    start = FloorDiv(place, period) if period > 1 else place
    fraction = (Mod(place, period) if period > 1 else 0) * sp.Rational(common, whole)
    return start, fraction + sp.Rational(constant % common, whole)


@op(
    register=True,
    samples=[
        Sample(((2, 2, 3, 2),), {"size": (6, 4)}),
        Sample(((1, 2, 3, 5),), {"size": (5, 2)}),
        Sample(((2, 2, 3),), {"size": (5,), "origin": Fraction(1, 2)}),
    ],
)
def upsample_nearest(
    X: Operand,
    *,
    size: tuple[int, ...] = (1,),
    step: tuple[Fraction, ...] | None = None,
    origin: Fraction = Fraction(0),
) -> Expr:
    """Y[n, c, i] = X[n, c, ⌊step·(i + origin)⌋]

    i stands for the axes of X [n, channels, *image], of which there will be `size`; a step is extent / size unless
    given. origin 1/2 takes the element in which the middle of the new one lies. Raises ShapeError.
    """
    _, extents = image_shape("upsample_nearest", X.shape, len(size))
    steps = step or tuple(Fraction(e, s) for e, s in zip(extents, size, strict=True))
    (n, c), symbols = axes("n c"), index_axes(size)
    return X[(n, c, *[parts(i, s, s * origin)[0] for i, s in zip(symbols, steps, strict=True)])]


# ------------------------------------------------------------------------------------------ channels as pixels


@op(register=True, samples=[Sample(((2, 8, 2, 3),), {"upscale_factor": 2})])
def pixel_shuffle(X: Operand, *, upscale_factor: int = 2) -> Expr:
    """Y[n, c, y, x] = X[n, s²·c + s·(y mod s) + x mod s, y // s, x // s] for s = upscale_factor (Shi et al. 2016)

    X is [n, s²·channels, height, width], Y [n, channels, s·height, s·width]. Raises ShapeError.
    """
    channels, (height, width) = image_shape("pixel_shuffle", X.shape, 2)
    (s,) = sizes("pixel_shuffle", "upscale_factor", upscale_factor, 1, 1)
    _divides("pixel_shuffle", f"{s}·{s}", s * s, "channels", channels)
    (n,), c = axes("n"), new_axis("c", channels // (s * s))
    y, x = new_axis("y", s * height), new_axis("x", s * width)
    return X[n, s * s * c + s * Mod(y, s) + Mod(x, s), FloorDiv(y, s), FloorDiv(x, s)]


@op(register=True, samples=[Sample(((2, 2, 4, 6),), {"downscale_factor": 2})])
def pixel_unshuffle(X: Operand, *, downscale_factor: int = 2) -> Expr:
    """Y[n, k, y, x] = X[n, k // s², s·y + (k // s) mod s, s·x + k mod s] for s = downscale_factor

    The opposite of pixel_shuffle: X is [n, channels, s·height, s·width]. Raises ShapeError.
    """
    channels, (height, width) = image_shape("pixel_unshuffle", X.shape, 2)
    (s,) = sizes("pixel_unshuffle", "downscale_factor", downscale_factor, 1, 1)
    _divides("pixel_unshuffle", str(s), s, "height", height)
    _divides("pixel_unshuffle", str(s), s, "width", width)
    (n,), k = axes("n"), new_axis("k", channels * s * s)
    y, x = new_axis("y", height // s), new_axis("x", width // s)
    return X[n, FloorDiv(k, s * s), s * y + Mod(FloorDiv(k, s), s), s * x + Mod(k, s)]


@op(register=True, samples=[Sample(((2, 6, 2, 3),), {"groups": 2}), Sample(((2, 6, 4),), {"groups": 3})])
def channel_shuffle(X: Operand, *, groups: int = 1) -> Expr:
    """Y[n, k, y] = X[n, (k mod groups)·(channels / groups) + k // groups, y] (Zhang et al. 2018)

    X is [n, channels, *image]; y stands for its axes. Raises ShapeError.
    """
    channels, extents = image_shape("channel_shuffle", X.shape, max(X.rank - 2, 1))
    (groups,) = sizes("channel_shuffle", "groups", groups, 1, 1)
    _divides("channel_shuffle", str(groups), groups, "channels", channels)
    (n,), k = axes("n"), new_axis("k", channels)
    image = index_axes(extents)
    return X[(n, Mod(k, groups) * (channels // groups) + FloorDiv(k, groups), *image)]


def _divides(operator: str, spelled: str, divisor: int, what: str, number: int) -> None:
    if number % divisor:
        below = number - number % divisor
        fitting = f"{below} or {below + divisor}" if below else str(divisor)
        raise ShapeError(f"{operator}: {spelled} does not divide {what}={number}", hint=f"use {what}={fitting}")
