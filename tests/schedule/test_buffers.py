"""Slots: temporaries take turns, borders of zeros stay zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from graphc import pipeline
from graphc.schedule import buffers
from graphc.schedule.buffers import assign_buffers, memory_bytes, offsets
from graphc.schedule.stretches import stretches


def test_memories_with_equal_borders_take_turns() -> None:
    x = gc.input("x", (gc.BATCH, 4, 8, 8), "float64")
    weights = [gc.Parameter(f"w{k}", (4, 4, 3, 3), "he", "float64") for k in range(4)]
    y = x
    for w in weights:
        y = gc.relu(gc.conv2d(y, w, padding=1))
    memories = gc.compile_inference(y, stop_after="assign_buffers").memories
    bordered = [m.slot for m in memories if m.layout.has_halo and m.role == "temporary"]
    assert len(bordered) >= 3
    assert len(set(bordered)) < len(bordered)


def test_a_shared_border_stays_zero_between_runs_and_batches() -> None:
    x = gc.input("x", (gc.BATCH, 4, 8, 8), "float64")
    weights = [gc.Parameter(f"w{k}", (4, 4, 3, 3), "he", "float64") for k in range(4)]
    y = x
    for w in weights:
        y = gc.relu(gc.conv2d(y, w, padding=1))
    program = gc.compile_inference(y, threads=2)
    data = np.random.default_rng(0).normal(size=(5, 4, 8, 8))
    first = program(x=data)
    for batch in (2, 5, 3):
        np.testing.assert_allclose(program(x=data[:batch]), first[:batch], rtol=1e-12, atol=1e-14)
    expected = data
    for w in weights:
        padded = np.pad(expected, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        expected = np.maximum(np.einsum("ncyxrq,kcrq->nkyx", windows, w.value), 0)
    np.testing.assert_allclose(first, expected, rtol=1e-10, atol=1e-12)


def blocks(layers: int) -> gc.Tensor:
    """A chain of padded convolutions that are all needed again in the backward part."""
    y = gc.input("x", (gc.BATCH, 4, 8, 8), "float64")
    for k in range(layers):
        y = gc.tanh(gc.conv2d(y, gc.Parameter(f"w{k}", (4, 16 if k else 4, 3, 3), "he", "float64"), padding=1))
        y = gc.relu(gc.conv2d(y, gc.Parameter(f"v{k}", (16, 4, 3, 3), "he", "float64"), padding=1))
    return y


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.one_of(st.none(), st.tuples(st.integers(0, 20), st.integers(0, 6)))),
        max_size=30,
    )
)
def test_slots_overlap_only_when_their_lives_do_not(drawn: list[tuple[int, tuple[int, int] | None]]) -> None:
    slots = [(k, size, life and (life[0], life[0] + life[1])) for k, (size, life) in enumerate(drawn)]
    starts, end = offsets(slots)
    for k, size, life in slots:
        assert starts[k] % 64 == 0
        assert starts[k] + size <= end
        for other, other_size, other_life in slots[:k]:
            together = life is None or other_life is None or (life[0] <= other_life[1] and other_life[0] <= life[1])
            apart = starts[k] + size <= starts[other] or starts[other] + other_size <= starts[k]
            assert apart or not together, (k, other)


def test_lives_that_do_not_meet_take_one_place() -> None:
    starts, end = offsets([(0, 640, (0, 1)), (1, 640, (2, 3)), (2, 640, (3, 4))])
    assert starts[0] == starts[1] != starts[2]
    assert end == 2 * (640 + 64)


def test_packed_memories_are_apart_while_both_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any batch, counted in units; and threads wait between the users of one place."""
    monkeypatch.setattr(buffers, "SMALL", 1)
    plan = gc.compile_training(blocks(3).mean(), stop_after="plan_layouts")
    program = assign_buffers(plan, 0)
    packed = [m for m in program.memories if m.life is not None]
    assert any(m.layout.has_halo for m in packed)
    at = stretches(program)
    touched: dict[str, list[int]] = {}
    for stretch, unit in zip(at, program.units, strict=True):
        for kernel in unit:
            for name in (*kernel.reads, *kernel.writes):
                touched.setdefault(name, []).append(stretch)
    for m in packed:
        assert m.life is not None
        assert m.life[0] <= touched[m.name][0]
        assert touched[m.name][-1] <= m.life[1]
    for batch in (1, 7, 64):
        starts, _ = offsets([(m.slot, memory_bytes(m, batch), m.life) for m in packed])
        for k, a in enumerate(packed):
            for b in packed[:k]:
                if a.slot == b.slot or starts[a.slot] >= starts[b.slot] + memory_bytes(b, batch):
                    continue
                if starts[b.slot] < starts[a.slot] + memory_bytes(a, batch):
                    assert touched[a.name][-1] < touched[b.name][0] or touched[b.name][-1] < touched[a.name][0]


def test_packed_memory_computes_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(size=(5, 4, 8, 8))

    def gradients(little: int) -> list[np.ndarray]:
        monkeypatch.setattr(buffers, "SMALL", 1)
        monkeypatch.setattr(pipeline, "assign_buffers", lambda program: assign_buffers(program, little))
        y = blocks(3)
        gc.seed(0)
        loss = (y * y).mean()
        program = gc.compile_training(loss, threads=3)
        assert any(m.life for m in program.compiled.program.memories) == (little == 0)
        for batch in (2, 5, 3):
            program.step(x=data[:batch])
        return [p.value.copy() for p in program.parameters.values()]

    for a, b in zip(gradients(1 << 60), gradients(0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_training_step_of_a_residual_network_takes_little_memory() -> None:
    program = gc.compile_training(gc.models.resnet20().loss, stop_after="assign_buffers")
    slots = {m.slot: 0 for m in program.memories if m.slot >= 0 and m.role == "temporary"}
    lives = {m.slot: m.life for m in program.memories if m.slot in slots}
    for m in program.memories:
        if m.slot in slots:
            slots[m.slot] = max(slots[m.slot], memory_bytes(m, 32))
    _, end = offsets([(slot, size, lives[slot]) for slot, size in slots.items()])
    assert end <= 38e6
