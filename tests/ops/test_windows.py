"""Convolution, pooling, padding and resampling: values against numpy, and the sentences for what does not fit."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from graphc.errors import ShapeError
from graphc.ops import convolution, filters, padding, pooling, resampling, unfolding, unpooling
from graphc.ops.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from graphc.ops.evaluate import evaluate
from graphc.ops.operator import Operator
from graphc.types import BATCH, DType, TensorType

Array = np.ndarray


def compute(operator: Operator, *arrays: Any, **options: Any) -> Array:
    """The value of an operator on arrays, statement by statement."""
    given = [np.asarray(a) for a in arrays]
    definition = operator.define(tuple(TensorType(a.shape, DType.of(a.dtype)) for a in given), options)
    values = dict(zip(operator.tensors, given, strict=True))
    for s in definition.statements:
        values[s.name] = evaluate(s.formula, values, dtype=s.type.dtype)
        assert values[s.name].shape == s.type.shape
    return values[s.name]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).uniform(-2, 2, shape)


def windows(x: Array, kernel: Any, stride: Any, pads: Any, dilation: Any, fill: float) -> Array:
    """[n, c, *positions, *kernel]: what each window sees."""
    count = len(kernel)
    x = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, 2 + count)))
    return seen[(slice(None), slice(None), *[slice(None, None, s) for s in (*stride, *dilation)])]


GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), (1, 1), (0, 0), (1, 1)),
    ((3, 2), (2, 1), (1, 1), (1, 1)),
    ((2, 3), (1, 2), (0, 1), (2, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((5, 5), (3, 3), (2, 2), (1, 1)),
    ((3,), (2,), (1,), (2,)),
    ((2, 3, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_convolution(kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    count = len(kernel)
    x, w = draw(2, 3, *(7, 6, 5)[:count]), draw(4, 3, *kernel)
    seen = windows(x, kernel, stride, [(p, p) for p in padding], dilation, 0.0)
    expected = np.einsum(seen, [0, 1, *range(2, 2 + 2 * count)], w, [9, 1, *range(2 + count, 2 + 2 * count)],
                         [0, 9, *range(2, 2 + count)])  # fmt: skip
    operator = getattr(convolution, f"conv{count}d")
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    np.testing.assert_allclose(compute(operator, x, w, **options), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_groups_are_convolutions_side_by_side(groups: int, multiplier: int) -> None:
    x, w = draw(2, 4, 5, 6), draw(4 * multiplier, 4 // groups, 3, 2)
    sides = zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True)
    expected = np.concatenate([compute(conv2d, a, v, padding=1) for a, v in sides], 1)
    np.testing.assert_allclose(compute(conv2d, x, w, padding=1, groups=groups), expected, rtol=1e-12)
    w = draw(4, multiplier, 3, 2)
    sides = zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True)
    options = {"stride": 2, "padding": 1}
    expected = np.concatenate([compute(conv_transpose2d, a, v, **options) for a, v in sides], 1)
    got = compute(conv_transpose2d, x, w, groups=groups, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "pads"), [((3, 3), 1, (1, 1)), ((2, 4), 1, (0, 1)), ((3, 3), 2, (1, 1))])
def test_same_padding_puts_the_surplus_last(kernel: Any, stride: int, pads: tuple[int, int]) -> None:
    x, w = draw(1, 2, 5, 5), draw(3, 2, *kernel)
    sides = [(p, k - 1 - p) for p, k in zip(pads, kernel, strict=True)]
    seen = windows(x, kernel, (stride, stride), sides, (1, 1), 0.0)
    got = compute(conv2d, x, w, padding="same", stride=stride)
    assert got.shape[2:] == (-(-5 // stride), -(-5 // stride))
    np.testing.assert_allclose(got, np.einsum("ncyxrq,kcrq->nkyx", seen, w), rtol=1e-10)
    np.testing.assert_array_equal(compute(conv2d, x, w, padding="valid"), compute(conv2d, x, w))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "extra"),
    [(3, 1, 0, 1, 0), (4, 2, 1, 1, 0), (3, 3, 2, 1, 2), (2, 2, 1, 3, 2)],
)
def test_a_transposed_convolution_scatters(kernel: int, stride: int, padding: int, dilation: int, extra: int) -> None:
    x, w = draw(2, 3, 5), draw(3, 4, kernel)
    whole = np.zeros((2, 4, 4 * stride + dilation * (kernel - 1) + 1 + extra))
    for y, r in itertools.product(range(5), range(kernel)):
        whole[:, :, stride * y + dilation * r] += x[:, :, y] @ w[:, :, r]
    expected = whole[:, :, padding : whole.shape[2] - padding]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": extra}
    np.testing.assert_allclose(compute(conv_transpose1d, x, w, **options), expected, rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------------------------------------- pooling


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_pooling(kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    count = len(kernel)
    last = tuple(range(2 + count, 2 + 2 * count))
    x = draw(2, 3, *(7, 6, 5)[:count]) - 5.0  # negative, so that a padding of zeros would win
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    pads = [(p, p) for p in padding]
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    seen = windows(x, kernel, stride, pads, dilation, -np.inf)
    got = compute(getattr(pooling, f"max_pool{count}d"), x, dilation=dilation, **options)
    np.testing.assert_array_equal(got, seen.max(last))
    places = np.arange(x[0, 0].size, dtype=float).reshape(1, 1, *x.shape[2:]) + np.zeros_like(x)
    first = np.where(seen == seen.max(last, keepdims=True), windows(places, kernel, stride, pads, dilation, 0), np.inf)
    got = compute(getattr(pooling, f"max_pool{count}d_indices"), x, dilation=dilation, **options)
    np.testing.assert_array_equal(got, first.min(last))
    ones = (1,) * count
    average = getattr(pooling, f"avg_pool{count}d")
    total = windows(x, kernel, stride, pads, ones, 0.0).sum(last)
    inside = windows(np.ones_like(x), kernel, stride, pads, ones, 0.0).sum(last)
    np.testing.assert_allclose(compute(average, x, **options), total / np.prod(kernel), rtol=1e-12)
    np.testing.assert_allclose(compute(average, x, count_include_pad=False, **options), total / inside, rtol=1e-12)
    np.testing.assert_allclose(compute(average, x, divisor_override=7, **options), total / 7, rtol=1e-12)


def test_the_stride_of_pooling_is_its_kernel() -> None:
    x = np.arange(24.0).reshape(1, 1, 4, 6)
    assert compute(pooling.max_pool2d, x, kernel_size=(2, 3)).tolist() == [[[[8, 11], [20, 23]]]]
    assert compute(pooling.avg_pool2d, x, kernel_size=(2, 3)).tolist() == [[[[4, 7], [16, 19]]]]


def test_the_place_of_something_that_is_no_number_is_found() -> None:
    x = np.array([[[1.0, np.nan, 3, 4, 0, 0]]])
    assert compute(pooling.max_pool1d_indices, x).tolist() == [[[1, 3, 4]]]
    assert np.isnan(compute(pooling.max_pool1d, x)).tolist() == [[[True, False, False]]]


def test_ceil_mode_lets_the_last_window_reach_over_the_end() -> None:
    x = np.array([[[1.0, 2, 3, 4, 5]]])
    options = {"kernel_size": 2, "ceil_mode": True}
    assert compute(pooling.max_pool1d, x, **options).tolist() == [[[2, 4, 5]]]
    assert compute(pooling.avg_pool1d, x, **options).tolist() == [[[1.5, 3.5, 5]]]
    assert compute(pooling.lp_pool1d, x, norm_type=1, **options).tolist() == [[[3, 7, 10]]]
    # a window that would begin behind the input and its padding is none
    assert compute(pooling.max_pool1d, x, kernel_size=1, stride=3, ceil_mode=True).tolist() == [[[1, 4]]]
    assert compute(pooling.avg_pool1d, x, kernel_size=3, stride=2, padding=1, ceil_mode=True).shape == (1, 1, 3)


def test_lp_pooling_is_a_norm_with_gradient_zero_at_zero() -> None:
    x = np.array([[[3.0, 4, 0, 0]]])
    assert compute(pooling.lp_pool1d, x, norm_type=2).tolist() == [[[5, 0]]]
    assert compute(pooling.lp_pool1d, x, norm_type=1).tolist() == [[[7, 0]]]


@pytest.mark.parametrize("output_size", [1, 2, 3, 5, (3, None), (4, 7)])
def test_adaptive_pooling(output_size: Any) -> None:
    x = draw(2, 2, 5, 6)
    asked = output_size if isinstance(output_size, tuple) else (output_size,) * 2
    parts = [
        [(i * e // o, -(-(i + 1) * e // o)) for i in range(o)] if (o := p or e) else []
        for p, e in zip(asked, (5, 6), strict=True)
    ]
    for kind, reduce in (("avg", np.mean), ("max", np.max)):
        expected = [[reduce(x[:, :, a:b, c:d], axis=(2, 3)) for c, d in parts[1]] for a, b in parts[0]]
        got = compute(getattr(pooling, f"adaptive_{kind}_pool2d"), x, output_size=output_size)
        np.testing.assert_allclose(got, np.array(expected).transpose(2, 3, 0, 1), rtol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (2, 3, 0), (3, 2, 1), (3, 1, 0)])
def test_unpooling_puts_the_maxima_back(kernel: int, stride: int, padding: int) -> None:
    x = draw(2, 2, 6, 7) + 3.0
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    y, places = compute(pooling.max_pool2d, x, **options), compute(pooling.max_pool2d_indices, x, **options)
    expected = np.zeros((2, 2, 42))
    np.put_along_axis(expected, places.reshape(2, 2, -1), y.reshape(2, 2, -1), 2)
    got = compute(unpooling.max_unpool2d, y, places, output_size=(6, 7), **options)
    np.testing.assert_array_equal(got, expected.reshape(x.shape))


# --------------------------------------------------------------------------------------- padding and windows


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_extending_is_numpys_padding(mode: str) -> None:
    x = draw(2, 3, 5)
    name = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    for before, after in ((2, 1), (0, 4), (3, 0), (0, 0)):
        got = compute(padding.extend, x, axis=2, before=before, after=after, mode=mode)
        np.testing.assert_array_equal(got, np.pad(x, ((0, 0), (0, 0), (before, after)), name))
    np.testing.assert_array_equal(
        compute(padding.extend, x, axis=2, before=-1, after=2, mode=mode),
        np.pad(x, ((0, 0), (0, 0), (0, 2)), name)[..., 1:],
    )


def test_constants_around_and_cut_edges() -> None:
    x = draw(2, 3, 4)
    np.testing.assert_array_equal(compute(padding.constant_pad, x, padding=(1, 2)), np.pad(x, ((0, 0), (0, 0), (1, 2))))
    expected = np.pad(x, ((0, 0), (2, 0), (0, 1)), constant_values=0.1)[:, :-1, 1:]
    np.testing.assert_array_equal(compute(padding.constant_pad, x, padding=(-1, 1, 2, -1), value=0.1), expected)


def test_windows_as_axes_and_their_overlapping_sum_are_adjoint() -> None:
    options = {"stride": (1, 2), "padding": 1, "dilation": (2, 1)}
    x = draw(2, 3, 5, 6)
    seen = compute(unfolding.sliding_windows, x, kernel_size=(2, 3), **options)
    expected = windows(x, (2, 3), (1, 2), [(1, 1)] * 2, (2, 1), 0.0).transpose(0, 1, 4, 5, 2, 3)
    np.testing.assert_array_equal(seen, expected)
    z = draw(*seen.shape, seed=1)
    back = compute(unfolding.overlap_add, z, output_size=(5, 6), **options)
    assert np.sum(back * x) == pytest.approx(np.sum(z * seen))


# ---------------------------------------------------------------------------------- resampling and filters


def test_nearest_takes_the_element_before_or_around() -> None:
    x = np.arange(5.0).reshape(1, 1, 5)
    assert compute(resampling.upsample_nearest, x, size=(10,))[0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert compute(resampling.upsample_nearest, x, size=(3,))[0, 0].tolist() == [0, 1, 3]


def kernel(mode: str, d: Array) -> Array:
    """The weight of an element at a distance: a triangle, or Keys' cubic with a = -3/4."""
    d, a = np.abs(d), -0.75
    if mode == "linear":
        return np.maximum(1 - d, 0)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resampling_weighs_elements_by_their_distance(mode: str) -> None:
    x, step, origin = draw(9), Fraction(3, 7), Fraction(5, 4)
    got = compute(resampling.resample, x, axis=0, size=8, step=step, origin=origin, mode=mode)
    first = 1 if mode == "cubic" else 0  # the first of four neighbours stands one before the place
    places = float(origin) + float(step) * np.arange(8) + first
    np.testing.assert_allclose(got, kernel(mode, places[:, None] - np.arange(9)) @ x, rtol=1e-12)


