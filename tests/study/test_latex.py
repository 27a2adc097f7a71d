"""Formulas as LaTeX, exactly."""

import pytest
import sympy as sp

from graphc.ops.formula import (
    Axis,
    FloorDiv,
    Mod,
    N,
    Read,
    Reduce,
    Where,
    divides,
    eq,
    formula,
    ge,
    index_symbol,
    le,
    lt,
    tensor_symbol,
)
from graphc.ops.scalars import erf, exp, log, maximum, sigmoid, softplus, tanh
from graphc.study.latex import expression_latex, formula_latex
from graphc.types import BATCH

n, k, y, x, c, r, q = map(index_symbol, "nkyxcrq")


def tensor(name):
    return lambda *index: Read(tensor_symbol(name), *index)


def axes(**extents):
    return [Axis(index_symbol(name), extent) for name, extent in extents.items()]


X, W, L, dY, beta = map(tensor, ("X", "W", "L", "dY", "beta"))
IMAGE = axes(n=BATCH, k=8, y=14, x=14)

CASES = {
    "convolution": (
        formula(IMAGE, X(n, c, 2 * y + r - 1, 2 * x + q - 1) * W(k, c, r, q), "sum", axes(c=3, r=3, q=3)),
        r"Y_{n,k,y,x} = \sum_{c<3,\,r<3,\,q<3} W_{k,c,r,q} X_{n,c,2y+r-1,2x+q-1}",
    ),
    "adjoint": (
        formula(axes(y=28), dY((y + 1 - r) / 2) * W(r), "sum", axes(r=3), (divides(2, y + 1 - r), ge(y + 1 - r))),
        r"Y_{y} = \sum_{r<3 \,\mid\, 2 \mid y-r+1,\,y-r+1 \ge 0} W_{r} \mathrm{dY}_{\frac{y-r+1}{2}}",
    ),
    "pooling": (
        formula(axes(n=BATCH, y=7), X(n, 2 * y + r), "max", axes(r=3), (ge(2 * y + r - 1),)),
        r"Y_{n,y} = \max_{r<3 \,\mid\, 2y+r-1 \ge 0} X_{n,2y+r}",
    ),
    "relu": (
        formula(axes(n=BATCH), Where(le(X(n), 0), 0, X(n))),
        r"Y_{n} = \begin{cases} 0 & \text{if } X_{n} \le 0 \\ X_{n} & \text{otherwise} \end{cases}",
    ),
    "three branches": (
        formula(axes(n=BATCH), Where(lt(X(n), 0), -1, Where(lt(0, X(n)), 1, X(n) ** 3))),
        r"Y_{n} = \begin{cases} -1 & \text{if } X_{n} < 0 \\ 1 & \text{if } 0 < X_{n} \\ "
        r"X_{n}^{3} & \text{otherwise} \end{cases}",
    ),
    "indicator": (
        formula(axes(n=BATCH, k=5), X(n) + beta(k), None, (), (eq(k, L(n)),)),
        r"Y_{n,k} = \left[k = L_{n}\right] \left(X_{n} + \beta_{k}\right)",
    ),
    "floor and remainder": (
        formula(axes(k=12), X(FloorDiv(k, 4), Mod(k + 1, 4), L(k))),
        r"Y_{k} = X_{\lfloor k / 4 \rfloor,((k+1) \bmod 4),L_{k}}",
    ),
    "scalar": (
        formula((), X(n) - 1, "sum", axes(n=BATCH)),
        r"Y = \sum_{n<N} \left(X_{n} - 1\right)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_formula(case):
    f, want = CASES[case]
    assert formula_latex(f) == want


def test_names():
    f = formula(axes(k=3, i0=2), W(k, index_symbol("i0")))
    assert formula_latex(f, "conv_1.W", {"W": r"\mathbf{W}"}) == (
        r"{\mathrm{conv\_1.W}}_{k,i_{0}} = \mathbf{W}_{k,i_{0}}"
    )
    assert formula_latex(f, "x0") == r"{x_{0}}_{k,i_{0}} = W_{k,i_{0}}"


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        (sigmoid(X(k)) ** 2, r"\sigma^{2}\left(X_{k}\right)"),
        (-softplus(-X(k)), r"- \operatorname{softplus}\left(- X_{k}\right)"),
        (maximum(X(k), sp.Rational(1, 2)), r"\max\left(X_{k}, \frac{1}{2}\right)"),
        (1 - tanh(X(k)) ** 2, r"1 - \tanh^{2}\left(X_{k}\right)"),
        (erf(X(k) / sp.sqrt(2)), r"\operatorname{erf}\left(\frac{\sqrt{2} X_{k}}{2}\right)"),
        (exp(-X(k)), r"e^{- X_{k}}"),
        (log(X(k)) / N, r"\frac{\log\left(X_{k}\right)}{N}"),
        (sp.Float(1e-5) * X(k), r"1 \cdot 10^{-5} X_{k}"),
        (Reduce(sp.Symbol("sum"), X(k), sp.Tuple(sp.Tuple(k, 3))), r"\sum_{k<3} X_{k}"),
        (le(X(k), 0), r"X_{k} \le 0"),
    ],
)
def test_expression(expression, want):
    assert expression_latex(expression) == want
