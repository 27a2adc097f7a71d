"""Factors that depend on few axes become values of their own."""

from __future__ import annotations

import graphc as gc
from graphc.graph.passes.hoist_invariants import hoist_invariants
from graphc.graph.verifier import verify
from tests.schedule.build import graph_of


def texts(graph: object) -> list[str]:
    return [str(n.formula) for n in graph.nodes]


def test_a_normalisation_keeps_one_factor_for_each_channel() -> None:
    x = gc.input("x", (gc.BATCH, 3, 8, 8))
    m, v, w, b = (gc.Parameter(n, (3,), trainable=False) for n in "mvwb")
    graph = graph_of(gc.batch_norm(x, m, v, w, b))
    after = hoist_invariants(graph)
    verify(after)
    factor, result = after.nodes
    assert factor.output.type.shape == (3,)
    assert len(result.inputs) == 4
    assert factor.output in result.inputs
    assert v_reads(graph.nodes[-1])
    assert not v_reads(result)


def v_reads(node: object) -> bool:
    return any(value.name == "v" for value in node.inputs)


def test_equal_invariants_are_one() -> None:
    x, y = gc.input("x", (gc.BATCH, 3, 8, 8)), gc.input("y", (gc.BATCH, 3, 8, 8))
    m, v = (gc.Parameter(n, (3,), trainable=False) for n in "mv")
    graph = graph_of(gc.batch_norm(x, m, v), gc.batch_norm(y, m, v))
    assert len(hoist_invariants(graph).nodes) == len(graph.nodes) + 1


def test_what_few_elements_share_stays() -> None:
    x, s = gc.input("x", (4, 5)), gc.Parameter("s", (4, 1), trainable=False)
    graph = graph_of(x / gc.sqrt(s))
    assert hoist_invariants(graph) is graph


def test_a_lone_read_stays() -> None:
    x, s = gc.input("x", (gc.BATCH, 3, 8, 8)), gc.Parameter("s", (3, 1, 1), trainable=False)
    graph = graph_of(x * s)
    assert hoist_invariants(graph) is graph
