"""Tensors: operators, types, immutability, and errors that point at the user's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.dsl import functional as F
from graphc.dsl import nn
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor, input
from graphc.dsl.trace import trace
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.graph.interpreter import interpret
from graphc.ops.notation import Sum, axes
from graphc.ops.operator import op
from graphc.types import BATCH, DType

X = np.linspace(-2, 2, 12).reshape(3, 4)
Y = np.linspace(0.5, 3, 12).reshape(3, 4)


def value(tensor: Tensor, **arrays: np.ndarray) -> np.ndarray:
    traced = trace([tensor])
    (result,) = interpret(traced.graph, {n: arrays[n] for n in traced.inputs}, {}).outputs
    return result


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x + y,
        lambda x, y: 2.5 + x - 1,
        lambda x, y: 1 - x * 3,
        lambda x, y: x / y + 2 / y + x / 4,
        lambda x, y: y**2 + y**0.5 + y**-1 + 2**x + y**x,
        lambda x, y: -x + abs(x),
        lambda x, y: x @ y.T,
        lambda x, y: (x < y) + 2 * (x <= 0) + 4 * (x > y) + 8 * (y >= 0) + 16 * (x == y) + 32 * (x != 2),
        lambda x, y: np.float64(3) * x + np.float32(0.5),
        lambda x, y: (x - x.mean(axis=1, keepdims=True)) / y.max(axis=0),
        lambda x, y: x.sum(axis=(0, 1)) + y.min(),
        lambda x, y: x.reshape(4, 3) @ y.reshape((3, 4)),
        lambda x, y: x.T.transpose(1, 0) + x.reshape(3, 2, 2).transpose(0, 2, 1).reshape(3, -1),
    ],
)
def test_operators_mean_what_they_mean_in_numpy(f: Callable[[Any, Any], Any]) -> None:
    x, y = input("x", X.shape, "float64"), input("y", Y.shape, "float64")
    tensor = f(x, y)
    expected = f(X, Y)
    assert tensor.shape == np.shape(expected)
    np.testing.assert_allclose(value(tensor, x=X, y=Y), expected, rtol=1e-12)


def test_shape_and_dtype_are_known_at_once() -> None:
    x = input("x", (BATCH, 3, 8, 8))
    assert (x.shape, x.dtype, x.ndim) == ((BATCH, 3, 8, 8), DType.FLOAT32, 4)
    assert x.flatten().shape == (BATCH, 192)
    assert x.flatten(start=2).shape == (BATCH, 3, 64)
    assert x.mean(axis=(2, 3)).shape == (BATCH, 3)
    assert x.mean().shape == ()
    assert (x * 2).dtype is DType.FLOAT32
    assert F.transpose(x, 1, 3).shape == (BATCH, 8, 8, 3)
    assert repr(x) == "<input x: f32[N,3,8,8]>"


def here() -> int:
    return inspect.currentframe().f_back.f_lineno


def test_a_tensor_knows_the_line_that_built_it() -> None:
    line = here() + 1
    y = input("x", (2,)) + 1
    assert y.location is not None
    assert (y.location.file, y.location.line) == (__file__, line)
    assert repr(y) == f"<tensor f32[2] = add_number (test_tensor.py:{line})>"


def test_shape_errors_name_the_line_and_the_layer() -> None:
    model, line = nn.Sequential({"features": nn.Sequential({"conv1": nn.Conv2d(6, 5)})}), here()
    with pytest.raises(ShapeError) as caught:
        model(input("x", (BATCH, 1, 4, 4)))
    assert str(caught.value) == (
        f"{__file__}:{line}: features/conv1: conv2d: kernel 5 is larger than the input 4 along the height\n"
        "  hint: use padding=1 or a height of at least 5"
    )


def test_a_tensor_is_immutable() -> None:
    x = input("x", (2,))
    with pytest.raises(GraphError, match="a tensor is immutable: its name cannot be set"):
        x.name = "y"
    with pytest.raises(GraphError, match="a tensor is immutable"):
        (x + 1).note = 3


def test_a_tensor_has_no_value() -> None:
    x = input("x", (2,))
    with pytest.raises(GraphError, match="cannot be used as a condition") as caught:
        bool(x > 0)
    assert caught.value.hint == "use gc.where(condition, a, b), which chooses element by element"
    with pytest.raises(GraphError, match="cannot be converted to a number"):
        float(x)
    with pytest.raises(GraphError, match="cannot be converted to an array"):
        np.asarray(x)
    with pytest.raises(GraphError, match="cannot be iterated over"):
        list(x)
    with pytest.raises(GraphError, match="cannot be used as a condition"):
        assert x in [input("y", (2,))]


def test_tensors_are_keys_by_identity() -> None:
    x, y = input("x", (2,)), input("x", (2,))
    assert {x: 1, y: 2}[y] == 2


def test_operands_that_are_no_tensors() -> None:
    x = input("x", (2, 2))
    with pytest.raises(DTypeError, match="add: b must be a tensor or a number, got ndarray"):
        x + np.ones((2, 2))
    with pytest.raises(DTypeError, match="add: a must be a tensor or a number, got ndarray"):
        np.ones((2, 2)) + x
    with pytest.raises(DTypeError, match="matmul: B must be a tensor, got ndarray"):
        x @ np.ones((2, 2))
    with pytest.raises(DTypeError, match="mean: X must have a floating-point dtype, got int64"):
        input("labels", (2,), "int64").mean()
    with pytest.raises(DTypeError, match="operands mix float32 and float64"):
        x + input("z", (2, 2), "float64")
    with pytest.raises(ZeroDivisionError):
        x / 0


def test_inputs_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"gc\.BATCH must be the first axis only"):
        input("x", (3, BATCH))
    with pytest.raises(ShapeError, match=r"extents must be positive integers or gc.BATCH, got \(None, 3\)"):
        input("x", (None, 3))
    with pytest.raises(DTypeError, match="input x: dtype float16 is not supported"):
        input("x", (3,), "float16")
    with pytest.raises(GraphError, match="an input needs a name"):
        input("", (3,))


@op
def scaled_pairs(A: Any, B: Any, *, weights: tuple[float, ...] = (1.0,)) -> Any:
    """Σ_j sigmoid(A[i, j]) · max(B[j], w)"""
    i, j = axes("i j")
    return Sum(F.sigmoid(A[i, j]) * F.where(F.less(B[j], weights[0]), weights[0], B[j]), over=j)


def test_operators_of_the_user_are_written_with_the_same_functions() -> None:
    x, y = input("x", (3, 4), "float64"), input("y", (4,), "float64")
    z = scaled_pairs(x, y, weights=[1.5])
    assert z.attributes == {"weights": (1.5,)}
    expected = (1 / (1 + np.exp(-X)) * np.maximum(Y[0], 1.5)).sum(1)
    np.testing.assert_allclose(value(z, x=X, y=Y[0]), expected, rtol=1e-12)
    with pytest.raises(ShapeError, match="axis j is 4 in A but 3 in B"):
        scaled_pairs(x, input("y", (3,), "float64"))


def test_losses_choose_by_the_dtype_of_the_labels() -> None:
    logits = input("logits", (BATCH, 3))
    sparse, dense = input("labels", (BATCH,), "int32"), input("targets", (BATCH, 3))
    for f in (F.cross_entropy, F.categorical_cross_entropy):
        assert f(logits, sparse).operator.name == f.__name__
        assert f(logits, dense).operator.name == f"{f.__name__}_dense"
    assert F.categorical_cross_entropy(logits, sparse, from_logits=True).operator.name == "cross_entropy"
    assert F.binary_cross_entropy(dense, logits, from_logits=True).operator.name == "binary_cross_entropy_with_logits"
    assert F.mse_loss(dense, logits, reduction="none").shape == (BATCH, 3)


def test_penalties_take_a_weight() -> None:
    w = Parameter("w", (2, 2), dtype="float64")
    w.value = [[1, -2], [3, 0]]
    traced = trace([F.l1_penalty(w, 0.5), F.l2_penalty(w)])
    assert [float(v) for v in interpret(traced.graph, {}, {"w": w.value}).outputs] == [3, 14]
