"""Register tiles: what fits a processor, what suits an axis, which operands are copied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.schedule.panels import PAGE
from graphc.schedule.program import Kernel, Program
from graphc.schedule.tiling import candidates, choose_tile
from graphc.target import AVX2, AVX512, GENERIC, Target

HALVED = replace(AVX512, multiply_adds=1)
TARGETS = {"halved": HALVED, "avx512": AVX512, "avx2": AVX2, "generic": GENERIC}


def planned(m: Any, n: int, k: int, left: str = "N", right: str = "N") -> Program:
    """The program of one product of two inputs, each stored as it is or transposed."""
    a = gc.input("a", (m, k) if left == "N" else (k, m))
    b = gc.input("b", (k, n) if right == "N" else (n, k))
    product = gc.matmul(a if left == "N" else a.T, b if right == "N" else b.T)
    return gc.compile_inference(product, stop_after="plan_layouts")


def contraction(program: Program) -> Kernel:
    return next(k for k in program.kernels if k.stages[0].formula.reduction == "sum")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("shape", [(64, 64, 64), (gc.BATCH, 512, 784), (7, 10, 33), (1, 256, 100), (512, 48, 5)])
def test_a_tile_fits_registers_and_extents(shape: tuple[Any, int, int], target: Target) -> None:
    kernel = contraction(planned(*shape))
    tile = choose_tile(kernel, target)
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    assert tile.rows * tile.vectors * tile.depth + tile.vectors * tile.depth < target.registers
    assert -(-shape[1] // lanes) % tile.vectors == 0
    assert tile.row is None or shape[0] is gc.BATCH or tile.rows <= shape[0]
    assert tile == max(candidates(kernel, target), key=lambda c: c.efficiency).tile


def test_rows_of_a_batch_divide_the_usual_one_where_that_costs_nothing() -> None:
    tile = choose_tile(contraction(planned(gc.BATCH, 512, 784)), HALVED)
    assert 64 % tile.rows == 0
    assert tile.overlap


def test_an_axis_of_many_tiles_ends_in_a_smaller_one_and_computes_nothing_twice() -> None:
    kernel = contraction(planned(500, 512, 784))
    assert all(not choose_tile(kernel, target).overlap for target in TARGETS.values())


def test_one_unit_needs_fewer_sums_in_flight_than_two() -> None:
    """A row of one vector: a sum for each cycle of the latency, on each unit."""
    kernel = contraction(planned(1, 16, 512))
    assert choose_tile(kernel, HALVED).depth * 2 >= choose_tile(kernel, AVX512).depth > 1


@pytest.mark.parametrize(("left", "right"), [("N", "N"), ("N", "T"), ("T", "N"), ("T", "T")])
def test_what_is_returned_lies_in_memory_as_it_is_returned(left: str, right: str) -> None:
    program = planned(48, 64, 80, left, right)
    memory = program.memory(program.outputs[0])
    assert memory.layout.order == (0, 1)
    assert memory.layout.shape(memory.value.type) == (48, 64)


def test_rows_a_page_apart_are_copied_where_enough_results_read_them() -> None:
    floats = PAGE // 4
    many = planned(512, floats, 64)
    kernel = contraction(many)
    copied = [m for m in many.memories if m.name.endswith(".panels")]
    assert [m.name for m in copied if m.layout.block] == [r for r in kernel.reads if r.endswith(".panels")] != []
    assert not [m for m in planned(64, floats, 64).memories if m.name.endswith(".panels")]
    assert not [m for m in planned(512, floats + 16, 64).memories if m.name.endswith(".panels")]


def test_a_transposed_left_operand_a_page_apart_is_turned_and_padded() -> None:
    program = planned(PAGE // 4, 512, 96, "T", "N")
    turned = next(m for m in program.memories if m.name.startswith("a."))
    assert turned.layout.order == (1, 0)
    assert turned.layout.shape(turned.value.type)[-1] > 96


SHAPES = [(5, 7, 3), (64, 64, 64), (33, 50, 70), (17, 130, 19)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_transposed_operands_are_numpys(shape: tuple[int, int, int], dtype: str) -> None:
    """Small integers, whose sums are exact in any order: every element that a transposing copy moves counts."""
    m, n, k = shape
    a, b = gc.input("a", (k, m), dtype), gc.input("b", (n, k), dtype)
    program = gc.compile_inference({"product": a.T @ b.T, "copy": gc.tanh(a).T}, threads=2)
    generator = np.random.default_rng(m)
    x, y = (generator.integers(-8, 8, s).astype(dtype) for s in ((k, m), (n, k)))
    found = program(a=x, b=y)
    np.testing.assert_array_equal(found["product"], x.T @ y.T)
    np.testing.assert_allclose(found["copy"], np.tanh(x).T, rtol=1e-5)
