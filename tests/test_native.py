"""Native code against the interpreter: many shapes and layouts, second derivatives, random networks and graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gc
from graphc.autodiff.backward import gradients
from graphc.codegen.target import host
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Value
from graphc.ops.notation import Sum, axes
from graphc.ops.operator import op
from graphc.passes import History, run
from graphc.pipeline import SIMPLE, STABLE, lowering_passes, verify
from graphc.types import Batch, DType
from tests.native import Native, draw, with_gradients
from tests.networks import Network, networks
from tests.strategies import Case, graphs
from tests.strategies import flatten as flatten_images

# -------------------------------------------------------------------------------------------- windows, sweeps


def holding(name: str, *shape: int, seed: int = 0, dtype: str = "float64") -> Parameter:
    parameter = Parameter(name, shape, dtype=dtype)
    parameter.value = np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)
    return parameter


def assert_gradients(y: Tensor, batches: tuple[int, ...] = (2, 5, 1), *, ties: bool = False) -> None:
    """Forward and all gradients, natively and by the interpreter, for several batches and threads, one compile.

    Between runs the working memory without borders is filled with NaN. A result with the batch on another axis than
    the first has no cotangent, so there the values alone are compared.
    """
    traced = trace(y)
    graph = traced.graph if any(isinstance(e, Batch) for e in y.shape[1:]) else with_gradients(traced.graph)
    parameters = {name: p.value for name, p in traced.parameters.items()}
    native = Native(graph)
    rtol = 1e-11 if y.dtype is DType.FLOAT64 else 2e-5
    for batch in batches:
        inputs = {v.name: _array(v, batch, seed=k, ties=ties) for k, v in enumerate(graph.inputs)}
        expected = interpret(graph, inputs, parameters, batch).outputs
        alone: list[np.ndarray] = []
        for threads in (1, 2):
            got = native(inputs, parameters, batch, threads)
            for value, a, b in zip(graph.outputs, got, expected, strict=True):
                scale = max(1.0, float(np.abs(b).max()))
                np.testing.assert_allclose(
                    a, b, rtol=rtol, atol=rtol * scale, err_msg=f"{value}, {batch} samples, {threads} threads"
                )
            alone = alone or got
            assert all(np.array_equal(a, b) for a, b in zip(got, alone, strict=True)), "threads change the bits"
            native.poison()


def _array(value: Value, batch: int, seed: int, ties: bool) -> np.ndarray:
    array = draw(value.type, batch, seed)
    return np.round(2 * array) if ties else array


CONVOLUTIONS = {
    "1x1": (3, 5, (1, 1), 1, 0, 1, (4, 5)),
    "1x1 strided": (2, 3, (1, 1), (2, 3), (1, 0), 1, (7, 6)),
    "kernel smaller than stride": (5, 19, (1, 2), (2, 3), (2, 3), (2, 2), (6, 5)),
    "3x3 padded": (1, 6, (3, 3), 1, 1, 1, (6, 5)),
    "5x5 padded by 2": (6, 16, (5, 5), 1, 2, 1, (8, 8)),
    "5x5 valid": (16, 20, (5, 5), 1, 0, 1, (6, 7)),
    "even": (3, 4, (2, 4), 1, (1, 3), 1, (5, 6)),
    "even strided": (4, 8, (4, 2), 2, 1, 1, (8, 7)),
    "strides 3 and 2": (2, 9, (3, 2), (3, 2), (0, 1), 1, (9, 8)),
    "dilated": (3, 7, (3, 3), 1, 2, 2, (7, 6)),
    "dilated and strided": (8, 3, (3, 2), 2, (3, 1), (2, 1), (9, 8)),
    "padding wider than the kernel": (2, 3, (2, 2), 1, 3, 1, (3, 4)),
    "padding and dilation with stride": (3, 17, (3, 2), (3, 1), 2, 2, (3, 12)),
    "one input column": (2, 3, (3, 1), (2, 1), (1, 0), 1, (6, 1)),
    "result of one element": (9, 10, (4, 3), 1, 0, 1, (4, 3)),
    "thin kernel read beyond both ends": (12, 4, (1, 5), (2, 1), (3, 3), (1, 2), (12, 4)),
    "row kernel": (7, 11, (1, 5), (1, 2), (0, 2), 1, (3, 9)),
    "column kernel": (11, 2, (5, 1), (3, 1), (2, 0), (2, 1), (12, 3)),
    "one channel to one": (1, 1, (3, 3), 2, 1, 1, (7, 5)),
    "twenty channels": (20, 20, (3, 3), (1, 2), 1, 1, (4, 6)),
    "column of strides": (14, 6, (1, 1), (1, 2), (3, 0), (2, 1), (2, 10)),
    "dense images of one column": (15, 9, (2, 5), (1, 2), 0, 1, (7, 11)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients(name: str) -> None:
    inputs, outputs, kernel, stride, padding, dilation, size = CONVOLUTIONS[name]
    x = gc.input("x", (gc.BATCH, inputs, *size), "float64")
    w, b = holding("w", outputs, inputs, *kernel), holding("b", outputs)
    assert_gradients(gc.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation))


@pytest.mark.parametrize("name", ["5x5 padded by 2", "even strided", "dilated and strided", "1x1"])
def test_convolutions_in_float32(name: str) -> None:
    inputs, outputs, kernel, stride, padding, dilation, size = CONVOLUTIONS[name]
    x = gc.input("x", (gc.BATCH, inputs, *size))
    w, b = holding("w", outputs, inputs, *kernel, dtype="float32"), holding("b", outputs, dtype="float32")
    assert_gradients(gc.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation), (3, 17))


POOLS = {
    "halves": (2, None, 0, (6, 8)),
    "not divisible": (2, None, 0, (7, 5)),
    "overlapping": (3, 2, 1, (7, 8)),
    "step one": (3, 1, 1, (5, 4)),
    "window smaller than stride": (1, (2, 3), 0, (6, 5)),
    "uneven": ((2, 3), (1, 2), (1, 1), (5, 7)),
    "whole image": ((4, 3), None, 0, (4, 3)),
    "strides do not divide the padded size": ((3, 5), 3, (1, 2), (8, 9)),
}


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("name", POOLS)
def test_max_pooling(name: str, ties: bool) -> None:
    """The gradient goes to the first of equal maxima."""
    kernel, stride, padding, size = POOLS[name]
    x = gc.input("x", (gc.BATCH, 5, *size), "float64")
    assert_gradients(gc.max_pool2d(x * 1.0, kernel, stride, padding), (3, 1), ties=ties)


@pytest.mark.parametrize("name", POOLS)
def test_average_pooling(name: str) -> None:
    kernel, stride, padding, size = POOLS[name]
    x = gc.input("x", (gc.BATCH, 9, *size), "float64")
    assert_gradients(gc.avg_pool2d(gc.tanh(x), kernel, stride, padding), (3, 1))


@pytest.mark.parametrize("lead", [(), (3,), (3, 2)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 40), (40, 1), (3, 7), (17, 9), (33, 40), (8, 16)])
def test_dense(lead: tuple[int, ...], inputs: int, outputs: int) -> None:
    x = gc.input("x", (gc.BATCH, *lead, inputs), "float64")
    y = gc.dense(x, holding("w", outputs, inputs), holding("b", outputs))
    assert_gradients(gc.tanh(y), (1, 3, 19))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, (0, 2), (1, 3), (1, 2, 3), (0, 1, 2, 3), None], ids=str)
@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
def test_reductions_over_any_axes(axis: Any, kind: str) -> None:
    x = gc.input("x", (gc.BATCH, 5, 3, 9), "float64")
    assert_gradients(getattr(gc.tanh(x), kind)(axis), (3, 1, 6))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("function", [gc.softmax, gc.log_softmax])
def test_softmax_along_any_axis(axis: int, function: Any) -> None:
    x = gc.input("x", (gc.BATCH, 5, 3, 9), "float64")
    assert_gradients(function(x * 3.0, axis=axis), (3, 1))


@pytest.mark.parametrize(
    "shape", [(9,), (1,), (3, 9), (3, 1), (5, 1, 9), (5, 1, 1), (1, 3, 9), (1, 5, 3, 1), ()], ids=str
)
def test_broadcasting_and_its_gradient(shape: tuple[int, ...]) -> None:
    x, w = gc.input("x", (gc.BATCH, 5, 3, 9), "float64"), holding("w", *shape)
    assert_gradients((x * w + w) / (2.0 + w * w), (3, 1))


LAYOUTS = {
    "conv flatten dense": lambda h: gc.dense(h.flatten(), holding("v", 5, 4 * 6 * 5)),
    "transposed into a conv": lambda h: gc.conv2d(h.transpose(0, 3, 2, 1), holding("v", 2, 5, 3, 3), padding=1),
    "reshaped into a conv": lambda h: gc.conv2d(
        h.reshape(gc.BATCH, 8, 3, 5), holding("v", 3, 8, 2, 2), padding=1, stride=2
    ),
    "flattened, transposed, multiplied": lambda h: gc.matmul(
        h.reshape(gc.BATCH, 4, 30).transpose(0, 2, 1), holding("v", 4, 9)
    ),
    "read three ways": lambda h: (
        gc.conv2d(h, holding("v", 4, 4, 3, 3), padding=1).sum() + h.transpose(0, 2, 3, 1).max(3).sum() * gc.mean(h)
    ),
    "residual": lambda h: gc.relu(h + gc.conv2d(gc.relu(h), holding("v", 4, 4, 3, 3), padding=1)),
    "pool, then dense over channels": lambda h: gc.dense(gc.max_pool2d(h, 2).transpose(0, 2, 3, 1), holding("v", 3, 4)),
    "attention over places": lambda h: gc.matmul(
        gc.softmax(gc.matmul(h.reshape(gc.BATCH, 4, 30).transpose(0, 2, 1), h.reshape(gc.BATCH, 4, 30))),
        h.reshape(gc.BATCH, 30, 4),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_values_are_read_in_other_layouts_than_they_were_written(name: str) -> None:
    x = gc.input("x", (gc.BATCH, 3, 6, 5), "float64")
    hidden = gc.tanh(gc.conv2d(x, holding("w", 4, 3, 3, 3), holding("b", 4), padding=1))
    assert_gradients(LAYOUTS[name](hidden), (2, 5))


@pytest.mark.parametrize(
    "mask", [gc.triu(gc.ones((4, 4), "float64"), diagonal=1), gc.ones((4,), "float64")], ids=["some", "all"]
)
def test_numbers_that_a_mask_of_constants_holds_are_compared(mask: Tensor) -> None:
    x = gc.input("x", (gc.BATCH, 4, 4), "float64")
    assert_gradients(gc.tanh(gc.where(mask > 0.5, x * 2.0, 1.0)), (3,))


# --------------------------------------------------------------------------------------- users' names and axes


@pytest.mark.parametrize(
    "names", ["N k i", "n N i", "n k N", "tile acc once", "k k_b i", "n_t n n_0", "n b0 b1", "i0 i i1", "t2 t3 t4"]
)
def test_axes_may_have_any_name(names: str) -> None:
    """Loops, registers and buffers get names of their own."""

    @op
    def contraction(X, W):
        n, k, i = axes(names)
        return Sum(X[n, i] * W[k, i], over=i)

    x, images = gc.input("x", (gc.BATCH, 12), "float64"), gc.input("y", (gc.BATCH, 3, 2, 4), "float64")
    y = gc.tanh(contraction(x, holding("w", 24, 12)))
    assert_gradients(y + flatten_images(images * 2.0) @ holding("v", 24, 24), (1, 7, 13))


# ------------------------------------------------------------------------------------------- second derivatives

SECOND = {
    "dense": lambda x: (gc.dense(x, holding("w", 4, 6)) ** 3).sum(),
    "sigmoid": lambda x: (gc.sigmoid(x) * x).sum(),
    "softmax cross-entropy": lambda x: gc.cross_entropy(x, gc.input("labels", (3,), "int64")),
    "convolution": lambda x: (
        gc.tanh(gc.conv2d(x.reshape(3, 1, 3, 2), holding("w", 2, 1, 2, 2), padding=1, stride=2)) ** 2
    ).sum(),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    """The gradient of Σ v·∂loss/∂x, as central differences of the native first derivative give it."""
    x = gc.input("x", (3, 6), "float64")
    traced = trace(SECOND[name](x))
    graph = traced.graph
    source = traced.inputs["x"]
    graph, (first,) = gradients(graph, graph.outputs[0], (source,))
    builder = Builder(graph)
    direction = builder.input("direction", source.type)
    graph, (second,) = gradients(builder.graph(graph.outputs), first, (source,), direction)
    graph = Builder(graph).graph((first, second))
    arrays = {"x": draw(source.type, 1, 3), "direction": draw(source.type, 1, 4), "labels": np.array([5, 0, 2])}
    arrays = {v.name: arrays[v.name] for v in graph.inputs}
    parameters = {n: p.value for n, p in traced.parameters.items()}
    native = Native(graph)
    got = native(arrays, parameters)
    for a, b in zip(got, interpret(graph, arrays, parameters).outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    h = 1e-4
    up, down = (native(arrays | {"x": arrays["x"] + s * h * arrays["direction"]}, parameters)[0] for s in (1, -1))
    np.testing.assert_allclose(got[1], (up - down) / (2 * h), rtol=1e-6, atol=2e-7)


# -------------------------------------------------------------------------------------------- networks of layers

ONE_BY_ONE = ((1, 1), (1, 1), (1, 1), False)
NETWORKS = {
    "weights slide along one column": Network((gc.BATCH, 1, 2, 1), (("relu",), ("conv", 1, (3, 3), *ONE_BY_ONE))),
    "four of eight lanes end inside a row": Network((gc.BATCH, 1, 5, 4), (("flatten",), ("softmax", 1), ("tanh",))),
    "the batch is no maximum's first axis": Network(
        (gc.BATCH, 3, 4), (("tanh",), ("transpose", (1, 0, 2)), ("max", (0, 1, 2)))
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_went_wrong(name: str) -> None:
    assert_gradients(NETWORKS[name].build(), (5, 1, 17))


@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(networks(5, "float64"))
def test_random_networks(network: Network) -> None:
    """Layers of any sizes, strides and orders of axes."""
    batched = any(isinstance(e, Batch) for e in network.shape)
    assert_gradients(network.build(), (3, 17) if batched else (1,))


# ---------------------------------------------------------------------------------------------- random graphs

RANDOM = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def _agree(graph: Graph, got: Any, expected: Any, what: str) -> None:
    for value, a, b in zip(graph.outputs, got, expected, strict=True):
        if np.isfinite(b).all() and np.abs(b).max() < 1e8:
            scale = max(1.0, float(np.abs(b).max()))
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * scale, err_msg=f"{what}: {value}\n{graph}")


@RANDOM
@given(graphs())
def test_random_graphs(case: Case) -> None:
    """Values and gradients, by the interpreter after every pass on graphs and natively; then other batches."""
    finite = [v for v in case.graph.outputs if not any(isinstance(e, Batch) for e in v.type.shape[1:])]
    for graph in (case.graph, *[with_gradients(case.graph, v) for v in finite[:1]]):
        inputs = case.inputs | {v.name: draw(v.type, case.batch, 9) for v in graph.inputs if v.name == "cotangent"}
        expected = interpret(graph, inputs, case.parameters, case.batch).outputs
        history = History()
        run((*STABLE, *SIMPLE), graph, verify, (history,))
        for record in history.records:
            got = interpret(record.after, inputs, case.parameters, case.batch).outputs
            _agree(graph, got, expected, record.stage)
        native = Native(graph)
        got = native(inputs, case.parameters, case.batch)
        _agree(graph, got, expected, "native")
        native.poison()
        again = native(inputs, case.parameters, case.batch, threads=2)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(got, again, strict=True))
        for batch in (5, 2):
            other = {v.name: draw(v.type, batch, k) for k, v in enumerate(graph.inputs)}
            values = interpret(graph, other, case.parameters, batch).outputs
            _agree(graph, native(other, case.parameters, batch), values, f"{batch} samples")


def test_equal_graphs_compile_to_equal_text() -> None:
    texts = []
    for _ in range(2):
        x = gc.input("x", (gc.BATCH, 3, 6, 5), "float64")
        y = gc.max_pool2d(gc.relu(gc.conv2d(x, holding("w", 4, 3, 3, 3), padding=1)), 2).flatten()
        graph = with_gradients(trace(gc.softmax(gc.dense(y, holding("v", 3, 24)))).graph)
        texts.append(run((*STABLE, *SIMPLE, *lowering_passes(host())), graph, verify))
    assert texts[0] == texts[1]
    assert "define" in texts[0]
