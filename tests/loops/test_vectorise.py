"""Vectorisation: contiguous, still and scattered accesses, masks, folds; the same values as lane by lane."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.loops.expressions import Binary, Buffer, Cell, Const, Expression, Fold, Load, Name, Number
from graphc.loops.index import Index, constant, variable
from graphc.loops.interpreter import run_function
from graphc.loops.ir import Accumulate, Declare, For, Function, Let, Mode, Statement, Store
from graphc.loops.vectorise import vectorise
from graphc.types import DType

F64, LANES = DType.FLOAT64, 4
X, Y, M = Buffer("x", F64, (10,)), Buffer("y", F64, (10,)), Buffer("m", F64, (4, 10))
i = variable("l")


def vector(body: tuple[Statement, ...], active: Index | None = None) -> Function:
    return Function("kernel", (X, Y, M), (For("l", constant(0), constant(LANES), body, Mode.VECTOR, 1, active),), "")


def run(f: Function) -> np.ndarray:
    y = np.full(10, -1.0)
    run_function(f, {"x": np.arange(1.0, 11.0), "y": y, "m": np.arange(40.0).reshape(4, 10)}, 1)
    return y


def stored(value: Expression, at: Index = i) -> tuple[Statement, ...]:
    return Let("t", value), Store(Y, (at,), Name("t", F64))


BODIES: dict[str, tuple[Statement, ...]] = {
    "contiguous": stored(Load(X, (i + 3,))),
    "still": stored(Load(X, (constant(5),))),
    "contiguous and still": stored(Binary("mul", Load(X, (i,)), Load(X, (constant(2),)))),
    "strided load": stored(Load(X, (i * 2,))),
    "backwards": stored(Load(X, (i * -1 + 9,))),
    "down a column": stored(Load(M, (i, constant(7)))),
    "diagonal": stored(Load(M, (i, i))),
    "strided store": stored(Load(X, (i,)), i * 2 + 1),
    "lane numbers": stored(Number(i * 3 + 2, F64)),
    "a constant": stored(Const(7.0, F64)),
}


@pytest.mark.parametrize("active", [None, 1, 3], ids=str)
@pytest.mark.parametrize("name", BODIES)
def test_the_values_stay(name: str, active: int | None) -> None:
    before = vector(BODIES[name], None if active is None else constant(active))
    after = vectorise(before)
    assert "vector " not in str(after)
    kept = run(before)
    assert (kept != -1).sum() == (active or LANES)
    got = run(after)
    # lanes that take no part may be written where a layout is padded, never beyond the buffer
    written = kept != -1
    np.testing.assert_array_equal(got[written], kept[written])


def test_a_partial_vector_at_the_end_of_a_buffer_is_masked() -> None:
    body = stored(Load(X, (i + 8,)), i + 8)
    before, after = (f(vector(body, constant(2))) for f in (lambda f: f, vectorise))
    assert run(before).tolist() == run(after).tolist()
    assert run(after)[8:].tolist() == [9, 10]


def test_idle_lanes_of_a_digit_leave_the_elements_behind_alone() -> None:
    """Those belong to the next value of the higher digit, and perhaps to another thread."""
    lanes = For(
        "l", constant(0), constant(LANES), stored(Load(X, (i,)), variable("k") * 2 + i), Mode.VECTOR, 1, constant(2)
    )
    f = vectorise(Function("kernel", (X, Y), (For("k", constant(0), constant(2), (lanes,), Mode.PARALLEL),), ""))
    y = np.full(10, -1.0)
    run_function(f, {"x": np.arange(1.0, 11.0), "y": y}, 1, thread=0, threads=2)
    np.testing.assert_array_equal(y, [1, 2, *[-1] * 8])


def test_how_accesses_are_written(golden) -> None:
    assert "\n".join(f"# {name}\n{vectorise(vector(body))}" for name, body in BODIES.items()) == golden


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 1 + 2 + 3.0), ("max", 3.0), ("min", 1.0)])
def test_inactive_lanes_do_not_take_part_in_a_fold(reduction: str, expected: float) -> None:
    neutral = {"sum": 0.0, "max": -np.inf, "min": np.inf}[reduction]
    body: tuple[Statement, ...] = (
        Declare("acc", (LANES,), F64, Const(neutral, F64)),
        For("l", constant(0), constant(LANES), (Accumulate("acc", (i,), reduction, Load(X, (i,))),), Mode.VECTOR, 1,
            constant(3)),
        Let("t", Fold(reduction, Cell("acc", (constant(0),), F64), LANES)),
        Store(Y, (constant(0),), Name("t", F64)),
    )  # fmt: skip
    before = Function("kernel", (X, Y, M), body, "")
    assert run(before)[0] == run(vectorise(before))[0] == expected
