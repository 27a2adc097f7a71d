"""Selections that their readers do without."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from graphc.ops.compose import remap_of

X = np.random.default_rng(0).standard_normal((2, 5, 24)).astype(np.float32)


def selections(program: Any) -> list[str]:
    """The memories that kernels fill by moving elements alone."""
    return [k.writes[0] for k in program.kernels if len(k.stages) == 1 and remap_of(k.stages[0].formula)]


def attention() -> gc.Tensor:
    layer = gc.MultiheadAttention(64, 2, name="attention")
    return layer(gc.input("x", (gc.BATCH, 5, 64)))


def test_heads_are_read_where_the_projection_left_them() -> None:
    y = attention()
    before = gc.compile_inference(y, stop_after="plan_layouts")
    after = gc.compile_inference(y, stop_after="read_sources")
    gone = set(selections(before)) - set(selections(after))
    assert len(gone) >= 2
    assert not gone & {m.name for m in after.memories}
    assert [k.name for k in after.kernels] == [f"k{i}" for i in range(len(after.kernels))]


def test_what_the_caller_wants_is_made() -> None:
    x = gc.relu(gc.input("x", (gc.BATCH, 5, 24)))
    moved = x.transpose(0, 2, 1)
    program = gc.compile_inference({"moved": moved, "sum": moved.sum(1)})
    result = program(x=X)
    np.testing.assert_array_equal(result["moved"], np.maximum(X, 0).transpose(0, 2, 1))
    np.testing.assert_allclose(result["sum"], np.maximum(X, 0).sum(2), rtol=1e-5)
