"""Square brackets mean what they mean in numpy, for random shapes and random indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.dsl.tensor import input
from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret


@st.composite
def subscripts(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and an index that leaves something of it."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    bound = st.one_of(st.none(), st.integers(-7, 7))
    named = draw(st.integers(0, len(shape)))
    parts: list[Any] = []
    for extent in shape[:named]:
        part = st.one_of(
            st.integers(-extent, extent - 1), st.builds(slice, bound, bound, st.sampled_from((None, 1, 2, 3, -1, -2)))
        )
        parts.append(draw(part.filter(lambda p, e=extent: isinstance(p, int) or len(range(e)[p]) > 0)))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        # behind the dots the parts are for the last axes, which may be too short for them
        parts.append(...)
    return shape, tuple(parts)


@settings(max_examples=60, deadline=None)
@given(subscripts(), st.booleans())
def test_slices_are_those_of_numpy(case: tuple[tuple[int, ...], tuple[Any, ...]], integers: bool) -> None:
    shape, index = case
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape) - 3
    tensor = input("x", shape, "int64" if integers else "float64")[index]
    expected = x[index]
    assert tensor.shape == expected.shape
    traced = trace([tensor])
    (found,) = interpret(traced.graph, {"x": x}).outputs
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_dots_and_one_tensor_of_integers(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = np.random.default_rng(shape).normal(size=shape)
    places = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=4))
    i = input("i", (len(places),), "int64")
    tensor = input("x", shape, "float64")
    after = (slice(None),) * (len(shape) - axis - 1)
    for whole, plain in (
        ((..., i, *after), (..., places, *after)),
        (((slice(None),) * axis + (i,)), ((slice(None),) * axis + (places,))),
    ):
        (found,) = interpret(trace([tensor[whole]]).graph, {"x": x, "i": np.array(places)}).outputs
        np.testing.assert_array_equal(found, x[plain])
