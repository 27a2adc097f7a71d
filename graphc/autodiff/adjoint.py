"""The adjoint of one application of an operator: formulas in, formulas of the same language out.

For a statement Y[o] = Σ_{r | c} f(X[φ(o, r)], ...) with cotangent G every read contributes

    dX[h] += Σ_{o, r | c} G[o] · ∂f/∂X[φ] · [h == φ(o, r)]

and `eliminate` solves h == φ. For max and min only the first extremal element counts: its position is

    A[o] = min_{r | c, f == Y[o]} linear(r)         and the contribution stands under linear(r) == A[o].

For a product each contribution has the factor Π_{r' | c, r' ≠ r} f, a statement of its own.

Conditions and integer operands are never differentiated.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.application import Adjoint, Application, Cotangents, cotangent_name
from graphc.autodiff.conditions import drop_implied
from graphc.autodiff.eliminate import eliminate
from graphc.autodiff.normalise import normalised
from graphc.autodiff.partials import multiply, partials
from graphc.errors import DerivativeError
from graphc.ops.formula import (
    Axis,
    Cond,
    Formula,
    Read,
    Where,
    eq,
    formula,
    le,
    rename_axes,
    size_of,
    tensor_symbol,
    value_reads,
)
from graphc.ops.operator import Statement
from graphc.ops.stability import stabilise
from graphc.types import TensorType


@lru_cache(maxsize=4096)
def adjoint(
    application: Application, cotangents: Cotangents, wanted: tuple[str, ...], normalise: bool = True
) -> Adjoint:
    """The cotangents of the wanted operands. Equal applications are derived once.

    Raises DerivativeError for integer operands and for functions without a derivative.
    """
    raw = _Derivation(application, cotangents, wanted).run()
    return normalised(application, raw) if normalise else raw


class _Derivation:
    """Reverse accumulation over the statements of one application."""

    def __init__(self, application: Application, cotangents: Cotangents, wanted: tuple[str, ...]) -> None:
        self.application, self.wanted = application, wanted
        self.types = application.types
        self.cotangents = dict(cotangents)
        for name in wanted:
            if not self.types[name].dtype.is_float:
                raise DerivativeError(
                    f"{application.operator}: {name} is {self.types[name]}; integers have no derivative",
                    hint=f"ask for derivatives with respect to the floating-point operands, not {name}",
                )
        self.statements: list[Statement] = []
        self.contributions: dict[str, list[Formula]] = {}
        for name in self.cotangents:
            self.types[cotangent_name(name)] = self.types[name]

    def run(self) -> Adjoint:
        active = self._active()
        for statement in reversed(self.application.statements):
            if statement.name in active:
                self._pull_back(statement, active)
        results = []
        for name in self.wanted:
            total = self._total(name, ())
            results.append((name, None if total == 0 else cotangent_name(name)))
        return Adjoint(tuple(self.statements), tuple(results))

    def _active(self) -> frozenset[str]:
        """Everything whose value depends on a wanted operand, and the wanted operands."""
        active = set(self.wanted)
        for s in self.application.statements:
            if any(r.name in active for r in value_reads(s.formula.body)):
                active.add(s.name)
        return frozenset(active)

    def _emit(self, name: str, f: Formula, like: str) -> None:
        self.types[name] = TensorType(f.shape, self.types[like].dtype)
        self.statements.append(Statement(name, f, self.types[name]))

    def _total(self, name: str, axes: tuple[Axis, ...]) -> Expr:
        """The whole cotangent of a value, read at `axes`; zero if nothing depends on the value."""
        parts = self.contributions.get(name, [])
        index = tuple(a.symbol for a in axes)
        title = cotangent_name(name)
        given: Expr = sp.S.Zero
        if name in self.cotangents:
            constant = self.cotangents[name]
            given = Read(tensor_symbol(title), *index) if constant is None else constant
            if not parts:
                return given
            title += ".all"
        if not parts:
            return sp.S.Zero
        if len(parts) == 1 and given == 0:
            self._emit(title, parts[0], name)
        else:
            own = axes or parts[0].axes
            terms = [given]
            for k, part in enumerate(parts):
                self._emit(f"{title}.{k}", part, name)
                terms.append(Read(tensor_symbol(f"{title}.{k}"), *[a.symbol for a in own]))
            self._emit(title, formula(own, sp.Add(*terms)), name)
        return Read(tensor_symbol(title), *index)

    def _pull_back(self, statement: Statement, active: frozenset[str]) -> None:
        f = statement.formula
        seed = self._total(statement.name, f.axes)
        if seed == 0:
            return
        body = stabilise(f.body)
        pulled = [(r, p) for r, p in partials(body, seed) if r.name in active]
        if not pulled:
            return
        conditions = f.conditions
        match f.reduction:
            case None | "sum":
                pass
            case "max" | "min":
                conditions = (*conditions, self._is_first(statement))
            case "prod":
                others = self._other_factors(statement)
                pulled = [(r, multiply(p, others)) for r, p in pulled]
        for read, partial in pulled:
            if not self.types[read.name].dtype.is_float:
                continue
            contribution = self.contribution(f, read, partial, conditions)
            if contribution is not None:
                self.contributions.setdefault(read.name, []).append(contribution)

    def contribution(self, f: Formula, read: Read, partial: Expr, conditions: tuple[Cond, ...]) -> Formula | None:
        """What one read of a statement adds to the cotangent of the tensor that it reads."""
        found = eliminate(read, self.types[read.name].shape, f.axes, f.over, conditions)
        if found is None:
            return None
        body = found.substitute(partial)
        kept = drop_implied(found.conditions, body, self.types, found.extents)
        return formula(found.axes, body, "sum" if found.over else None, found.over, kept)

    def _other_factors(self, statement: Statement) -> Read:
        """The product of all factors but one, for each: exact where factors are zero, and differentiable again."""
        f = statement.formula
        taken = {a.name for a in (*f.axes, *f.over)}
        renamed = rename_axes(
            formula((), f.body, "prod", f.over, f.conditions), {a.name: _unused(a.name, taken) for a in f.over}
        )
        rest = Where(eq(_position(renamed.over), _position(f.over)), 1, renamed.body)
        name = f"others_{statement.name}"
        while name in self.types:
            name = f"others_{name}"
        own = (*f.axes, *f.over)
        self._emit(name, formula(own, rest, "prod", renamed.over, renamed.conditions), statement.name)
        return Read(tensor_symbol(name), *[a.symbol for a in own])

    def _is_first(self, statement: Statement) -> Cond:
        """The condition that the reduced axes stand at the first extremal element."""
        f = statement.formula
        index = tuple(a.symbol for a in f.axes)
        position = _position(f.over)
        extremum = Read(tensor_symbol(statement.name), *index)
        if isinstance(f.body, Read):
            reached = eq(f.body, extremum)
        else:
            # computed again, the body may differ from the stored extremum in its last bit: allow for more
            reached = le(extremum, f.body) if f.reduction == "max" else le(f.body, extremum)
        name = f"first_{statement.name}"
        while name in self.types:
            name = f"first_{name}"
        self._emit(name, formula(f.axes, position, "min", f.over, (*f.conditions, reached)), statement.name)
        return eq(position, Read(tensor_symbol(name), *index))


def _position(axes: tuple[Axis, ...]) -> Expr:
    """Where an element stands among all, as one number; the batch counts slowest, so that N stays alone."""
    position: Expr = sp.S.Zero
    for a in sorted(axes, key=lambda a: isinstance(a.extent, int)):
        position = position * size_of(a.extent) + a.symbol
    return position


def _unused(name: str, taken: set[str]) -> str:
    """The name with primes, so that it is none of those taken, and taken from now on."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name
