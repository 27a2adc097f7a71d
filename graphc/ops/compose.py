"""Composing formulas: a pointwise producer's equation in the place where a consumer reads its result.

    consumer   Y[o] = reduce_r  f(..., T[φ(o, r)], ...)
    producer   T[a] = g(a)
    together   Y[o] = reduce_r  f(..., g(φ(o, r)), ...)

A read is zero outside the tensor's box, so g may stand for T only where φ is inside the box of T: proven by
interval analysis, or because g itself vanishes there, or guarded by a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import LoweringError
from graphc.ops.formula import (
    Axis,
    Cond,
    Formula,
    Read,
    Where,
    all_reads,
    canonical,
    free_symbols,
    ge,
    reads,
    rename_operands,
    replace,
    size_of,
)
from graphc.ops.intervals import extents_of, interval, simplify_reads
from graphc.ops.wellformed import index_operands
from graphc.types import Extent

Shape = tuple[Extent, ...]


# ------------------------------------------------------------------------------------------------ queries


def is_identity_read(f: Formula, operand: str) -> bool:
    """Whether the formula is `out[i, ...] = operand[i, ...]`, the same axes in the same order."""
    return remap_of(f) == operand and _read(f).index == tuple(a.symbol for a in f.axes)


def remap_of(f: Formula) -> str | None:
    """The operand of a formula that only moves elements, `out[o] = operand[φ(o)]`, or None."""
    if f.is_pointwise and not f.conditions and isinstance(f.body, Read):
        return None if any(all_reads(i) for i in f.body.index) else f.body.name
    return None


def is_selection(f: Formula) -> bool:
    """Whether every element is one of an operand's or zero, as the indices alone decide."""
    body = f.body
    while isinstance(body, Where) and body.args[2] == 0 and not all_reads(body.args[0]):
        body = body.args[1]
    plain = f.is_pointwise and not f.conditions and isinstance(body, Read)
    return plain and not any(all_reads(i) for i in body.index)


def is_permutation(f: Formula) -> bool:
    """Whether the formula moves elements by its axes alone: transposed, or repeated along some axes."""
    if remap_of(f) is None:
        return False
    bare = [i for i in _read(f).index if not i.is_Integer]
    own = {a.symbol for a in f.axes}
    return all(i in own for i in bare) and len(set(bare)) == len(bare)


def index_arithmetic(f: Formula) -> int:
    """How many operations the indices of a formula take: what composing movements must not increase."""
    found = 0
    for r in reads(f):
        for i in r.index:
            found += sum(0 if node.is_Atom else 1 for node in sp.preorder_traversal(i))
    return found


def is_constant(f: Formula) -> bool:
    """Whether a formula is pointwise and reads nothing: numbers, N, its own axes."""
    return f.is_pointwise and not reads(f)


def is_zero(f: Formula) -> bool:
    """Whether a formula is zero everywhere."""
    return f.body is sp.S.Zero and f.reduction in (None, "sum")


def reads_inside_box(f: Formula, operand: str, shape: Shape) -> bool:
    """Whether every read of the operand is provably inside a tensor of this shape."""
    extents = extents_of(f.axes, f.over)
    mine = [r for r in reads(f) if r.name == operand]
    return all(interval(i, extents).inside(e) for r in mine for i, e in zip(r.index, shape, strict=True))


def vanishes_outside(f: Formula, position: int, shapes: Mapping[str, Shape]) -> bool:
    """Whether the formula, evaluated beyond its own axis, gives zero because all that it reads is zero there.

    True for `2·X[n, y]` along y when X is as long as the result; false for `X[n, y] + b[n]`.
    """
    axis = f.axes[position]
    if not f.is_pointwise or not reads(f):
        return False
    for r in reads(f):
        shape = shapes.get(r.name)
        if shape is None or not any(i == axis.symbol and e == axis.extent for i, e in zip(r.index, shape, strict=True)):
            return False
    return bool(_folded(replace(f.body, {r: sp.S.Zero for r in reads(f)})) == 0)


def _read(f: Formula) -> Read:
    assert isinstance(f.body, Read)
    return f.body


# -------------------------------------------------------------------------------------------- composition


def refusal(consumer: Formula, operand: str, producer: Formula) -> str | None:
    """Why the producer cannot take the place of the operand, or None."""
    if not producer.is_pointwise:
        return f"a {producer.reduction} reduction is computed once, not where it is read"
    if operand in index_operands(consumer):
        return f"{operand} is used as an index"
    return None


