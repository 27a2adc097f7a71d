"""Every expression of the loop language, computed natively and by numpy."""

import numpy as np
import pytest

from graphc.errors import LoweringError
from graphc.loops.expressions import (
    BOOL,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Compare,
    Const,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Number,
    Pack,
    Select,
    Splat,
    Unary,
)
from graphc.loops.index import constant, variable
from graphc.loops.ir import Store
from graphc.types import DType

F32, F64, I32, I64 = DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64
LANES = [1, 4, 8]
SPECIAL = [0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 3e38]


def pairs(dtype):
    """All pairs of special values."""
    a, b = np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype))
    return a.ravel().copy(), b.ravel().copy()


def flushed(a):
    """A step counts numbers below the smallest normal one as zero, the sign kept."""
    tiny = np.abs(a) < np.finfo(a.dtype).tiny
    return np.where(tiny, np.copysign(a.dtype.type(0), a), a)


def test_a_step_flushes_denormals_and_leaves_the_caller_as_it_was(elementwise):
    a = np.array([1e-30, 2e-38, -1e-30, 1.0] * 2, np.float32)
    b = np.array([1e-12, 0.5, 1e-12, 1e-40] * 2, np.float32)
    got = elementwise(lambda x, y: Binary("mul", x, y), [a, b], 8, np.float32)
    np.testing.assert_array_equal(got, np.zeros(8, np.float32))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(a))
    assert np.float32(1e-30) * np.float32(1e-12) > 0  # outside of a step nothing is flushed


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        ("add", np.add),
        ("sub", np.subtract),
        ("mul", np.multiply),
        ("div", np.divide),
        ("min", np.minimum),
        ("max", np.maximum),
        ("copysign", np.copysign),
    ],
)
def test_binary_operations_on_floats_match_numpy_bit_for_bit_and_propagate_nan(
    elementwise, operation, reference, dtype, lanes
):
    a, b = pairs(dtype)
    if operation in ("min", "max"):  # which zero is the smaller one is left open
        a, b = a + dtype(0), b + dtype(0)
    got = elementwise(lambda x, y: Binary(operation, x, y), [a, b], lanes, dtype)
    with np.errstate(all="ignore"):
        expected = flushed(reference(a, b))
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("operation", ["min", "max"])
@pytest.mark.parametrize("first", [False, True])
def test_extremes_against_a_constant_propagate_nan_from_either_side(elementwise, operation, first):
    a = np.array(SPECIAL, np.float32)
    zero = Const(1.0, F32, 8)

    def make(x):
        return Binary(operation, zero, x) if first else Binary(operation, x, zero)

    expected = np.minimum(a, 1) if operation == "min" else np.maximum(a, 1)
    np.testing.assert_array_equal(elementwise(make, [a], 8, np.float32), expected)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("operation", "reference"),
    [("neg", np.negative), ("abs", np.abs), ("sqrt", np.sqrt), ("rint", np.rint), ("floor", np.floor)],
)
def test_unary_operations_on_floats(elementwise, operation, reference, dtype, lanes):
    a = np.array([0.5, 1.5, -0.5, -2.5, 2.4999, 1e9, -np.inf, np.nan], dtype)
    a = np.abs(a) if operation == "sqrt" else a
    got = elementwise(lambda x: Unary(operation, x), [a], lanes, dtype)
    np.testing.assert_array_equal(got, reference(a))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        ("add", np.add),
        ("sub", np.subtract),
        ("mul", np.multiply),
        ("min", np.minimum),
        ("max", np.maximum),
        ("and", np.bitwise_and),
        ("or", np.bitwise_or),
        ("shl", np.left_shift),
        ("ashr", np.right_shift),
    ],
)
def test_binary_operations_on_integers_wrap_around(elementwise, operation, reference, dtype, lanes):
    a = np.array([0, 1, -1, 7, -7, np.iinfo(dtype).max, np.iinfo(dtype).min, 12345], dtype)
    b = np.array([1, 2, 3, 4, 5, 6, 7, 31], dtype)
    got = elementwise(lambda x, y: Binary(operation, x, y), [a, b], lanes, dtype)
    np.testing.assert_array_equal(got, reference(a, b))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_unary_operations_on_integers(elementwise, dtype):
    a = np.array([0, 1, -1, 7, -7, 100, -100, 12345], dtype)
    for operation, reference in [("neg", np.negative), ("abs", np.abs), ("not", np.invert)]:
        got = elementwise(lambda x, operation=operation: Unary(operation, x), [a], 8, dtype)
        np.testing.assert_array_equal(got, reference(a))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_comparisons_select_lane_by_lane_and_are_false_for_nan(elementwise, dtype, lanes):
    a, b = pairs(np.float32) if np.issubdtype(dtype, np.floating) else (np.arange(64), np.arange(64)[::-1])
    a, b = a.astype(dtype), b.astype(dtype)
    for operation, reference in [("lt", np.less), ("le", np.less_equal), ("eq", np.equal)]:

        def make(x, y, operation=operation):
            return Cast(Compare(operation, x, y), I32)

        np.testing.assert_array_equal(elementwise(make, [a, b], lanes, np.int32), reference(a, b))


