"""Reverse-mode differentiation of one scalar expression: sympy supplies derivatives of scalar functions only.

Factors are sunk into the branches of a Where instead of multiplying by a mask of zeros and ones, so that a
branch that is not taken can never contribute 0 · inf.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr
from sympy.core.function import ArgumentIndexError, Derivative

from graphc.errors import DerivativeError
from graphc.ops.formula import Cond, FloorDiv, Mod, Random, Read, Table, Where, value_reads, where


def partials(body: Expr, seed: Expr = sp.S.One) -> tuple[tuple[Read, Expr], ...]:
    """((read, seed · ∂body/∂read), ...) for every read whose value the body depends on, zero ones left out.

    Raises DerivativeError for a function without a derivative.
    """
    adjoints: dict[Expr, list[Expr]] = {body: [seed]}
    for node in reversed(_postorder(body)):
        parts = adjoints.get(node)
        if not parts or isinstance(node, (Read, Table, Random, Cond, FloorDiv, Mod)):
            continue
        for argument, value in _pull_back(node, add(parts)):
            if value != 0:
                adjoints.setdefault(argument, []).append(value)
    found = ((read, add(adjoints[read])) for read in value_reads(body) if read in adjoints)
    return tuple((read, value) for read, value in found if value != 0)


def _postorder(e: Expr) -> list[Expr]:
    order: list[Expr] = []
    seen: set[Expr] = set()

    def visit(node: Expr) -> None:
        if node in seen:
            return
        seen.add(node)
        if not isinstance(node, (Read, Table, Random, Cond, FloorDiv, Mod)):
            for a in node.args:
                visit(a)
        order.append(node)

    visit(e)
    return order


def _pull_back(node: Expr, adjoint: Expr) -> list[tuple[Expr, Expr]]:
    """What each argument of a node receives from the node's adjoint."""
    if node.is_Add:
        return [(a, adjoint) for a in node.args if not a.is_Number]
    if node.is_Mul:
        return [
            (a, multiply(adjoint, *node.args[:k], *node.args[k + 1 :]))
            for k, a in enumerate(node.args)
            if not a.is_Number
        ]
    if node.is_Pow:
        base, exponent = node.args
        pulled = [(base, multiply(adjoint, exponent, base ** (exponent - 1)))]
        if not exponent.is_Number:
            pulled.append((exponent, multiply(adjoint, node * sp.log(base))))
        return pulled
    if isinstance(node, Where):
        condition, a, b = node.args
        return [(a, where(condition, adjoint, 0)), (b, where(condition, 0, adjoint))]
    return [(a, multiply(adjoint, _derivative(node, k))) for k, a in enumerate(node.args) if value_reads(a)]


def _derivative(node: Expr, argument: int) -> Expr:
    try:
        derivative = sp.sympify(node.fdiff(argument + 1))
    except (AttributeError, ArgumentIndexError):
        derivative = None
    if derivative is None or derivative.has(Derivative, sp.Heaviside, sp.DiracDelta):
        raise DerivativeError(
            f"{node.func.__name__} has no derivative with respect to its argument {argument + 1}",
            hint="write it with Where, maximum or minimum, which are differentiated branch by branch",
        )
    return derivative


def multiply(adjoint: Expr, *factors: Expr) -> Expr:
    """adjoint · factors, inside the branches of every Where that has a zero branch."""
    if adjoint == 0 or 0 in factors:
        return sp.S.Zero
    if isinstance(adjoint, Where):
        condition, a, b = adjoint.args
        return where(condition, multiply(a, *factors), multiply(b, *factors))
    if adjoint.is_Add and any(isinstance(t, Where) for t in adjoint.args):
        return add([multiply(t, *factors) for t in adjoint.args])
    for k, factor in enumerate(factors):
        if _masks(factor):
            condition, a, b = factor.args
            rest = (*factors[:k], *factors[k + 1 :])
            return where(condition, multiply(adjoint, a, *rest), multiply(adjoint, b, *rest))
    return sp.Mul(adjoint, *factors)


def _masks(e: Expr) -> bool:
    """Whether an expression is a Where that is zero in one of its branches."""
    return isinstance(e, Where) and any(b == 0 or _masks(b) for b in e.args[1:])


def add(parts: list[Expr]) -> Expr:
    """The sum of expressions; those under the same condition are merged branch by branch."""
    if len(parts) == 1:
        return parts[0]
    branches: dict[Cond, tuple[list[Expr], list[Expr]]] = {}
    plain: list[Expr] = []
    for part in parts:
        if isinstance(part, Where):
            a, b = branches.setdefault(part.args[0], ([], []))
            a.append(part.args[1])
            b.append(part.args[2])
        else:
            plain.append(part)
    return sp.Add(*plain, *[where(c, add(a), add(b)) for c, (a, b) in branches.items()])
