"""Scattered sums: which are recognised, what their loops compute, and that it is the same for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.ops.scattering import scattering
from graphc.study.gradients import compile_gradients

PLACES = np.array([[0, 3, 3], [19, 0, 3]])


def table(rows: int, features: int, dtype: str = "float64") -> gc.Parameter:
    weight = gc.Parameter("weight", (rows, features), dtype=dtype)
    weight.value = np.random.default_rng(rows).normal(size=(rows, features)).astype(dtype)
    return weight


@pytest.mark.parametrize("features", [1, 40, 200])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gradient_of_a_table_is_the_sum_of_what_its_rows_were_read_for(features: int, dtype: str) -> None:
    weight = table(90, features, dtype)
    ids, c = gc.input("ids", (gc.BATCH, 3), "int64"), gc.input("c", (gc.BATCH, 3, features), dtype)
    cotangent = np.random.default_rng(1).normal(size=(2, 3, features)).astype(dtype)
    loss = (gc.embedding(ids, weight) * c).sum()
    expected = np.zeros((90, features), dtype)
    np.add.at(expected, PLACES, cotangent)
    results = []
    for threads in (1, 2, 3):
        program = compile_gradients(loss, wrt=[weight], threads=threads)
        results.append(program(ids=PLACES, c=cotangent)[1]["weight"])
    np.testing.assert_allclose(results[0], expected, rtol=1e-12 if dtype == "float64" else 1e-6)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_other_axes_conditions_and_places_beyond_the_table() -> None:
    """One table for each sample, and indices that are computed: those that name no row add nothing."""
    x, ids = gc.input("x", (gc.BATCH, 70, 3), "float64"), gc.input("ids", (gc.BATCH, 4, 3), "int64")
    weight = gc.Parameter("scale", (70, 3), dtype="float64")
    weight.value = np.ones((70, 3))
    loss = gc.square(gc.gather(x * weight, 1, 20 * ids - 30)).sum()
    random = np.random.default_rng(0)
    a, i = random.normal(size=(5, 70, 3)), random.integers(0, 7, (5, 4, 3))
    place = 20 * i - 30
    expected = np.zeros((5, 70, 3))
    n, t, d = np.nonzero((place >= 0) & (place < 70))
    rows = place[n, t, d]
    np.add.at(expected, (n, rows, d), 2 * a[n, rows, d])
    _, found = compile_gradients(loss, wrt=[weight])(x=a, ids=i)
    np.testing.assert_allclose(found["scale"], (expected * a).sum(0), rtol=1e-12)


def test_the_update_behind_it_is_that_of_the_dense_gradient() -> None:
    weight, dense = table(80, 24), table(80, 24)
    ids = gc.input("ids", (gc.BATCH, 3), "int64")
    loss = gc.square(gc.embedding(ids, weight)).sum()
    training = gc.compile_training(loss, optimizer=gc.SGD(0.1, momentum=0.9), threads=2)
    assert "terms added where ids says, lanes along" in training.explain()
    value, velocity = dense.value.copy(), np.zeros((80, 24))
    for _ in range(3):
        training.step(ids=PLACES)
        gradient = np.zeros_like(value)
        np.add.at(gradient, PLACES, 2 * value[PLACES])
        velocity = 0.9 * velocity + gradient
        value -= 0.1 * velocity
    np.testing.assert_allclose(weight.value, value, rtol=1e-12)


def test_only_sums_whose_terms_name_their_result_are_recognised() -> None:
    def adjoints(loss: gc.Tensor) -> list[bool]:
        graph = gc.compile_training(loss, stop_after="differentiate")
        return [scattering(n.formula) is not None for n in graph.nodes if n.operator.startswith("adjoint")]

    w, ids, x = table(20, 4), gc.input("ids", (gc.BATCH,), "int64"), gc.input("x", (gc.BATCH, 4), "float64")
    assert any(adjoints(gc.square(gc.embedding(ids, w)).sum()))
    assert not any(adjoints(gc.cross_entropy(x @ w.T, ids)))
    assert not any(adjoints(gc.square(x @ w.T).sum()))


def test_few_results_are_asked_for_their_terms() -> None:
    ids = gc.input("ids", (gc.BATCH,), "int64")
    training = gc.compile_training(gc.square(gc.embedding(ids, table(3, 2))).sum(), threads=1)
    assert "terms added" not in training.explain()