def test_logic_of_conditions(elementwise):
    a = np.arange(-8, 8, dtype=np.float32)

    def make(x):
        low, high = Compare("lt", x, Const(-3.0, F32, 8)), Compare("le", Const(4.0, F32, 8), x)
        outside = Binary("or", low, high)
        both = Binary("and", Unary("not", outside), Const(True, BOOL, 8))
        return Select(both, x, Const(99.0, F32, 8))

    expected = np.where((a >= -3) & (a < 4), a, 99)
    np.testing.assert_array_equal(elementwise(make, [a], 8, np.float32), expected)


def test_a_scalar_condition_selects_whole_vectors(elementwise):
    a = np.arange(8, dtype=np.float32)

    def make(x):
        first = Extract(x, 3)
        return Select(Compare("eq", first, Const(3.0, F32)), x, Const(0.0, F32, 8))

    np.testing.assert_array_equal(elementwise(make, [a], 8, np.float32), a)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_rounds_once(elementwise, dtype, lanes):
    random = np.random.default_rng(5)
    exponents = random.integers(-20, 20, (3, 4096))
    a, b, c = (random.standard_normal((3, 4096)) * 2.0**exponents).astype(dtype)
    c[:2048] = -(a[:2048] * b[:2048])  # nothing but the rounding error of the product is left
    got = elementwise(Fma, [a, b, c], lanes, dtype)
    if dtype is np.float32:
        exact = [float(np.float32(x)) for x in _exact(a, b, c)]
        np.testing.assert_array_equal(got, np.array(exact, np.float32))
    else:
        assert np.count_nonzero(got[:2048]) > 1900
        np.testing.assert_allclose(got[:2048], [float(x) for x in _fractions(a, b, c)[:2048]], rtol=1e-16)


def _fractions(a, b, c):
    from fractions import Fraction

    return [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]


def _exact(a, b, c):
    """The nearest float32 of each exact result, by comparing with its neighbours."""
    from fractions import Fraction

    for f in _fractions(a, b, c):
        near = np.float32(float(f))
        around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
        gaps = [abs(Fraction(float(x)) - f) for x in around]
        best = min(gaps)
        ties = [x for x, gap in zip(around, gaps, strict=True) if gap == best]
        yield next((x for x in ties if x.view(np.int32) % 2 == 0), ties[0])


@pytest.mark.parametrize("lanes", LANES)
def test_conversions_keep_the_value_and_truncate(elementwise, lanes):
    a = np.array([0.0, 1.9, -1.9, 2.5, -2.5, 1e6, -1e6, 0.1], np.float32)
    i = np.array([0, 1, -1, 7, -7, 2**24, -(2**31), 2**31 - 1], np.int32)
    for source, to in [(a, np.int32), (a, np.int64), (a, np.float64), (i, np.int64), (i, np.float32)]:
        got = elementwise(lambda x, to=to: Cast(x, DType.of(to)), [source], lanes, to)
        np.testing.assert_array_equal(got, source.astype(to))
    wide = np.array([0, 1, -1, 2**31, -(2**31) - 1, 2**40, 5, 6], np.int64)
    np.testing.assert_array_equal(elementwise(lambda x: Cast(x, I32), [wide], lanes, np.int32), wide.astype(np.int32))
    fine = np.array([0.1, 1e-40, -1e300 * 0, 3.14159, 1, 2, 3, 4], np.float64)
    np.testing.assert_array_equal(
        elementwise(lambda x: Cast(x, F32), [fine], lanes, np.float32), flushed(fine.astype(np.float32))
    )


