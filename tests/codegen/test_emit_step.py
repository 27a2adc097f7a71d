"""Steps of several kernels: the table, aliases, names, and what the text shows."""

import re

import numpy as np
import pytest

from graphc.codegen.llvm import emit
from graphc.codegen.target import runs_here
from graphc.errors import LoweringError
from graphc.loops.expressions import Binary, Buffer, Const, Load
from graphc.loops.index import ZERO, constant, variable
from graphc.loops.ir import Barrier, Call, For, Function, Guard, Step, Store
from graphc.runtime.jit import compile_ir
from graphc.target import AVX2, AVX512
from graphc.types import BATCH, DType

F32 = DType.FLOAT32
i, N = variable("i"), variable("N")
X, Y, OUT = (Buffer(name, F32, (BATCH,)) for name in ("x", "y", "out"))


def combine(name, operation, scope=""):
    body = Store(OUT, (i,), Binary(operation, Load(X, (i,)), Load(Y, (i,))))
    return Function(name, (X, Y, OUT), (For("i", ZERO, N, (body,)),), scope)


def test_kernels_run_in_order_on_the_buffers_of_their_calls(run):
    names = ("a", "b", "c", "d")
    step = Step(
        "train",
        tuple(Buffer(n, F32, (BATCH,)) for n in names),
        (combine("plus", "add"), combine("times", "mul")),
        (
            Call("plus", ("a", "b", "c")),
            Barrier(),
            Call("times", ("c", "b", "d")),
            Call("plus", ("d", "d", "a")),
        ),
    )
    a, b = np.arange(5, dtype=np.float32), np.arange(5, dtype=np.float32) + 2
    got = run(step, {"a": a, "b": b, "c": a, "d": a}, batch=5)
    np.testing.assert_array_equal(got["c"], a + b)
    np.testing.assert_array_equal(got["d"], (a + b) * b)
    np.testing.assert_array_equal(got["a"], (a + b) * b * 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [1.0, -0.0, 3e38, np.inf, -np.inf, np.nan])
def test_a_guard_ends_the_step_unless_its_number_is_finite(run, dtype, value):
    kind = DType.of(dtype)
    loss, out = Buffer("loss", kind, ()), Buffer("out", kind, (BATCH,))
    bump = Store(out, (i,), Binary("add", Load(out, (i,)), Const(1.0, kind)))
    f = Function("bump", (out,), (For("i", ZERO, N, (bump,)),))
    step = Step("step", (loss, out), (f,), (Call("bump", ("out",)), Guard("loss"), Call("bump", ("out",))))
    got = run(step, {"loss": np.array(value, dtype), "out": np.zeros(3)}, batch=3)["out"]
    np.testing.assert_array_equal(got, 2 if np.isfinite(value) else 1)


def test_buffers_that_share_memory_see_each_others_stores(run):
    """The stores to x go in between the reads of y, once with two buffers, once with the same one twice."""
    shift = Function(
        "shift",
        (X, Y),
        (
            For(
                "i",
                ZERO,
                N - 1,
                (
                    Store(X, (i + 1,), Binary("add", Load(Y, (i,)), Const(1.0, F32))),
                    Store(X, (i,), Binary("add", Load(Y, (i,)), Const(0.5, F32))),
                    Store(X, (i,), Binary("add", Load(Y, (i,)), Const(0.5, F32))),
                ),
            ),
        ),
    )
    a, b = Buffer("a", F32, (BATCH,)), Buffer("b", F32, (BATCH,))
    step = Step("step", (a, b), (shift,), (Call("shift", ("a", "b")), Call("shift", ("a", "a"))))
    got = run(step, {"a": np.zeros(4), "b": np.array([5, 5, 5, 5])}, batch=4)
    x, y = np.zeros(4), np.full(4, 5.0)
    for source in (y, x):
        for n in range(3):
            x[n + 1] = source[n] + 1
            x[n] = source[n] + 0.5
            x[n] = source[n] + 0.5
    np.testing.assert_array_equal(got["a"], x)


