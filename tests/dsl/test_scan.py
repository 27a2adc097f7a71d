"""gc.scan: values against the step written out for each time, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.graph.analysis.recurrences import recurrences as recurrences_of
from graphc.graph.interpreter import interpret
from graphc.graph.verifier import verify
from graphc.ops.indexing import concat
from graphc.pipeline import SIMPLE, STABLE
from graphc.types import DType, TensorType
from tests.recurrent import Recurrent, evaluated, recurrences

SEARCH = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@SEARCH
@given(recurrences())
def test_a_scan_is_its_steps_one_after_another(case: Recurrent) -> None:
    leaves = case.leaves()
    graph = gc.trace(case.scanned(leaves)).graph
    expected = evaluated(gc.trace(case.written_out(leaves)).graph, case.arrays)
    verify(graph)
    for step in (lambda g: g, *STABLE, *SIMPLE):
        graph = step(graph)
        verify(graph)
        for a, b in zip(evaluated(graph, case.arrays), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def total(h: gc.Tensor, x: gc.Tensor) -> tuple[gc.Tensor, gc.Tensor]:
    return h + x, h + x


def values(*tensors: gc.Tensor, **inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    graph = gc.trace(tensors).graph
    verify(graph)
    parameters = {p.name: p.value for p in gc.trace(tensors).parameters.values()}
    return interpret(graph, inputs, parameters).outputs


X = np.random.default_rng(0).normal(size=(2, 4, 3))


def test_a_number_takes_the_shape_that_the_step_gives_it() -> None:
    x = gc.input("x", (gc.BATCH, 4, 3), "float64")
    ys, last = gc.scan(total, 0, x)
    assert (ys.shape, last.shape) == ((gc.BATCH, 4, 3), (gc.BATCH, 3))
    got = values(ys, last, x=X)
    np.testing.assert_allclose(got[0], np.cumsum(X, 1), rtol=1e-14)
    np.testing.assert_allclose(got[1], X.sum(1), rtol=1e-14)
    from_one = values(*gc.scan(total, 1.0, x, reverse=True), x=X)
    np.testing.assert_allclose(from_one[0], 1 + np.cumsum(X[:, ::-1], 1)[:, ::-1], rtol=1e-14)
    u = Parameter("u", (5, 5), "xavier", "float64")
    w = Parameter("w", (5, 3), "xavier", "float64")
    assert gc.scan(lambda h, x: (gc.tanh(gc.dense(x, w) + h @ u),) * 2, 0, x)[0].shape == (gc.BATCH, 4, 5)


def test_powers_without_xs() -> None:
    start = gc.input("start", (gc.BATCH, 3), "float64")
    ys, last = gc.scan(lambda h, x: (h * start, None) if x is None else None, start, length=3)
    assert ys is None
    np.testing.assert_allclose(values(last, start=X[:, 0])[0], X[:, 0] ** 4, rtol=1e-14)


def test_several_sequences_carries_and_results() -> None:
    """Fibonacci numbers weighted with one sequence and shifted by another."""
    a, b = (gc.input(n, (gc.BATCH, 4, 3), "float64") for n in "ab")

    def step(carry, x):
        (old, new), (p, q) = carry, x
        return (new, old * p + new + q), (old, p * q)

    (olds, products), (before, last) = gc.scan(step, (0, 1.0), (a, b))
    got = values(olds, products, before, last, a=X, b=X + 1)
    old, new = np.zeros((2, 3)), np.ones((2, 3))
    for t in range(4):
        np.testing.assert_allclose(got[0][:, t], old, rtol=1e-13)
        old, new = new, old * X[:, t] + new + X[:, t] + 1
    np.testing.assert_allclose(got[1], X * (X + 1), rtol=1e-14)
    np.testing.assert_allclose(got[2], old, rtol=1e-13)
    np.testing.assert_allclose(got[3], new, rtol=1e-13)


def test_carries_that_need_no_recurrence() -> None:
    """A shift register, a carry that stays and a result that does not depend on time."""
    x = gc.input("x", (gc.BATCH, 4, 3), "float64")
    w = gc.input("w", (gc.BATCH, 3), "float64")
    ys, (last, kept) = gc.scan(lambda c, x: ((x, c[1]), (c[0], c[1] * 2.0, w)), (0, w), x)
    got = values(*ys, last, kept, x=X, w=X[:, 0])
    np.testing.assert_array_equal(got[0], np.concatenate([np.zeros((2, 1, 3)), X[:, :-1]], 1))
    np.testing.assert_array_equal(got[1], np.broadcast_to(2 * X[:, :1], X.shape))
    np.testing.assert_array_equal(got[2], np.broadcast_to(X[:, :1], X.shape))
    np.testing.assert_array_equal(got[3], X[:, -1])
    np.testing.assert_array_equal(got[4], X[:, 0])


@pytest.mark.parametrize("reverse", [False, True])
def test_samples_that_end_early_keep_their_carry(reverse: bool) -> None:
    x, lengths = gc.input("x", (gc.BATCH, 4, 3), "float64"), gc.input("lengths", (gc.BATCH,), "int64")
    ys, last = gc.scan(total, 0, x, reverse=reverse, lengths=lengths)
    got = values(ys, last, x=X, lengths=np.array([2, 4]))
    expected = np.zeros_like(X)
    for n, length in enumerate((2, 4)):
        part = X[n, :length]
        expected[n, :length] = np.cumsum(part[::-1], 0)[::-1] if reverse else np.cumsum(part, 0)
        np.testing.assert_allclose(got[1][n], part.sum(0), rtol=1e-14)
    np.testing.assert_allclose(got[0], expected, rtol=1e-13, atol=0)


def test_layers_and_what_does_not_depend_on_time_are_made_once() -> None:
    cell, x = gc.GRUCell(5), gc.input("x", (gc.BATCH, 4, 3))
    ys, _ = gc.scan(lambda h, x: (cell(x, h),) * 2, TensorType((gc.BATCH, 5), DType.FLOAT32), x)
    traced = gc.trace(ys)
    assert sorted(traced.parameters) == [f"grucell.{n}" for n in ("bias_hh", "bias_ih", "weight_hh", "weight_ih")]
    (found,) = recurrences_of(traced.graph)
    products = [n for n in traced.graph.nodes if n.operator == "dense"]
    inside = [n for n in products if n in found.nodes]
    assert (len(products), len(inside)) == (2, 1)


def test_a_scan_of_slices_within_a_scan() -> None:
    """The inner one runs over another axis of what the step gets; it may not depend on the carry."""
    x = gc.input("x", (gc.BATCH, 4, 3, 2), "float64")

    def step(h, rows):
        _, summed = gc.scan(lambda c, row: (c * 0.5 + row, None), 0, rows)
        return (h + summed,) * 2

    data = np.random.default_rng(1).normal(size=(2, 4, 3, 2))
    ys, _ = gc.scan(step, 0, x)
    inner = data[:, :, 0] / 4 + data[:, :, 1] / 2 + data[:, :, 2]
    np.testing.assert_allclose(values(ys, x=data)[0], np.cumsum(inner, 1), rtol=1e-13)

    def nested(h, rows):
        _, summed = gc.scan(lambda c, row: (c * 0.5 + row, None), h, rows)
        return summed, summed

    with pytest.raises(GraphError, match=r"a scan within the step of a scan depends on its carry"):
        gc.trace(gc.scan(nested, TensorType((gc.BATCH, 2), DType.FLOAT64), x)[0])


def test_random_numbers_are_new_at_each_step_in_training_alone() -> None:
    x = gc.input("x", (gc.BATCH, 50, 3), "float64")
    ys, _ = gc.scan(lambda h, x: (h, gc.dropout(x * 1.0, 0.5)), TensorType((gc.BATCH, 1), DType.FLOAT64), x)
    ones = np.ones((4, 50, 3))
    plain = gc.trace(ys)
    np.testing.assert_array_equal(interpret(plain.graph, {"x": ones}, {}).outputs[0], ones)
    traced = gc.trace(ys, training=True)
    parameters = {name: p.value for name, p in traced.parameters.items()}
    (dropped,) = interpret(traced.graph, {"x": ones}, parameters).outputs
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert 0.4 < dropped.mean() / 2 < 0.6
    assert len({row.tobytes() for row in np.moveaxis(dropped, 1, 0)}) > 45


def test_a_step_that_takes_a_derivative() -> None:
    """Gradient descent on ½·|h·W² - x|², where W² is computed outside of the step; also by W itself."""
    x, w = gc.input("x", (gc.BATCH, 4, 3), "float64"), gc.input("w", (3,), "float64")
    squared = w * w

    def step(h, x):
        error = ((h * squared - x) ** 2.0).sum() * 0.5
        return h - gc.gradient(error, h) * 0.1, gc.gradient(error, w)

    ys, last = gc.scan(step, TensorType((gc.BATCH, 3), DType.FLOAT64), x)
    weights, h, slopes = np.array([0.5, 1.0, 2.0]), np.zeros((2, 3)), []
    for t in range(4):
        error = h * weights**2 - X[:, t]
        slopes.append((error * h * 2 * weights).sum(0))
        h = h - 0.1 * error * weights**2
    got = values(ys, last, x=X, w=weights)
    np.testing.assert_allclose(got[0], np.stack(slopes, 1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got[1], h, rtol=1e-12)


def test_a_choice_within_a_step() -> None:
    x, steps = gc.input("x", (gc.BATCH, 4), "float64"), gc.input("steps", (gc.BATCH,), "int64")
    ys, _ = gc.scan(lambda c, x: (gc.where(x > 0.0, x + c, c), c), 0, x, lengths=steps)
    (got,) = values(ys, x=np.array([[1.0, -1, 2, 3]]), steps=np.array([3]))
    np.testing.assert_array_equal(got, [[0, 1, 1, 0]])


def test_averages_of_a_step_are_refused() -> None:
    norm, x = gc.BatchNorm1d(), gc.input("x", (gc.BATCH, 4, 3))
    with pytest.raises(GraphError, match=r"running_mean would be updated at every step of a scan"):
        gc.scan(lambda h, x: (h + norm(x), None), TensorType((gc.BATCH, 3)), x)


def test_time_to_trace_does_not_depend_on_the_number_of_steps() -> None:
    def nodes(steps: int) -> int:
        x = gc.input("x", (gc.BATCH, steps, 3))
        graph = gc.trace(gc.LSTM(4)(x)[0].sum()).graph
        for step in (*STABLE, *SIMPLE):
            graph = step(graph)
        return len(graph.nodes)

    assert nodes(4) == nodes(1000)


def test_errors() -> None:
    x = gc.input("x", (gc.BATCH, 4, 3))
    other = gc.input("other", (gc.BATCH, 5, 3))
    state = TensorType((gc.BATCH, 3))
    with pytest.raises(GraphError, match="without xs the number of steps must be given"):
        gc.scan(total, state)
    with pytest.raises(ShapeError, match=r"the numbers of steps differ: 4 in xs\[0\] .* and 5 in xs\[1\]"):
        gc.scan(total, state, (x, other))
    with pytest.raises(ShapeError, match=r"differ: 7 in length and 4 in xs"):
        gc.scan(total, state, x, length=7)
    with pytest.raises(ShapeError, match=r"axis 0 of xs, f32\[N,4,3\], is the batch"):
        gc.scan(total, state, x, axis=0)
    with pytest.raises(ShapeError, match=r"has no axis 3"):
        gc.scan(total, state, x, axis=3)
    with pytest.raises(ShapeError, match=r"length must be a positive integer, got 0"):
        gc.scan(total, state, length=0)
    with pytest.raises(GraphError, match=r"the step must return \(carry, y\), got one tensor"):
        gc.scan(lambda h, x: h + x, state, x)
    with pytest.raises(GraphError, match=r"the carry is 2 tensors before a step and one tensor after it"):
        gc.scan(lambda c, x: (c[0] + x, None), (state, state), x)
    with pytest.raises(ShapeError, match=r"carry 1 is f32\[N,3\] before a step and f32\[N\] after it"):
        gc.scan(lambda c, x: ((c[0], x.sum(1)), None), (state, state), x)
    with pytest.raises(DTypeError, match=r"carry 0 is f64\[N,3\] before a step and f32\[N,3\] after it"):
        gc.scan(lambda c, x: (x, None), TensorType((gc.BATCH, 3), DType.FLOAT64), x)
    with pytest.raises(ShapeError, match=r"carry 0 starts with the number 0, and the step does not tell its shape"):
        gc.scan(lambda c, x: (c * 2.0, None), 0, x)
    with pytest.raises(
        ShapeError, match=r"does not tell its shape: concat: .*\n  hint: start with a tensor, as with gc"
    ):
        gc.scan(lambda c, x: (concat([x, c], axis=-1), None), 0, x)
    with pytest.raises(GraphError, match=r"carry 0 must start with a tensor, a TensorType or a number, got str"):
        gc.scan(total, "zeros", x)
    with pytest.raises(DTypeError, match=r"lengths must be a tensor of integers, got float32"):
        gc.scan(total, state, x, lengths=gc.input("lengths", (gc.BATCH,)))
    with pytest.raises(ShapeError, match=r"lengths i64\[N,1\] must hold one number for each sample"):
        gc.scan(total, state, x, lengths=gc.input("lengths", (gc.BATCH, 1), "int64"))
    leaked: list[gc.Tensor] = []
    gc.scan(lambda c, x: (leaked.append(c) or c + x, None), state, x)
    with pytest.raises(GraphError, match="it belongs to the step of a scan"):
        gc.trace(leaked[-1] * 2.0)
