"""Freezing: sympy expressions become typed Loop IR. The last room that sees sympy.

Arithmetic keeps the order that the formula has; nothing is reassociated after this point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from graphc.errors import LoweringError
from graphc.loops import expressions
from graphc.loops.expressions import Binary, Cast, Compare, Const, Expression, Number, Select, Unary
from graphc.loops.index import (
    Element,
    Index,
    Range,
    bounds,
    constant,
    of_atom,
    quotient,
    remainder,
    variable,
)
from graphc.loops.ir import Condition
from graphc.ops.formula import Cond, FloorDiv, Mod, Random, Read, Table, Where, free_symbols, value_reads
from graphc.ops.scalars import expand_declared
from graphc.ops.stability import stabilise
from graphc.types import DType

Access = Callable[[str, tuple[Index, ...]], Expression]
"""(operand, logical index) -> the loaded value; zero outside the tensor's box."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean while a formula is frozen.

    `axes` gives each axis as an index over loop variables whose `ranges` are known; `access` loads an operand;
    `element` locates an integer operand's element for use as an index; `dtypes` are the operands' element types.
    """

    dtype: DType
    axes: Mapping[str, Index]
    ranges: Mapping[str, Range]
    access: Access
    element: Callable[[str, tuple[Index, ...]], Element]
    dtypes: Mapping[str, DType]
    memo: dict[sp.Basic, Expression] = field(default_factory=dict)

    @property
    def integer(self) -> DType:
        """The integer type as wide as the element type, so that comparisons fill the same lanes."""
        return DType.INT64 if self.dtype.bits == 64 else DType.INT32

    def comparing(self, *sides: sp.Expr) -> Scope:
        """The scope for what is compared: floating-point numbers as such, also where the result is an integer."""
        read = {self.dtypes[r.name] for e in sides for r in value_reads(e)}
        wide = next((d for d in read if d.is_float), self.dtype)
        return self if self.dtype.is_float else replace(self, dtype=wide, memo={})


UNARY = {
    "exp": "exp", "log": "log", "expm1": "expm1", "log1p": "log1p", "tanh": "tanh", "erf": "erf", "Abs": "abs",
    "sigmoid": "sigmoid", "softplus": "softplus", "sin": "sin", "cos": "cos", "floor": "floor", "rint": "rint",
    "erfc": "erfc", "normal_cdf": "normal_cdf", "atan": "atan",
}  # fmt: skip
BINARY = {"maximum": "max", "minimum": "min"}


def freeze_index(e: sp.Expr, scope: Scope) -> Index:
    """An index expression over loop variables. Fractions must cancel once the axes are substituted."""
    if isinstance(e, FloorDiv):
        return quotient(freeze_index(e.args[0], scope), int(e.args[1]), scope.ranges)
    if isinstance(e, Mod):
        return remainder(freeze_index(e.args[0], scope), int(e.args[1]), scope.ranges)
    if isinstance(e, Read):
        return of_atom(scope.element(e.name, tuple(freeze_index(i, scope) for i in e.index)))
    terms = e.as_coefficients_dict()
    divisor = int(sp.ilcm(1, *[k.q for k in terms.values()]))
    result = constant(0)
    for term, k in terms.items():
        factor = int(k * divisor)
        if term is sp.S.One:
            result = result + factor
        elif term.is_Symbol:
            result = result + scope.axes.get(term.name, variable(term.name)) * factor
        elif isinstance(term, (FloorDiv, Mod, Read)):
            result = result + freeze_index(term, scope) * factor
        else:
            raise LoweringError(f"index {e} is not affine in its axes: {term}")
    if divisor == 1:
        return result
    if all(k % divisor == 0 for _, k in result.terms) and result.constant % divisor == 0:
        return Index(tuple((a, k // divisor) for a, k in result.terms), result.constant // divisor)
    return quotient(result, divisor, scope.ranges)


def freeze_condition(c: Cond, scope: Scope) -> Condition | None:
    """A condition on indices alone as a Condition; None if it depends on data, or compares other than indices."""
    if any(isinstance(node, Read) for node in sp.preorder_traversal(c)):
        return None
    match c.kind:
        case "ge":
            e = c.args[1]
            scale = int(sp.ilcm(1, *[k.q for k in e.as_coefficients_dict().values()]))
            return Condition("ge", freeze_index(sp.expand(scale * e), scope))
        case "divides":
            e = c.args[2]
            scale = int(sp.ilcm(1, *[k.q for k in e.as_coefficients_dict().values()]))
            return Condition("divides", freeze_index(sp.expand(scale * e), scope), int(c.args[1]) * scale)
        case "lt" | "le" if _is_integer(c.args[1], scope) and _is_integer(c.args[2], scope):
            gap = freeze_index(c.args[2], scope) - freeze_index(c.args[1], scope)
            return Condition("ge", gap - 1 if c.kind == "lt" else gap)
        case _:
            return None


def _decided(c: Cond, scope: Scope) -> bool | None:
    """Whether a condition on indices holds throughout the loops; None where it differs, or depends on data."""
    condition = freeze_condition(c, scope)
    if condition is None or condition.kind != "ge":
        return None
    low, high = bounds(condition.index, scope.ranges)
    return True if low >= 0 else False if high < 0 else None


def freeze_test(c: Cond, scope: Scope) -> Expression:
    """A condition as a value: used inside Where and as a mask."""
    match c.kind:
        case "ge":
            zero = Const(0, scope.integer)
            return Compare("le", zero, Number(freeze_index(c.args[1], scope), scope.integer))
        case "divides":
            rest = remainder(freeze_index(c.args[2], scope), int(c.args[1]), scope.ranges)
            return Compare("eq", Number(rest, scope.integer), Const(0, scope.integer))
        case kind:
            a, b = c.args[1], c.args[2]
            if _is_integer(a, scope) and _is_integer(b, scope):
                return Compare(kind, _integer(a, scope, scope.integer), _integer(b, scope, scope.integer))
            scope = scope.comparing(a, b)
            return Compare(kind, freeze(a, scope), freeze(b, scope))


def _is_integer(e: sp.Expr, scope: Scope) -> bool:
    if isinstance(e, Read):
        return not scope.dtypes[e.name].is_float
    if isinstance(e, (FloorDiv, Mod)):
        return _is_integer(e.args[0], scope)
    if e.is_Symbol or e.is_Integer:
        return bool(e.is_integer)
    return (e.is_Add or e.is_Mul) and all(_is_integer(a, scope) for a in e.args)


def _integer(e: sp.Expr, scope: Scope, dtype: DType) -> Expression:
    if isinstance(e, Read):
        value = scope.access(e.name, tuple(freeze_index(i, scope) for i in e.index))
        return value if value.dtype is dtype else Cast(value, dtype)
    return Number(freeze_index(e, scope), dtype)


def freeze(e: sp.Expr, scope: Scope) -> Expression:
    """A scalar expression as typed Loop IR. Raises LoweringError for what the language does not have."""
    if e not in scope.memo:
        scope.memo[e] = _freeze(e, scope)
    return scope.memo[e]


def _freeze(e: sp.Expr, scope: Scope) -> Expression:
    dtype = scope.dtype
    if isinstance(e, Read):
        value = scope.access(e.name, tuple(freeze_index(i, scope) for i in e.index))
        return value if value.dtype is dtype else Cast(value, dtype)
    if isinstance(e, Table):
        return _table(e, scope)
    if isinstance(e, Random):
        key, step, index = (_integer(a, scope, DType.INT64) for a in e.args)
        return expressions.Random(key, step, index, dtype)
    if isinstance(e, Where):
        holds = _decided(e.args[0], scope)
        if holds is not None:
            return freeze(e.args[1 if holds else 2], scope)
        return Select(freeze_test(e.args[0], scope), freeze(e.args[1], scope), freeze(e.args[2], scope))
    if e.is_number and e.evalf().is_Number:  # scalar functions of graphc's own are computed where they stand
        return Const(float(e) if dtype.is_float else int(e), dtype)
    if isinstance(e, (FloorDiv, Mod)) or (e.is_Symbol and e.is_integer):
        return Number(freeze_index(e, scope), dtype)
    if e.is_Add:
        if _is_integer(e, scope) and free_symbols(e) and not e.has(Read):
            return Number(freeze_index(e, scope), dtype)
        return _sum(e, scope)
    if e.is_Mul:
        return _product(e, scope)
    if e.is_Pow:
        return _power(e.base, e.exp, scope)
    name = e.func.__name__
    if name in UNARY:
        return Unary(UNARY[name], freeze(e.args[0], scope))
    if name in BINARY:
        return Binary(BINARY[name], freeze(e.args[0], scope), freeze(e.args[1], scope))
    expanded = stabilise(expand_declared(e))
    if expanded != e:
        return freeze(expanded, scope)
    raise LoweringError(f"no machine form of {name}", hint="compose it from exp, log, tanh, erf, sqrt and arithmetic")


def _table(e: Table, scope: Scope) -> Expression:
    """An exact constant; where the index varies a chain of selections, which is slow but always possible."""
    zero: Expression = Const(0.0, scope.dtype)
    indices = [freeze_index(i, scope) for i in e.index]

    def chosen(place: Index, values: list[Expression]) -> Expression:
        if place.is_constant:
            return values[place.constant] if 0 <= place.constant < len(values) else zero
        result = zero
        for k, value in enumerate(values):
            if value != zero:
                here = Compare("eq", Number(place, scope.integer), Const(k, scope.integer))
                result = Select(here, value, result)
        return result

    rows = [chosen(indices[1], [Const(float(v), scope.dtype) for v in row]) for row in e.constants.rows]
    return chosen(indices[0], rows)


def _sum(e: sp.Expr, scope: Scope) -> Expression:
    """Reads first: terms that nearly cancel, such as x - max(x), meet before anything is added to them."""
    terms = [(-a, True) if a.could_extract_minus_sign() else (a, False) for a in e.args]
    terms.sort(key=lambda t: (not isinstance(t[0], Read), t[1]))
    (head, negative), *rest = terms
    if negative and not all(n for _, n in terms):
        position = next(k for k, (_, n) in enumerate(terms) if not n)
        (head, negative), rest = terms[position], [*terms[:position], *terms[position + 1 :]]
    result: Expression = freeze(head, scope)
    if negative:
        result = Unary("neg", result)
    for a, minus in rest:
        result = Binary("sub" if minus else "add", result, freeze(a, scope))
    return result


def _product(e: sp.Expr, scope: Scope) -> Expression:
    above: list[Expression] = []
    below: list[Expression] = []
    coefficient = sp.S.One
    for factor in e.args:
        if factor.is_Number:
            coefficient *= factor
        elif factor.is_Pow and factor.exp.is_Number and factor.exp.is_negative:
            below.append(_power(factor.base, -factor.exp, scope))
        else:
            above.append(freeze(factor, scope))
    if coefficient == -1:
        sign, coefficient = True, sp.S.One
    else:
        sign = False
    if coefficient != 1 or not above:
        above.append(Const(float(coefficient), scope.dtype))
    result = above[0]
    for factor in above[1:]:
        result = Binary("mul", result, factor)
    if below:
        divisor = below[0]
        for factor in below[1:]:
            divisor = Binary("mul", divisor, factor)
        result = Binary("div", result, divisor)
    return Unary("neg", result) if sign else result


def _power(base: sp.Expr, exponent: sp.Expr, scope: Scope) -> Expression:
    x = freeze(base, scope)
    one = Const(1.0, scope.dtype)
    if exponent.is_Number and exponent.is_negative:
        return Binary("div", one, _power(base, -exponent, scope))
    if exponent.is_Integer and int(exponent) <= 16:
        result, square, n = None, x, int(exponent)
        while n:
            if n & 1:
                result = square if result is None else Binary("mul", result, square)
            n >>= 1
            if n:
                square = Binary("mul", square, square)
        return result or one
    if exponent == sp.Rational(1, 2):
        return Unary("sqrt", x)
    if exponent.is_Rational and exponent.q == 2:
        return Binary("mul", _power(base, exponent - sp.Rational(1, 2), scope), Unary("sqrt", x))
    return Binary("pow", x, freeze(exponent, scope))
