"""Recurrences as chains: their kernels and walks, what stays within a step, and that nothing else gets in between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.target import AVX512
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.schedule.buffers import assign_buffers
from graphc.schedule.fuse import fuse
from graphc.schedule.layout import plan_layouts
from graphc.schedule.printer import program_text
from graphc.schedule.program import Chain, Kernel, Program, Walk
from graphc.schedule.recurrence import SAMPLES
from graphc.schedule.roofline import predictions
from graphc.types import BATCH, Extent
from tests.native import Native, with_gradients
from tests.schedule.build import graph_of

STEPS, WIDTH = 6, 20


def held(name: str, *shape: int) -> Parameter:
    parameter = Parameter(name, shape, dtype="float64")
    parameter.value = np.random.default_rng(0).normal(size=shape) / 2
    return parameter


def sequences(batch: Extent = BATCH, width: int = WIDTH) -> Tensor:
    return gc.input("x", (batch, STEPS, width), "float64")


def elman(x: Tensor, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """h' = tanh(z + U·h), z = W·x, at all times and at the last."""
    w, u = held("w", WIDTH, WIDTH), held("u", WIDTH, WIDTH)

    def step(h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        h = gc.tanh(z + gc.dense(h, u))
        return h, h

    return gc.scan(step, 0, gc.dense(x, w), reverse=reverse)


def laid_out(graph: Graph) -> Program:
    return assign_buffers(plan_layouts(graph, fuse(graph), AVX512))


def chains(kernels: tuple[Kernel, ...]) -> list[Chain]:
    return list(dict.fromkeys(k.chain for k in kernels if k.chain))


def members(program: Program, chain: Chain) -> tuple[Kernel, ...]:
    return next(unit for unit in program.units if unit[0].chain == chain)


# ------------------------------------------------------------------------------------------------- what is a chain


def test_a_recurrence_is_one_chain_and_products_of_inputs_and_gradients_of_weights_are_outside() -> None:
    ys, _ = elman(sequences())
    program = laid_out(with_gradients(graph_of(ys)))
    forward, backward = chains(program.kernels)
    assert forward.walks == (Walk("n", BATCH, SAMPLES), Walk("t", STEPS, 1, 1))
    assert [w.direction for w in backward.walks] == [0, -1]
    assert forward.recurs
    assert backward.recurs
    inside = {name for chain in (forward, backward) for k in members(program, chain) for name in k.reads}
    outside = [k for k in program.kernels if k.chain is None]
    assert "w" not in inside
    sums_over_time = [k for k in outside if any(a.extent == STEPS for a in k.stages[0].formula.over)]
    assert len(sums_over_time) == 2, "the gradients of w and u, each one product over samples and times"
    for chain in (forward, backward):
        places = [k for k, kernel in enumerate(program.kernels) if kernel.chain == chain]
        assert places == list(range(places[0], places[-1] + 1))


def test_time_that_runs_backwards_and_then_forwards() -> None:
    ys, _ = elman(sequences(), reverse=True)
    program = laid_out(with_gradients(graph_of(ys)))
    assert [c.walks[-1].direction for c in chains(program.kernels)] == [-1, 1]


def test_what_only_follows_a_recurrence_stays_out_of_it() -> None:
    ys, last = elman(sequences())
    kernels = fuse(graph_of(gc.relu(ys) + 1.0, last))
    (chain,) = chains(kernels)
    inside = {s.value for k in kernels if k.chain == chain for s in k.stages}
    after = [
        k for k in kernels if k.chain is None and any(v.name == "" and k.stages[0].value not in inside for v in inside)
    ]
    assert any(len(k.stages) == 2 for k in after), "rectifier and sum are one kernel behind the chain"


def test_a_kernel_beside_the_recurrence_cannot_close_another_cycle() -> None:
    """Y = A + H, where H needs A: Y must not join the kernel of A, although it reads A in place."""
    x = sequences()
    a = gc.sin(x)
    ys, _ = elman(a)
    both = a + ys
    graph = graph_of(both)
    values = {"x": np.random.default_rng(1).normal(size=(3, STEPS, WIDTH))}
    parameters = {p.name: held(p.name, WIDTH, WIDTH).value for p in graph.parameters}
    native = Native(graph)
    expected = interpret(graph, values, parameters, 3).outputs
    np.testing.assert_allclose(native(values, parameters, 3)[0], expected[0], rtol=1e-12)


def test_pointwise_members_are_one_kernel() -> None:
    x = gc.input("x", (BATCH, STEPS, 4 * WIDTH), "float64")
    y, _ = gc.LSTM(4 * WIDTH, WIDTH)(x)
    graph = graph_of(y)
    (chain,) = chains(kernels := fuse(graph))
    delay, product, gates = (k for k in kernels if k.chain == chain)
    assert len(delay.stages) == 1
    assert product.stages[0].formula.reduction == "sum"
    assert len(gates.stages) >= 9, "four gates, the cell before, the cell, the state"
    assert len(gates.writes) == 2, "cell and state"


# ------------------------------------------------------------------------------------------------------ samples


def test_samples_of_a_fixed_number_are_blocks_too() -> None:
    (chain,) = chains(fuse(graph_of(elman(sequences(33))[0])))
    assert chain.walks[0] == Walk("n", 33, SAMPLES)
    (few,) = chains(fuse(graph_of(elman(sequences(5))[0])))
    assert few.walks[0].block == 5


def centred(x: Tensor) -> Tensor:
    """The mean over the samples is subtracted in every step."""

    def step(h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        h = gc.tanh(z + 0.5 * h)
        h = h - h.mean(0, keepdims=True)
        return h, h

    return gc.scan(step, 0, x)[0]


def test_members_that_need_other_samples_are_not_shared_among_threads() -> None:
    graph = graph_of(centred(sequences()))
    (chain,) = chains(fuse(graph))
    assert [w.axis for w in chain.walks] == ["t"]
    native = Native(graph)
    for batch in (1, 19):
        values = {"x": np.random.default_rng(batch).normal(size=(batch, STEPS, WIDTH))}
        expected = interpret(graph, values, {}, batch).outputs[0]
        for threads in (1, 2):
            np.testing.assert_allclose(native(values, {}, batch, threads)[0], expected, rtol=1e-10, atol=1e-14)


def test_vectors_run_along_a_sequence_without_features_nowhere() -> None:
    """h' = h/2 + x of single numbers: neither samples nor times are lanes."""
    x = gc.input("x", (BATCH, STEPS), "float64")
    graph = trace([gc.scan(lambda h, z: (0.5 * h + z, h), 0, x)[0]]).graph
    assert {k.lane for k in laid_out(graph).kernels if k.recurs} == {None}


# ------------------------------------------------------------------------------------------------------- memory


def test_values_of_one_step_are_scratch_of_one_block() -> None:
    program = laid_out(graph_of(*elman(sequences())))
    (chain,) = chains(program.kernels)
    roles = {name: program.memory(name).role for k in members(program, chain) for name in k.writes}
    scratch = [name for name, role in roles.items() if role == "scratch"]
    assert sorted(roles.values()) == ["scratch", "temporary"], "the state before, and all states"
    assert program.memory(scratch[0]).value.type.shape == (SAMPLES, 1, WIDTH)
    assert program.memory(scratch[0]).layout.last == 24, "whole vectors"


def test_products_read_a_copy_of_one_step_of_what_the_gradient_wants_later() -> None:
    program = laid_out(with_gradients(graph_of(elman(sequences())[0])))
    for chain in chains(program.kernels):
        (product,) = (k for k in members(program, chain) if k.stages[0].formula.reduction)
        (near,) = (name for name in product.reads if name.endswith(".near"))
        assert program.memory(near).role == "scratch"
        assert program.memory(near.removesuffix(".near")).role == "temporary"


def test_time_needs_no_border_of_zeros() -> None:
    program = laid_out(with_gradients(graph_of(elman(sequences())[0])))
    assert not any(m.layout.has_halo for m in program.memories)


def test_rows_that_would_share_few_sets_of_the_cache_are_apart() -> None:
    x = gc.input("x", (BATCH, STEPS, 8))
    y, _ = gc.LSTM(8, 64)(x)
    program = laid_out(graph_of(y))
    gates = [m for m in program.memories if m.role == "scratch" and m.value.type.shape[-1] == 256]
    assert [m.layout.last for m in gates] == [256 + 16]


# -------------------------------------------------------------------------------------------------- in words


def test_a_recurrence_in_words(golden: object) -> None:
    """The program and the strategies of a layer, forwards and backwards."""
    graph = with_gradients(graph_of(elman(sequences())[0]))
    program = laid_out(graph)
    rows = [f"{cost.bound}: {cost.strategy}" for cost in predictions(program, AVX512)]
    assert program_text(program) + "\n".join(rows) + "\n" == golden


@pytest.mark.parametrize("layer", [lambda: gc.LSTM(4, 8), lambda: gc.GRU(4, 8), lambda: gc.RNN(4, 8)])
def test_units_have_predictions_and_scratch_is_not_traffic(layer: Callable[[], gc.Layer]) -> None:
    y, _ = layer()(gc.input("x", (BATCH, STEPS, 4)))
    program = laid_out(graph_of(y))
    (recurrent,) = (
        cost for unit, cost in zip(program.units, predictions(program, AVX512), strict=True) if unit[0].recurs
    )
    assert recurrent.strategy.startswith(f"recurrence over t, {STEPS} steps, {SAMPLES} n at a time: ")
    assert 0 < recurrent.roofline <= 1
    assert recurrent.flops > 0
