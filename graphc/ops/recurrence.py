"""Formulas over time: where they stand in it, how a step becomes all steps, and what ties steps together.

previous   P[n,t,i] = (t == 0 ? S[n, i] : H[n, t - 1, i])      the state before each step
held       H[n,t,i] = (t < L[n] ? Y[n, t, i] : P[n, t, i])     samples of L[n] steps keep their state afterwards
last       F[n,i]   = H[n, T - 1, i]                           the state after all steps
stacked    Z[n,t,i] = (t < L[n] ? Y[n, t, i] : 0)              results of all steps, zero where a sample has ended
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Axis,
    Formula,
    Random,
    Read,
    affine,
    eq,
    formula,
    index_symbol,
    lt,
    reads,
    tensor_symbol,
    where,
)
from graphc.ops.notation import pointwise_names
from graphc.ops.pointwise import number
from graphc.types import Extent

Place = tuple[str, int]
"""An axis of the result and how far from it an index stands: t - 1 is ("t", -1)."""

Shape = tuple[Extent, ...]


@lru_cache(maxsize=16384)
def places(f: Formula) -> tuple[tuple[str, tuple[Place | None, ...]], ...]:
    """For every read, the place of each index that moves along with one axis of the result."""
    own = {a.symbol for a in f.axes}
    return tuple((r.name, tuple(_place(i, own) for i in r.index)) for r in reads(f))


def _place(index: Expr, axes: set[sp.Symbol]) -> Place | None:
    form = affine(index)
    if form is None or not form[1].is_Integer:
        return None
    match list(form[0].items()):
        case [(symbol, sp.S.One)] if symbol in axes:
            return symbol.name, int(form[1])
    return None


def at_all_times(f: Formula, steps: int, position: int, times: Mapping[str, int]) -> Formula:
    """The formula of one step for all steps: an axis of time in the result, its index in reads of what has one.

    Y[n, k] = tanh(X[n, k] + b[k])   ->   Y[n, t, k] = tanh(X[n, t, k] + b[k])

    `position` is that of the new axis in the result, `times` its position in operands that change with time. Random
    numbers are other ones at each time.
    """
    t = _free_axis(f, "t", steps)

    def lifted(e: Expr) -> Expr:
        if not e.args:
            return e
        args = [lifted(a) for a in e.args]
        if isinstance(e, Read) and e.name in times:
            args.insert(1 + times[e.name], t.symbol)
        elif isinstance(e, Random):
            args[2] = steps * args[2] + t.symbol
        elif all(a is b for a, b in zip(args, e.args, strict=True)):
            return e
        return e.func(*args)

    axes = (*f.axes[:position], t, *f.axes[position:])
    return Formula(axes, lifted(f.body), f.reduction, f.over, tuple(map(lifted, f.conditions)), f.operands)


def _free_axis(f: Formula, name: str, extent: Extent) -> Axis:
    """An axis of this name, numbered where the formula has one already."""
    taken, k = {a.name for a in (*f.axes, *f.over)}, 1
    while (wish := name if k == 1 else f"{name}{k}") in taken:
        k += 1
    return Axis(index_symbol(wish), extent)


# ------------------------------------------------------------------------------------------- between the steps

TIME = index_symbol("t")


def previous(
    shape: Shape, position: int, steps: int, reverse: bool, start: str | float, time: int | None
) -> Formula:  # fmt: skip
    """The state H before each step; before the first one the start, a tensor S or a number.

    `shape` is that of one step, `position` that of time in the result, `time` in H, None where H is always the same.
    """
    axes, own = _axes(shape)
    before = _at("H", own, TIME + 1 if reverse else TIME - 1, time)
    first = _at(start, own) if isinstance(start, str) else number(start)
    if steps == 1:
        body = first
    elif first == 0 and time is not None:
        body = before  # what lies outside of a tensor is zero
    else:
        body = where(eq(TIME, steps - 1 if reverse else 0), first, before)
    return formula(_with_time(axes, position, steps), body)


def held(shape: Shape, position: int, steps: int, time: int | None) -> Formula:
    """The new state Y while a sample lasts, which the first axis counts, and the state before P from then on."""
    axes, own = _axes(shape)
    body = where(_lasts(own), _at("Y", own, TIME, time), _at("P", own, TIME, position))
    return formula(_with_time(axes, position, steps), body)


def last(shape: Shape, steps: int, reverse: bool, time: int | None) -> Formula:
    """The state H after the last step."""
    axes, own = _axes(shape)
    return formula(axes, _at("H", own, sp.Integer(0 if reverse else steps - 1), time))


def stacked(shape: Shape, position: int, steps: int, time: int | None, masked: bool) -> Formula:
    """The results Y of all steps along a new axis."""
    axes, own = _axes(shape)
    value = _at("Y", own, TIME, time)
    return formula(_with_time(axes, position, steps), where(_lasts(own), value, 0) if masked else value)


def _axes(shape: Shape) -> tuple[tuple[Axis, ...], tuple[sp.Symbol, ...]]:
    symbols = tuple(map(index_symbol, pointwise_names(len(shape))))
    return tuple(map(Axis, symbols, shape)), symbols


def _with_time(axes: tuple[Axis, ...], position: int, steps: int) -> tuple[Axis, ...]:
    return (*axes[:position], Axis(TIME, steps), *axes[position:])


def _at(name: str, index: tuple[Expr, ...], now: Expr | None = None, time: int | None = None) -> Read:
    if time is not None:
        index = (*index[:time], now, *index[time:])
    return Read(tensor_symbol(name), *index)


def _lasts(index: tuple[sp.Symbol, ...]) -> Expr:
    return lt(TIME, Read(tensor_symbol("L"), index[0]))
