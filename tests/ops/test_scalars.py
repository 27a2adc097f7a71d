"""Scalar functions: their derivatives are derived, exact, and finite where the true ones are."""

import pickle
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy as sp

from graphc.errors import DerivativeError, GraphcError
from graphc.ops import scalars
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Axis, Read, Where, formula, index_symbol, lt, replace, tensor_symbol
from graphc.ops.scalars import (
    DECLARED,
    OUTPUT,
    absolute,
    clip,
    derivative_of,
    differentiate,
    exp,
    expand_declared,
    expm1,
    log1p,
    log_sigmoid,
    maximum,
    minimum,
    reciprocal,
    scalar_function,
    sigmoid,
    sign,
    softplus,
    square,
    tanh,
)

x, a, b, y = sp.Symbol("x", real=True), sp.Symbol("a", real=True), sp.Symbol("b", real=True), OUTPUT
i = index_symbol("i")
A, B = Read(tensor_symbol("A"), i), Read(tensor_symbol("B"), i)


def values(e, dtype=np.float32, **arrays):
    """The expression in A and B at the elements of the arrays."""
    extent = len(next(iter(arrays.values())))
    return evaluate(formula([Axis(i, extent)], replace(e, {a: A, b: B, x: A})), arrays, dtype=dtype)


@pytest.fixture
def declared():
    before = dict(DECLARED)
    yield
    DECLARED.clear()
    DECLARED.update(before)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (sigmoid, y * (1 - y)),
        (tanh, 1 - y**2),
        (expm1, y + 1),
        (softplus, sigmoid(x)),
        (log1p, 1 / (1 + x)),
    ],
)
def test_derived_form(function, derivative):
    assert derivative_of(function) == derivative


@pytest.mark.parametrize("function", [sigmoid, tanh, expm1, softplus, log1p])
@pytest.mark.parametrize("point", ["-0.75", "0.001", "0.5", "3.25"])
def test_first_and_second_derivative_agree_with_the_formula(function, point):
    with mpmath.workdps(60):
        value = sp.lambdify(x, function.formula, "mpmath")
        derived = function(x)
        for order in (1, 2):
            derived = derived.diff(x)
            want = mpmath.diff(value, mpmath.mpf(point), order)
            got = derived.xreplace({x: sp.Float(point, 50)}).evalf(40)
            assert abs(mpmath.mpf(str(got)) - want) < mpmath.mpf(10) ** -25


def test_the_chain_rule_goes_through_them():
    silu = x * sigmoid(x)
    assert silu.diff(x) == x * sigmoid(x) * (1 - sigmoid(x)) + sigmoid(x)
    assert log_sigmoid(x).diff(x) == sigmoid(-x)
    assert tanh(3 * x).diff(x) == 3 * (1 - tanh(3 * x) ** 2)


@pytest.mark.parametrize("function", [sigmoid, tanh, softplus])
def test_value_and_derivative_are_finite_in_float32(function):
    points = np.array([-1e4, -200, -90, 0, 90, 200, 1e4], np.float32)
    with mpmath.workdps(9000):
        exact = sp.lambdify(x, function.formula, "mpmath")
        slope = sp.lambdify(x, sp.diff(function.formula, x), "mpmath")
        want = [(float(exact(mpmath.mpf(float(p)))), float(slope(mpmath.mpf(float(p))))) for p in points]
    got = values(function(x), A=points), values(function(x).diff(x), A=points)
    np.testing.assert_allclose(got[0], [w for w, _ in want], rtol=2e-7, atol=1e-38)
    np.testing.assert_allclose(got[1], [w for _, w in want], rtol=2e-7, atol=1e-7)


def test_names_are_those_of_the_loop_language():
    from graphc.loops.expressions import BINARY, UNARY

    assert {"exp", "log", "erf", "sin", "cos", "sigmoid", "tanh", "expm1", "log1p", "softplus"} <= UNARY
    assert {"max", "min"} <= BINARY
    names = [f.func.__name__ for f in (sigmoid(x), tanh(x), expm1(x), log1p(x), softplus(x), maximum(a, b))]
    assert names == ["sigmoid", "tanh", "expm1", "log1p", "softplus", "maximum"]
    assert {*names, "minimum", "exp", "log", "erf", "sin", "cos"} <= scalars.NATIVE


def test_nothing_but_zero_is_evaluated():
    assert (sigmoid(0), tanh(0), expm1(0), softplus(0)) == (sp.Rational(1, 2), 0, 0, sp.log(2))
    assert tanh(-x).args == (-x,)
    assert sigmoid(sp.Integer(1)).func is sigmoid
    assert str(sp.N(sigmoid(1), 20)) == "0.73105857863000487925"


def test_they_survive_pickling():
    e = sigmoid(x) * tanh(A) + maximum(a, 0)
    assert pickle.loads(pickle.dumps(e)) == e


