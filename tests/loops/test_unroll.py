"""Unrolling: one copy of the body for each iteration, names and indices told apart."""

from __future__ import annotations

import numpy as np

from graphc.loops.expressions import Binary, Buffer, Cell, Const, Load, Name
from graphc.loops.index import constant, variable
from graphc.loops.interpreter import run_function
from graphc.loops.ir import Accumulate, Declare, For, Function, Let, Mode, Statement, Store
from graphc.loops.unroll import unroll
from graphc.types import DType

F64 = DType.FLOAT64
X, Y = Buffer("x", F64, (6,)), Buffer("y", F64, (6,))


def function(*body: Statement) -> Function:
    return Function("kernel", (X, Y), body, "")


def run(f: Function) -> np.ndarray:
    x, y = np.arange(6.0), np.zeros(6)
    run_function(f, {"x": x, "y": y}, 1)
    return y


def doubled(var: str) -> tuple[Statement, ...]:
    value = Binary("mul", Load(X, (variable(var),)), Const(2.0, F64))
    return Let("t", value), Store(Y, (variable(var),), Name("t", F64))


def test_the_body_is_repeated_with_constant_indices_and_names_of_its_own(golden) -> None:
    before = function(For("i", constant(0), constant(6), doubled("i"), Mode.UNROLL, 2))
    after = unroll(before)
    assert run(before).tolist() == run(after).tolist() == [0, 0, 4, 0, 8, 0]
    assert f"{after}\n" == golden


def test_loops_inside_unrolled_loops_and_the_other_way_round() -> None:
    index = variable("i") * 3 + variable("j")
    inner = (Let("t", Load(X, (index,))), Store(Y, (index,), Name("t", F64)))
    for outer_mode, inner_mode in ((Mode.UNROLL, Mode.UNROLL), (Mode.SERIAL, Mode.UNROLL), (Mode.UNROLL, Mode.SERIAL)):
        before = function(
            For("i", constant(0), constant(2), (For("j", constant(0), constant(3), inner, inner_mode),), outer_mode)
        )
        after = unroll(before)
        assert "unroll" not in str(after)
        assert run(after).tolist() == list(range(6))


def test_registers_become_constants() -> None:
    u = variable("u")
    body = (
        Declare("acc", (3,), F64, Const(0.0, F64)),
        For("k", constant(0), constant(2), (
            For("u", constant(0), constant(3), (Accumulate("acc", (u,), "sum", Load(X, (u + variable("k") * 3,))),),
                Mode.UNROLL),
        )),
        For("u", constant(0), constant(3), (Store(Y, (u,), Cell("acc", (u,), F64)),), Mode.UNROLL),
    )  # fmt: skip
    after = unroll(function(*body))
    assert run(after).tolist() == [3, 5, 7, 0, 0, 0]
    assert all(f"acc[{k}]" in str(after) for k in range(3))
    assert "acc[u]" not in str(after)


def test_one_iteration_keeps_its_names_and_nothing_to_do_changes_nothing() -> None:
    once = unroll(function(For("i", constant(1), constant(2), doubled("i"), Mode.UNROLL)))
    assert "let t = " in str(once)
    assert run(once).tolist() == [0, 2, 0, 0, 0, 0]
    serial = function(For("i", constant(0), constant(6), doubled("i")))
    assert unroll(serial) is serial
