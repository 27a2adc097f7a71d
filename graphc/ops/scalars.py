"""Scalar functions for formula bodies. Each is declared by one formula; its derivative is derived from it.

    sigmoid  = 1 / (1 + exp(-x))          sigmoid'  = y·(1 - y)       y being the function's own value
    tanh     = (1 - e^-2x) / (1 + e^-2x)  tanh'     = 1 - y²
    expm1    = exp(x) - 1                 expm1'    = 1 + y
    softplus = log(1 + exp(x))            softplus' = sigmoid(x)
    log1p    = log(1 + x)                 log1p'    = 1 / (1 + x)

The derivative that sympy finds for sigmoid, exp(-x)/(1 + exp(-x))², is inf/inf where exp(-x) overflows. So
the derivative is looked for as a polynomial in y, which has no pole, then among the declared functions at x
and -x, and only then taken as it is. It is derived when it is first asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import sympy as sp
from sympy.core.expr import Expr
from sympy.polys.domains import QQ
from sympy.polys.fields import FracElement, field
from sympy.polys.polyfuncs import interpolate

from graphc.errors import DerivativeError, GraphcError
from graphc.ops.formula import Cond, Where, eq, lt, replace, walk, where

exp, log, erf, sin, cos, atan, sqrt = sp.exp, sp.log, sp.erf, sp.sin, sp.cos, sp.atan, sp.sqrt


class ScalarFunction(sp.Function):  # type: ignore[misc]
    """Base of the declared functions: a symbolic node whose value and derivative both come from `formula`."""

    is_real = True
    formula: Expr
    variables: tuple[sp.Symbol, ...]
    constant: bool = False

    @classmethod
    def eval(cls, *args: Expr) -> Expr | None:
        """Folds f(0) alone, exactly: everything else stays as it was written."""
        if len(args) == 1 and args[0] is sp.S.Zero:
            return cls.expansion(sp.S.Zero)
        return None

    @classmethod
    def expansion(cls, *args: Expr) -> Expr:
        """The declared formula at `args`."""
        return replace(cls.formula, dict(zip(cls.variables, args, strict=True)))

    def fdiff(self, argindex: int = 1) -> Expr:
        """∂f/∂x_argindex as an expression in the arguments and in the function's own value."""
        if self.constant:
            return sp.S.Zero
        derivative = derivative_of(self.func, argindex)
        return replace(derivative, {OUTPUT: self, **dict(zip(self.variables, self.args, strict=True))})

    def _eval_evalf(self, prec: int) -> Expr | None:
        expanded = self.expansion(*self.args)
        return None if expanded.has(Where) else expanded._eval_evalf(prec)


OUTPUT = sp.Symbol("y", real=True)
"""The function's own value inside its derivative."""

DECLARED: dict[str, type[ScalarFunction]] = {}
"""Every declared function by name."""


def scalar_function(name: str, formula: Callable[..., Any], *, constant: bool = False) -> Any:
    """Declare f(x, ...) by its formula: `bump = scalar_function("bump", lambda x: exp(-x**2))`.

    Returns the class of its nodes, called like a function. The name must be new. Raises GraphcError.
    Composites of the functions below need no declaration: the chain rule goes through them.
    A `constant` function counts as a constant when it is differentiated, whatever its formula says.
    """
    if name in DECLARED:
        raise GraphcError(f"scalar function {name} is declared already", hint="choose another name")
    variables = tuple(sp.Symbol(p, real=True) for p in inspect.signature(formula).parameters)
    members = {
        "formula": sp.sympify(formula(*variables)),
        "variables": variables,
        "constant": constant,
        "nargs": len(variables),
        "__module__": formula.__module__,
        "__doc__": formula.__doc__ or f"The scalar function {name}.",
    }
    DECLARED[name] = type(name, (ScalarFunction,), members)
    return DECLARED[name]


# ---------------------------------------------------------------------------------------- the declarations

