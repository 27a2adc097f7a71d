"""Recomputation: what is large, cheap and far is computed again; all else stays as it is."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.graph.analysis.liveness import liveness
from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.graph.passes.recompute import recompute
from graphc.models import lenet5, resnet


def training(blocks: int, side: int) -> Graph:
    model = resnet(blocks, (3, side, side), 10, dtype="float64")
    return gc.compile_training(model.loss, winograd="off", stop_after="hoist_invariants")


def test_the_values_are_the_same() -> None:
    graph = training(1, 32)
    changed = recompute(graph)
    assert changed is not graph
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(2, 3, 32, 32)), np.array([3, 1])
    inputs = {"images": images, "labels": labels, "lr": np.float64(0.1)}
    parameters = {p.name: random.uniform(0.5, 1.0, p.type.shape) for p in graph.parameters}
    expected, found = (interpret(g, inputs, parameters, 2) for g in (graph, changed))
    for a, b in zip(expected.outputs, found.outputs, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_the_backward_part_reads_no_rectified_value_that_it_can_compute() -> None:
    graph = training(2, 32)
    changed = recompute(graph)
    rectified = {n.output for n in graph.nodes if n.operator == "relu"}

    def kept(g: Graph) -> int:
        return len(rectified & {v for n in backward_nodes(g) for v in n.inputs})

    assert kept(graph) == len(rectified) == 13
    assert kept(changed) <= 4
    assert liveness(changed).peak_bytes(32) < 0.75 * liveness(graph).peak_bytes(32)


def test_nothing_changes_where_little_is_kept() -> None:
    small = training(1, 8)
    assert recompute(small) is small
    unnormalised = gc.compile_training(lenet5().loss, stop_after="hoist_invariants")
    assert recompute(unnormalised) is unnormalised


def test_inference_keeps_nothing() -> None:
    graph = gc.compile_inference(resnet(1).logits, stop_after="hoist_invariants")
    assert recompute(graph) is graph