def inline(
    consumer: Formula,
    operand: str,
    producer: Formula,
    names: Mapping[str, str],
    *,
    shapes: Mapping[str, Shape] = {},
    trusted: bool = False,
) -> Formula:
    """The consumer with the pointwise producer's body wherever it reads `operand`.

    `names` gives the producer's operands their names in the result, where equal names are one tensor. Where
    a read is not provably inside the producer's box it is guarded by conditions; `shapes`, the shapes of
    the producer's operands, spare a guard where the producer vanishes outside anyway. `trusted` takes an
    index that is itself read from a tensor (a label) to be inside. Raises LoweringError for a producer that
    is a reduction or an index.
    """
    reason = refusal(consumer, operand, producer)
    if reason is not None:
        raise LoweringError(f"cannot compose: {reason}")
    extents = extents_of(consumer.axes, consumer.over)
    free = {p for p, a in enumerate(producer.axes) if vanishes_outside(producer, p, shapes)}
    renamed = rename_operands(producer, names)
    value = renamed.body
    for condition in reversed(renamed.conditions):
        value = Where(condition, value, sp.S.Zero)
    mapping: dict[Expr, Expr] = {}
    for r in reads(consumer):
        if r.name == operand:
            place = {a.symbol: i for a, i in zip(renamed.axes, r.index, strict=True)}
            here = simplify_reads(replace(value, place), extents)
            mapping[r] = here if here == 0 else _guarded(here, r, renamed.axes, extents, free, trusted)
    body = replace(consumer.body, mapping)
    conditions = tuple(replace(c, mapping) for c in consumer.conditions)
    read_now = {r.name for e in (body, *conditions) for r in all_reads(e)}
    order = dict.fromkeys((*(o for o in consumer.operands if o != operand), *renamed.operands))
    kept = tuple(o for o in order if o in read_now)
    return Formula(consumer.axes, body, consumer.reduction, consumer.over, conditions, kept)


def needs_guard(consumer: Formula, operand: str, producer: Formula, shapes: Mapping[str, Shape] = {}) -> bool:
    """Whether composing would have to guard a read that may lie outside the producer's box."""
    if producer.body == 0:
        return False
    extents = extents_of(consumer.axes, consumer.over)
    for r in reads(consumer):
        if r.name == operand:
            for p, (i, a) in enumerate(zip(r.index, producer.axes, strict=True)):
                if not interval(i, extents).inside(a.extent) and not vanishes_outside(producer, p, shapes):
                    return True
    return False


def _guarded(
    value: Expr,
    read: Read,
    box: tuple[Axis, ...],
    extents: Mapping[sp.Symbol, Extent],
    free: set[int],
    trusted: bool,
) -> Expr:
    """value where the read is inside the box, zero elsewhere; proven bounds need no condition."""
    for position, (i, axis) in enumerate(zip(read.index, box, strict=True)):
        bounds = interval(i, extents)
        if position in free or (trusted and all_reads(i)):
            continue
        if not bounds.below(axis.extent):
            value = Where(ge(size_of(axis.extent) - 1 - i), value, sp.S.Zero)
        if not bounds.never_negative:
            value = Where(ge(i), value, sp.S.Zero)
    return value


def _folded(e: Expr) -> Expr:
    """Where folded, bottom up, when both branches are equal or the condition compares numbers."""
    if not e.args or isinstance(e, Read):
        return e
    args = [a if isinstance(a, Cond) else _folded(a) for a in e.args]
    if not isinstance(e, Where):
        return e if all(a is b for a, b in zip(args, e.args, strict=True)) else e.func(*args)
    condition, yes, no = args
    holds = _decided(condition)
    if yes == no or holds is not None:
        return no if holds is False else yes
    return e.func(*args)


def _decided(condition: Cond) -> bool | None:
    """Whether a condition on numbers holds; None where it depends on an index or on data."""
    numbers = condition.args[1:]
    if not all(n.is_Rational for n in numbers):
        return None
    match condition.kind:
        case "ge":
            return bool(numbers[0] >= 0)
        case "divides":
            return bool(numbers[1] % numbers[0] == 0)
        case "eq":
            return bool(numbers[0] == numbers[1])
        case "lt":
            return bool(numbers[0] < numbers[1])
        case _:
            return bool(numbers[0] <= numbers[1])


# ------------------------------------------------------------------------------------------- simplification


def decide_conditions(f: Formula) -> Formula:
    """The formula without conditionals that are decided: numbers compared, or both branches equal."""
    body = _folded(f.body)
    if body == f.body:
        return f
    read_now = {r.name for e in (body, *f.conditions) for r in all_reads(e)}
    operands = tuple(o for o in f.operands if o in read_now)
    return Formula(f.axes, body, f.reduction, f.over, f.conditions, operands)


def drop_idle_axes(f: Formula) -> Formula:
    """Reduced axes on which nothing depends: a sum becomes a multiple, a max or min stays as it is.

    A max or min whose conditions alone are left keeps its axes: where they fail its value is infinite, not
    zero.
    """
    if f.reduction not in ("sum", "max", "min"):
        return f
    used: frozenset[sp.Symbol] = frozenset()
    for e in (f.body, *f.conditions):
        used |= free_symbols(e)
    idle = [a for a in f.over if a.symbol not in used]
    if not idle or (f.conditions and f.reduction != "sum" and len(idle) == len(f.over)):
        return f
    factor = sp.Mul(*[size_of(a.extent) for a in idle]) if f.reduction == "sum" else sp.S.One
    over = tuple(a for a in f.over if a.symbol in used)
    return Formula(f.axes, factor * f.body, f.reduction if over else None, over, f.conditions, f.operands)


@lru_cache(maxsize=16384)
def _with_values(f: Formula, numbers: tuple[int, ...]) -> Formula:
    named = rename_operands(f, {o: f"v{n}" for o, n in zip(f.operands, numbers, strict=True)})
    ordered = tuple(sorted(named.operands, key=lambda o: int(o[1:])))
    return canonical(Formula(named.axes, named.body, named.reduction, named.over, named.conditions, ordered))


def wired(f: Formula, numbers: tuple[int, ...]) -> tuple[Formula, tuple[int, ...]]:
    """A key for a formula of numbered tensors: equal iff the applications are, commuted ones included."""
    return _with_values(f, numbers), tuple(sorted(set(numbers)))