sigmoid = scalar_function("sigmoid", lambda x: 1 / (1 + exp(-x)))
tanh = scalar_function("tanh", lambda x: (1 - exp(-2 * x)) / (1 + exp(-2 * x)))
expm1 = scalar_function("expm1", lambda x: exp(x) - 1)
log1p = scalar_function("log1p", lambda x: log(1 + x))
softplus = scalar_function("softplus", lambda x: log(1 + exp(x)))
erfc = scalar_function("erfc", lambda x: 1 - erf(x))
normal_cdf = scalar_function("normal_cdf", lambda x: (1 + erf(x / sqrt(2))) / 2)
floor = scalar_function("floor", lambda x: sp.floor(x), constant=True)
rint = scalar_function(
    "rint", lambda x: Where(eq(x - floor(x), sp.S.Half), 2 * floor(x / 2 + sp.S.Half), floor(x + sp.S.Half)),
    constant=True,
)  # fmt: skip

# The last branch is taken where a = b, and then halves the derivative between both; and where one is NaN.
maximum = scalar_function("maximum", lambda a, b: Where(lt(b, a), a, Where(lt(a, b), b, (a + b) / 2)))
minimum = scalar_function("minimum", lambda a, b: Where(lt(a, b), a, Where(lt(b, a), b, (a + b) / 2)))

NATIVE = frozenset({"exp", "log", "erf", "sin", "cos", "atan", *DECLARED})
"""The functions that later stages know by name; all others are expanded by their formula."""

stop_gradient = scalar_function("stop_gradient", lambda x: x, constant=True)
softsign = scalar_function("softsign", lambda x: Where(lt(x, 0), x / (1 - x), x / (1 + x)))


def log_sigmoid(x: Any) -> Expr:
    """log(sigmoid(x)) = -softplus(-x)"""
    return -softplus(-sp.sympify(x))


def log_cosh(x: Any) -> Expr:
    """log(cosh(x)), near 0 as -log(1 - tanh²(x)) / 2, elsewhere as |x| + log(1 + e^-2|x|) - log(2)."""
    x = sp.sympify(x)
    near = -log1p(-(tanh(x) ** 2)) / 2
    return Where(lt(x, -1), softplus(2 * x) - x - log(2), Where(lt(1, x), softplus(-2 * x) + x - log(2), near))


def absolute(x: Any) -> Expr:
    """|x|, with derivative 0 at 0."""
    x = sp.sympify(x)
    # x³ is 0 with derivative 0 where x = 0, and NaN where x is NaN
    return Where(lt(x, 0), -x, Where(lt(0, x), x, x**3))


def sign(x: Any) -> Expr:
    """-1, 0 or 1; NaN stays NaN."""
    x = sp.sympify(x)
    return Where(lt(x, 0), -1, Where(lt(0, x), 1, x**3))


def clip(x: Any, low: Any, high: Any) -> Expr:
    """x limited to low..high, with derivative 1 at both limits; NaN stays NaN."""
    return Where(lt(x, low), low, Where(lt(high, x), high, x))


def square(x: Any) -> Expr:
    """x²"""
    return sp.sympify(x) ** 2


def reciprocal(x: Any) -> Expr:
    """1 / x"""
    return 1 / sp.sympify(x)


def expand_declared(e: Expr) -> Expr:
    """The expression with every function that is not NATIVE replaced by its formula."""
    mine = [f for f in walk(e) if isinstance(f, ScalarFunction) and f.func.__name__ not in NATIVE]
    if not mine:
        return e
    args = [expand_declared(a) for a in e.args]
    return e.expansion(*args) if e in mine else e.func(*args)


# ------------------------------------------------------------------------------------------- the derivation


@cache
def derivative_of(function: Any, argindex: int = 1) -> Expr:
    """∂f/∂x_argindex in the function's `variables` and OUTPUT, free of poles that f' itself does not have.

    Raises DerivativeError if the derived form disagrees with sympy's at a sample point.
    """
    f, x = function.formula, function.variables[argindex - 1]
    raw = differentiate(f, x)
    found = _over_one_denominator(raw)
    if f.has(sp.exp) and len(function.variables) == 1:
        found = _in_output(f, x) or _among_declared(raw, x) or _stable(raw)
        _verify(function, raw, found)
    return found


