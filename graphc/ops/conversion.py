"""The same values in another element type."""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.ops.notation import Operand
from graphc.ops.operator import Sample, op
from graphc.types import DType


@op(register=True, either="X", samples=[Sample(((2, 3),), {"dtype": DType.FLOAT64}), Sample((("int", 5, (3,)),))])
def astype(X: Operand, *, dtype: DType = DType.FLOAT32) -> Expr:
    """The elements of X in another type; fractions are cut off where that is an integer one."""
    return X[...]
