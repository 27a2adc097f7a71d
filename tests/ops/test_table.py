"""Tables of exact constants in formulas: their values, text, derivatives and machine form."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from graphc.autodiff.backward import gradients
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.loops.expressions import Const
from graphc.loops.freeze import Scope, freeze
from graphc.loops.index import Element, variable
from graphc.ops.cost import operations
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import (
    Axis,
    Constants,
    FloorDiv,
    Mod,
    Read,
    Table,
    alpha_equal,
    formula,
    index_symbol,
    rename_axes,
    rename_operands,
    tensor_symbol,
    value_reads,
)
from graphc.ops.intervals import simplify_reads
from graphc.ops.notation import Sum, axes, axis
from graphc.ops.operator import OPERATORS, op
from graphc.ops.wellformed import index_operands, malformed
from graphc.study.latex import formula_latex
from graphc.types import DType, TensorType
from tests.native import Native

i, j, n = map(index_symbol, "ijn")
ROWS = ((1, Fraction(-1, 3), 0), (Fraction(5, 2), 0, 7))
T = Constants("T(2,3)", ROWS)


def X(*index):
    return Read(tensor_symbol("X"), *index)


def values() -> np.ndarray:
    return np.array(ROWS, dtype=float)


def test_values_are_exact_and_zero_outside() -> None:
    f = formula([Axis(i, 4), Axis(j, 5)], Table(T, i - 1, j - 1))
    wanted = np.zeros((4, 5))
    wanted[1:3, 1:4] = values()
    np.testing.assert_array_equal(evaluate(f, {}), wanted)
    assert evaluate(f, {}, dtype=np.float32)[1, 2] == np.float32(-1 / 3)


def test_a_product_with_a_table() -> None:
    f = formula([Axis(i, 2)], X(j) * Table(T, i, j), "sum", [Axis(j, 3)])
    np.testing.assert_allclose(evaluate(f, {"X": [1.0, 2.0, 3.0]}), values() @ [1, 2, 3], rtol=1e-15)


def test_text_and_latex() -> None:
    f = formula([Axis(i, 2)], X(j) * Table(T, i, j + 1), "sum", [Axis(j, 3)])
    assert str(f) == "out[i] = Σ_{j<3} X[j]·T(2,3)[i, j + 1]"
    assert formula_latex(f) == r"Y_{i} = \sum_{j<3} X_{j} \mathrm{T}^{(2,3)}_{i,j+1}"


def test_equal_up_to_names_only_with_equal_tables() -> None:
    f = formula([Axis(i, 2)], X(j) * Table(T, i, j), "sum", [Axis(j, 3)])
    assert alpha_equal(f, rename_operands(rename_axes(f, {"i": "k", "j": "i"}), {"X": "Z"}))
    other = Constants("T(2,3)", ((1, 2, 3), (4, 5, 6)))
    assert not alpha_equal(f, formula(f.axes, X(j) * Table(other, i, j), "sum", f.over))
    assert Constants("T(2,3)", ROWS) == T
    assert hash(Constants("T(2,3)", ROWS)) == hash(T)


def test_nothing_is_read_and_nothing_computed() -> None:
    f = formula([Axis(i, 2), Axis(j, 3)], Table(T, i, j))
    assert (f.operands, malformed(f), operations(f.body).total) == ((), None, 0)
    assert malformed(formula([Axis(i, 2)], Table(T, i, j))) == "j is not an axis of the formula"


def test_a_read_in_an_index_is_an_integer_without_derivative() -> None:
    f = formula([Axis(i, 2)], Table(T, X(i), 0))
    assert value_reads(f.body) == ()
    assert index_operands(f) == ("X",)
    np.testing.assert_array_equal(evaluate(f, {"X": np.array([1, 0])}), [2.5, 1])


def test_indices_are_simplified() -> None:
    body = X(i) * Table(T, FloorDiv(i, sp.Integer(2)), Mod(i, sp.Integer(3)))
    assert simplify_reads(body, {i: 2}) == X(i) * Table(T, 0, i)


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64])
def test_a_constant_index_is_a_constant_of_the_machine(dtype: DType) -> None:
    scope = Scope(dtype, {"i": variable("i")}, {"i": (0, 1)}, lambda *_: Const(0.0, dtype), Element, {})
    assert freeze(Table(T, 0, 1), scope) == Const(-1 / 3, dtype)
    assert freeze(Table(T, 1, 5), scope) == Const(0.0, dtype)


# ---------------------------------------------------------------------------------------- used by operators

LINE = Constants("L(3,4)", ((1, Fraction(1, 2), 0, -1), (0, 2, -3, 0), (Fraction(1, 3), 0, 0, 5)))


@op
def windows(X):
    """out[a, n, t] = Σ_p L[a, p]·X[n, 2t + p - 1]"""
    a = axis("a", 3)
    (n,) = axes("n")
    t, p = axis("t", X.shape[1] // 2), axis("p", 4)
    return Sum(Table(LINE, a, p) * X[n, 2 * t + p - 1], over=p)


@op
def digits(X):
    """out[n, y] = Σ_a L[y mod 3, a]·X[n, y // 3, a]"""
    (n,) = axes("n")
    y, a = axis("y", 3 * X.shape[1] - 1), axis("a", 4)
    return Sum(Table(LINE, Mod(y, sp.Integer(3)), a) * X[n, FloorDiv(y, sp.Integer(3)), a], over=a)


def squared(operator, *shape: int) -> Graph:
    """Σ operator(x)², and its gradient."""
    b = Builder()
    x = b.parameter("x", TensorType(shape, DType.FLOAT64))
    y = b.apply(operator, (x,))
    loss = b.apply(OPERATORS["sum"], (b.apply(OPERATORS["multiply"], (y, y)),))
    graph, grads = gradients(b.graph((loss,)), loss, (x,))
    return replace(graph, outputs=(y, loss, *grads))


CASES = {"windows": (windows, (2, 7)), "digits": (digits, (2, 3, 4))}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_and_native_code(name: str) -> None:
    operator, shape = CASES[name]
    graph = squared(operator, *shape)
    random = np.random.default_rng(5)
    x, direction = random.standard_normal((2, *shape))

    def loss(at: np.ndarray) -> float:
        return float(interpret(graph, {}, {"x": at}).outputs[1])

    expected = interpret(graph, {}, {"x": x}).outputs
    slope = (loss(x + 1e-5 * direction) - loss(x - 1e-5 * direction)) / 2e-5
    assert slope == pytest.approx(float((expected[2] * direction).sum()), rel=1e-7)
    for a, b in zip(expected, Native(graph)({}, {"x": x}), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


def test_values_written_out() -> None:
    x = np.random.default_rng(6).standard_normal((2, 3, 4))
    line = np.array(LINE.rows, dtype=float)
    graph = squared(digits, 2, 3, 4)
    wanted = np.einsum("ia,nta->nti", line, x).reshape(2, 9)[:, :8]
    np.testing.assert_allclose(interpret(graph, {}, {"x": x}).outputs[0], wanted, rtol=1e-13)
