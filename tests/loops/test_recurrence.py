"""Recurrences in loops and natively: the numbers of the interpreter, for blocks of all sizes and any threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gc
from graphc.codegen.target import GENERIC
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.ops import indexing as ops
from graphc.types import BATCH, DType, TensorType
from tests.loops.steps import STAGES, interpret_step, lowered
from tests.native import Native, with_gradients
from tests.recurrent import Recurrent, recurrences


def held(name: str, *shape: int, dtype: str = "float64") -> Parameter:
    parameter = Parameter(name, shape, dtype=dtype)
    parameter.value = (np.random.default_rng(shape).normal(size=shape) / 2).astype(dtype)
    return parameter


def elman(steps: int = 3, features: int = 5, reverse: bool = False, dtype: str = "float64") -> tuple[Tensor, ...]:
    """h' = tanh(x + U·h)."""
    x, u = gc.input("x", (BATCH, steps, features), dtype), held("u", features, features, dtype=dtype)

    def step(h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        h = gc.tanh(z + gc.dense(h, u))
        return h, h

    return gc.scan(step, 0, x, reverse=reverse)


def two_sizes(reverse: bool) -> tuple[Tensor, ...]:
    """Two carries of different widths that need each other, both given; results of two shapes."""
    x, v, w = gc.input("x", (BATCH, 4, 6), "float64"), held("v", 6, 9), held("w", 9, 6)
    first = gc.input("a", (BATCH, 6), "float64"), gc.input("b", (BATCH, 9), "float64")

    def step(carry: Any, z: Tensor) -> Any:
        a, b = carry
        new = gc.tanh(z + gc.dense(b, v))
        return (new, gc.sigmoid(gc.dense(new, w)) * b + a.mean(1, keepdims=True)), (new.sum(1), b)

    (sums, seen), last = gc.scan(step, first, x, reverse=reverse)
    return sums, seen, *last


def images() -> tuple[Tensor, ...]:
    """A convolution in each step reads beyond the edges of the state."""
    x, w = gc.input("x", (BATCH, 3, 2, 4, 4), "float64"), held("w", 2, 2, 3, 3)

    def step(h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        h = gc.tanh(z + gc.conv2d(h, w, padding=1))
        return h, h

    return gc.scan(step, TensorType((BATCH, 2, 4, 4), DType.FLOAT64), x)


def fast_weights() -> tuple[Tensor, ...]:
    """A state of two axes; a product of two members."""
    x, k, q = gc.input("x", (BATCH, 3, 4), "float64"), held("k", 4, 4), held("q", 3, 4)

    def step(s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        s = 0.9 * s + gc.dense(z, k)[:, :, None] * gc.dense(z, q)[:, None, :]
        y = (s * gc.tanh(s)).sum(2)
        return s + 0.1 * y[:, :, None], y

    return gc.scan(step, TensorType((BATCH, 4, 3), DType.FLOAT64), x)


def averages() -> tuple[Tensor, ...]:
    """Single numbers: no axis for lanes."""
    return gc.scan(lambda h, z: ((new := 0.5 * h + z), new), 0, gc.input("x", (BATCH, 7), "float64"))


CASES: dict[str, Callable[[], tuple[Tensor, ...]]] = {
    "upwards": elman,
    "downwards": lambda: elman(reverse=True),
    "one step": lambda: elman(1),
    "two sizes": lambda: two_sizes(False),
    "two sizes downwards": lambda: two_sizes(True),
    "images": images,
    "fast weights": fast_weights,
    "averages": averages,
}


def arrays(graph: Graph, batch: int) -> tuple[dict[str, Any], dict[str, Any]]:
    random = np.random.default_rng(batch)
    inputs = {v.name: random.normal(size=v.type.concrete(batch)).astype(v.type.dtype.numpy) for v in graph.inputs}
    sizes = {p.name: [e for e in p.type.shape if isinstance(e, int)] for p in graph.parameters}
    return inputs, {p.name: held(p.name, *sizes[p.name], dtype=p.type.dtype.value).value for p in graph.parameters}


@pytest.mark.parametrize("name", CASES)
def test_every_stage_computes_the_same(name: str) -> None:
    graph = with_gradients(trace(list(CASES[name]())).graph)
    history = lowered(graph)
    inputs, parameters = arrays(graph, 3)
    expected = interpret(graph, inputs, parameters, 3).outputs
    for stage in STAGES:
        got = interpret_step(history[stage], history["assign_buffers"], graph, inputs, parameters, 3)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_native_numbers_for_any_number_of_samples_and_threads(name: str) -> None:
    """Blocks that are full, short, alone; memory full of NaN before; the same bits for any threads."""
    graph = with_gradients(trace(list(CASES[name]())).graph)
    native = Native(graph)
    for batch in (33, 1, 3, 32):
        inputs, parameters = arrays(graph, batch)
        expected = interpret(graph, inputs, parameters, batch).outputs
        native(inputs, parameters, batch, 3)
        native.poison()
        results = [native(inputs, parameters, batch, threads) for threads in (1, 2, 3)]
        for got, *others, b in zip(*results, expected, strict=True):
            np.testing.assert_allclose(got, b, rtol=1e-9, atol=1e-10)
            assert all(np.array_equal(got, other) for other in others)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_lengths_and_types(steps: int, dtype: str) -> None:
    graph = with_gradients(trace([elman(steps, 19, dtype=dtype)[0]]).graph)
    native = Native(graph)
    inputs, parameters = arrays(graph, 18)
    expected = interpret(graph, inputs, parameters, 18).outputs
    for a, b in zip(native(inputs, parameters, 18, 2), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=2e-5 if dtype == "float32" else 1e-11)


@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(recurrences())
def test_random_recurrences(case: Recurrent) -> None:
    graph = with_gradients(trace(list(case.scanned(case.leaves()))).graph)
    given_arrays = case.arrays | {"cotangent": np.random.default_rng(2).normal(size=graph.inputs[-1].type.shape)}
    inputs, parameters = ({v.name: given_arrays[v.name] for v in some} for some in (graph.inputs, graph.parameters))
    expected = interpret(graph, inputs, parameters, 1).outputs
    for a, b in zip(Native(graph)(inputs, parameters, 1, 2), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


# -------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_training_of_a_layer_between_others_follows_torch(kind: str) -> None:
    """Dense, recurrent layer, dense: three steps of momentum, losses and parameters."""
    torch = pytest.importorskip("torch")
    steps, features, hidden, batch = 6, 5, 24, 17
    x, y = gc.input("x", (BATCH, steps, features), "float64"), gc.input("y", (BATCH, steps, 3), "float64")
    layers = gc.Dense(8, name="first"), getattr(gc, kind)(8, hidden, name="middle"), gc.Dense(3, name="last")
    result = layers[2](gc.tanh(layers[1](layers[0](x))[0]))
    loss = ((result - y) ** 2).mean()
    others = (
        torch.nn.Linear(features, 8),
        getattr(torch.nn, kind)(8, hidden, batch_first=True),
        torch.nn.Linear(hidden, 3),
    )
    pairs = []
    for layer, other in zip(layers, others, strict=True):
        named = dict(other.double().named_parameters())
        for name, parameter in layer.named_parameters():
            pairs.append((parameter, named[name.rpartition(".")[2]]))
            parameter.value = pairs[-1][1].detach().numpy().copy()
    program = gc.compile_training(loss, optimizer=gc.SGD(0.1, momentum=0.9), threads=2)
    optimiser = torch.optim.SGD([p for other in others for p in other.parameters()], 0.1, momentum=0.9)
    random = np.random.default_rng(3)
    for _ in range(3):
        given_x, given_y = random.normal(size=(batch, steps, features)), random.normal(size=(batch, steps, 3))
        ours = program.step(x=given_x, y=given_y)["loss"]
        optimiser.zero_grad()
        predicted = others[2](torch.tanh(others[1](others[0](torch.tensor(given_x)))[0]))
        theirs = ((predicted - torch.tensor(given_y)) ** 2).mean()
        theirs.backward()
        optimiser.step()
        assert float(ours) == pytest.approx(theirs.item(), rel=1e-10)
    for parameter, other in pairs:
        np.testing.assert_allclose(parameter.value, other.detach().numpy(), rtol=1e-8, atol=1e-11)


def test_code_does_not_grow_with_the_number_of_steps() -> None:
    def text(steps: int) -> str:
        graph = with_gradients(trace([elman(steps)[0]]).graph)
        return str(lowered(graph)["expand_transcendentals"])

    assert len(text(1000)) < 1.05 * len(text(100))


# --------------------------------------------------------------------------------------------------- nests


def test_gradients_of_slices_are_read_without_asking() -> None:
    """Where a read enters or leaves its tensor the loops are cut, between whole vectors."""
    y = gc.tanh(gc.input("x", (BATCH, 160), "float64"))
    first, second = (ops.sliced(y, index=(ops.WHOLE, (k, k + 80, None))) for k in (0, 80))
    graph = with_gradients(trace([gc.sin(first) * gc.exp(second)]).graph)
    native = Native(graph)
    loops = str(native.history["lower"])
    assert "min(" not in loops
    assert "?" not in loops
    inputs, _ = arrays(graph, 3)
    for a, b in zip(native(inputs, {}, 3), interpret(graph, inputs, {}, 3).outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_step_in_loops(golden: object) -> None:
    """Blocks of samples, time downwards, a delayed read, a product over the rows of a block: the plainest processor."""
    x, u = gc.input("x", (BATCH, 4, 3), "float64"), held("u", 3, 3)
    states, _ = gc.scan(lambda h, z: ((new := z + gc.dense(h, u)), new), 0, x, reverse=True)
    graph = trace([states]).graph
    assert str(lowered(graph, GENERIC)["lower"].functions[0]) == golden
