"""Lowering: loops mean what the formulas mean, at every stage and for every kind of kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gc
from graphc.codegen.target import GENERIC, host
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.types import Batch
from tests.loops.steps import STAGES, interpret_step, lowered
from tests.native import draw, with_gradients
from tests.strategies import Case, graphs


def holding(name: str, *shape: int) -> Parameter:
    parameter = Parameter(name, shape, dtype="float64")
    parameter.value = np.random.default_rng(shape).normal(size=shape)
    return parameter


def images(channels: int = 2, height: int = 4, width: int = 3) -> Tensor:
    return gc.input("x", (gc.BATCH, channels, height, width), "float64")


KERNELS: dict[str, Callable[[], Tensor]] = {
    "pointwise": lambda: gc.tanh(gc.input("x", (gc.BATCH, 5), "float64")) * 2.0,
    "dense": lambda: gc.dense(gc.input("x", (gc.BATCH, 5), "float64"), holding("w", 9, 5), holding("b", 9)),
    "dense of one": lambda: gc.dense(gc.input("x", (gc.BATCH, 1), "float64"), holding("w", 1, 1)),
    "row sums": lambda: gc.input("x", (gc.BATCH, 11), "float64").sum(1),
    "total": lambda: gc.input("x", (gc.BATCH, 33), "float64").mean(),
    "softmax": lambda: gc.softmax(gc.input("x", (gc.BATCH, 6), "float64")),
    "convolution": lambda: gc.conv2d(images(), holding("w", 5, 2, 3, 3), padding=1),
    "strided": lambda: gc.conv2d(images(3, 5, 4), holding("w", 2, 3, 2, 2), stride=(2, 3), padding=(1, 2)),
    "clipped away": lambda: gc.conv2d(
        images(2, 4, 4), holding("w", 3, 2, 1, 5), stride=(2, 1), padding=(1, 3), dilation=(1, 2)
    ),
    "kernel of one row": lambda: gc.conv2d(images(2, 2, 5), holding("w", 3, 2, 1, 1), stride=(1, 2), padding=(2, 0)),
    "pooling": lambda: gc.max_pool2d(gc.tanh(images(3, 5, 4)), 3, 2, 1),
    "window below stride": lambda: gc.max_pool2d(gc.tanh(images(3, 5, 4)), 1, 2),
    "average": lambda: gc.avg_pool2d(gc.tanh(images(5, 3, 3)), 2, 1, 1),
    "flatten of four channels": lambda: gc.dense(
        gc.tanh(gc.conv2d(images(), holding("w", 4, 2, 1, 1))).flatten(), holding("v", 3, 48)
    ),
    "transposed": lambda: gc.input("x", (gc.BATCH, 5), "float64").T * 2.0,
    "rows added where integers say": lambda: gc.embedding(
        gc.input("ids", (gc.BATCH, 2), "int64") * 40 - 20, holding("w", 70, 11)
    ),
    "side by side": lambda: gc.tanh(
        gc.concat([gc.input("x", (gc.BATCH, 8), "float64"), gc.input("y", (gc.BATCH, 5), "float64")], 1)
    ),
    "rolled and reversed": lambda: gc.tanh(gc.roll(images(2, 3, 9), 4, 3))[:, :, ::-1, 2:],
    "order": lambda: gc.sort(gc.tanh(images(3, 1, 9)), 3)[0],
    "products": lambda: gc.prod(gc.tanh(images(2, 3, 2)), (1, 3)),
    "running sums": lambda: gc.cumsum(gc.tanh(gc.input("x", (gc.BATCH, 19), "float64")), 1),
    "gather": lambda: gc.cross_entropy(
        gc.input("x", (gc.BATCH, 3), "float64"), gc.input("labels", (gc.BATCH,), "int64"), reduction="sum"
    ),
}


def arrays(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch)
    return {
        v.name: draw(v.type, batch, k) if v.type.dtype.is_float else random.integers(0, 3, v.type.concrete(batch))
        for k, v in enumerate(graph.inputs)
    }


@pytest.mark.parametrize("name", KERNELS)
def test_every_stage_computes_the_same(name: str) -> None:
    """No access leaves its buffer, nothing reads memory that was never written, values and gradients are right."""
    traced = trace(KERNELS[name]())
    parameters = {n: p.value for n, p in traced.parameters.items()}
    graph = traced.graph
    if not any(isinstance(e, Batch) for e in graph.outputs[0].type.shape[1:]):
        graph = with_gradients(graph)
    history = lowered(graph)
    for batch, threads in ((1, 1), (3, 2)):
        inputs = arrays(graph, batch)
        expected = interpret(graph, inputs, parameters, batch).outputs
        for stage in STAGES:
            program = history["assign_buffers"]
            got = interpret_step(history[stage], program, graph, inputs, parameters, batch, threads)
            for value, a, b in zip(graph.outputs, got, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=f"{stage}: {value}")


@pytest.mark.parametrize("name", ["dense", "convolution", "softmax", "pooling"])
def test_narrow_registers_compute_the_same(name: str) -> None:
    traced = trace(KERNELS[name]())
    parameters = {n: p.value for n, p in traced.parameters.items()}
    assert GENERIC.lanes(traced.graph.outputs[0].type.dtype) <= host().lanes(traced.graph.outputs[0].type.dtype)
    graph = with_gradients(traced.graph)
    history, inputs = lowered(graph, GENERIC), arrays(graph, 2)
    expected = interpret(graph, inputs, parameters, 2).outputs
    got = interpret_step(history["unroll"], history["assign_buffers"], graph, inputs, parameters, 2)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(graphs(5))
def test_random_graphs(case: Case) -> None:
    history = lowered(case.graph)
    expected = interpret(case.graph, case.inputs, case.parameters, case.batch).outputs
    for stage in STAGES:
        got = interpret_step(
            history[stage], history["assign_buffers"], case.graph, case.inputs, case.parameters, case.batch
        )
        for a, b in zip(got, expected, strict=True):
            if np.isfinite(b).all() and np.abs(b).max() < 1e8:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * max(1.0, float(np.abs(b).max())))


def test_a_kernel_of_one_lane_in_loops(golden) -> None:
    """The loops of a dense layer on the plainest processor, before and after its lanes and registers."""
    x, w = gc.input("x", (gc.BATCH, 3), "float64"), Parameter("w", (4, 3), dtype="float64")
    history = lowered(trace(gc.tanh(gc.dense(x, w))).graph, GENERIC)
    assert "\n".join(f"# {stage}\n{history[stage].functions[0]}" for stage in STAGES[:3]) == golden
