"""Layouts, slots and splits of programs, and numpy's view of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc.graph.ir import Value
from graphc.schedule.arrange import arrange, restore
from graphc.schedule.buffers import memory_bytes
from graphc.schedule.program import Layout, Memory
from graphc.types import BATCH, Batch, DType, TensorType
from tests.schedule.build import training_stage


@pytest.fixture(scope="module")
def program():
    return training_stage("assign_buffers")


def test_the_batch_is_the_outermost_axis_of_every_memory(program) -> None:
    for memory in program.memories:
        shape = memory.layout.shape(memory.value.type)
        assert not any(isinstance(e, Batch) for e in shape[1:]), memory.name


def test_a_value_with_one_column_keeps_the_batch_outside() -> None:
    x = gc.input("x", (gc.BATCH, 5))
    y = gc.dense(x, gc.Parameter("w", (1, 5)))
    program = gc.compile_inference({"y": y, "t": (y * 2.0).T, "moved": gc.tanh(x.T)}, stop_after="plan_layouts")
    for memory in program.memories:
        assert not any(isinstance(e, Batch) for e in memory.layout.shape(memory.value.type)[1:]), memory.name


def test_copies_keep_all_axes() -> None:
    """A weight gradient that slides along images of one column copies them with that axis."""
    x, w = gc.input("x", (gc.BATCH, 1, 2, 1)), gc.Parameter("w", (1, 1, 3, 3))
    loss = gc.tanh(gc.conv2d(gc.relu(x + 1.0), w, padding=1)).mean()
    program = gc.compile_training(loss, stop_after="plan_layouts")
    for memory in program.memories:
        assert sorted(memory.layout.order) == list(range(memory.value.type.rank)), memory.name


def test_memories_of_one_slot_are_never_alive_together(program) -> None:
    life: dict[str, tuple[int, int]] = {}
    for k, kernel in enumerate(program.kernels):
        for name in (*kernel.reads, *kernel.writes):
            life[name] = (life.get(name, (k, k))[0], k)
    for name in program.outputs:
        life[name] = (life[name][0], len(program.kernels))
    slots: dict[int, list[str]] = {}
    for memory in program.memories:
        assert (memory.slot >= 0) == (memory.role == "temporary")
        if memory.slot >= 0:
            slots.setdefault(memory.slot, []).append(memory.name)
    assert any(len(names) > 1 for names in slots.values())
    for names in slots.values():
        spans = sorted(life[n] for n in names)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans)), names


def test_borders_keep_their_slot(program) -> None:
    bordered = [m for m in program.memories if m.layout.has_halo]
    assert bordered
    for memory in bordered:
        assert [m.name for m in program.memories if m.slot == memory.slot] == [memory.name]


def test_sums_over_the_batch_are_cut_in_a_fixed_number_of_parts(program) -> None:
    parts = [k for k in program.kernels if k.split]
    assert parts
    assert {k.axes[0].extent for k in parts} == {16}
    assert all("16 parts" in " ".join(k.remarks) for k in parts)


def test_the_size_of_a_memory_is_linear_in_the_batch() -> None:
    value = Value(0, TensorType((BATCH, 3, 5), DType.FLOAT64))
    memory = Memory("x", value, Layout((0, 2, 1), ((0, 0), (0, 0), (1, 2)), 4), "temporary", 0)
    assert memory_bytes(memory, 7) == 7 * 8 * 4 * 8
    assert memory_bytes(memory, 14) == 2 * memory_bytes(memory, 7)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, TensorType, int]:
    rank = draw(st.integers(1, 4))
    batched = draw(st.booleans()) and rank > 1
    fixed = [draw(st.integers(1, 5)) for _ in range(rank - batched)]
    rest = draw(st.permutations(range(int(batched), rank)))
    order = (*([0] if batched else []), *rest)
    halo = [(0, 0) if batched and a == 0 else (draw(st.integers(0, 2)), draw(st.integers(0, 2))) for a in range(rank)]
    type = TensorType(((BATCH,) if batched else ()) + tuple(fixed), DType.FLOAT32)
    last = type.shape[order[-1]]
    assert isinstance(last, int)
    block = draw(st.sampled_from([0, 0, 2, 4])) if not batched else 0
    if block:
        return Layout(order, ((0, 0),) * rank, last, block), type, 1
    return (
        Layout(order, tuple(halo), last + sum(halo[order[-1]]) + draw(st.integers(0, 3))),
        type,
        draw(st.integers(1, 4)),
    )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(layouts())
def test_arranging_and_restoring_are_inverse(case: tuple[Layout, TensorType, int]) -> None:
    layout, type, batch = case
    array = np.random.default_rng(0).uniform(1, 2, type.concrete(batch)).astype(np.float32)
    physical = arrange(array, layout, type, batch)
    assert physical.ctypes.data % 64 == 0
    np.testing.assert_array_equal(restore(physical, layout, type, batch), array)
    assert float(physical.sum(dtype=np.float64)) == pytest.approx(float(array.sum(dtype=np.float64)), rel=1e-6)


def test_where_an_element_lies() -> None:
    type = TensorType((2, 3, 4), DType.FLOAT32)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    moved = arrange(array, Layout((2, 0, 1), ((0, 0), (1, 0), (0, 2)), 4), type)
    assert moved.shape == (6, 2, 4)
    assert moved[3, 1, 2 + 1] == array[1, 2, 3]
    assert not moved[4:].any()
    assert not moved[:, :, 0].any()
    packed = arrange(array, Layout((1, 0, 2), ((0, 0),) * 3, 4, 3), type)
    assert packed.shape == (2, 3, 2, 3)
    assert packed[3 // 3, 2, 1, 3 % 3] == array[1, 2, 3]
    assert not packed[1, :, :, 1:].any()


def test_the_program_of_a_small_network(golden, program) -> None:
    # packing and slots depend on the processor's registers; what the kernels compute does not
    lines = [f"{k.name} {k.scope or '-'}: " + "; ".join(str(s.formula) for s in k.stages) for k in program.kernels]
    assert "\n".join(lines) + "\n" == golden