NAN, INF = np.nan, np.inf


def test_maximum_and_minimum_propagate_nan():
    left = np.array([1, 2, NAN, 0, -INF, INF], np.float32)
    right = np.array([2, 1, 0, NAN, INF, INF], np.float32)
    np.testing.assert_array_equal(values(maximum(a, b), A=left, B=right), [2, 2, NAN, NAN, INF, INF])
    np.testing.assert_array_equal(values(minimum(a, b), A=left, B=right), [1, 1, NAN, NAN, -INF, INF])
    # the declared formula means the same as the native operation
    np.testing.assert_array_equal(values(maximum.expansion(a, b), A=left, B=right), [2, 2, NAN, NAN, INF, INF])


def test_ties_share_the_derivative_of_maximum():
    left, right = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for function, larger in ((maximum, [0, 0.5, 1]), (minimum, [1, 0.5, 0])):
        first, second = function(a, b).fdiff(1), function(a, b).fdiff(2)
        np.testing.assert_array_equal(values(first, A=left, B=right), larger)
        np.testing.assert_array_equal(values(second, A=left, B=right), 1 - np.array(larger))


def test_pieces():
    points = np.array([-3, -0.5, 0, 0.5, 3, NAN])
    np.testing.assert_array_equal(values(absolute(x), A=points), [3, 0.5, 0, 0.5, 3, NAN])
    np.testing.assert_array_equal(values(sign(x), A=points), [-1, -1, 0, 1, 1, NAN])
    np.testing.assert_array_equal(values(clip(x, -1, 1), A=points), [-1, -0.5, 0, 0.5, 1, NAN])
    np.testing.assert_array_equal(values(square(x), A=points), [9, 0.25, 0, 0.25, 9, NAN])
    np.testing.assert_allclose(values(reciprocal(x), A=points[[0, 1, 4]]), [-1 / 3, -2, 1 / 3], rtol=1e-7)


def test_derivatives_of_pieces():
    points = np.array([-1.0, -0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(values(differentiate(absolute(x), x), A=points), [-1, -1, 0, 1, 1])
    np.testing.assert_array_equal(values(differentiate(sign(x), x), A=points), [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(values(differentiate(clip(x, -1, 0.5), x), A=points), [1, 1, 1, 1, 0])


def test_differentiate_treats_a_branch_inside_a_product():
    e = x * Where(lt(x, 0), x**2, sigmoid(x))
    got = values(differentiate(e, x), np.float64, A=np.array([-2.0, 1.0]))
    s = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(got, [3 * 4, s + s * (1 - s)], rtol=1e-15)


def test_a_function_of_ones_own(declared):
    logistic4 = scalar_function("logistic4", lambda x: 1 / (1 + exp(-4 * x)))
    assert derivative_of(logistic4) == sp.expand(4 * (1 - y)) * y
    decline = scalar_function("decline", lambda x: -sp.log(1 + exp(-x)))
    assert derivative_of(decline) == sigmoid(-x)
    gate = scalar_function("gate", lambda x, k: sigmoid(k * x))
    k = gate.variables[1]
    assert derivative_of(gate, 2) == gate.variables[0] * sigmoid(k * gate.variables[0]) * (
        1 - sigmoid(k * gate.variables[0])
    )
    points = np.array([-3.0, 0.5])
    np.testing.assert_allclose(values(logistic4(x), np.float64, A=points), 1 / (1 + np.exp(-4 * points)))
    assert expand_declared(2 * gate(x, logistic4(a))) == 2 * sigmoid(x / (1 + exp(-4 * a)))
    with pytest.raises(GraphcError, match="gate is declared already"):
        scalar_function("gate", lambda x: x)


def test_an_unmatched_derivative_is_made_stable(declared):
    swoosh = scalar_function("swoosh", lambda x: x / (1 + exp(-x)))
    points = np.array([-200, 0, 200], np.float32)
    np.testing.assert_allclose(values(swoosh(x).fdiff(), A=points), [0, 0.5, 1])


def test_a_wrong_derivation_is_refused(declared):
    odd = scalar_function("odd", lambda x: 1 / (2 + exp(-x)))
    with pytest.raises(DerivativeError, match="odd' = x is"):
        scalars._verify(odd, sp.diff(odd.formula, odd.variables[0]), odd.variables[0])


def test_derivations_are_lazy_and_quick():
    program = """
import sys, time
import graphc.ops.formula
from graphc.ops import scalars
assert scalars.derivative_of.cache_info().misses == 0
start = time.process_time()
for f in scalars.DECLARED.values():
    for k in range(len(f.variables)):
        scalars.derivative_of(f, k + 1)
seconds = time.process_time() - start
assert scalars.derivative_of.cache_info().misses == sum(len(f.variables) for f in scalars.DECLARED.values())
assert seconds < 1.5, seconds
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
