"""Loops run in numpy give the numbers that the definition of Loop IR promises."""

import numpy as np
import pytest

from graphc.errors import InputError, VerificationError
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
from graphc.loops.index import Element, constant, minimum, of_atom, quotient, remainder, variable
from graphc.loops.interpreter import Frame, evaluate, evaluate_over, run_function, run_step
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
from graphc.types import BATCH, DType

F32, F64, I32, I64 = DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64
N, n, j, k, lane = (variable(v) for v in ("N", "n", "j", "k", "l"))
ZERO = constant(0)
ONE = Const(1.0, F32)
X = Buffer("x", F32, (BATCH, 12))
W = Buffer("w", F32, (12, 8))
Y = Buffer("y", F32, (BATCH, 8))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loop(var: str, extent: int, *body, **options) -> For:
    return For(var, ZERO, constant(extent), body, **options)


def value(e, **names):
    frame = Frame({}, {"N": 3, "n": 2}, {name: np.float32(v) for name, v in names.items()}, {})
    with np.errstate(all="ignore"):
        return evaluate(e, frame)


def product_scalar() -> Function:
    """y = x · w, one number at a time, the columns in a vector loop."""
    body = (
        Declare("acc", (), F32, Const(0.0, F32)),
        loop("k", 12, Accumulate("acc", (), "sum", Binary("mul", Load(X, (n, k)), Load(W, (k, lane))))),
        Store(Y, (n, lane), Cell("acc", (), F32)),
    )
    return Function("product", (X, W, Y), (For("n", ZERO, N, (loop("l", 8, *body, mode=Mode.VECTOR),)),))


def product_vector() -> Function:
    """The same with eight lanes and fused multiply-add."""
    acc = Cell("acc", (ZERO,), F32, 8)
    body = (
        Declare("acc", (1,), F32, Const(0.0, F32, 8), 8),
        loop("k", 12, Assign("acc", (ZERO,), Fma(Splat(Load(X, (n, k)), 8), Load(W, (k, ZERO), 8), acc))),
        Store(Y, (n, ZERO), acc),
    )
    return Function("product", (X, W, Y), (For("n", ZERO, N, body, Mode.PARALLEL),))


@pytest.mark.parametrize("function", [product_scalar(), product_vector()], ids=["scalar", "vector"])
def test_matrix_product(function):
    x, w, y = numbers(3, 12), numbers(12, 8, seed=1), np.empty((3, 8), np.float32)
    run_function(function, {"x": x, "w": w, "y": y}, 3)
    np.testing.assert_allclose(y, x @ w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("batch", "threads"), [(7, 1), (7, 2), (7, 3), (2, 5), (0, 2)])
