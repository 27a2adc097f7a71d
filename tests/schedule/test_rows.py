"""Chains by rows: a large matrix between kernels is never stored whole, and the numbers stay what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.graph.passes import recompute_matrices
from graphc.schedule import rows

HEADS, LENGTH, FEATURES = 2, 40, 16


def attention(**options: Any) -> gc.Tensor:
    q, k, v = (gc.input(n, (gc.BATCH, HEADS, LENGTH, FEATURES)) for n in "qkv")
    return gc.scaled_dot_product_attention(q, k, v, **options)


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.standard_normal((3, HEADS, LENGTH, FEATURES), dtype=np.float32) for n in "qkv"}


def softmax_of_products(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    scores = np.einsum("nhqd,nhkd->nhqk", *(x.astype(float) for x in (q, k))) / np.sqrt(FEATURES)
    if causal:
        scores = np.where(np.tril(np.ones((LENGTH, LENGTH), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("nhqk,nhke->nhqe", weights / weights.sum(-1, keepdims=True), v.astype(float))


def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix counts as large; blocks do not divide the length."""
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    for module, name, value in ((rows, "LARGE", 1), (recompute_matrices, "LARGE", 1), (rows, "MOST", 12)):
        monkeypatch.setattr(module, name, value)


class Scaled(gc.Layer):
    """Attention between weighted queries, keys and values."""

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        parts = [x * self.parameter(n, (FEATURES,), "normal", x.dtype) for n in "qkv"]
        return gc.scaled_dot_product_attention(*parts, is_causal=True)


def test_a_training_step_keeps_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((2, HEADS, LENGTH, FEATURES))

    def trained(threads: int) -> tuple[str, list[np.ndarray]]:
        layer = Scaled(name="attention")
        loss = (layer(gc.input("x", (gc.BATCH, HEADS, LENGTH, FEATURES), "float64")) ** 2).mean()
        program = gc.compile_training(loss, optimizer=gc.SGD(10.0), threads=threads)
        for _ in range(2):
            program.step(x=x)
        return program.text("kernels"), [p.value for p in layer.parameters()]

    text, whole = trained(1)
    assert f"f64[N,{HEADS},{LENGTH},{LENGTH}] temporary" in text
    in_blocks(monkeypatch)
    runs = [trained(threads) for threads in (1, 2, 3)]
    assert f"{LENGTH},{LENGTH}] temporary" not in runs[0][0]
    for _, values in runs:
        for one, same, before in zip(runs[0][1], values, whole, strict=True):
            assert (one == same).all()
            np.testing.assert_allclose(same, before, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("causal", [False, True])
def test_scores_are_scratch_of_a_block(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    y, a = attention(is_causal=causal), arrays()
    whole = gc.compile_inference(y, threads=1)
    assert "scratch" not in whole.text("kernels")
    in_blocks(monkeypatch)
    programs = [gc.compile_inference(y, threads=t) for t in (1, 2, 3)]
    text = programs[0].text("kernels")
    assert f"f32[N,{HEADS},{LENGTH},{LENGTH}] temporary" not in text
    assert "scratch" in text
    results = [program(**a) for program in programs]
    assert all((r == results[0]).all() for r in results)
    np.testing.assert_allclose(results[0], softmax_of_products(**a, causal=causal), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(results[0], whole(**a), rtol=2e-5, atol=2e-6)


def test_what_is_an_output_itself_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 1)
    x = gc.input("x", (gc.BATCH, LENGTH, FEATURES))
    scores = x @ gc.transpose(x)
    text = str(gc.compile_inference({"s": scores, "p": gc.softmax(scores)}, stop_after="form_rows"))
    assert "rows" not in text


def test_a_matrix_that_is_read_across_its_rows_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 1)
    x = gc.input("x", (gc.BATCH, LENGTH, FEATURES))
    scores = x @ gc.transpose(x)
    program = gc.compile_inference(gc.softmax(scores, axis=-2) @ x, stop_after="plan_layouts")
    assert all(k.chain is None for k in program.kernels)
