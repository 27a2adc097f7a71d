"""Reverse mode over one expression against sympy's own derivatives, and where these would be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from graphc.autodiff.partials import partials
from graphc.errors import DerivativeError
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Axis, Read, Where, eq, formula, index_symbol, lt, tensor_symbol
from graphc.ops.scalars import sigmoid

i = index_symbol("i")
a, b, c = (Read(tensor_symbol(name), i) for name in "abc")


@pytest.mark.parametrize(
    "body",
    [
        a * b * c,
        a / b - sp.exp(a * b) * sp.log(c),
        sp.sqrt(a**2 + b**2) * sp.sin(c),
        (a + b) ** 3 * (a - c) ** -2,
        a**b,
        sp.exp(sp.exp(a) * b) + sp.erf(a * c) / (1 + b**2),
    ],
)
def test_equals_symbolic_derivative(body: sp.Expr) -> None:
    stand_in = {r: sp.Symbol(r.name, positive=True) for r in (a, b, c)}
    point = {stand_in[a]: 0.7, stand_in[b]: 1.3, stand_in[c]: 0.4}
    found = dict(partials(body))
    for r, x in stand_in.items():
        expected = sp.diff(body.xreplace(stand_in), x).xreplace(point)
        got = found.get(r, sp.S.Zero).xreplace(stand_in).xreplace(point)
        assert float(got) == pytest.approx(float(expected), rel=1e-12)


def value(e: sp.Expr, **arrays: list[float]) -> list[float]:
    f = formula((Axis(i, 3),), e)
    return evaluate(f, {n: np.array(v) for n, v in arrays.items()}).tolist()


def test_untaken_branch_contributes_no_nan() -> None:
    body = Where(lt(0, a), sp.sqrt(a), 0) * b
    found = dict(partials(body, c))
    got = value(found[a], a=[0.0, 4.0, -1.0], b=[1.0, 2.0, 3.0], c=[1.0, 1.0, 1.0])
    assert got == [0.0, 0.5, 0.0]


def test_masked_factor_is_sunk_into_the_branch() -> None:
    found = dict(partials(Where(lt(0, a), sp.log(a), 0), b))
    assert found[a] == Where(lt(0, a), b / a, 0)


def test_conditions_are_not_differentiated() -> None:
    assert [r.name for r, _ in partials(Where(eq(a, b), c, 0))] == ["c"]


def test_saved_value_of_a_function_is_used() -> None:
    assert dict(partials(sigmoid(a)))[a] == sigmoid(a) * (1 - sigmoid(a))


def test_zero_derivatives_are_left_out() -> None:
    assert partials(Where(lt(a, 0), 1, 2), b) == ()


def test_function_without_derivative_is_named() -> None:
    with pytest.raises(DerivativeError, match=r"Max has no derivative"):
        partials(sp.Max(a, b))