def test_parallel_iterations_are_shared_without_gap_or_overlap(batch, threads):
    column = Buffer("c", F32, (BATCH,))
    count = Store(column, (n,), Binary("add", Load(column, (n,)), ONE))
    function = Function("count", (column,), (For("n", ZERO, N, (count,), Mode.PARALLEL),))
    c = np.zeros(batch, np.float32)
    for thread in range(threads):
        before = c.copy()
        run_function(function, {"c": c}, batch, thread, threads)
        changed = np.flatnonzero(c != before)
        assert changed.tolist() == list(range(batch * thread // threads, batch * (thread + 1) // threads))
    assert c.tolist() == [1.0] * batch


def test_parallel_shares_iterations_not_distance():
    column = Buffer("c", F32, (10,))
    parallel = For("j", constant(1), constant(10), (Store(column, (j,), ONE),), Mode.PARALLEL, step=4)
    c = np.zeros(10, np.float32)
    run_function(Function("f", (column,), (parallel,)), {"c": c}, 1, 1, 2)
    assert np.flatnonzero(c).tolist() == [5, 9]


def test_vector_loop_with_inactive_lanes():
    body = (Store(Y, (n, lane), Number(lane, F32)),)
    lanes = For("l", ZERO, constant(8), body, Mode.VECTOR, active=N * 2 - n)
    y = np.full((2, 8), -1, np.float32)
    run_function(Function("f", (Y,), (For("n", ZERO, N, (lanes,)),)), {"y": y}, 2)
    assert y.tolist() == [[0, 1, 2, 3, -1, -1, -1, -1], [0, 1, 2, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize(("active", "count"), [(5, 5), (0, 0), (-2, 0), (11, 8), (None, 8)])
def test_masked_load_and_store(active, count):
    line, out = Buffer("line", F32, (8,)), Buffer("out", F32, (2, 8))
    mask = None if active is None else constant(active)
    masked_load = Store(out, (ZERO, ZERO), Load(line, (ZERO,), 8, mask))
    masked_store = Store(out, (constant(1), ZERO), Load(line, (ZERO,), 8), mask)
    values = np.arange(1, 9, dtype=np.float32)
    result = np.full((2, 8), -1, np.float32)
    run_function(Function("f", (line, out), (masked_load, masked_store)), {"line": values, "out": result}, 1)
    assert result[0].tolist() == [*range(1, count + 1), *[0] * (8 - count)]
    assert result[1].tolist() == [*range(1, count + 1), *[-1] * (8 - count)]


def test_masked_lanes_may_lie_outside():
    line = Buffer("line", F32, (6,))
    store = Store(line, (constant(4),), Load(line, (constant(4),), 8, constant(2)), constant(2))
    values = np.arange(6, dtype=np.float32)
    run_function(Function("f", (line,), (store,)), {"line": values}, 1)
    assert values.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("place", [constant(12), constant(-1), N * 6])
def test_access_outside_is_refused(place):
    function = Function("f", (X,), (Store(X, (ZERO, place), ONE),))
    with pytest.raises(VerificationError, match="outside"):
        run_function(function, {"x": numbers(2, 12)}, 2)


def test_lanes_do_not_run_into_the_next_row():
    function = Function("f", (X,), (Store(X, (ZERO, constant(8)), Const(1.0, F32, 8)),))
    with pytest.raises(VerificationError, match="8 lanes"):
        run_function(function, {"x": numbers(2, 12)}, 2)


def test_arrays_must_fit():
    function = Function("f", (X,), ())
    with pytest.raises(InputError, match="missing"):
        run_function(function, {}, 2)
    with pytest.raises(InputError, match=r"expected float32 \(2, 12\), got float32 \(3, 12\)"):
        run_function(function, {"x": numbers(3, 12)}, 2)
    with pytest.raises(InputError, match="got float64"):
        run_function(function, {"x": np.zeros((2, 12))}, 2)


def test_conditions_bindings_and_scopes():
    out = Buffer("out", F32, (6,))
    inner = (Bind("m", quotient(j, 2) * 2 + remainder(j, 2)), Store(out, (variable("m"),), Name("v", F32)))
    body = (
        Let("v", Number(j * 10, F32)),
        If((Condition("ge", j - 1), Condition("divides", j, 2)), inner),
    )
    result = np.full(6, -1, np.float32)
    run_function(Function("f", (out,), (loop("j", 6, *body),)), {"out": result}, 1)
    assert result.tolist() == [-1, -1, 20, -1, 40, -1]


def test_what_a_body_binds_ends_with_it():
    out = Buffer("out", F32, (1,))
    body = (loop("j", 1, Let("v", ONE)), Store(out, (ZERO,), Name("v", F32)))
    with pytest.raises(KeyError, match="v"):
        run_function(Function("f", (out,), body), {"out": np.zeros(1, np.float32)}, 1)


def test_gather():
    table, rows, out = Buffer("t", F32, (4, 3)), Buffer("rows", I64, (BATCH,)), Buffer("out", F32, (BATCH, 3))
    row = of_atom(Element("rows", (n,)))
    body = (For("n", ZERO, N, (Store(out, (n, ZERO), Load(table, (row, ZERO), 3)),)),)
    values, picked, result = numbers(4, 3), np.array([3, 0, 3]), np.empty((3, 3), np.float32)
    run_function(Function("f", (table, rows, out), body), {"t": values, "rows": picked, "out": result}, 3)
    np.testing.assert_array_equal(result, values[picked])


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 15.0), ("max", 5.0), ("min", 0.0), ("prod", 0.0)])
def test_accumulate(reduction, expected):
    out = Buffer("out", F32, (1,))
    start = {"sum": 0.0, "prod": 1.0}.get(reduction, 3.0)
    body = (
        Declare("r", (2,), F32, Const(start, F32)),
        loop("j", 6, Accumulate("r", (constant(1),), reduction, Number(j, F32))),
        Store(out, (ZERO,), Cell("r", (constant(1),), F32)),
    )
    result = np.zeros(1, np.float32)
    run_function(Function("f", (out,), body), {"out": result}, 1)
    assert result[0] == expected


def test_fold_is_a_binary_tree():
    """(x0+x4 + x2+x6) + (x1+x5 + x3+x7), which rounds unlike a sum from left to right."""
    x = np.array([1e8, 1, -1e8, 1, 1, 1, 1, 1], np.float32)
    pack = Pack(tuple(Const(float(v), F32) for v in x))
    pairs = x[:4] + x[4:]
    expected = (pairs[0] + pairs[2]) + (pairs[1] + pairs[3])
    assert value(Fold("sum", pack, 8)) == expected
    assert expected != np.cumsum(x)[-1]


@pytest.mark.parametrize("index", [(constant(1),), (constant(1), ZERO)], ids=["row", "first"])
def test_fold_of_a_register_row(index):
    out = Buffer("out", F32, (1,))
    fill = loop("j", 2, loop("l", 4, Assign("r", (j, lane), Number(j * 10 + lane, F32)), mode=Mode.VECTOR))
    total = Store(out, (ZERO,), Fold("sum", Cell("r", index, F32), 4))
    body = (Declare("r", (2, 4), F32, Const(0.0, F32)), fill, total)
    result = np.zeros(1, np.float32)
    run_function(Function("f", (out,), body), {"out": result}, 1)
    assert result[0] == 10 + 11 + 12 + 13


def test_arithmetic_is_that_of_the_type():
    third = Binary("div", ONE, Const(3.0, F32))
    assert value(third) == np.float32(1) / np.float32(3)
    assert type(value(third)) is np.float32
    assert value(Cast(third, F64)) == float(np.float32(1 / 3))
    big = Const(2**31 - 1, I32)
    assert value(Binary("add", big, Const(1, I32))) == -(2**31)
    assert value(Binary("shl", Const(3, I32), Const(30, I32))) == -(2**30)
    assert value(Binary("ashr", Const(-5, I32), Const(1, I32))) == -3
    assert value(Binary("and", Const(12, I64), Const(10, I64))) == 8
    assert value(Cast(Const(-2.7, F32), I32)) == -2
    assert value(Bitcast(ONE, I32)) == 0x3F800000
    assert value(Bitcast(Const(0x40490FDB, I32), F32)) == np.float32(np.pi)
    assert value(Unary("rint", Const(2.5, F32))) == 2.0
    assert value(Unary("floor", Const(-2.5, F32))) == -3.0
    assert value(Binary("copysign", Const(2.0, F32), Const(-0.0, F32))) == -2.0


@pytest.mark.parametrize("dtype", [F32, F64])
def test_fma_rounds_once(dtype):
    eps = float(np.finfo(dtype.value).eps)
    a, b, c = (Const(v, dtype) for v in (1 + eps, 1 - eps, -1.0))
    assert value(Fma(a, b, c)) == -(eps**2)
    assert value(Binary("add", Binary("mul", a, b), c)) == 0.0
    huge = Const(float(np.finfo(dtype.value).max), dtype)
    assert value(Fma(huge, Const(2.0, dtype), c)) == np.inf


@pytest.mark.parametrize("operation", ["min", "max"])
def test_min_and_max_keep_nan(operation):
    assert np.isnan(value(Binary(operation, Name("a", F32), ONE), a=np.nan))
    assert np.isnan(value(Binary(operation, ONE, Name("a", F32)), a=np.nan))


def test_comparison_with_nan_is_false():
    for operation in ("lt", "le", "eq"):
        assert not value(Compare(operation, Name("a", F32), Name("a", F32)), a=np.nan)
    chosen = Select(Unary("not", Compare("le", Name("a", F32), ONE)), Name("a", F32), ONE)
    assert value(chosen, a=5.0) == 5.0
    assert value(chosen, a=0.5) == 1.0
    assert value(Binary("or", Const(True, BOOL), Const(False, BOOL)))


def test_lanes():
    lanes = Binary("add", Cast(Iota(I32, 4), F32), Splat(Number(n, F32), 4))
    assert value(lanes).tolist() == [2, 3, 4, 5]
    assert value(Extract(lanes, 2)) == 4
    assert value(Extract(Const(7.0, F32, 4), 3)) == 7
    picked = Select(Compare("lt", lanes, Const(4.0, F32, 4)), Const(0.0, F32, 4), lanes)
    assert value(picked).tolist() == [0, 0, 4, 5]
    assert value(Number(minimum(n, N) * 2, I64)) == 4


def test_a_cell_read_before_it_changes_keeps_its_value():
    out = Buffer("out", F32, (2,))
    cell = Cell("r", (), F32)
    body = (
        Declare("r", (), F32, ONE),
        Let("old", cell),
        Assign("r", (), Const(5.0, F32)),
        Store(out, (ZERO,), Name("old", F32)),
        Store(out, (constant(1),), cell),
    )
    result = np.zeros(2, np.float32)
    run_function(Function("f", (out,), body), {"out": result}, 1)
    assert result.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        ("exp", np.exp),
        ("log1p", np.log1p),
        ("tanh", np.tanh),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("softplus", lambda x: np.log1p(np.exp(x))),
        ("cos", np.cos),
    ],
)
def test_functions_are_right_to_the_last_bit_of_float32(operation, reference):
    x = np.linspace(-0.9, 4, 50, dtype=np.float32)
    got = evaluate_over(Unary(operation, Name("x", F32)), {"x": x})
    np.testing.assert_array_equal(got, reference(x.astype(np.float64)).astype(np.float32))


