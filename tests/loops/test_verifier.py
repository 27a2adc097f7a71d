"""Every rule of Loop IR: valid programs pass, each way to break a rule is named."""

import re

import pytest

from graphc.errors import VerificationError
from graphc.loops.expressions import (
    BOOL,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Cell,
    Compare,
    Const,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Name,
    Number,
    Pack,
    Select,
    Splat,
    Unary,
)
from graphc.loops.index import Element, constant, of_atom, variable
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Barrier,
    Bind,
    Call,
    Condition,
    Declare,
    For,
    Function,
    Guard,
    If,
    Let,
    Mode,
    Step,
    Store,
)
from graphc.loops.verifier import verify
from graphc.types import BATCH, DType

F32, F64, I32, I64 = DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64
N, n = variable("N"), variable("n")
ZERO, ONE, TWO = constant(0), constant(1), constant(2)
X = Buffer("x", F32, (BATCH, 8))
T = Buffer("t", I64, (BATCH,))
OTHER_X, OTHER_Z = Buffer("x", F32, (3,)), Buffer("z", F32, (3,))
NARROW = Buffer("a", F32, (BATCH, 4))
one, eight = Const(1.0, F32), Const(1.0, F32, 8)
integer, flag = Const(1, I32), Const(True, BOOL)


def kernel(*body, buffers=(X, T)) -> Function:
    return Function("f", buffers, body)


def loop(var, *body, **options) -> For:
    return For(var, ZERO, N, body, **options)


def register(shape=(2, 4), lanes=1) -> Declare:
    return Declare("r", shape, F32, Const(0.0, F32, lanes), lanes)


def let(e) -> Let:
    return Let("v", e)


VALID = {
    "store": [loop("n", Store(X, (n, ZERO), eight), mode=Mode.PARALLEL)],
    "masked": [Store(X, (ZERO, ZERO), Load(X, (ZERO, ZERO), 8, N), N)],
    "bind": [loop("n", Bind("m", n + 1), Store(X, (variable("m") - 1, ZERO), one))],
    "gather": [loop("n", let(Load(X, (of_atom(Element("t", (n,))), ZERO))))],
    "vector in parallel": [loop("n", For("l", ZERO, constant(8), (), Mode.VECTOR, active=N), mode=Mode.PARALLEL)],
    "same name on two paths": [loop("n", let(one)), loop("n", let(one)), let(one)],
    "fold of lanes": [let(Fold("sum", Load(X, (ZERO, ZERO), 8), 8))],
    "fold of a row": [register(), let(Fold("max", Cell("r", (ONE,), F32), 4))],
    "fold of a row from its start": [register(), let(Fold("max", Cell("r", (ONE, ZERO), F32), 4))],
    "lanes": [
        let(Extract(Pack((one, one)), 1)),
        Let("w", Binary("add", Splat(one, 4), Cast(Iota(I32, 4), F32))),
    ],
    "bits": [let(Binary("shl", Bitcast(one, I32), integer))],
    "select": [let(Select(Binary("or", Compare("lt", one, one), flag), one, one))],
    "logic": [let(Unary("not", Compare("eq", integer, integer)))],
    "registers": [register(), Assign("r", (ONE, TWO), one), Accumulate("r", (ZERO, ZERO), "prod", one)],
    "condition": [loop("n", If((Condition("ge", n - 1), Condition("divides", n, 2)), (let(one),)))],
    "several lanes in registers": [
        register((), 8),
        Assign("r", (), Fma(eight, eight, Cell("r", (), F32, 8))),
    ],
}


@pytest.mark.parametrize("body", VALID.values(), ids=VALID.keys())
def test_valid(body):
    verify(kernel(*body))


