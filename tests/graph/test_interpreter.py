"""The numpy meaning of graphs, against numpy itself."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.errors import InputError
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.types import BATCH, DType, TensorType
from tests.strategies import add, dense, scaled, softmax

RANDOM = np.random.default_rng(3)


def network(dtype: DType = DType.FLOAT64) -> Graph:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 4), dtype))
    w = builder.parameter("w", TensorType((3, 4), dtype))
    y = builder.apply(softmax, (builder.apply(dense, (x, w)),))
    return builder.graph([y], [(w, builder.apply(scaled, (w,), {"factor": 0.5}))])


def test_outputs_and_updates() -> None:
    x, w = RANDOM.normal(size=(5, 4)), RANDOM.normal(size=(3, 4))
    result = interpret(network(), {"x": x}, {"w": w})
    e = np.exp(x @ w.T)
    np.testing.assert_allclose(result.outputs[0], e / e.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(result.updates["w"], w / 2)
    dense_output = network().nodes[0].output
    np.testing.assert_allclose(result.values[dense_output], x @ w.T, rtol=1e-12)


def test_an_update_is_not_seen_before_the_run_ends() -> None:
    builder = Builder()
    a = builder.parameter("a", TensorType((2,)))
    b = builder.parameter("b", TensorType((2,)))
    total = builder.apply(add, (a, b))
    result = interpret(
        builder.graph([total], [(a, b), (b, total)]), {}, {"a": np.float32([1, 2]), "b": np.float32([10, 20])}
    )
    np.testing.assert_array_equal(result.updates["a"], [10, 20])
    np.testing.assert_array_equal(result.updates["b"], [11, 22])


def test_single_precision_stays_single() -> None:
    x, w = RANDOM.normal(size=(2, 4)), RANDOM.normal(size=(3, 4))
    result = interpret(network(DType.FLOAT32), {"x": x}, {"w": w})
    assert {a.dtype for a in (*result.outputs, *result.updates.values())} == {np.dtype("float32")}


def test_wrong_data_is_refused() -> None:
    x, w = np.zeros((5, 4)), np.zeros((3, 4))
    with pytest.raises(InputError, match=r"inputs are x; got none\n  hint: add x"):
        interpret(network(), {}, {"w": w})
    with pytest.raises(InputError, match="leave out y"):
        interpret(network(), {"x": x, "y": x}, {"w": w})
    with pytest.raises(InputError, match=r"w has shape \(3, 5\), expected \(3, 4\)"):
        interpret(network(), {"x": x}, {"w": np.zeros((3, 5))})
    with pytest.raises(InputError, match="x has 1 axes"):
        interpret(network(), {"x": np.zeros(4)}, {"w": w})
    with pytest.raises(InputError, match="x has 5 samples, expected 6"):
        interpret(network(), {"x": x}, {"w": w}, batch=6)
