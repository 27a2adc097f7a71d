"""Families of operators with random shapes, strides, paddings, dilations, axes and dtypes, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.against_torch import agree

RANDOM = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SMALL = st.integers(1, 3)
DTYPES = st.sampled_from(("float64", "float32"))


def noise(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(dtype)


def window(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The number of positions of a window, at most 0 if it does not fit."""
    return (extent + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@RANDOM
@given(st.data(), st.integers(1, 3))
def test_convolutions(data: st.DataObject, rank: int) -> None:
    groups = data.draw(st.integers(1, 2))
    inputs, outputs = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    kernel, stride, dilation = (tuple(data.draw(SMALL) for _ in range(rank)) for _ in range(3))
    padding = tuple(data.draw(st.integers(0, 2)) for _ in range(rank))
    size = tuple(data.draw(st.integers(1, 6)) for _ in range(rank))
    assume(all(window(*g) > 0 for g in zip(size, kernel, stride, padding, dilation, strict=True)))
    shapes = (2, inputs, *size), (outputs, inputs // groups, *kernel), (outputs,)
    dtype = data.draw(DTYPES)
    name = f"conv{rank}d"
    agree(
        lambda f, x, w, b: getattr(f, name)(x, w, b, stride, padding, dilation, groups),
        [noise(*s, dtype=dtype) for s in shapes],
    )


@RANDOM
@given(st.data(), st.integers(1, 2))
def test_transposed_convolutions(data: st.DataObject, rank: int) -> None:
    groups = data.draw(st.integers(1, 2))
    inputs, outputs = groups * data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    kernel, stride, dilation = (tuple(data.draw(SMALL) for _ in range(rank)) for _ in range(3))
    padding = tuple(data.draw(st.integers(0, 2)) for _ in range(rank))
    surplus = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    size = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    geometry = zip(size, kernel, stride, padding, surplus, dilation, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + o + 1 > 0 for n, k, s, p, o, d in geometry))
    x, w = noise(2, inputs, *size), noise(inputs, outputs, *kernel)
    name = f"conv_transpose{rank}d"
    agree(lambda f, x, w: getattr(f, name)(x, w, None, stride, padding, surplus, groups, dilation), (x, w))


def sees(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether every window has an element of the image: with dilation it may step over a small one."""
    starts = range(-padding, window(extent, kernel, stride, padding, dilation) * stride - padding, stride)
    return len(starts) > 0 and all(any(0 <= a + dilation * k < extent for k in range(kernel)) for a in starts)


@RANDOM
@given(st.data(), st.integers(1, 3), st.booleans())
def test_pooling(data: st.DataObject, rank: int, ceil: bool) -> None:
    kernel, stride, dilation = (tuple(data.draw(SMALL) for _ in range(rank)) for _ in range(3))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(data.draw(st.integers(1, 8 - rank)) for _ in range(rank))
    x = noise(2, 2, *size, dtype=data.draw(DTYPES))
    if all(sees(*g) for g in zip(size, kernel, stride, padding, dilation, strict=True)):
        agree(lambda f, x: getattr(f, f"max_pool{rank}d")(x, kernel, stride, padding, dilation, ceil), (x,))
    if all(k <= n for n, k in zip(size, kernel, strict=True)):  # what torch asks for in three dimensions
        whole = data.draw(st.booleans())
        agree(lambda f, x: getattr(f, f"avg_pool{rank}d")(x, kernel, stride, padding, ceil, whole), (x,))
    output = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    agree(lambda f, x: getattr(f, f"adaptive_avg_pool{rank}d")(x, output), (x,))
    agree(lambda f, x: getattr(f, f"adaptive_max_pool{rank}d")(x, output), (x,))


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@RANDOM
@given(st.data(), SHAPES, st.booleans())
def test_reductions(data: st.DataObject, shape: tuple[int, ...], keep: bool) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    several = tuple(a - len(shape) * data.draw(st.integers(0, 1)) for a in axes)
    one = several[0]
    x = noise(*shape, dtype=data.draw(DTYPES))
    agree(lambda f, x: (f.sum(x, several, keep), f.mean(x, several, keep), f.logsumexp(x, several, keep)), (x,))
    agree(lambda f, x: (f.amax(x, several, keep), f.amin(x, several, keep), f.prod(x, one, keep)), (x,))
    agree(lambda f, x: (f.argmax(x, one, keep), f.argmin(x, one, keep), f.cumsum(x, one)), (x,))
    if np.prod([shape[a] for a in axes]) > 1:
        agree(lambda f, x: (f.var(x, several), f.norm(x, 2, several, keep), f.norm(x, 3, several, keep)), (x,))


@RANDOM
@given(st.data(), SHAPES)
def test_softmax_and_sorting(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    down = data.draw(st.booleans())
    x = noise(*shape, dtype=data.draw(DTYPES))
    agree(lambda f, x: (f.softmax(x, axis), f.log_softmax(x, axis), f.softmin(x, axis)), (x,))
    agree(lambda f, x: (*f.sort(x, axis, down), *f.topk(x, k, axis, down)), (x,))


@RANDOM
@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
def test_indexing(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    length, count = shape[axis], data.draw(st.integers(1, 4))
    chosen = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=count, max_size=count)))
    index = np.random.default_rng(count).integers(0, length, (*shape[:axis], count, *shape[axis + 1 :]))
    x, source = noise(*shape), noise(*index.shape)
    agree(lambda f, x, i: f.index_select(x, axis, i), (x, chosen))
    agree(lambda f, x, i: f.gather(x, axis, i), (x, index))
    agree(lambda f, x, i, s: f.scatter_add(x, axis, i, s), (x, index, source))
    part = tuple(data.draw(slices(n)) for n in shape)
    agree(lambda f, x: (x[part], f.flip(x, (axis,)), f.roll(x, count, axis), f.cat([x, x[:1], x], 0)), (x,))


@st.composite
def slices(draw: Any, length: int) -> slice | int:
    """A place or a stretch that is not empty."""
    start = draw(st.integers(0, length - 1))
    if draw(st.booleans()):
        return start
    return slice(start - length * draw(st.integers(0, 1)), draw(st.integers(start + 1, length)), draw(SMALL))


@RANDOM
@given(st.data(), SHAPES)
def test_broadcasting(data: st.DataObject, shape: tuple[int, ...]) -> None:
    other = tuple(data.draw(st.sampled_from((n, 1))) for n in shape[data.draw(st.integers(0, len(shape) - 1)) :])
    agree(lambda f, a, b: (a + b, a * b - b, a / (b * b + 1), f.maximum(a, b)), (noise(*shape), noise(*other)))