INVALID = {
    "n is not bound": [Store(X, (n, ZERO), one)],
    "v is not bound": [Let("w", Name("v", F32))],
    "v is not bound ": [loop("n", let(one)), Let("w", Name("v", F32))],
    "m is not bound": [loop("n", Bind("m", n)), let(Number(variable("m"), F32))],
    "v: expected f32, got f64": [let(one), Let("w", Name("v", F64))],
    "v: expected f32, got f32x8": [let(one), Let("w", Name("v", F32, 8))],
    "v is bound twice": [let(one), let(one)],
    "n is bound twice": [loop("n", loop("n"))],
    "x is bound twice": [Let("x", one)],
    "v is bound twice ": [let(one), loop("n", loop("v"))],
    "operands of 1.0 + 1: expected f32, got i32": [let(Binary("add", one, integer))],
    "operands of fma(1.0, 1.0, 1.0): expected f32, got f32x8": [let(Fma(one, one, eight))],
    "operands of 1.0 < 1.0: expected f32, got f64": [let(Compare("lt", one, Const(1.0, F64)))],
    "condition: expected bool, got f32": [let(Select(one, one, one))],
    "condition: expected boolx8, got bool": [let(Select(flag, eight, eight))],
    "exp: expected a float, got i32": [let(Unary("exp", integer))],
    "fma: expected a float, got i32": [let(Fma(integer, integer, integer))],
    "not: expected bool or an integer, got f32": [let(Unary("not", one))],
    "and: expected bool or an integer, got f32": [let(Binary("and", one, one))],
    "shl: expected an integer, got f32": [let(Binary("shl", one, one))],
    "add: expected a number, got bool": [let(Binary("add", flag, flag))],
    "unknown operation sinh": [let(Unary("sinh", one))],
    "unknown comparison gt": [let(Compare("gt", one, one))],
    "constant 0.5 is not of type i32": [let(Const(0.5, I32))],
    "constant 2147483648 is not of type i32": [let(Const(2**31, I32))],
    "expected 64 bits, got f32": [let(Bitcast(one, I64))],
    "1.0: expected one lane, got 8": [let(Splat(eight, 4))],
    "expected a lane below 8, got 8": [let(Extract(eight, 8))],
    "expected at least one lane, got 0": [let(Iota(I32, 0))],
    "fold: expected a power of two, got width 6": [let(Fold("sum", Const(1.0, F32, 6), 6))],
    "fold: expected 4 numbers, got 8": [let(Fold("sum", eight, 4))],
    "unknown reduction mean": [let(Fold("mean", eight, 8))],
    "buffer z: f32[3] is not declared (known: none of its name)": [Store(Buffer("z", F32, (3,)), (ZERO,), one)],
    "buffer x: f32[3] is not declared (known: x: f32[N,8])": [Store(OTHER_X, (ZERO,), one)],
    "x: expected 2 indices, got 1": [Store(X, (ZERO,), one)],
    "expected f32, got f64": [Store(X, (ZERO, ZERO), Const(1.0, F64))],
    "t: expected 1 indices, got 2": [let(Load(X, (of_atom(Element("t", (ZERO, ZERO))), ZERO)))],
    "buffer u is not declared": [let(Number(of_atom(Element("u", (ZERO,))), F32))],
    "expected integers in x: f32[N,8]": [let(Number(of_atom(Element("x", (ZERO, ZERO))), F32))],
    "register array r is not declared": [Assign("r", (), one)],
    "r: expected 2 indices, got 1": [register(), Assign("r", (ZERO,), one)],
    "r: expected an index below 4, got 4": [register(), Assign("r", (ZERO, constant(4)), one)],
    "r: expected an index below 2, got -1": [register(), Accumulate("r", (constant(-1), ZERO), "sum", one)],
    "value: expected f32, got f32x8": [register(), Assign("r", (ZERO, ZERO), eight)],
    "initial value: expected f32x8, got f32": [Declare("r", (2,), F32, one, 8)],
    "expected positive extents, got [0]": [register((0,))],
    "a vector loop inside a vector loop": [loop("n", loop("l", mode=Mode.VECTOR), mode=Mode.VECTOR)],
    "a parallel loop inside a parallel loop": [loop("n", loop("j", loop("l", mode=Mode.PARALLEL)), mode=Mode.PARALLEL)],
    "a parallel loop inside a vector loop": [loop("n", loop("l", mode=Mode.PARALLEL), mode=Mode.VECTOR)],
    "a serial loop has no inactive lanes": [loop("n", active=N)],
    "expected a positive step, got 0": [loop("n", step=0)],
    "expected a positive divisor, got 0": [If((Condition("divides", N, 0),), ())],
}


@pytest.mark.parametrize(("message", "body"), INVALID.items(), ids=INVALID.keys())
def test_invalid(message, body):
    with pytest.raises(VerificationError, match=re.escape(message.rstrip())):
        verify(kernel(*body))


def test_the_statement_is_named():
    expected = "kernel f: `store x[0, 0:8] = splat8(2.0 * 1)`: operands of 2.0 * 1: expected f32, got i32"
    with pytest.raises(VerificationError, match=re.escape(expected)):
        verify(kernel(Store(X, (ZERO, ZERO), Splat(Binary("mul", Const(2.0, F32), integer), 8))))


def test_buffers():
    with pytest.raises(VerificationError, match="two buffers have the same name"):
        verify(kernel(buffers=(X, Buffer("x", F64, (2,)))))
    with pytest.raises(VerificationError, match="the batch as the first extent only"):
        verify(kernel(buffers=(Buffer("x", F32, (8, BATCH)),)))
    with pytest.raises(VerificationError, match="positive extents"):
        verify(kernel(buffers=(Buffer("x", F32, (0,)),)))


FILL = Function("fill", (X,), (loop("n", Store(X, (n, ZERO), eight), mode=Mode.PARALLEL),))
A = Buffer("a", F32, (BATCH, 8))


def step(*body, functions=(FILL,), buffers=(A, T)) -> Step:
    return Step("s", buffers, functions, body)


def test_valid_step():
    verify(step(Call("fill", ("a",)), Barrier(), Guard("a"), Call("fill", ("a",))))


@pytest.mark.parametrize(
    ("message", "broken"),
    [
        ("call of spill, which is not a kernel of the step", step(Call("spill", ("a",)))),
        ("call of fill: expected 1 buffers, got 2", step(Call("fill", ("a", "a")))),
        ("call of fill: buffer b is not declared", step(Call("fill", ("b",)))),
        ("call of fill: expected x: f32[N,8], got t: i64[N]", step(Call("fill", ("t",)))),
        (
            "expected x: f32[N,8], got a: f32[N,4]",
            step(Call("fill", ("a",)), buffers=(NARROW,)),
        ),
        ("two kernels have the same name", step(functions=(FILL, FILL))),
        ("two buffers have the same name", step(buffers=(A, A))),
        ("guard: buffer b is not declared", step(Guard("b"))),
        ("guard: expected floats in t: i64[N]", step(Guard("t"))),
        ("kernel f: `v is", step(functions=(kernel(Let("w", Name("v", F32))),))),
    ],
)
def test_invalid_step(message, broken):
    message = message.replace("`v is", "`let w = v`: v is not bound")
    with pytest.raises(VerificationError, match=re.escape(message)):
        verify(broken)
