"""Interleaving: which chains take turns, and that every operation stays what it was."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.loops.expressions import Binary, Buffer, Expression, Load, Name
from graphc.loops.index import constant
from graphc.loops.interleave import LONG, interleave
from graphc.loops.interpreter import run_function
from graphc.loops.ir import Function, Let, Statement, Store
from graphc.types import DType

F32 = DType.FLOAT32
X, Y = Buffer("x", F32, (4,)), Buffer("y", F32, (4,))


def chain(k: int, length: int, into: Buffer = Y) -> list[Statement]:
    """y[k] = ((x[k]·x[k])·x[k])...: `length` operations one after the other, in one Let."""
    x: Expression = Load(X, (constant(k),))
    value = x
    for _ in range(length):
        value = Binary("mul", value, x)
    return [Let(f"v{k}", value), Store(into, (constant(k),), Name(f"v{k}", F32))]


def function(length: int, into: Buffer = Y) -> Function:
    return Function("f", (X, Y), tuple(s for k in range(4) for s in chain(k, length, into)))


def test_long_chains_take_turns_and_compute_the_same() -> None:
    before = function(LONG)
    after = interleave(before)
    stores = [k for k, s in enumerate(after.body) if isinstance(s, Store)]
    assert stores == list(range(len(after.body) - 4, len(after.body)))
    first = [s.value for s in after.body[:4] if isinstance(s, Let)]
    assert [e.a.index[0].constant for e in first if isinstance(e, Binary) and isinstance(e.a, Load)] == [0, 1, 2, 3]
    x = np.array([1.01, -0.99, 1.02, 0.5], np.float32)
    results = []
    for f in (before, after):
        memory = {"x": x.copy(), "y": np.zeros(4, np.float32)}
        run_function(f, memory, 1)
        results.append(memory["y"])
    assert results[0].tobytes() == results[1].tobytes()
    assert np.allclose(results[0], x.astype(float) ** (LONG + 1))


def test_short_chains_stay_as_they_are() -> None:
    f = function(LONG // 2)
    assert interleave(f) is f


def test_what_reads_the_memory_that_it_writes_stays_as_it_is() -> None:
    f = function(LONG, X)
    assert interleave(f) is f


def test_a_chain_that_needs_another_follows_it() -> None:
    one, two = chain(0, LONG), chain(1, LONG)
    joined = Let("w", Binary("add", Name("v0", F32), Name("v1", F32)))
    f = Function("f", (X, Y), (one[0], two[0], joined, Store(Y, (constant(0),), Name("w", F32))))
    assert interleave(f) is f


def test_the_pointwise_part_of_a_product_is_there_once_for_all_rows() -> None:
    x = gc.input("x", (gc.BATCH, 6, 8))
    y = gc.Dense(64, "tanh", name="layer")(x)
    text = str(gc.compile_inference(y, stop_after="lower"))
    assert text.count("tanh(") == 1
    assert "whole" in text
