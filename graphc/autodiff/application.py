"""What is differentiated, and what comes out: the statements of one application and those of its adjoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy.core.expr import Expr

from graphc.ops.operator import Definition, Statement
from graphc.types import TensorType


@dataclass(frozen=True, slots=True)
class Application:
    """The statements of one application of an operator over named operands."""

    operator: str
    operands: tuple[tuple[str, TensorType], ...]
    statements: tuple[Statement, ...]

    @property
    def types(self) -> dict[str, TensorType]:
        """The type of every operand and every statement."""
        return dict(self.operands) | {s.name: s.type for s in self.statements}


@dataclass(frozen=True, slots=True)
class Adjoint:
    """Statements over the forward operands, the forward values and the cotangents d_<name>.

    `results` names for each wanted operand the statement that is its cotangent, or None where it is zero.
    """

    statements: tuple[Statement, ...]
    results: tuple[tuple[str, str | None], ...]


Cotangents = tuple[tuple[str, Expr | None], ...]
"""(statement, its cotangent where that is one known number, else None) for every statement that has one."""


def applied(definition: Definition, operands: Iterable[tuple[str, TensorType]]) -> Application:
    """An operator's definition with the types it was made for; the result is called Y where that is free."""
    operands = tuple(operands)
    last = definition.statements[-1]
    name = "Y" if "Y" not in dict(operands) else last.name
    statements = (*definition.statements[:-1], Statement(name, last.formula, last.type))
    return Application(definition.operator, operands, statements)


def cotangent_name(name: str) -> str:
    """d_<name>"""
    return f"d_{name}"
