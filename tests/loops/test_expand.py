"""Expanded transcendental functions: how far from the true value, and what happens at the ends."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from graphc.loops.expand import expand_expression, expand_transcendentals
from graphc.loops.expressions import Binary, Buffer, Cell, Const, Expression, Fma, Load, Name, Splat, Unary
from graphc.loops.index import constant, variable
from graphc.loops.interpreter import Frame, evaluate, evaluate_over, run_function
from graphc.loops.ir import Accumulate, Declare, For, Function, If, Let, Mode, Store
from graphc.loops.printer import body_text
from graphc.loops.verifier import verify
from graphc.types import DType

F32, F64 = DType.FLOAT32, DType.FLOAT64
ZERO = constant(0)
INF, NAN = np.inf, np.nan
ARITHMETIC = {"add", "sub", "mul", "div", "copysign", "and", "or", "shl", "ashr"}
REMAINING = {"neg", "abs", "sqrt", "rint", "floor", "not"}
FUNCTIONS = ("exp", "log", "expm1", "log1p", "tanh", "erf", "sigmoid", "softplus", "sin", "cos")

REFERENCE: dict[str, Callable] = {
    "exp": np.exp,
    "log": np.log,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf),
    "sigmoid": lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))),
    "softplus": lambda x: np.logaddexp(x, 0),
    "sin": np.sin,
    "cos": np.cos,
}

EXACT: dict[str, Callable] = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "expm1": mpmath.expm1,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
}


def compute(e: Expression, **names: np.ndarray) -> np.ndarray:
    """The expression after expansion, over whole arrays at once."""
    (result,) = run_lets(expand_transcendentals(Function("f", (), (Let("result", e),))), names, ("result",))
    return np.asarray(result)


def run_lets(function: Function, names: dict[str, np.ndarray], wanted: tuple[str, ...]) -> list[np.ndarray]:
    frame = Frame({}, {}, dict(names), {})
    with np.errstate(all="ignore"):
        for s in function.body:
            assert isinstance(s, Let)
            frame.names[s.name] = evaluate(s.value, frame)
    return [frame.names[name] for name in wanted]


def apply(operation: str, x: np.ndarray) -> np.ndarray:
    return compute(Unary(operation, Name("x", DType.of(x.dtype))), x=x)


def every_float32(stride: int) -> np.ndarray:
    """Floats of all exponents and both signs, NaN and infinities apart."""
    bits = np.arange(-(2**31), 2**31, stride, dtype=np.int64).astype(np.int32)
    x = bits.view(np.float32)
    return x[np.isfinite(x)]


def grid(operation: str) -> np.ndarray:
    if operation in ("sin", "cos"):
        return np.linspace(-1000, 1000, 100_001, dtype=np.float32)
    middle = np.linspace(-6, 6, 100_001, dtype=np.float32)
    wide = np.linspace(-100, 100, 100_001, dtype=np.float32)
    # math.erf is called once for each number.
    return np.concatenate([every_float32(40_009 if operation == "erf" else 8_009), middle, wide])


LIMIT = {"exp": 1, "log": 1, "expm1": 1.5, "log1p": 1.5, "erf": 1.5, "sin": 1.5, "cos": 1.5}


@pytest.mark.parametrize("operation", FUNCTIONS)
def test_float32_accuracy(operation, record_property):
    x = grid(operation)
    with np.errstate(all="ignore"):
        exact = REFERENCE[operation](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    got = apply(operation, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
    normal = np.isfinite(rounded) & (np.abs(rounded) >= 1.2e-38)
    units = np.spacing(np.abs(rounded[normal])).astype(np.float64)
    ulp = np.abs(got[normal].astype(np.float64) - exact[normal]) / units
    record_property("ulp", float(ulp.max()))
    assert ulp.max() <= LIMIT.get(operation, 2), f"{ulp.max()} ulp at {x[normal][ulp.argmax()]!r}"
    tiny = np.isfinite(rounded) & ~normal
    assert np.abs(got[tiny]).max(initial=0) <= 1.2e-38
    assert normal.sum() > 50_000


def points(operation: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if operation in ("sin", "cos"):
        return rng.uniform(-1e5, 1e5, 1500)
    x = np.concatenate(
        [
            rng.uniform(-3, 3, 1000),
            rng.uniform(-40, 40, 500),
            rng.uniform(-700, 700, 500),
            rng.uniform(-1, 1, 250) * 1e-8,
            10.0 ** rng.uniform(-300, 300, 250),
        ]
    )
    match operation:
        case "log":
            return np.abs(x)
        case "log1p":
            return x[x > -1]
        case _:
            return x[np.abs(x) < 700]


@pytest.mark.parametrize("operation", FUNCTIONS)
def test_float64_accuracy(operation, record_property):
    x = points(operation)
    got = apply(operation, x)
    with mpmath.workprec(160):
        exact = [EXACT[operation](mpmath.mpf(float(v))) for v in x]
        ulp = [
            float(abs(mpmath.mpf(float(g)) - e) / np.spacing(abs(float(e)))) for g, e in zip(got, exact, strict=True)
        ]
    worst = int(np.argmax(ulp))
    record_property("ulp", ulp[worst])
    assert ulp[worst] <= LIMIT.get(operation, 2), f"{ulp[worst]} ulp at {x[worst]!r}"


ENDS = {
    "exp": ([-INF, -1e4, -0.0, 0.0, 1e4, INF, NAN], [0, 0, 1, 1, INF, INF, NAN]),
    "expm1": ([-INF, -1e4, -0.0, 0.0, 1e4, INF, NAN], [-1, -1, 0, 0, INF, INF, NAN]),
    "log": ([-INF, -1.0, -0.0, 0.0, 1.0, INF, NAN], [NAN, NAN, -INF, -INF, 0, INF, NAN]),
    "log1p": ([-INF, -2.0, -1.0, 0.0, INF, NAN], [NAN, NAN, -INF, 0, INF, NAN]),
    "tanh": ([-INF, -1e30, 0.0, 1e30, INF, NAN], [-1, -1, 0, 1, 1, NAN]),
    "erf": ([-INF, -1e30, 0.0, 1e30, INF, NAN], [-1, -1, 0, 1, 1, NAN]),
    "sigmoid": ([-INF, -1e30, 0.0, 1e30, INF, NAN], [0, 0, 0.5, 1, 1, NAN]),
    "softplus": ([-INF, -1e30, 1e30, INF, NAN], [0, 0, 1e30, INF, NAN]),
    "sin": ([-INF, 0.0, INF, NAN, 1e30], [NAN, 0, NAN, NAN, NAN]),
    "cos": ([-INF, 0.0, INF, NAN, 1e30], [NAN, 1, NAN, NAN, NAN]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("operation", FUNCTIONS)
def test_ends_of_the_range(operation, dtype):
    x, expected = ENDS[operation]
    got = apply(operation, np.array(x, dtype))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.array(expected, dtype))


@pytest.mark.parametrize("payload", [0x7FFFFFFF, 0x7FC00001, -1, 0x7F800001])
def test_every_nan_stays_nan(payload):
    x = np.array([payload], np.int64).astype(np.int32).view(np.float32)
    for operation in FUNCTIONS:
        assert np.isnan(apply(operation, x)).all(), operation


@pytest.mark.parametrize("operation", ["tanh", "erf", "expm1", "log1p", "sin"])
def test_odd_functions_keep_the_sign_of_zero(operation):
    assert np.signbit(apply(operation, np.array([-0.0, 0.0], np.float32))).tolist() == [True, False]


def test_log_of_denormal_numbers():
    x = np.array([1e-45, 3e-42, 1.1e-38], np.float32)
    np.testing.assert_allclose(apply("log", x), np.log(x.astype(np.float64)), rtol=2e-7)
    assert apply("log", np.array([5e-324]))[0] == math.log(5e-324)


def test_exp_at_its_ends():
    largest, smallest = np.float32(88.72283), np.float32(-87.33)
    got = apply("exp", np.array([largest, np.nextafter(largest, np.float32(INF)), smallest, -88], np.float32))
    np.testing.assert_allclose(got[0], math.exp(largest), rtol=1e-7)
    np.testing.assert_allclose(got[2], math.exp(smallest), rtol=1e-7)
    assert got[1] == INF
    assert got[3] == 0


BASES = [-INF, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, INF, NAN]


@pytest.mark.parametrize("y", [-INF, -3.0, -1.5, 0.0, 0.3, 1.0, 2.0, 3.0, 1e9, INF, NAN])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_of_special_numbers(y, dtype):
    x = np.array(BASES, dtype)
    exponent = np.full_like(x, y)
    power = Binary("pow", Name("x", DType.of(dtype)), Name("y", DType.of(dtype)))
    with np.errstate(all="ignore"):
        expected = np.power(x, exponent)
    if np.isfinite(y) and y != int(y):
        expected[0] = NAN  # -inf is treated as any other negative number
    rtol = 1e-5 if dtype is np.float32 else 1e-13
    np.testing.assert_allclose(compute(power, x=x, y=exponent), expected, rtol=rtol)


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 3), (np.float64, 16)])
@pytest.mark.parametrize("form", ["pow", "exp of log"])
def test_power(dtype, limit, form):
    """The error does not grow with the exponent, be it written as a power or as e^(y·log x)."""
    rng = np.random.default_rng(0)
    end = 87 if dtype is np.float32 else 700
    x = np.concatenate([rng.uniform(0.4, 2.5, 2000), np.exp(rng.uniform(-end, end, 1000))]).astype(dtype)
    y = (rng.uniform(-end, end, 3000) / np.log(x.astype(np.float64))).astype(dtype)
    a, b = Name("x", DType.of(dtype)), Name("y", DType.of(dtype))
    power = Binary("pow", a, b) if form == "pow" else Unary("exp", Binary("mul", b, Unary("log", a)))
    got = compute(power, x=x, y=y)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(u)) ** mpmath.mpf(float(v)) for u, v in zip(x, y, strict=True)]
        off = [
            float(abs(e - float(g))) / np.spacing(dtype(float(e))).astype(np.float64)
            for g, e in zip(got, exact, strict=True)
        ]
    assert max(off) <= limit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reciprocal_root_is_rounded_once(dtype):
    x = np.exp(np.random.default_rng(0).uniform(-80, 80, 5000)).astype(dtype)
    e = Binary("div", Const(1.0, DType.of(dtype)), Unary("sqrt", Name("x", DType.of(dtype))))
    exact = 1 / np.sqrt(x.astype(np.longdouble))
    assert np.max(np.abs(compute(e, x=x) - exact) / np.spacing(exact.astype(dtype))) < 0.501
    ends = np.array([0.0, -0.0, INF, -1.0, NAN], dtype)
    np.testing.assert_array_equal(compute(e, x=ends), np.array([INF, -INF, 0, NAN, NAN], dtype))


@pytest.mark.parametrize("y", [-8.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 7.0, 8.0])
def test_constant_powers_need_no_exponential(y):
    x = np.linspace(0.2, 3, 1000)
    power = Binary("pow", Name("x", F64), Const(y, F64))
    np.testing.assert_allclose(compute(power, x=x), x**y, rtol=2e-15)
    assert operations(expand_expression(power)) <= {"neg", "abs", "sqrt", "mul", "div"}


def operations(e: Expression) -> set[str]:
    """The names of all operations inside an expression."""
    match e:
        case Unary(operation, x):
            return {operation} | operations(x)
        case Binary(operation, a, b):
            return {operation} | operations(a) | operations(b)
        case Const() | Name() | Load() | Cell():
            return set()
        case _:
            fields = [getattr(e, name) for name in e.__slots__]
            inner = [v for v in fields if isinstance(v, Expression)]
            return set().union(*map(operations, inner))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_nothing_transcendental_is_left(dtype, lanes):
    x = Name("x", dtype, lanes)
    lets = [Let("x", Const(0.5, dtype, lanes))]
    lets += [Let(f"y_{o}", Unary(o, Fma(x, x, Unary("neg", x)))) for o in FUNCTIONS]
    lets += [Let("y_pow", Binary("pow", x, Unary("exp", x)))]
    before = Function("f", (), tuple(lets))
    after = expand_transcendentals(before)
    verify(after)
    for s in after.body:
        assert isinstance(s, Let)
        assert operations(s.value) <= REMAINING | ARITHMETIC
    wanted = tuple(s.name for s in lets[1:])
    tolerance = 1e-5 if dtype is F32 else 1e-13
    for got, expected in zip(run_lets(after, {}, wanted), run_lets(before, {}, wanted), strict=True):
        np.testing.assert_allclose(np.broadcast_to(got, lanes), np.broadcast_to(expected, lanes), rtol=tolerance)
    assert expand_transcendentals(after) is after


def test_code_does_not_blow_up():
    """Shared values are named: each function is some dozens of operations, however deep the nesting."""
    nested: Expression = Name("x", F32)
    for operation in ("exp", "log1p", "tanh", "softplus", "erf", "sigmoid"):
        nested = Unary(operation, nested)
    x = np.linspace(-2, 2, 100, dtype=np.float32)
    function = expand_transcendentals(Function("f", (), (Let("result", nested),)))
    assert len(str(function)) < 12_000
    np.testing.assert_allclose(compute(nested, x=x), evaluate_over(nested, {"x": x}), rtol=2e-6)


def test_expression_alone():
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    e = expand_expression(Binary("add", Unary("sigmoid", Name("x", F32)), Const(1.0, F32)))
    assert operations(e) <= REMAINING | {"add", "sub", "mul", "div", "shl"}
    np.testing.assert_allclose(evaluate_over(e, {"x": x}), 1 + 1 / (1 + np.exp(-x)), rtol=3e-7)
    assert expand_expression(Name("x", F32)) == Name("x", F32)


X, Y = Buffer("x", F32, (4, 8)), Buffer("y", F32, (4, 8))


def kernel() -> Function:
    """y = Σ tanh over two lines, with functions in every kind of statement."""
    j = variable("j")
    line = Load(X, (j, ZERO), 8)
    body = (
        Declare("acc", (1,), F32, Unary("exp", Splat(Const(0.0, F32), 8)), 8),
        For("j", ZERO, constant(4), (Accumulate("acc", (ZERO,), "sum", Unary("tanh", line)),)),
        If((), (Let("t0", Unary("log", Cell("acc", (ZERO,), F32, 8))),)),
        Store(Y, (ZERO, ZERO), Unary("erf", Cell("acc", (ZERO,), F32, 8)), constant(5)),
    )
    return Function("f", (X, Y), body)


def test_kernel():
    function = kernel()
    after = expand_transcendentals(function)
    verify(function)
    verify(after)
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    results = []
    for f in (function, after):
        y = np.zeros((4, 8), np.float32)
        run_function(f, {"x": x, "y": y}, 1)
        results.append(y)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)
    assert np.count_nonzero(results[1]) == 5


def test_values_are_named_before_the_statement_that_uses_them():
    loop = For("j", ZERO, constant(8), (Store(Y, (ZERO, variable("j")), Unary("sigmoid", Name("t1", F32))),))
    body = (Let("t1", Const(1.0, F32)), loop)
    after = expand_transcendentals(Function("f", (Y,), body))
    lines = body_text(after.body).splitlines()
    assert lines[:2] == ["let t1 = 1.0", "for j in 0..8:"]
    bound = [line.split()[1] for line in lines[2:-1]]
    assert bound[:3] == ["t0", "t2", "t3"]
    assert all(line.startswith("  let t") for line in lines[2:-1])
    assert lines[-1].startswith("  store y[0, j] = fma(")


def test_a_kernel_without_functions_is_returned_itself():
    function = Function("f", (Y,), (For("j", ZERO, constant(8), (), Mode.VECTOR),))
    assert expand_transcendentals(function) is function
