"""Division rounded down, and what it leaves: 7 // 2 = 3, -7 // 2 = -4, -7 % 2 = 1, as Python and numpy do."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import DTypeError
from graphc.ops import scalars
from graphc.ops.formula import FloorDiv, Mod
from graphc.ops.notation import Operand
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import pointwise

WHOLE = [Sample((("int", 9, (3, 4)),), {"divisor": 4}), Sample((("int", 9, (5,)),), {"divisor": 3})]


@pointwise(domain=(0.55, 0.95))
def floor_quotient(a: Expr, b: Expr) -> Expr:
    """⌊a / b⌋"""
    return scalars.floor(a / b)


@pointwise(domain=(0.55, 0.95))
def floor_remainder(a: Expr, b: Expr) -> Expr:
    """a - b · ⌊a / b⌋, which has the sign of b."""
    return a - b * scalars.floor(a / b)


def _divided(node: type[Expr], X: Operand, divisor: int) -> Expr:
    if not isinstance(divisor, int) or divisor < 1:
        raise DTypeError(
            f"integers are divided by positive integers, got {divisor!r}",
            hint="convert the tensor first: x.astype('float32')",
        )
    return node(X[...], sp.Integer(divisor))


@op(register=True, either="X", samples=WHOLE)
def integer_quotient(X: Operand, *, divisor: int = 1) -> Expr:
    """⌊x / divisor⌋ of integers. Raises DTypeError unless the divisor is a positive integer."""
    return _divided(FloorDiv, X, divisor)


@op(register=True, either="X", samples=WHOLE)
def integer_remainder(X: Operand, *, divisor: int = 1) -> Expr:
    """x - divisor · ⌊x / divisor⌋ of integers, never negative. Raises DTypeError unless the divisor is positive."""
    return _divided(Mod, X, divisor)


def floor_divide(a: Any, b: Any) -> Any:
    """⌊a / b⌋ of tensors and numbers; integers are divided by positive integers. Raises DTypeError."""
    return integer_quotient(a, divisor=b) if _integers(a) else floor_quotient(a, b)


def remainder(a: Any, b: Any) -> Any:
    """a - b · ⌊a / b⌋ of tensors and numbers; integers are divided by positive integers. Raises DTypeError."""
    return integer_remainder(a, divisor=b) if _integers(a) else floor_remainder(a, b)


def _integers(a: Any) -> bool:
    dtype = getattr(a, "dtype", None)
    return hasattr(a, "__graphc_apply__") and dtype is not None and not dtype.is_float
