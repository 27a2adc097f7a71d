"""Fusion: what shares a loop nest, in which order kernels run, where parameters are overwritten."""

from __future__ import annotations

import pytest

import graphc as gc
from graphc.errors import LoweringError
from graphc.schedule.fuse import fuse, value_name, with_own_names
from graphc.schedule.printer import kernel_text
from tests.schedule.build import graph_of, training_stage


def stages(kernels: tuple) -> list[list[str]]:
    return [[s.formula.reduction or "pointwise" for s in k.stages] for k in kernels]


def test_pointwise_nodes_join_the_reduction_that_they_follow() -> None:
    x, w, b = gc.input("x", (gc.BATCH, 3)), gc.Parameter("w", (4, 3)), gc.Parameter("b", (4,))
    kernels = fuse(graph_of(gc.tanh(gc.dense(x, w, b)) * 2.0))
    assert stages(kernels) == [["sum", "pointwise", "pointwise", "pointwise"]]
    assert kernels[0].stores == (("t6", "t6"),)
    assert set(kernels[0].reads) == {"x", "w", "b"}


def test_a_reduction_opens_a_kernel_of_its_own() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    assert stages(fuse(graph_of(gc.tanh(x).sum(1)))) == [["pointwise"], ["sum"]]


def test_a_value_read_elsewhere_than_in_place_ends_the_kernel() -> None:
    x = gc.input("x", (4, 4))
    y = gc.tanh(x)
    first, second = fuse(graph_of(y + y.T))
    assert first.writes == second.reads
    (name,) = first.writes
    assert f"{name}[i, n] + {name}[n, i]" in kernel_text(second)


def test_no_kernel_waits_for_itself() -> None:
    """y and y - max(y) cannot share a nest: the maximum lies between."""
    x = gc.input("x", (gc.BATCH, 5))
    y = gc.tanh(x)
    kernels = fuse(graph_of(y - y.max(1, keepdims=True)))
    written: set[str] = set()
    for kernel in kernels:
        assert set(kernel.reads) - {"x"} <= written
        written |= set(kernel.writes)
    assert stages(kernels) == [["pointwise"], ["max"], ["pointwise"]]


def test_parameters_are_overwritten_after_their_last_reader_and_after_the_loss() -> None:
    program = training_stage("plan_layouts")
    written_at = {m: k for k, kernel in enumerate(program.kernels) for m in kernel.writes}
    parameters = {m.name for m in program.memories if m.role == "parameter"}
    assert parameters == {
        f"{layer}.{part}{slot}"
        for layer in ("conv", "output") for part in ("weight", "bias") for slot in ("", "/velocity")
    }  # fmt: skip
    assert program.guard == program.outputs[0]
    for name in parameters:
        assert written_at[name] > written_at[program.guard]
        readers = [k for k, kernel in enumerate(program.kernels) if name in kernel.reads]
        assert max(readers) <= written_at[name]


def test_axes_with_names_of_the_loops_get_others() -> None:
    @gc.op
    def contraction(X, W):
        n, k, i = gc.axes("N acc tile")
        return gc.Sum(X[n, i] * W[k, i], over=i)

    (kernel,) = fuse(graph_of(contraction(gc.input("x", (gc.BATCH, 3)), gc.Parameter("w", (4, 3)))))
    assert [a.name for a in kernel.axes] == ["N_", "acc_"]
    assert [a.name for a in kernel.stages[0].formula.over] == ["tile_"]


def test_names_of_users_are_never_those_of_temporaries() -> None:
    x, w = gc.input("t7", (gc.BATCH, 3)), gc.Parameter("t3", (4, 3))
    graph = with_own_names(graph_of(gc.tanh(gc.dense(x, w))))
    names = [value_name(v) for v in graph.values]
    assert len(set(names)) == len(names)
    assert {"t7", "t3"} < set(names)
    plain = graph_of(gc.tanh(gc.input("x", (gc.BATCH, 3))))
    assert with_own_names(plain) is plain


def test_a_value_that_is_quadratic_in_the_batch_is_refused() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    with pytest.raises(LoweringError, match="memory holds the batch on one axis only") as caught:
        fuse(graph_of(x @ x.T))
    assert caught.value.location is not None
    assert caught.value.location.file == __file__
