"""Several sums over the same elements as one sum with another axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp

from graphc.ops.formula import (
    Axis,
    Cond,
    Formula,
    Read,
    eq,
    formula,
    free_symbols,
    index_symbol,
    reads,
    rename_axes,
    replace,
    tensor_symbol,
    walk,
    where,
)
from graphc.ops.structure import accesses


def stacked(formulas: Sequence[Formula]) -> Formula:
    """t[p, s, ...] = Σ (s = 0 ? a : s = 1 ? b : ...) of sums a[p, ...], b[p, ...] with loops of equal extents."""
    first = formulas[0]
    taken = {a.name for a in (*first.axes, *first.over)}
    name = next(n for n in ("s", *(f"s{k}" for k in range(len(taken) + 1))) if n not in taken)
    counter = Axis(index_symbol(name), len(formulas))
    bodies = [_with_axes_of(first, f).body for f in formulas]
    body = bodies[-1]
    for s in reversed(range(len(bodies) - 1)):
        body = where(eq(counter.symbol, s), bodies[s], body)
    part, *others = first.axes
    return formula((part, counter, *others), body, "sum", first.over)


def reading_stack(f: Formula, stack: str, places: Mapping[str, int]) -> Formula:
    """The formula reading from a stack the sums that `places` numbers."""
    moved = {
        r: Read(tensor_symbol(stack), r.index[0], sp.Integer(places[r.name]), *r.index[1:])
        for r in reads(f)
        if r.name in places
    }
    conditions = tuple(replace(c, moved) for c in f.conditions)
    return formula(f.axes, replace(f.body, moved), f.reduction, f.over, conditions)


def stack_axis(f: Formula) -> Axis | None:
    """The axis of a sum that numbers what is summed: conditions test it, no read moves by it."""
    if f.reduction != "sum":
        return None
    moved = frozenset().union(*(a.axes for a in accesses(f)))
    tested = {s.name for e in walk(f.body) if isinstance(e, Cond) for s in free_symbols(e)}
    return next((a for a in f.axes if a.name in tested - moved), None)


def _with_axes_of(like: Formula, f: Formula) -> Formula:
    """The formula with the axes of another."""
    theirs, mine = ([a.name for a in (*g.axes, *g.over)] for g in (like, f))
    away = rename_axes(f, {old: f"~{old}" for old in mine})
    return rename_axes(away, {f"~{old}": new for old, new in zip(mine, theirs, strict=True)})