def test_sigmoid_and_softplus_do_not_overflow():
    x = np.array([-np.inf, -1e4, 1e4, np.inf, np.nan])
    sigmoid = evaluate_over(Unary("sigmoid", Name("x", F64)), {"x": x})
    np.testing.assert_array_equal(sigmoid, [0, 0, 1, 1, np.nan])
    softplus = evaluate_over(Unary("softplus", Name("x", F64)), {"x": x})
    np.testing.assert_array_equal(softplus, [0, 0, 1e4, np.inf, np.nan])


def reversal() -> Step:
    """t[n] = x[n]; then y[n] = t[N-1-n]: right for several threads only because of the barrier."""
    a, b = Buffer("a", F32, (BATCH,)), Buffer("b", F32, (BATCH,))
    copy = Function("copy", (a, b), (For("n", ZERO, N, (Store(b, (n,), Load(a, (n,))),), Mode.PARALLEL),))
    turned = Store(b, (n,), Load(a, (N - n - 1,)))
    turn = Function("turn", (a, b), (For("n", ZERO, N, (turned,), Mode.PARALLEL),))
    buffers = tuple(Buffer(name, F32, (BATCH,)) for name in "xty")
    body = (Call("copy", ("x", "t")), Barrier(), Call("turn", ("t", "y")))
    return Step("reverse", buffers, (copy, turn), body)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_step(threads):
    x = numbers(5)
    arrays = {"x": x, "t": np.zeros(5, np.float32), "y": np.zeros(5, np.float32)}
    assert run_step(reversal(), arrays, 5, threads)
    np.testing.assert_array_equal(arrays["y"], x[::-1])


def test_step_without_its_barrier_is_wrong_with_two_threads():
    step = reversal()
    broken = Step(step.name, step.buffers, step.functions, (step.body[0], step.body[2]))
    x = numbers(4)
    arrays = {"x": x, "t": np.zeros(4, np.float32), "y": np.zeros(4, np.float32)}
    run_step(broken, arrays, 4, 2)
    assert not np.array_equal(arrays["y"], x[::-1])


@pytest.mark.parametrize(("first", "finished"), [(1.0, True), (np.nan, False), (np.inf, False)])
def test_guard_ends_the_step(first, finished):
    step = reversal()
    guarded = Step(step.name, step.buffers, step.functions, (step.body[0], Guard("t"), step.body[2]))
    arrays = {
        "x": np.array([first, 2], np.float32),
        "t": np.zeros(2, np.float32),
        "y": np.zeros(2, np.float32),
    }
    assert run_step(guarded, arrays, 2) is finished
    assert arrays["y"].tolist() == ([2, 1] if finished else [0, 0])
