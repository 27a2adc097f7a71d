"""Building Loop IR by writing arithmetic: operators on terms, numbers taking the type beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from graphc.loops.expressions import Binary, Bitcast, Compare, Const, Expression, Fma, Name, Select, Unary
from graphc.types import DType

Naming = Callable[[Expression], Expression]
"""Gives a value a name and returns the name, so that later uses do not compute it again."""


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format: the bits after the point, the exponent's bias, and what was fitted for it."""

    float: DType
    integer: DType
    mantissa: int
    bias: int
    exp_degree: int
    log_degree: int
    quotient_degree: int
    trigonometric_degree: int
    erf_degree: int
    erf_one: str
    """From here on erf is 1 to the last bit."""
    erfc_degree: int
    erfc_zero: str
    """From here on erfc is below the smallest normal number."""
    arctangent_degree: int

    @property
    def infinity(self) -> int:
        """The bits of infinity."""
        return (2 * self.bias + 1) << self.mantissa


FORMATS = {
    DType.FLOAT32: Format(DType.FLOAT32, DType.INT32, 23, 127, 4, 8, 3, 2, 9, "4", 8, "9.1945", 8),
    DType.FLOAT64: Format(DType.FLOAT64, DType.INT64, 52, 1023, 10, 6, 8, 6, 28, "6", 22, "26.5432", 19),
}


@dataclass(frozen=True, slots=True)
class Term:
    """An expression under construction: operators build, numbers become constants of its type and lanes."""

    e: Expression
    bind: Naming

    @property
    def format(self) -> Format:
        """The format of its element type (for an integer, of the float of the same width)."""
        return next(f for f in FORMATS.values() if self.e.dtype in (f.float, f.integer))

    def constant(self, value: float | int | Decimal) -> Term:
        """A number of the same type in every lane."""
        dtype = self.e.dtype
        number = int(value) if dtype in (DType.INT32, DType.INT64) else float(value)
        return Term(Const(number, dtype, self.e.lanes), self.bind)

    def _operand(self, other: Operand) -> Expression:
        return other.e if isinstance(other, Term) else self.constant(other).e

    def _binary(self, operation: str, other: Operand) -> Term:
        return Term(Binary(operation, self.e, self._operand(other)), self.bind)

    def __add__(self, other: Operand) -> Term:
        return self._binary("add", other)

    def __sub__(self, other: Operand) -> Term:
        return self._binary("sub", other)

    def __mul__(self, other: Operand) -> Term:
        return self._binary("mul", other)

    def __truediv__(self, other: Operand) -> Term:
        return self._binary("div", other)

    def __and__(self, other: Operand) -> Term:
        return self._binary("and", other)

    def __or__(self, other: Operand) -> Term:
        return self._binary("or", other)

    def __xor__(self, other: Operand) -> Term:
        return self._binary("xor", other)

    def __lshift__(self, bits: int) -> Term:
        return self._binary("shl", bits)

    def __rshift__(self, bits: int) -> Term:
        return self._binary("ashr", bits)

    def __neg__(self) -> Term:
        return Term(Unary("neg", self.e), self.bind)

    def __abs__(self) -> Term:
        return Term(Unary("abs", self.e), self.bind)

    def __lt__(self, other: Operand) -> Term:
        return Term(Compare("lt", self.e, self._operand(other)), self.bind)

    def __le__(self, other: Operand) -> Term:
        return Term(Compare("le", self.e, self._operand(other)), self.bind)

    def equals(self, other: Operand) -> Term:
        """The condition self == other."""
        return Term(Compare("eq", self.e, self._operand(other)), self.bind)

    def fma(self, factor: Operand, summand: Operand) -> Term:
        """self · factor + summand."""
        return Term(Fma(self.e, self._operand(factor), self._operand(summand)), self.bind)

    def then(self, a: Term, b: Term) -> Term:
        """Of a condition: a where it holds, else b."""
        return Term(Select(self.e, a.e, b.e), self.bind)

    def at_least(self, low: float) -> Term:
        """max(itself, low), NaN staying NaN."""
        x = self.named()
        return (x < low).then(x.constant(low), x).named()

    def at_most(self, high: float) -> Term:
        """min(itself, high), NaN staying NaN."""
        x = self.named()
        return (x.constant(high) < x).then(x.constant(high), x).named()

    def sign_of(self, other: Term) -> Term:
        """Its magnitude under the sign of another."""
        return self._binary("copysign", other)

    def bits(self) -> Term:
        """The same bits as an integer."""
        return Term(Bitcast(self.e, self.format.integer), self.bind)

    def from_bits(self) -> Term:
        """The same bits as a floating-point number."""
        return Term(Bitcast(self.e, self.format.float), self.bind)

    def named(self) -> Term:
        """Itself, computed once."""
        return self if isinstance(self.e, Name | Const) else Term(self.bind(self.e), self.bind)


Operand = Term | float | int | Decimal


def horner(coefficients: tuple[Decimal, ...], x: Term) -> Term:
    *lower, highest = coefficients
    result = x.constant(highest)
    for c in reversed(lower):
        result = result.fma(x, c)
    return result