@pytest.mark.parametrize("lanes", LANES)
def test_bitcast_keeps_the_bits(elementwise, lanes):
    a = np.array(SPECIAL, np.float32)
    np.testing.assert_array_equal(elementwise(lambda x: Bitcast(x, I32), [a], lanes, np.int32), a.view(np.int32))
    b = np.array(SPECIAL, np.float64).view(np.int64)
    got = elementwise(lambda x: Bitcast(x, F64), [b], lanes, np.float64)
    np.testing.assert_array_equal(got.view(np.int64), b)


def test_a_bitcast_between_widths_is_refused(elementwise):
    with pytest.raises(LoweringError, match="bits of f32 cannot be read as i64"):
        elementwise(lambda x: Bitcast(x, I64), [np.zeros(8, np.float32)], 8, np.int64)


@pytest.mark.parametrize("value", [0.1, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, 1e60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lanes", [1, 8])
def test_constants_are_exact(elementwise, value, dtype, lanes):
    got = elementwise(lambda x: Const(value, DType.of(dtype), lanes), [np.zeros(8, dtype)], lanes, dtype)
    with np.errstate(over="ignore"):
        expected = np.full(8, value, np.float64).astype(dtype)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_index_expressions_and_lane_numbers_as_numbers(elementwise, dtype):
    kind = DType.of(dtype)
    i = variable("i")
    zeros = np.zeros(32, dtype)
    got = elementwise(lambda x: Binary("add", Number(i * 3 - 50, kind, 8), Iota(kind, 8)), [zeros], 8, dtype)
    start = np.arange(32) // 8 * 8
    np.testing.assert_array_equal(got, start * 3 - 50 + np.arange(32) % 8)


def test_splat_extract_and_pack(elementwise):
    a = np.arange(16, dtype=np.float32)

    def reverse(x):
        return Pack(tuple(Extract(x, lane) for lane in reversed(range(8))))

    expected = a.reshape(2, 8)[:, ::-1].ravel()
    np.testing.assert_array_equal(elementwise(reverse, [a], 8, np.float32), expected)
    third = elementwise(lambda x: Splat(Extract(x, 2), 8), [a], 8, np.float32)
    np.testing.assert_array_equal(third, np.repeat([2, 10], 8))


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 5, 6])
@pytest.mark.parametrize("reduction", ["sum", "max", "min", "prod"])
def test_fold_combines_halves_again_and_again(run, single, width, reduction):
    random = np.random.default_rng(3)
    a = random.standard_normal(width).astype(np.float32)
    x, out = Buffer("x", F32, (width,)), Buffer("out", F32, (1,))
    e = Fold(reduction, Load(x, (constant(0),), width), width)
    got = run(single([Store(out, (constant(0),), e)], x, out), {"x": a, "out": np.zeros(1)})["out"]
    combine = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}[reduction]
    parts = list(a)
    while len(parts) > 1:
        half = (len(parts) + 1) // 2
        parts = [combine(parts[k], parts[k + half]) if k + half < len(parts) else parts[k] for k in range(half)]
    np.testing.assert_array_equal(got, parts)


@pytest.mark.parametrize("operation", ["exp", "tanh"])
def test_functions_that_were_not_expanded_are_refused(elementwise, operation):
    with pytest.raises(LoweringError, match=f"operation {operation} on f32 has no instruction"):
        elementwise(lambda x: Unary(operation, x), [np.zeros(8, np.float32)], 8, np.float32)


def test_pow_and_integer_division_are_refused(elementwise):
    with pytest.raises(LoweringError, match="operation pow on f32"):
        elementwise(lambda x: Binary("pow", x, x), [np.ones(8, np.float32)], 8, np.float32)
    with pytest.raises(LoweringError, match="operation div on i32"):
        elementwise(lambda x: Binary("div", x, x), [np.ones(8, np.int32)], 8, np.int32)
