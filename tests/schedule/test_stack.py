"""Sums over the same elements share a pass over memory."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.schedule.fuse import fuse
from graphc.schedule.split import split_reductions
from graphc.schedule.stack import stack_sums
from tests.schedule.build import graph_of


def kernels(*outputs: gc.Tensor) -> tuple[list, list]:
    before = split_reductions(fuse(graph_of(*outputs)))
    return list(before), list(stack_sums(before))


@gc.op
def squares(X: gc.Tensor) -> object:
    """Σ X[n, c, y, x]² over all but the channels"""
    n, c, y, x = gc.axes("n c y x")
    return gc.Sum(X[n, c, y, x] ** 2, over=(n, y, x))


def test_sums_of_the_same_elements_are_one_kernel() -> None:
    x = gc.input("x", (gc.BATCH, 8, 4, 4))
    before, after = kernels(x.sum((0, 2, 3)), squares(x))
    assert [len(k.axes) for k in before] == [2, 1, 2, 1]
    assert [len(k.axes) for k in after] == [3, 1, 1]
    assert after[0].axes[1].extent == 2
    assert after[0].reads == ("x",)
    assert after[1].reads == after[2].reads == after[0].writes


def test_sums_of_different_elements_stay_apart() -> None:
    x, y = gc.input("x", (gc.BATCH, 8, 4, 4)), gc.input("y", (gc.BATCH, 8, 4, 4))
    before, after = kernels(x.sum((0, 2, 3)), squares(y))
    assert before == after


def test_values_stay() -> None:
    x = gc.input("x", (gc.BATCH, 20, 4, 4), "float64")
    program = gc.compile_inference([x.sum((0, 2, 3)), squares(x)], threads=2)
    data = np.random.default_rng(0).normal(size=(5, 20, 4, 4))
    total, squared = program(x=data)
    np.testing.assert_allclose(total, data.sum((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(squared, (data**2).sum((0, 2, 3)), rtol=1e-12)


def test_a_sum_that_needs_another_stays_behind_it() -> None:
    x = gc.input("x", (gc.BATCH, 8, 4, 4))
    y = gc.batch_norm(x, training=True)
    before, after = kernels(y.mean())
    assert [k.stages for k in before] == [k.stages for k in after]


def test_contractions_stay_alone() -> None:
    x, g, h = (gc.input(n, (gc.BATCH, 8)) for n in "xgh")
    before, after = kernels(g.T @ x, h.T @ x)
    assert len(before) == len(after)
