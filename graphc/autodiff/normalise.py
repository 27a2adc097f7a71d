"""Rewriting derived statements into what one would write by hand, by identities of real arithmetic.

invariants    Σ_r a·b(r)      = a · Σ_r b(r)
sharing       reductions that are equal up to names are computed once, the forward ones included
linearity     Σ_r (b - c)     = Σ_r b - |r|·c      where the parts are known: cancels centred sums
outputs       exp(X - m) / s  = Y                  where that is how the saved forward value Y was made
inlining      pointwise definitions move into what reads them, unless a loop would then repeat them
extraction    Σ_k f(n, k)·W[k, i] reads f from a statement of its own: a contraction multiplies reads
factoring     G·Y - Y·s       = Y·(G - s)
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace as with_fields
from itertools import count

from sympy.core.expr import Expr

from graphc.autodiff.application import Adjoint, Application, cotangent_name
from graphc.autodiff.conditions import finite, vanishing_reads
from graphc.autodiff.factor import cancel, factor, size
from graphc.autodiff.output_forms import OutputForms
from graphc.autodiff.sums import Sums, indicator
from graphc.ops.formula import (
    Axis,
    Formula,
    Read,
    formula,
    free_symbols,
    reads,
    rename_operands,
    replace,
    tensor_symbol,
    value_reads,
)
from graphc.ops.intervals import extents_of, interval, simplify_reads
from graphc.ops.operator import Statement
from graphc.ops.stability import stabilise

ROW = 60
"""Expressions of at most this many nodes are repeated rather than stored, where they have fewer axes."""
SINGLE = 400
"""Expressions of at most this many nodes move into their only reader."""


def normalised(application: Application, raw: Adjoint) -> Adjoint:
    """The same cotangents from fewer and simpler statements."""
    return _Normaliser(application, raw).run()


class _Normaliser:
    def __init__(self, application: Application, raw: Adjoint) -> None:
        self.raw = raw
        self.types = application.types | {s.name: s.type for s in raw.statements}
        for s in application.statements:
            self.types.setdefault(cotangent_name(s.name), s.type)
        self.dtype = application.statements[-1].type.dtype
        self.forms = OutputForms(application.statements)
        self.sums = Sums(application.statements, self.forms, self.dtype)
        self.values: dict[str, tuple[tuple[Axis, ...], Expr]] = {}
        self.readers: dict[str, list[Statement]] = {}
        for s in raw.statements:
            for name in s.formula.operands:
                self.readers.setdefault(name, []).append(s)

    def run(self) -> Adjoint:
        for statement in self.raw.statements:
            self._visit(statement)
        results: list[tuple[str, str | None]] = []
        for operand, name in self.raw.results:
            if name in self.values and self.values[name][1] == 0:
                name = None
            elif name is not None:
                self._store(name)
            results.append((operand, name))
        statements = {name: self._finish(s) for name, s in self.sums.statements.items()}
        kept = {name for _, name in results if name is not None}
        return Adjoint(_renamed(_live(_merged(statements, kept), kept), self.types), tuple(results))

    # ------------------------------------------------------------------------------------------- statements

    def _visit(self, statement: Statement) -> None:
        f = statement.formula
        if f.reduction not in (None, "sum"):
            self.sums.statements[statement.name] = statement
            return
        body = self._inlined(f)
        conditions = f.conditions
        if f.reduction == "sum":
            body, conditions = self.sums.sum(f.axes, f.over, conditions, body), ()
        elif all(c.kind != "divides" for c in conditions):
            # under `divides` indices may be fractions, which only a condition keeps from being read
            body, conditions = indicator(conditions, body), ()
        body = cancel(body)
        if conditions and body != 0:
            self._emit(statement.name, formula(f.axes, body, conditions=conditions))
            return
        self.values[statement.name] = f.axes, body
        if not self._moves(statement, body):
            self._store(statement.name)

    def _moves(self, statement: Statement, body: Expr) -> bool:
        """Whether a pointwise definition is repeated in its readers instead of being stored."""
        readers = self.readers.get(statement.name, [])
        nodes = size(body)
        if not readers or nodes <= 4:
            return True
        loops = min(len(r.formula.axes) + len(r.formula.over) for r in readers)
        if len(statement.formula.axes) < loops and nodes <= ROW:
            return True
        return len(readers) == 1 and nodes <= SINGLE

    def _inlined(self, f: Formula) -> Expr:
        """The body with the definitions of what it reads, where they are read inside their box."""
        extents = extents_of(f.axes, f.over)
        mapping: dict[Expr, Expr] = {}
        for read in value_reads(f.body):
            if read.name not in self.values:
                continue
            axes, body = self.values[read.name]
            outside = {a for i, a in zip(read.index, axes, strict=True) if not interval(i, extents).inside(a.extent)}
            if not outside or self._vanishes(body, outside):
                moved = replace(body, {a.symbol: i for a, i in zip(axes, read.index, strict=True)})
                mapping[read] = simplify_reads(moved, extents)
            else:
                self._store(read.name)
        return replace(f.body, mapping)

    def _vanishes(self, body: Expr, axes: set[Axis]) -> bool:
        """Whether a definition is zero of itself where one of the axes leaves its range."""
        edges = {
            Axis(i, extent)
            for read in vanishing_reads(body)
            for i, extent in zip(read.index, self.types[read.name].shape, strict=True)
            if i.is_Symbol
        }
        return axes <= edges and finite(body)

    def _store(self, name: str) -> None:
        """Give a definition a statement of its own."""
        if name in self.values and name not in self.sums.statements:
            axes, body = self.values.pop(name)
            self._emit(name, formula(axes, body))

    def _emit(self, name: str, f: Formula) -> None:
        self.sums.statements[name] = Statement(name, f, self.types[name])

    def _finish(self, statement: Statement) -> Statement:
        """A statement with saved outputs in place of recomputed ones, stable and factored."""
        f = statement.formula
        if f.reduction not in (None, "sum"):
            return statement
        body = f.body if f.reduction else self.forms.rewrite(f.body, extents_of(f.axes))
        body = factor(stabilise(body))
        if body == f.body:
            return statement
        return with_fields(statement, formula=formula(f.axes, body, f.reduction, f.over, f.conditions))


# ------------------------------------------------------------------------------------------------- tidying


def _use_counts(statements: dict[str, Statement]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for s in statements.values():
        for r in {r.name for r in reads(s.formula)}:
            counts[r] = counts.get(r, 0) + 1
    return counts


def _merged(statements: dict[str, Statement], kept: set[str]) -> dict[str, Statement]:
    """d = c · t[axes] becomes the reduction t itself, with the number c inside, if nothing else reads t."""
    statements = dict(statements)
    counts = _use_counts(statements)
    for name in list(statements):
        if name not in statements:
            continue
        s = statements[name]
        f = s.formula
        found = value_reads(f.body)
        if f.reduction or f.conditions or len(found) != 1 or found[0].name not in statements:
            continue
        read, inner = found[0], statements[found[0].name]
        scale = f.body / read
        g = inner.formula
        if read.name in kept or scale.has(Read) or free_symbols(scale) & {a.symbol for a in f.axes}:
            continue
        if scale == 1 and f.axes == g.axes and read.index == tuple(a.symbol for a in g.axes):
            # a copy: the reduction itself takes the name, and others read it under that
            del statements[read.name]
            statements = _read_as(statements | {name: with_fields(inner, name=name)}, read.name, name)
            counts[name] = counts.pop(read.name)
            continue
        axes = _widened(f.axes, read, g)
        if counts[read.name] == 1 and axes is not None and g.reduction in (None, "sum"):
            summed = formula(axes, scale * g.body, g.reduction, g.over, g.conditions)
            statements[name] = with_fields(s, formula=summed)
            del statements[read.name]
    return statements


def _widened(axes: tuple[Axis, ...], read: Read, inner: Formula) -> tuple[Axis, ...] | None:
    """The axes of a formula that reads `inner` at its own axes but those of extent 1, named as in `inner`."""
    shape = tuple(a for a in axes if a.symbol in read.index)
    if read.index != tuple(a.symbol for a in shape) or any(a.extent != 1 for a in axes if a not in shape):
        return None
    names = iter(inner.axes)
    widened = tuple(next(names) if a in shape else a for a in axes)
    everything = [a.symbol for a in (*widened, *inner.over)]
    same = tuple(a.extent for a in shape) == inner.shape
    return widened if same and len(set(everything)) == len(everything) else None


def _read_as(statements: dict[str, Statement], old: str, new: str) -> dict[str, Statement]:
    """The statements reading `new` where they read `old`."""
    return {
        name: with_fields(s, formula=rename_operands(s.formula, {old: new})) if old in s.formula.operands else s
        for name, s in statements.items()
    }


def _live(statements: dict[str, Statement], kept: set[str]) -> dict[str, Statement]:
    """The statements on which the results depend, in the order in which they can be computed."""
    order: dict[str, Statement] = {}

    def visit(name: str) -> None:
        if name in statements and name not in order:
            for r in reads(statements[name].formula):
                visit(r.name)
            order[name] = statements[name]

    for name in statements:
        if name in kept:
            visit(name)
    return order


def _renamed(statements: dict[str, Statement], taken: Container[str]) -> tuple[Statement, ...]:
    """Temporaries numbered from zero, past the names that are taken."""
    temporary = [name for name in statements if name.startswith("t~")]
    free = (name for k in count() if (name := f"t{k}") not in taken)
    names = {tensor_symbol(old): tensor_symbol(new) for old, new in zip(temporary, free, strict=False)}
    result = []
    for s in statements.values():
        f = s.formula
        body = replace(f.body, names)
        conditions = tuple(replace(c, names) for c in f.conditions)
        name = names.get(tensor_symbol(s.name), tensor_symbol(s.name)).name
        result.append(Statement(str(name), formula(f.axes, body, f.reduction, f.over, conditions), s.type))
    return tuple(result)
