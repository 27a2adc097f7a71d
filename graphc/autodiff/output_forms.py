"""Saved forward values in place of recomputed functions: exp(X - m)/s is Y where that is how Y was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.factor import size
from graphc.ops.formula import (
    Axis,
    Cond,
    FloorDiv,
    Mod,
    Random,
    Read,
    Table,
    Where,
    replace,
    tensor_symbol,
    value_reads,
    walk,
)
from graphc.ops.intervals import interval
from graphc.ops.operator import Statement
from graphc.ops.stability import stabilise
from graphc.types import Extent


@dataclass(frozen=True, slots=True)
class OutputForm:
    """name[axes] = kernel · cofactor; or name[axes] = kernel^power, with cofactor 1."""

    name: str
    axes: tuple[Axis, ...]
    kernel: Expr
    cofactor: Expr
    power: Expr


@dataclass(frozen=True, slots=True)
class OutputTest:
    """name = Where(operand <= bound, a, b) where the output passes the test exactly when the operand does.

    Then the operand need not be kept for the derivative: x <= 0 is relu(x) <= 0.
    """

    name: str
    operand: str
    condition: Cond

    def decides(self, c: Expr) -> bool:
        """Whether a condition is this test at some index."""
        if not isinstance(c, Cond) or c.kind != self.condition.kind:
            return False
        return isinstance(c.args[1], Read) and c.args[1].name == self.operand and c.args[2] == self.condition.args[2]

    def on_output(self, c: Cond) -> Cond:
        """The condition on the output in place of the operand."""
        return Cond(c.args[0], Read(tensor_symbol(self.name), *c.args[1].index), c.args[2])


class OutputForms:
    """The output forms of the forward statements of one application."""

    def __init__(self, statements: tuple[Statement, ...]) -> None:
        self.forms = [form for s in statements if (form := _output_form(s)) is not None]
        self.tests = [test for s in statements if (test := _output_test(s)) is not None]

    def rewrite(self, e: Expr, extents: Mapping[sp.Symbol, Extent]) -> Expr:
        """The expression with saved outputs, where that makes a kernel disappear and nothing else appear."""
        for form in self.forms:
            mapping: dict[Expr, Expr] = {}
            for node in walk(e):
                if (value := _instance(form, node, extents)) is not None:
                    mapping[node] = value
            if mapping:
                new = replace(e, mapping)
                if size(new) <= size(e) and _no_new_division(form, e, new):
                    e = new
        for test in self.tests:
            e = replace(e, {c: test.on_output(c) for c in walk(e) if test.decides(c)})
        return e


def _no_new_division(form: OutputForm, old: Expr, new: Expr) -> bool:
    """Whether nothing is divided by that was not before, which could be 0 / 0; 1/√X = 1/Y is as good."""
    before, after = ({node.base for node in walk(e) if node.is_Pow and node.exp.is_negative} for e in (old, new))
    return after <= before or (form.power != 1 and len(after) <= len(before))


def _is_kernel(e: Expr) -> bool:
    if isinstance(e, (Read, Table, Random, Cond, Where, FloorDiv, Mod)):
        return False
    return isinstance(e, sp.Function) or bool(e.is_Pow and e.exp.is_Rational and not e.exp.is_Integer)


def _output_form(statement: Statement) -> OutputForm | None:
    f = statement.formula
    if f.reduction or f.conditions:
        return None
    body = stabilise(f.body)
    kernels = [a for a in sp.Mul.make_args(body) if _is_kernel(a)]
    if len(kernels) != 1 or not value_reads(kernels[0]):
        return None
    kernel = kernels[0]
    bare = {i for r in value_reads(kernel) for i in r.index}
    if any(a.symbol not in bare for a in f.axes):
        return None
    cofactor = sp.Mul(*[a for a in sp.Mul.make_args(body) if a is not kernel])
    if kernel.is_Pow:
        if cofactor != 1:
            return None
        return OutputForm(statement.name, f.axes, kernel.base, sp.S.One, kernel.exp)
    return OutputForm(statement.name, f.axes, kernel, cofactor, sp.S.One)


def _output_test(statement: Statement) -> OutputTest | None:
    f = statement.formula
    body = f.body
    if f.reduction or f.conditions or not isinstance(body, Where):
        return None
    condition, inside, outside = body.args
    if condition.kind not in ("le", "lt") or outside != condition.args[1] or not isinstance(outside, Read):
        return None
    bound = condition.args[2]
    if not bound.is_number or outside.index != tuple(a.symbol for a in f.axes):
        return None
    slope = inside / outside
    scaled = bound == 0 and slope.is_number and slope.is_positive
    if scaled or (inside.is_number and bool(inside <= bound if condition.kind == "le" else inside < bound)):
        return OutputTest(statement.name, outside.name, condition)
    return None


def _instance(form: OutputForm, node: Expr, extents: Mapping[sp.Symbol, Extent]) -> Expr | None:
    """The value of a node in terms of the saved output, or None if it is not an instance of the form."""
    raised = form.power != 1
    if raised:
        if not (node.is_Pow and node.exp.is_Rational) or node.exp.is_Integer:
            return None
        subject, times = node.base, node.exp / form.power
        if not times.is_Integer:
            return None
    else:
        subject, times = node, sp.S.One
    if subject.func is not form.kernel.func:
        return None
    index = _matched(form, subject)
    if index is None:
        return None
    if not all(interval(index[a.symbol], extents).inside(a.extent) for a in form.axes):
        return None
    saved = Read(tensor_symbol(form.name), *[index[a.symbol] for a in form.axes])
    return saved**times / replace(form.cofactor, index)


def _matched(form: OutputForm, subject: Expr) -> dict[Expr, Expr] | None:
    """The indices at which the form's kernel is the subject."""
    theirs = value_reads(subject)
    index: dict[Expr, Expr] = {}
    for mine in value_reads(form.kernel):
        same = [r for r in theirs if r.name == mine.name]
        if len(same) != 1:
            return None
        for a, b in zip(mine.index, same[0].index, strict=True):
            if a.is_Symbol and index.setdefault(a, b) != b:
                return None
    return index if replace(form.kernel, index) == subject else None