def test_channels_become_pixels_and_back() -> None:
    x = draw(2, 12, 3, 2)
    shuffled = compute(resampling.pixel_shuffle, x, upscale_factor=2)
    expected = x.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 6, 4)
    np.testing.assert_array_equal(shuffled, expected)
    np.testing.assert_array_equal(compute(resampling.pixel_unshuffle, shuffled, downscale_factor=2), x)
    expected = x.reshape(2, 3, 4, 3, 2).swapaxes(1, 2).reshape(x.shape)
    np.testing.assert_array_equal(compute(resampling.channel_shuffle, x, groups=3), expected)


@pytest.mark.parametrize(("name", "across"), [("sobel", (1, 2, 1)), ("prewitt", (1, 1, 1)), ("scharr", (3, 10, 3))])
def test_slopes(name: str, across: tuple[int, ...]) -> None:
    x = draw(1, 2, 5, 6)
    seen = windows(x, (3, 3), (1, 1), [(0, 0)] * 2, (1, 1), 0.0)
    kernel = np.outer(across, (-1, 0, 1))
    for along, weights in (("x", kernel), ("y", kernel.T)):
        got = compute(filters.slope, x, filter=name, along=along)
        np.testing.assert_allclose(got, np.einsum("ncyxrq,rq->ncyx", seen, weights), rtol=1e-12, atol=1e-14)
    assert compute(filters.magnitude, np.array([3.0, 0]), np.array([4.0, 0])).tolist() == [5, 0]


