"""Factors of a formula that can be computed apart from the rest."""

from __future__ import annotations

from collections.abc import Container

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.cost import operations
from graphc.ops.formula import Formula, Read, all_reads, formula, tensor_symbol

WORTH = 24
"""Cycles from which a factor is worth a memory of its own: it keeps the rest short, too."""


def costly_factor(f: Formula, usable: Container[str], name: str) -> tuple[Formula, Formula] | None:
    """(the factor of a pointwise formula that reads usable operands alone, in place; the rest, reading it as `name`).

    None where there is none, or none that costs much.
    """
    if not f.is_pointwise or f.conditions:
        return None
    own = tuple(a.symbol for a in f.axes)

    def apart(e: Expr) -> bool:
        found = all_reads(e)
        return bool(found) and all(r.index == own and r.name in usable for r in found)

    factors = sp.Mul.make_args(f.body)
    mine, others = [e for e in factors if apart(e)], [e for e in factors if not apart(e)]
    if not mine or not others or operations(sp.Mul(*mine)).cycles < WORTH:
        return None
    return formula(f.axes, sp.Mul(*mine)), formula(f.axes, sp.Mul(*others) * Read(tensor_symbol(name), *own))