def differentiate(e: Expr, x: sp.Symbol) -> Expr:
    """∂e/∂x, a Where being differentiated branch by branch and its condition not at all."""
    if isinstance(e, Where):
        return where(e.args[0], differentiate(e.args[1], x), differentiate(e.args[2], x))
    branches: dict[Expr, Expr] = {}

    def cut(node: Expr) -> Expr:
        if isinstance(node, Where):
            return branches.setdefault(node, sp.Dummy(real=True))
        if not node.args or isinstance(node, Cond):
            return node
        return node.func(*[cut(a) for a in node.args])

    smooth = cut(e) if e.has(Where) else e
    back = {v: k for k, v in branches.items()}
    terms = [sp.diff(smooth, x)] + [sp.diff(smooth, v) * differentiate(w, x) for w, v in branches.items()]
    return replace(sp.Add(*terms), back)


def _over_one_denominator(e: Expr) -> Expr:
    """A rational function without the differences that cancel where it is small, branch by branch."""
    if isinstance(e, Where):
        return where(e.args[0], *map(_over_one_denominator, e.args[1:]))
    return sp.factor(e) if e.is_rational_function() and not e.is_polynomial() else e


def _rational(e: Expr, x: sp.Symbol) -> tuple[FracElement, sp.Rational] | None:
    """(R, k) such that e = R(exp(k·x)) with R in the field Q(E); None if e is not of that form."""
    rates = [f.args[0] / x for f in e.atoms(sp.exp)]
    if not rates or not all(rate.is_Rational for rate in rates):
        return None
    step = abs(sp.gcd_list(rates))

    def visit(node: Expr) -> FracElement:
        match node:
            case sp.Rational():
                return FIELD(QQ(node.p, node.q))
            case sp.Add():
                return sum((visit(a) for a in node.args), FIELD.zero)
            case sp.Mul():
                return prod((visit(a) for a in node.args), start=FIELD.one)
            case sp.exp():
                return KERNEL ** int(node.args[0] / (x * step))
            case sp.Pow(args=(base, sp.Integer() as power)):
                return visit(base) ** int(power)
            case _:
                raise _NotRational

    try:
        return visit(e), step
    except _NotRational:
        return None


class _NotRational(Exception):
    """An expression is more than a rational function of one exponential."""


FIELD, KERNEL = field("E", QQ)


def _in_output(f: Expr, x: sp.Symbol) -> Expr | None:
    """f' as a polynomial in y = f, where f is rational in one exponential.

    The polynomial is interpolated through exact samples and kept if the identity then holds for all x.
    """
    value = _rational(f, x)
    if value is None:
        return None
    y, step = value
    slope = FIELD(QQ(step.p, step.q)) * KERNEL * y.diff(KERNEL)
    samples = [QQ(k, 3) for k in (1, 2, 4, 5)]
    polynomial = interpolate([(_at(y, s), _at(slope, s)) for s in samples], OUTPUT)
    coefficients = [QQ(c.p, c.q) for c in sp.Poly(polynomial, OUTPUT).all_coeffs()]
    if sum((c * y**k for k, c in enumerate(reversed(coefficients))), FIELD.zero) != slope:
        return None
    # y·(1 - y) loses less than y - y² where y is near 1
    common = next(k for k, c in enumerate(reversed(coefficients)) if c)
    return OUTPUT**common * sp.expand(polynomial / OUTPUT**common)


def _at(r: FracElement, point: Any) -> Expr:
    """The exact value of a rational function."""
    return sp.sympify(r.numer.evaluate(0, point) / r.denom.evaluate(0, point))


def _among_declared(derivative: Expr, x: sp.Symbol) -> Expr | None:
    """f' as a declared function at x or -x."""
    wanted = _rational(derivative, x)
    if wanted is None:
        return None
    for g in DECLARED.values():
        for argument in (x, -x):
            if len(g.variables) == 1 and _rational(g.expansion(argument), x) == wanted:
                return g(argument)
    return None


def _stable(derivative: Expr) -> Expr:
    """f' after the rewrites of `stability`."""
    from graphc.ops.stability import stabilise

    return stabilise(derivative)


def _verify(function: type[ScalarFunction], raw: Expr, found: Expr) -> None:
    for point in (sp.Rational(1, 3), sp.Rational(7, 4), sp.Rational(-5, 4)):
        here = {function.variables[0]: point}
        want = sp.N(replace(raw, here), 20)
        got = sp.N(replace(found, here | {OUTPUT: replace(function.formula, here)}), 20)
        if abs(got - want) > 1e-12 * (1 + abs(want)):
            raise DerivativeError(f"{function.__name__}' = {found} is {got} at {point}, expected {want}")
