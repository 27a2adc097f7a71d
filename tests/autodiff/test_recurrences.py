"""Derivatives of recurrences: against the step written out for each time, and against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gc
from graphc.autodiff.backward import gradients, hessian_vector_product, jvp
from graphc.dsl.tensor import Tensor
from graphc.graph.analysis.recurrences import recurrences as recurrences_of
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.passes.recompute import recompute
from graphc.graph.verifier import verify
from graphc.ops.formula import formula
from graphc.pipeline import SIMPLE, STABLE
from tests.graph import test_recurrences as by_hand
from tests.recurrent import Recurrent, evaluated, recurrences

SEARCH = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def loss_of(tensors: tuple[Tensor, ...]) -> Tensor:
    """A sum of squares in which every element counts differently."""
    total = gc.zeros((), "float64")
    for k, t in enumerate(tensors):
        total = total + (t * (t + 0.5 + k)).sum()
    return total


def leaves_of(graph: Graph) -> tuple[Value, ...]:
    return tuple(v for v in (*graph.inputs, *graph.parameters) if not v.name.startswith("along"))


def cleaned(graph: Graph) -> Graph:
    for step in (*STABLE, *SIMPLE):
        graph = step(graph)
        verify(graph, step.__name__)
    return graph


def with_gradients(tensors: tuple[Tensor, ...], second: bool = False) -> Graph:
    """The gradients of a loss as outputs by name, or Hessian-vector products along the inputs named `along ...`."""
    graph = cleaned(gc.trace(loss_of(tensors)).graph)
    wrt = leaves_of(graph)
    if not second:
        extended, found = gradients(graph, graph.outputs[0], wrt)
    else:
        builder = Builder(graph)
        vectors = tuple(builder.input(f"along {w.name}", w.type) for w in wrt)
        extended, found = hessian_vector_product(builder.graph(graph.outputs), graph.outputs[0], wrt, vectors)
    verify(extended)
    return cleaned(replace(extended, outputs=found))


def directions(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(9)
    return {f"along {name}": random.normal(size=a.shape) for name, a in arrays.items()}


@pytest.mark.parametrize("second", [False, True])
def test_derivatives_are_those_of_the_steps_written_out(second: bool) -> None:
    @SEARCH
    @given(recurrences(most=4))
    def check(case: Recurrent) -> None:
        leaves = case.leaves()
        arrays = case.arrays | (directions(case.arrays) if second else {})
        graphs = [with_gradients(t, second) for t in (case.scanned(leaves), case.written_out(leaves))]
        found, expected = (dict(zip([v.name for v in leaves_of(g)], evaluated(g, arrays), strict=True)) for g in graphs)
        for name, b in expected.items():
            a = found[name]
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(b).max())))

    check()


def lstm(steps: int = 4, **options: object) -> tuple[Tensor, dict[str, np.ndarray]]:
    x = gc.input("x", (2, steps, 3), "float64")
    layer = gc.LSTM(4, name="lstm", **options)
    y, (h, c) = layer(x)
    arrays = {"x": np.random.default_rng(0).normal(size=(2, steps, 3))}
    return loss_of((y, h, c)), arrays | {f"lstm.{n}": p.value for n, p in layer.named_parameters()}


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 2}])
def test_hessian_vector_products_against_finite_differences(options: dict[str, object]) -> None:
    loss, arrays = lstm(**options)
    graph = cleaned(gc.trace(loss).graph)
    wrt = leaves_of(graph)
    first, found = gradients(graph, graph.outputs[0], wrt)
    gradient = cleaned(replace(first, outputs=found))
    builder = Builder(graph)
    vectors = tuple(builder.input(f"along {w.name}", w.type) for w in wrt)
    second, found = hessian_vector_product(builder.graph(graph.outputs), graph.outputs[0], wrt, vectors)
    verify(second)
    along = directions(arrays)
    products = evaluated(cleaned(replace(second, outputs=found)), arrays | along)
    step = 1e-5
    up, down = (
        evaluated(gradient, {n: a + s * step * along[f"along {n}"] for n, a in arrays.items()}) for s in (1, -1)
    )
    for w, product, a, b in zip(wrt, products, up, down, strict=True):
        np.testing.assert_allclose(product, (a - b) / (2 * step), rtol=1e-6, atol=1e-7, err_msg=w.name)


def test_jvp_is_the_derivative_along_a_direction() -> None:
    loss, arrays = lstm()
    graph = cleaned(gc.trace(loss).graph)
    wrt = leaves_of(graph)
    builder = Builder(graph)
    tangents = {w: builder.input(f"along {w.name}", w.type) for w in wrt}
    pushed, (slope,) = jvp(builder.graph(graph.outputs), graph.outputs, tangents)
    verify(pushed)
    assert pushed.nodes[: len(graph.nodes)] == graph.nodes
    along = directions(arrays)
    (got,) = evaluated(replace(pushed, outputs=(slope,)), arrays | along)
    step = 1e-6
    up, down = (
        evaluated(graph, {n: a + s * step * along[f"along {n}"] for n, a in arrays.items()})[0] for s in (1, -1)
    )
    np.testing.assert_allclose(got, (up - down) / (2 * step), rtol=1e-7)


def test_gradients_of_weights_are_sums_over_time_outside_of_the_loop() -> None:
    loss, _ = lstm()
    graph = cleaned(gc.trace(loss).graph)
    wrt = leaves_of(graph)
    extended, found = gradients(graph, graph.outputs[0], wrt)
    there, back = recurrences_of(extended)
    assert (there.reverse, back.reverse) == (False, True)
    members = {node.output for r in (there, back) for node in r.nodes}
    assert members.isdisjoint(found)
    assert [n.operator for n in there.nodes if n.formula.reduction] == ["dense"]
    assert [n.operator for n in back.nodes if n.formula.reduction] == ["adjoint dense/X"]


def test_nothing_of_a_recurrence_is_computed_again() -> None:
    """Large values are, and others of the same graph; the numbers stay."""
    x = gc.input("x", (gc.BATCH, 64, 80), "float32")
    y, _ = gc.GRU(64)(gc.relu(gc.relu(x) + 1.0))
    graph = cleaned(gc.trace((y * y).sum()).graph)
    extended, found = gradients(graph, graph.outputs[0], tuple(graph.parameters))
    graph = cleaned(replace(extended, outputs=found))
    before = [r.nodes for r in recurrences_of(graph)]
    changed = recompute(graph)
    verify(changed, "recompute")
    assert [[n.output for n in r.nodes] for r in recurrences_of(changed)] == [[n.output for n in r] for r in before]


def test_a_node_that_reads_its_own_past_is_differentiated() -> None:
    builder = Builder()
    x, seed, h = builder.input("x", by_hand.STATE), builder.input("seed", by_hand.STATE), builder.value(by_hand.STATE)
    n, t, k = by_hand.n, by_hand.t, by_hand.k
    decaying = formula(by_hand.AXES, by_hand.read("H", n, t - 1, k) / 2 + by_hand.read("X", n, t, k))
    builder.node("h", decaying, [h, x], by_hand.STATE)
    builder.nodes = [replace(builder.nodes[0], output=h, delayed=(h,))]
    extended, (found,) = gradients(builder.graph([h]), h, (x,), seed)
    verify(extended)
    array = np.random.default_rng(2).normal(size=(2, by_hand.STEPS, by_hand.WIDTH))
    expected, after = np.zeros_like(array), np.zeros((2, by_hand.WIDTH))
    for time in reversed(range(by_hand.STEPS)):
        expected[:, time] = after = array[:, time] + after / 2
    (got,) = evaluated(replace(extended, outputs=(found,)), {"x": array, "seed": array})
    np.testing.assert_allclose(got, expected, rtol=1e-13)
