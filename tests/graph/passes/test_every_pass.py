"""Every pass, alone and after those before it, leaves the values of random graphs as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from graphc.autodiff.backward import gradients
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret
from graphc.graph.passes import (
    canonicalise,
    eliminate_common_subexpressions,
    eliminate_dead_code,
    fold_constants,
    shift_exponential_sums,
    specialise_for_inference,
    stabilise_composites,
)
from graphc.graph.passes.hoist_invariants import hoist_invariants
from graphc.graph.passes.read_through_selections import read_through_selections
from graphc.graph.verifier import verify
from tests.recurrent import Recurrent, evaluated, recurrences
from tests.strategies import Case, graphs

PASSES = (
    eliminate_dead_code,
    stabilise_composites,
    shift_exponential_sums,
    canonicalise,
    fold_constants,
    eliminate_common_subexpressions,
    specialise_for_inference,
    read_through_selections,
    hoist_invariants,
)
SEARCH = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def values(case: Case, graph: object) -> tuple[np.ndarray, ...]:
    inputs = {v.name: case.inputs[v.name] for v in graph.inputs}
    parameters = {v.name: case.parameters[v.name] for v in graph.parameters}
    return interpret(graph, inputs, parameters, case.batch).outputs


def assert_same(expected: tuple[np.ndarray, ...], got: tuple[np.ndarray, ...], stage: str) -> None:
    assert len(expected) == len(got)
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-10, err_msg=stage)


@SEARCH
@given(graphs())
def test_values_stay_after_every_prefix(case: Case) -> None:
    expected = values(case, case.graph)
    graph = case.graph
    verify(graph)
    for step in PASSES:
        graph = step(graph)
        verify(graph, step.__name__)
        assert_same(expected, values(case, graph), step.__name__)


@SEARCH
@given(recurrences(most=4))
def test_recurrences_stay_recurrences_after_every_prefix(case: Recurrent) -> None:
    """With their gradients, whose recurrences run backwards."""
    graph = trace(sum_of(case.scanned(case.leaves()))).graph
    graph, found = gradients(graph, graph.outputs[0], (*graph.inputs, *graph.parameters))
    graph = replace(graph, outputs=(*graph.outputs, *found))
    verify(graph)
    expected = evaluated(graph, case.arrays)
    for step in PASSES:
        graph = step(graph)
        verify(graph, step.__name__)
        assert_same(expected, evaluated(graph, case.arrays), step.__name__)
        assert step(graph) is graph, step.__name__


def sum_of(tensors: tuple[Tensor, ...]) -> Tensor:
    return sum((t.sum() for t in tensors[1:]), start=tensors[0].sum())


@pytest.mark.parametrize("step", PASSES, ids=lambda p: p.__name__)
def test_second_application_changes_nothing(step) -> None:
    @settings(SEARCH, max_examples=15)
    @given(graphs())
    def check(case: Case) -> None:
        once = step(case.graph)
        assert step(once) is once

    check()