def test_only_buffers_that_may_share_changing_memory_lose_noalias():
    separate = Step("s", (X, Y, OUT), (combine("plus", "add"),), (Call("plus", ("x", "y", "out")),))
    twice = Step("s", (X, OUT), (combine("plus", "add"),), (Call("plus", ("x", "x", "out")),))
    onto = Step("s", (X, Y), (combine("plus", "add"),), (Call("plus", ("x", "y", "x")),))

    def parameters(step):
        return re.search(r"@plus\((.*), i64 %N, i64 %thread", emit(step, AVX2)).group(1)

    expected = "ptr noalias readonly %b0, ptr noalias readonly %b1, ptr noalias %b2"
    assert parameters(separate) == expected
    assert parameters(twice) == expected
    assert parameters(onto) == "ptr %b0, ptr noalias readonly %b1, ptr %b2"


def test_the_text_names_scopes_and_buffers():
    step = Step("s", (X, Y, OUT), (combine("plus", "add", "features/add1"),), (Call("plus", ("x", "y", "out")),))
    text = emit(step, AVX2)
    assert "; features/add1\n;   %b0 = x: f32[N]\n;   %b1 = y: f32[N]\n;   %b2 = out: f32[N]\ndefine internal" in text


def test_equal_loads_and_addresses_are_written_once():
    square = Store(OUT, (i,), Binary("add", Binary("mul", Load(X, (i,)), Load(X, (i,))), Load(X, (i,))))
    f = Function("f", (X, OUT), (For("i", ZERO, N, (square, Store(OUT, (i,), Load(X, (i,))))),))
    kernel = emit(Step("s", (X, OUT), (f,), (Call("f", ("x", "out")),)), AVX2).split("@f(")[1].split("\n}")[0]
    assert kernel.count("load float") == 1
    assert kernel.count("getelementptr") == 2


def test_index_arithmetic_stands_outside_of_the_loops_that_it_does_not_depend_on():
    x = Buffer("x", F32, (50, 7, 30))
    j = variable("j")
    body = Store(x, (i, constant(3), j), Const(1.0, F32))
    f = Function("f", (x,), (For("i", ZERO, constant(50), (For("j", ZERO, constant(30), (body,)),)),))
    kernel = emit(Step("s", (x,), (f,), (Call("f", ("x",)),)), AVX2).split("@f(")[1]
    assert kernel.index("mul i64 %i") < kernel.index("\nfor.j")


@pytest.mark.parametrize("name", ["a-b.c$d", 'step "1" of é', "7"])
def test_any_name_is_possible(run, name):
    step = Step(name, (X, Y, OUT), (combine(name + "k", "add"),), (Call(name + "k", ("x", "y", "out")),))
    if name.isascii():
        got = run(step, {"x": [1, 2], "y": [3, 4], "out": [0, 0]}, batch=2)["out"]
        np.testing.assert_array_equal(got, [4, 6])
    else:
        assert "; step" in emit(step, AVX2)


def test_calls_that_do_not_fit_are_refused():
    plus = combine("plus", "add")
    wrong = Buffer("x", DType.FLOAT64, (BATCH,))
    cases = [
        (Step("s", (X,), (plus,), (Call("minus", ("x",)),)), "calls minus, which it does not define"),
        (Step("s", (X,), (plus,), (Call("plus", ("x",)),)), "plus has 3 buffers but is called with 1"),
        (
            Step("s", (X,), (plus,), (Call("plus", ("x", "y", "x")),)),
            "passes buffer y, which it does not have",
        ),
        (
            Step("s", (wrong,), (plus,), (Call("plus", ("x", "x", "x")),)),
            r"expects x: f32\[N\], but is called with",
        ),
    ]
    for step, message in cases:
        with pytest.raises(LoweringError, match=message):
            emit(step, AVX2)


def test_512_bit_vectors_stay_whole_for_a_target_that_has_them():
    lanes = AVX512.lanes(F32)
    e = Binary("add", Load(X, (i,), lanes, N - i), Load(Y, (i,), lanes, N - i))
    f = Function("f", (X, Y, OUT), (For("i", ZERO, N, (Store(OUT, (i,), e, N - i),), step=lanes),))
    step = Step("s", (X, Y, OUT), (f,), (Call("f", ("x", "y", "out")),))
    native = compile_ir(emit(step, AVX512), AVX512)
    assert re.search(r"vmovups\s+\(.*%zmm\d+ \{%k\d\} \{z\}", native.assembly_of("f"))
    if not runs_here(AVX512):
        with pytest.raises(LoweringError, match="cannot run on this processor"):
            native.address("s")
