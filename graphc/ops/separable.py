"""Sums in which small constant matrices act along separate axes: the transforms of fast convolutions.

    out[.., a, b, ..] = Σ_{p, q} B[a, p] · B[b, q] · rest[.., p, q, ..]

One matrix after another, such a sum costs a few additions for each element instead of the product of the extents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import Formula, Mod, Read, Table, reads

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Factor:
    """matrix[row, column]: `column` is a reduced axis; `row` an axis of the result, taken modulo `period` unless 0."""

    matrix: Matrix
    row: str
    column: str
    period: int = 0

    @property
    def rows(self) -> int:
        """How many results one application gives."""
        return len(self.matrix)


@dataclass(frozen=True, slots=True)
class Separable:
    """The constant matrices of a sum, and the expression on which they act: one read and perhaps scalars."""

    factors: tuple[Factor, ...]
    rest: Expr
    operand: str

    @property
    def unrolled(self) -> frozenset[str]:
        """The axes of the result that the matrices produce whole."""
        return frozenset(f.row for f in self.factors if not f.period)

    @property
    def tiled(self) -> dict[str, int]:
        """The axes of the result that come in tiles, and the extent of a tile."""
        return {f.row: f.period for f in self.factors if f.period}


@lru_cache(maxsize=16384)
def separable(f: Formula) -> Separable | None:
    """The factors of a sum over the columns of constant matrices, or None for other formulas."""
    if f.reduction != "sum" or f.conditions:
        return None
    tables: list[Table] = []
    others: list[Expr] = []
    for factor in sp.Mul.make_args(f.body):
        (tables if isinstance(factor, Table) else others).append(factor)
    rest = sp.Mul(*others)
    over = {a.name: a.extent for a in f.over}
    own = {a.name: a.extent for a in f.axes}
    found = [_factor(t, own, over) for t in tables]
    factors = tuple(x for x in found if x is not None)
    operands = {r.name for r in reads(f)}
    complete = {x.column for x in factors} == set(over) and len(factors) == len(tables) == len(over)
    if not tables or not complete or len(operands) != 1 or len({x.row for x in factors}) != len(factors):
        return None
    return Separable(factors, rest, operands.pop())


def _factor(table: Table, own: Mapping[str, object], over: Mapping[str, object]) -> Factor | None:
    row, column = table.index
    period = 0
    if isinstance(row, Mod) and row.args[1].is_Integer:
        row, period = row.args[0], int(row.args[1])
    terms = column.as_coefficients_dict()
    symbols = [t for t in terms if t is not sp.S.One]
    if not row.is_Symbol or row.name not in own or len(symbols) != 1 or not symbols[0].is_Symbol:
        return None
    name = symbols[0].name
    extent = over.get(name)
    rows = period or own[row.name]
    if not isinstance(extent, int) or not isinstance(rows, int) or abs(terms[symbols[0]]) != 1:
        return None
    step, start = int(terms[symbols[0]]), int(terms.get(sp.S.One, 0))
    elements = table.constants.rows
    matrix = tuple(
        tuple(
            Fraction(elements[i][start + step * j]) if i < len(elements) and 0 <= start + step * j < len(elements[0])
            else Fraction(0)
            for j in range(extent)
        )
        for i in range(rows)
    )  # fmt: skip
    return Factor(matrix, row.name, name, period)


def scalar_read(form: Separable) -> Read:
    """The read that the matrices act on."""
    return next(n for n in sp.preorder_traversal(form.rest) if isinstance(n, Read))
