"""Freezing: scalar formulas as typed expressions with the same value."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from graphc.errors import LoweringError
from graphc.loops.expressions import Binary, Cast, Const, Name, Number
from graphc.loops.freeze import Scope, freeze, freeze_condition, freeze_index, freeze_test
from graphc.loops.index import Element, Index, Quotient, variable
from graphc.loops.interpreter import evaluate_over
from graphc.loops.ir import Condition
from graphc.loops.printer import expression_text
from graphc.ops import scalars
from graphc.ops.formula import FloorDiv, Mod, Read, Where, divides, eq, ge, index_symbol, le, lt, tensor_symbol
from graphc.types import DType

n, c, y = (index_symbol(s) for s in "ncy")
AXES = {s: variable(s) for s in "ncy"}
a, b = (Read(tensor_symbol(s), n) for s in "ab")


def scope(dtype: DType = DType.FLOAT64, **integer: DType) -> Scope:
    dtypes = {"a": dtype, "b": dtype} | integer
    return Scope(
        dtype, AXES, {"n": (0, 9), "c": (0, 3), "y": (0, 5), "N": (1, 99)},
        lambda operand, index: Name(operand, dtypes[operand]), Element, dtypes,
    )  # fmt: skip


FUNCTIONS = {
    "a + b": (a + b, lambda a, b: a + b),
    "a - b": (a - b, lambda a, b: a - b),
    "-a - b": (-a - b, lambda a, b: -a - b),
    "2a/b": (2 * a / b, lambda a, b: 2 * a / b),
    "-a*b/3": (-a * b / 3, lambda a, b: -a * b / 3),
    "1/(a*b)": (1 / (a * b), lambda a, b: 1 / (a * b)),
    "a**5": (a**5, lambda a, b: a**5),
    "a**-2": (a**-2, lambda a, b: a**-2.0),
    "sqrt": (sp.sqrt(a), lambda a, b: np.sqrt(a)),
    "a**(3/2)": (a ** sp.Rational(3, 2), lambda a, b: a**1.5),
    "a**(-1/2)": (a ** sp.Rational(-1, 2), lambda a, b: a**-0.5),
    "a**b": (a**b, lambda a, b: a**b),
    "exp": (sp.exp(a - b), lambda a, b: np.exp(a - b)),
    "log": (sp.log(a), lambda a, b: np.log(a)),
    "tanh": (scalars.tanh(a), lambda a, b: np.tanh(a)),
    "sigmoid": (scalars.sigmoid(a), lambda a, b: 1 / (1 + np.exp(-a))),
    "where": (Where(lt(a, b), a, 2 * b), lambda a, b: np.where(a < b, a, 2 * b)),
    "where data equal": (Where(eq(a, b), sp.S.One, sp.S.Zero), lambda a, b: (a == b) * 1.0),
    "constant": (sp.Rational(1, 3) + 0 * a, lambda a, b: np.full_like(a, 1 / 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name: str) -> None:
    expression, function = FUNCTIONS[name]
    frozen = freeze(expression, scope())
    assert frozen.dtype is DType.FLOAT64
    given = {"a": np.array([0.5, 1.0, 2.0, 3.0]), "b": np.array([0.25, 1.0, 3.0, 2.0])}
    got = np.broadcast_to(evaluate_over(frozen, given), (4,))
    np.testing.assert_allclose(got, function(given["a"], given["b"]), rtol=1e-14)


def test_spellings() -> None:
    s = scope()
    assert expression_text(freeze(a - b, s)) == expression_text(
        Binary("sub", Name("a", DType.FLOAT64), Name("b", DType.FLOAT64))
    )
    assert freeze(sp.Rational(1, 4), s) == Const(0.25, DType.FLOAT64)
    assert freeze(n + 2, s) == Number(variable("n") + 2, DType.FLOAT64)
    single = scope(DType.FLOAT32)
    assert freeze(a * 2, single).dtype is DType.FLOAT32
    labels = scope(a=DType.INT64)
    assert freeze(a, labels) == Cast(Name("a", DType.INT64), DType.FLOAT64)


def test_indices() -> None:
    s = scope()
    assert freeze_index(2 * n + c - 3, s) == variable("n") * 2 + variable("c") - 3
    assert freeze_index(FloorDiv(4 * n + c, 4), s) == variable("n")
    assert freeze_index(Mod(4 * n + c, 4), s) == variable("c")
    assert str(freeze_index(Mod(n, 4), s)) == "n%4"
    assert freeze_index(n / 2 + sp.Rational(1, 2), s) == Index(((Quotient(variable("n") + 1, 2), 1),))
    labels = Read(tensor_symbol("labels"), n)
    assert freeze_index(labels + 1, s) == Index(((Element("labels", (variable("n"),)), 1),), 1)
    with pytest.raises(LoweringError, match="not affine"):
        freeze_index(n * c, s)


def test_conditions_on_indices_become_bounds_and_others_become_tests() -> None:
    s = scope(labels=DType.INT64)
    assert freeze_condition(ge(2 * n - 3), s) == Condition("ge", variable("n") * 2 - 3)
    assert freeze_condition(ge(n / 2 - sp.Rational(3, 4)), s) == Condition("ge", variable("n") * 2 - 3)
    assert freeze_condition(lt(n, c), s) == Condition("ge", variable("c") - variable("n") - 1)
    assert freeze_condition(le(n, c), s) == Condition("ge", variable("c") - variable("n"))
    assert freeze_condition(divides(3, n + c), s) == Condition("divides", variable("n") + variable("c"), 3)
    mask = Where(le(n, c), sp.S.One, sp.S.Zero)
    assert freeze_condition(lt(sp.Float(0.5), mask), s) is None
    assert freeze_condition(lt(sp.Float(0.5), sp.S.One), s) is None
    labels = Read(tensor_symbol("labels"), n)
    assert freeze_condition(eq(labels, c), s) is None
    test = freeze_test(eq(labels, c), s)
    assert expression_text(test) == "labels == i64(c)"


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"no machine form of gamma\n  hint: compose it from exp, log"):
        freeze(sp.gamma(a), scope())
