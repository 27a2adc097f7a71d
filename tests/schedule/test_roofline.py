"""The model of a core against counts by hand: operations, bytes, times that follow from them, names of strategies."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import graphc as gc
from graphc.codegen.target import host
from graphc.loops.ir import Declare, For, If, Statement
from graphc.ops.cost import polynomial, work
from graphc.ops.formula import Axis, formula
from graphc.schedule.program import Kernel, Program
from graphc.schedule.roofline import (
    CACHES,
    NOMINAL,
    kernel_flops,
    least_traffic,
    moved_bytes,
    predict,
    predictions,
    touched,
    traffic,
)
from graphc.schedule.strategy import is_contraction, planned_tile, strategy
from tests.schedule.build import training_stage

F32 = 4


def scheduled(*outputs: Any, **options: Any) -> Program:
    """The program of some tensors, with its memories."""
    return gc.compile_inference(outputs, stop_after="assign_buffers", **options)


@gc.op
def squares(X: gc.Tensor) -> object:
    """Σ X[n, c, y]² over all but c"""
    n, c, y = gc.axes("n c y")
    return gc.Sum(X[n, c, y] ** 2, over=(n, y))


def strategies(program: Program) -> list[str]:
    memories = {m.name: m for m in program.memories}
    return [strategy(unit, memories, host()) for unit in program.units]


def logical_bytes(kernel: Kernel, program: Program) -> tuple[int, int]:
    """(bytes per batch of one, bytes per further sample) of a kernel, from the shapes in memory."""
    memories = {m.name: m for m in program.memories}
    moved = traffic((kernel,), memories)
    return moved.fixed, moved.per_sample


def test_the_operations_of_a_convolution_and_of_pooling() -> None:
    x = gc.input("x", (gc.BATCH, 16, 8, 8))
    program = scheduled(gc.max_pool2d(gc.Conv2d(32, 3, name="conv")(x), 2), winograd="off")
    conv, pool = [k for k in program.kernels if k.stages[0].formula.reduction]
    assert kernel_flops(conv) == polynomial((0, 6 * 6 * 32 * (2 * 9 * 16 + 1)))
    assert kernel_flops(pool) == polynomial((0, 3 * 3 * 32 * 4))
    assert logical_bytes(pool, program)[1] == F32 * 32 * (6 * 6 + 3 * 3)
    assert logical_bytes(conv, program) == (F32 * 32 * (9 * 16 + 1), F32 * (16 * 8 * 8 + 32 * 6 * 6))


def test_borders_are_not_moved() -> None:
    x = gc.input("x", (gc.BATCH, 16, 8, 8))
    program = scheduled(gc.Conv2d(16, 3, padding=1)(x), winograd="off")
    halo = next(m for m in program.memories if m.layout.has_halo)
    assert moved_bytes(halo) == polynomial((0, F32 * 16 * 8 * 8))


def test_partial_sums_count_every_term_once() -> None:
    x = gc.input("x", (gc.BATCH, 16, 32))
    program = scheduled((x * x).sum((0, 2)))
    partial = next(k for k in program.kernels if k.split)
    assert kernel_flops(partial) == polynomial((0, 16 * 32))


def test_transforms_cost_their_nonzeros_axis_by_axis() -> None:
    x = gc.input("x", (gc.BATCH, 32, 16, 16))
    program = scheduled(gc.Conv2d(32, 3, padding=1, use_bias=False)(x), winograd="fast")
    (chain,) = [u for u in program.units if u[0].chain]
    data, product, result = chain
    # F(4x4, 3x3): 6x6 tiles of 4x4 results; each matrix acts on 6 (or, after the first, 4) columns
    blocks = 16 // 4 * 16 // 4 * 32
    assert kernel_flops(product) == polynomial((0, 2 * 36 * 16 * 32 * 32))
    assert 0 < kernel_flops(data).per_sample <= 2 * blocks * 2 * 6 * 36
    assert 0 < kernel_flops(result).per_sample <= 2 * blocks * (6 * 4 * 6 + 4 * 4 * 6)
    assert kernel_flops(data).per_sample % blocks == 0


def test_scratch_is_not_traffic() -> None:
    x = gc.input("x", (gc.BATCH, 16, 16, 16))
    program = scheduled(gc.Conv2d(16, 3, padding=1)(x), winograd="fast")
    (chain,) = [u for u in program.units if u[0].chain]
    memories = {m.name: m for m in program.memories}
    names = touched(chain, memories)
    assert {memories[n].role for k in chain for n in k.writes} >= {"scratch"}
    assert all(memories[n].role != "scratch" for n in names)
    image, filters = F32 * 16 * 16 * 16, F32 * 36 * 16 * 16
    assert traffic(chain, memories) == polynomial((filters + F32 * 16, 2 * image))


def test_stacked_sums_are_computed_one_beside_the_other() -> None:
    x = gc.input("x", (gc.BATCH, 16, 32))
    program = scheduled(x.sum((0, 2)), squares(x))
    partial = next(k for k in program.kernels if k.split)
    assert strategy((partial,), {}, host()).startswith("sum in 16 parts: 2 sums at once, ")
    assert kernel_flops(partial) == polynomial((0, (1 + 2) * 16 * 32))


def test_conditions_that_divide_leave_terms_out() -> None:
    x, w = gc.input("x", (gc.BATCH, 8, 8, 8)), gc.Parameter("w", (16, 8, 3, 3))
    y = gc.conv2d(x * gc.Parameter("s", (8, 1, 1)), w, stride=2, padding=1)
    loss = (y * y).sum()
    graph = gc.compile_training(loss, stop_after="differentiate")
    strided = [n.formula for n in graph.nodes if any(c.kind == "divides" for c in n.formula.conditions)]
    (f,) = strided
    assert work(f).per_sample == 2 * 8 * 8 * 8 * 16 * 9 // 4


def test_the_least_that_is_moved_is_what_comes_in_and_goes_out() -> None:
    x = gc.input("x", (gc.BATCH, 64))
    program = scheduled(gc.Dense(64, name="second")(gc.Dense(32, name="first")(x)))
    weights = F32 * (64 * 32 + 32 + 32 * 64 + 64)
    assert least_traffic(program) == polynomial((weights, F32 * (64 + 64)))
    memories = {m.name: m for m in program.memories}
    moved = sum(traffic(u, memories)(10) for u in program.units)
    assert moved == least_traffic(program)(10) + 2 * 10 * F32 * 32


def test_a_training_step_reads_and_writes_its_parameters() -> None:
    program = training_stage("assign_buffers")
    persistent = [m for m in program.memories if m.role == "parameter"]
    given = [m for m in program.memories if m.role in ("input", "scalar")]
    least = 2 * sum(moved_bytes(m)(1) for m in persistent) + sum(moved_bytes(m)(1) for m in given)
    assert least_traffic(program)(1) == least + sum(moved_bytes(program.memory(name))(1) for name in program.outputs)


# ------------------------------------------------------------------------------------------------ prediction


def product(m: int, n: int, k: int) -> Program:
    return scheduled(gc.matmul(gc.input("a", (m, k)), gc.input("b", (k, n))))


def largest(program: Program) -> Any:
    unit = max(program.units, key=lambda u: kernel_flops(u[0])(1))
    return predict(unit, program, host(), 1)


def test_a_large_product_is_bound_by_arithmetic_and_a_row_by_memory() -> None:
    large, row = (largest(product(m, 512, 512)) for m in (512, 1))
    assert (large.bound, large.flops) == ("arithmetic", 2 * 512**3)
    assert row.bound != "arithmetic"
    assert row.bytes == F32 * (512 * 512 + 512 + 512)
    assert large.seconds >= large.flops / (2 * host().vector_bits // 32 * host().multiply_adds) / NOMINAL.clock
    assert row.flops / row.seconds < large.flops / large.seconds
    assert 0 < large.roofline < 1
    assert large.refused


def test_more_work_takes_longer() -> None:
    times = [largest(product(64, n, k)).seconds for n, k in ((64, 64), (64, 128), (128, 128), (512, 512))]
    assert times == sorted(times)
    assert times[0] < times[-1] / 32


@pytest.mark.parametrize("batches", [(1, 4, 64, 1024)])
def test_larger_batches_take_longer(batches: tuple[int, ...]) -> None:
    program = training_stage("assign_buffers")
    steps = [sum(c.seconds for c in predictions(program, host(), b)) for b in batches]
    assert steps == sorted(steps)


def test_a_faster_machine_takes_less() -> None:
    program = training_stage("assign_buffers")
    clocked = replace(NOMINAL, clock=2 * NOMINAL.clock)
    wide = replace(NOMINAL, rates={name: 1e9 for name in NOMINAL.rates})
    nominal, double, arithmetic = (predictions(program, host(), 64, m) for m in (NOMINAL, clocked, wide))
    assert [c.seconds for c in double] == pytest.approx([c.seconds / 2 for c in nominal])
    assert all(a.seconds <= c.seconds for a, c in zip(arithmetic, nominal, strict=True))
    assert {c.bound for c in arithmetic if c.flops} == {"arithmetic"}


def test_operands_come_from_the_nearest_memory_that_holds_what_was_touched_since() -> None:
    x = gc.input("x", (gc.BATCH, 1024))
    bounds = []
    for batch in (1, 1 << 6, 1 << 10, 1 << 16):
        program = scheduled(gc.relu(x))
        (cost,) = predictions(program, host(), batch)
        sizes = dict(zip(CACHES, (host().l1, host().l2, host().l3), strict=True))
        expected = next((name for name, size in sizes.items() if 2 * F32 * 1024 * batch <= size), "memory")
        bounds.append((cost.bound, expected))
    assert [b for b, _ in bounds] == [e for _, e in bounds]


# ---------------------------------------------------------------------------------------------------- names


def test_strategies_have_names() -> None:
    x = gc.input("x", (gc.BATCH, 64))
    assert strategies(scheduled(gc.tanh(x))) == ["pointwise pass"]
    (dense,) = strategies(scheduled(gc.Dense(64)(x)))
    assert re.fullmatch(r"outer product, tile \d+x\d vectors, rows along n.*", dense)
    assert strategies(scheduled(gc.input("m", (40, 24)).T))[-1] == "transposing copy"
    row = strategies(scheduled(gc.matmul(gc.input("a", (1, 512)), gc.input("b", (512, 512)))))
    assert re.fullmatch(r"matrix by vector, tile 1x\d vectors.*", row[-1])


def test_a_chain_is_named_after_its_tiles_and_blocks() -> None:
    x = gc.input("x", (gc.BATCH, 16, 16, 16))
    (name,) = [s for s in strategies(scheduled(gc.Conv2d(16, 3, padding=1)(x), winograd="fast")) if "chain" in s]
    assert re.match(r"chain F\(4x4, 3x3\) by \d+ n: transform by 6x6 and 6x6 constants, then outer product, ", name)
    assert name.endswith("then transform by 4x6 and 4x6 constants")


def declared(body: tuple[Statement, ...]) -> list[tuple[int, ...]]:
    """The shapes of the register arrays of loops."""
    found: list[tuple[int, ...]] = []
    for s in body:
        if isinstance(s, Declare):
            found.append(s.shape)
        elif isinstance(s, For | If):
            found += declared(s.body)
    return found


@pytest.mark.parametrize("winograd", ["off", "fast"])
def test_the_named_tile_is_the_one_that_is_lowered(winograd: Any) -> None:
    x = gc.input("x", (gc.BATCH, 32, 16, 16))
    y = gc.relu(gc.Conv2d(32, 3, padding=1, name="first")(x))
    y = gc.Dense(24)(gc.Flatten()(gc.Conv2d(32, 3, padding=1, name="second")(y)))
    loss = (y * y).mean()
    compiled = gc.compile_training(loss, winograd=winograd, threads=1).compiled
    memories = {m.name: m for m in compiled.program.memories}
    functions = {f.name: f for f in compiled.stages["lower"].functions}
    checked = 0
    for unit, call in compiled.units:
        for kernel in filter(is_contraction, unit):
            tile, _ = planned_tile(kernel, memories, host())
            shapes = {shape[:2] for shape in declared(functions[call.function].body)}
            assert (tile.rows * tile.depth, tile.vectors * tile.columns) in shapes, kernel.name
            checked += 1
    assert checked >= 6


def test_an_axis_that_nothing_tests_stacks_nothing() -> None:
    x = gc.input("x", (4, 8))
    graph = gc.compile_inference(gc.sum(x, 1), stop_after="trace")
    f = graph.nodes[0].formula
    wider = formula((Axis(f.axes[0].symbol, 3), *f.axes[1:]), f.body, f.reduction, f.over)
    assert work(wider) == polynomial((3 * 8,))