# -------------------------------------------------------------------------------------------------- errors

IMAGE, SEQUENCE = TensorType((BATCH, 3, 4, 9)), TensorType((BATCH, 4, 5))


def weight(*shape: int) -> TensorType:
    return TensorType(shape)


@pytest.mark.parametrize(
    ("operator", "types", "options", "error"),
    [
        (
            conv2d, (IMAGE, weight(8, 3, 5, 5)), {},
            "conv2d: kernel 5 is larger than the input 4 along the height\n"
            "  hint: use padding=1 or a height of at least 5",
        ),
        (
            conv2d, (IMAGE, weight(8, 3, 5, 5)), {"dilation": 3, "padding": 1},
            "conv2d: kernel 5 (dilated to 13) is larger than the padded input 6 (4 + 2·1) along the height\n"
            "  hint: use padding=5 or a height of at least 11",
        ),
        (
            conv1d, (SEQUENCE, weight(8, 4, 7)), {},
            "conv1d: kernel 7 is larger than the input 5 along the length\n"
            "  hint: use padding=1 or a length of at least 7",
        ),
        (
            conv2d, (IMAGE, weight(8, 9, 3, 3)), {},
            "conv2d: the input (N, 3, 4, 9) has 3 channels, the weight (8, 9, 3, 3) needs 9\n"
            "  hint: images are (batch, channels, height, width); permute them if channels stand last",
        ),
        (
            conv2d, (IMAGE, weight(9, 1, 3, 3)), {},
            "conv2d: the input (N, 3, 4, 9) has 3 channels, the weight (9, 1, 3, 3) needs 1\n"
            "  hint: use groups=3 or a weight of shape (9, 3, 3, 3)",
        ),
        (
            conv1d, (SEQUENCE, weight(6, 4, 3)), {"groups": 2},
            "conv1d: the input (N, 4, 5) has 4 channels in 2 groups of 2, the weight (6, 4, 3) needs 4\n"
            "  hint: use groups=1 or a weight of shape (6, 2, 3)",
        ),
        (
            conv1d, (SEQUENCE, weight(6, 1, 3)), {"groups": 3},
            "conv1d: 3 groups do not divide in_channels=4\n  hint: use groups=2, or in_channels=6",
        ),
        (
            conv1d, (SEQUENCE, weight(6, 1, 3)), {"groups": 4},
            "conv1d: 4 groups do not divide out_channels=6\n  hint: use groups=2, or out_channels=8",
        ),
        (conv1d, (SEQUENCE, weight(6, 1, 3)), {"groups": 0}, "conv1d: groups must be a positive integer, got 0"),
        (
            conv2d, (weight(2, 9), weight(8, 1, 3, 3)), {},
            "conv2d: expected images of shape (batch, channels, height, width), got (2, 9)\n"
            "  hint: the input has 2 axes; add or remove some with reshape",
        ),
        (
            conv2d, (TensorType((2, 3, BATCH, 4)), weight(8, 3, 3, 3)), {},
            "conv2d: expected images of shape (batch, channels, height, width), got (2, 3, N, 4)\n"
            "  hint: only the first axis can be the batch",
        ),
        (
            conv2d, (IMAGE, weight(8, 3, 3)), {},
            "conv2d: expected a weight [out, in / groups, kernel height, kernel width], got (8, 3, 3)",
        ),
        (
            conv2d, (IMAGE, weight(8, 3, 3, 3)), {"stride": 0},
            "conv2d: stride must be an integer of at least 1, or a pair of them, got 0",
        ),
        (
            conv2d, (IMAGE, weight(8, 3, 3, 3)), {"padding": "all"},
            "conv2d: padding must be integers, \"same\" or \"valid\", got 'all'",
        ),
        (
            conv_transpose1d, (SEQUENCE, weight(3, 4, 2)), {},
            "conv_transpose1d: the input (N, 4, 5) has 4 channels, the weight (3, 4, 2) needs 3\n"
            "  hint: a transposed weight is [in, out / groups, *kernel]",
        ),
        (
            conv_transpose1d, (SEQUENCE, weight(4, 4, 2)), {"padding": 4},
            "conv_transpose1d: nothing is left along the length: (5 - 1)·1 + 2 + 0 elements without 2·4 of padding\n"
            "  hint: use padding=2 or a length of at least 8",
        ),
        (
            conv_transpose1d, (SEQUENCE, weight(4, 4, 2)), {"stride": 2, "output_padding": 2},
            "conv_transpose1d: output_padding 2 along the length leaves out windows: it must be smaller than the "
            "stride 2 or the dilation 1\n  hint: use output_padding=1 or a larger input",
        ),
        (
            pooling.max_pool2d, (IMAGE,), {"kernel_size": 2, "padding": 2},
            "max_pool2d: padding 2 is more than half of the kernel 2, so windows could be empty\n"
            "  hint: use padding of at most 1 or a kernel of at least 4",
        ),
        (
            pooling.max_pool2d, (IMAGE,), {"kernel_size": 2, "dilation": 6},
            "max_pool2d: kernel 2 (dilated to 7) is larger than the input 4 along the height\n"
            "  hint: use a height of at least 7",
        ),
        (
            pooling.avg_pool2d, (IMAGE,), {"divisor_override": 0},
            "avg_pool2d: divisor_override must be an integer other than 0, got 0",
        ),
        (
            pooling.adaptive_avg_pool2d, (IMAGE,), {"output_size": (2, 3, 4)},
            "adaptive_avg_pool2d: output_size must be an integer of at least 1, or a pair of them, got (2, 3, 4)",
        ),
        (
            unpooling.max_unpool1d, (weight(1, 1, 3), TensorType((1, 1, 3), DType.INT64)),
            {"kernel_size": 2, "output_size": (8,)},
            "max_unpool1d: 3 windows of stride 2 do not come from an image of 8\n"
            "  hint: use an output_size from 5 to 7",
        ),
        (
            pooling.subsample, (IMAGE,), {"channels": 2},
            "subsample: (N, 3, 4, 9) has 3 channels, 2 are asked for\n  hint: use channels=3 or more",
        ),
        (
            padding.extend, (IMAGE,), {"axis": 2, "before": 4},
            "extend: reflect padding of 4 elements needs more than the 4 of axis 2\n"
            "  hint: use at most 3, or an extent of at least 5",
        ),
        (
            padding.extend, (IMAGE,), {"axis": 2, "after": 5, "mode": "circular"},
            "extend: circular padding of 5 elements needs more than the 4 of axis 2\n"
            "  hint: use at most 4, or an extent of at least 5",
        ),
        (
            padding.extend, (IMAGE,), {"mode": "mirror"},
            "extend: there is no mode 'mirror'; modes are constant, reflect, replicate, circular",
        ),
        (padding.extend, (IMAGE,), {"axis": 0, "after": 1}, "extend: the batch axis of (N, 3, 4, 9) cannot be padded"),
        (
            padding.constant_pad, (IMAGE,), {"padding": (0, 0, -2, -2)},
            "constant_pad: nothing is left of 4 elements with -2 more before and -2 behind\n  hint: cut off at most 3",
        ),
        (
            padding.constant_pad, (IMAGE,), {"padding": (1,)},
            "constant_pad: padding must hold (before, after) for at most 4 axes, the last axis first, got (1,)",
        ),
        (
            unfolding.overlap_add, (weight(1, 1, 2, 2, 3, 3),), {"output_size": 5},
            "overlap_add: images of (5, 5) have (4, 4) windows, the input (1, 1, 2, 2, 3, 3) holds (3, 3)",
        ),
        (
            resampling.pixel_shuffle, (weight(1, 6, 2, 2),), {"upscale_factor": 2},
            "pixel_shuffle: 2·2 does not divide channels=6\n  hint: use channels=4 or 8",
        ),
        (
            resampling.pixel_unshuffle, (weight(1, 6, 4, 2),), {"downscale_factor": 3},
            "pixel_unshuffle: 3 does not divide height=4\n  hint: use height=3 or 6",
        ),
        (
            resampling.channel_shuffle, (weight(1, 6, 4, 2),), {"groups": 4},
            "channel_shuffle: 4 does not divide channels=6\n  hint: use channels=4 or 8",
        ),
        (
            filters.slope, (IMAGE,), {"filter": "canny"},
            "slope: filters are sobel, prewitt, scharr along \"x\" or \"y\", got 'canny' along 'x'",
        ),
        (
            filters.slope, (weight(1, 1, 2, 5),), {},
            "slope: kernel 3 is larger than the input 2 along the height\n"
            "  hint: use padding=1 or a height of at least 3",
        ),
    ],
)  # fmt: skip
def test_errors_tell_the_rule_the_numbers_and_the_fix(
    operator: Operator, types: tuple[TensorType, ...], options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        operator.define(types, options)
    assert str(caught.value) == error


def test_the_fix_that_an_error_computes_fits() -> None:
    for kernel, dilation, pads in ((5, 1, 0), (7, 1, 0), (5, 3, 1), (4, 2, 0)):
        w = weight(1, 3, kernel, kernel)
        with pytest.raises(ShapeError) as caught:
            conv2d.define((IMAGE, w), {"dilation": dilation, "padding": pads})
        words = caught.value.hint.split()
        enough, least = int(words[1].removeprefix("padding=")), int(words[-1])
        assert conv2d.define((IMAGE, w), {"dilation": dilation, "padding": enough})
        larger = TensorType((BATCH, 3, least, least))
        assert conv2d.define((larger, w), {"dilation": dilation, "padding": pads})
    for kernel, stride, pads, extra in ((2, 1, 4, 0), (3, 2, 7, 1), (1, 3, 9, 2)):
        options = {"stride": stride, "output_padding": extra}
        w = weight(4, 4, kernel)
        with pytest.raises(ShapeError) as caught:
            conv_transpose1d.define((SEQUENCE, w), {"padding": pads, **options})
        words = caught.value.hint.split()
        enough, least = int(words[1].removeprefix("padding=")), int(words[-1])
        assert conv_transpose1d.define((SEQUENCE, w), {"padding": enough, **options})
        with pytest.raises(ShapeError):
            conv_transpose1d.define((SEQUENCE, w), {"padding": enough + 1, **options})
        assert conv_transpose1d.define((TensorType((BATCH, 4, least)), w), {"padding": pads, **options})
        with pytest.raises(ShapeError):
            conv_transpose1d.define((TensorType((BATCH, 4, least - 1)), w), {"padding": pads, **options})
