"""What keeps a kernel from moving whole vectors: found in its loops, named with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from graphc.loops.expressions import (
    Binary,
    Bitcast,
    Cast,
    Compare,
    Const,
    Expression,
    Extract,
    Fma,
    Fold,
    Load,
    Number,
    Pack,
    Random,
    Select,
    Shuffle,
    Splat,
    Unary,
)
from graphc.loops.index import ZERO, Index, constant
from graphc.loops.ir import Accumulate, Assign, Declare, For, Function, If, Let, Mode, Statement, Store

LARGE = 1 << 20


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    for s in body:
        yield s
        if isinstance(s, For | If):
            yield from statements(s.body)


def expressions(body: tuple[Statement, ...]) -> Iterator[Expression]:
    """Every distinct expression of a statement list, parts included."""
    seen: set[Expression] = set()
    for s in statements(body):
        match s:
            case Let(_, value) | Store(_, _, value) | Assign(_, _, value) | Accumulate(_, _, _, value):
                yield from _parts(value, seen)
            case Declare(initial=value):
                yield from _parts(value, seen)


def _parts(e: Expression, seen: set[Expression]) -> Iterator[Expression]:
    if e in seen:
        return
    seen.add(e)
    yield e
    for part in operands(e):
        yield from _parts(part, seen)


def operands(e: Expression) -> tuple[Expression, ...]:
    """The direct parts of an expression."""
    match e:
        case Unary(_, x) | Cast(x) | Bitcast(x) | Splat(x) | Extract(x) | Fold(_, x):
            return (x,)
        case Binary(_, a, b) | Compare(_, a, b) | Shuffle(a, b):
            return a, b
        case Fma(a, b, c) | Select(a, b, c):
            return a, b, c
        case Pack(items):
            return items
        case Random(key, step, index):
            return key, step, index
        case _:
            return ()


def parallel_pieces(function: Function) -> tuple[Index, ...]:
    """The number of iterations of each PARALLEL loop."""
    return tuple(s.stop - s.start for s in statements(function.body) if isinstance(s, For) and s.mode is Mode.PARALLEL)


def slow_paths(lowered: Function, vectorised: Function) -> tuple[str, ...]:
    """Guarded reads, constants looked up, accesses lane by lane, partial vectors: each once for every buffer."""
    found = [*_guards(lowered), *_tables(lowered), *_packs(vectorised), *_scatters(vectorised), *_masks(vectorised)]
    return tuple(dict.fromkeys(found))


def _guards(function: Function) -> Iterator[str]:
    for e in expressions(function.body):
        match e:
            case Select(condition, Load(buffer), Const(value=0)) if _on_indices(condition):
                yield f"guarded reads of {buffer.name}: an index may leave the tensor where no border is kept"


def _tables(function: Function) -> Iterator[str]:
    for e in expressions(function.body):
        match e:
            case Select(Compare("eq", Number(), Const()), Const() | Select(), Const() | Select()):
                yield "constants chosen by an index: one comparison for each of them"


def _on_indices(e: Expression) -> bool:
    """Whether a condition depends on indices alone: a test that the compiler put in, not the formula."""
    if isinstance(e, Number | Const):
        return True
    parts = operands(e)
    return bool(parts) and all(map(_on_indices, parts))


def _packs(function: Function) -> Iterator[str]:
    for e in expressions(function.body):
        if not isinstance(e, Pack):
            continue
        loads = [load for item in e.items for load in _loads(item)]
        for name in dict.fromkeys(load.buffer.name for load in loads):
            own = [load for load in loads if load.buffer.name == name]
            yield f"reads of {name} one lane at a time: {_distance([load.index for load in own], own[0])}"


def _loads(e: Expression) -> Iterator[Load]:
    if isinstance(e, Load):
        yield e
    for part in operands(e):
        yield from _loads(part)


def _scatters(function: Function) -> Iterator[str]:
    lanes: dict[tuple[str, Expression], list[Store]] = {}
    for s in statements(function.body):
        if isinstance(s, Store) and isinstance(s.value, Extract):
            lanes.setdefault((s.buffer.name, s.value.x), []).append(s)
    for (name, _), stores in lanes.items():
        if len(stores) > 1:
            yield f"writes of {name} one lane at a time: {_distance([s.index for s in stores], stores[0])}"


def _distance(places: list[tuple[Index, ...]], access: Load | Store) -> str:
    """How far apart the elements of neighbouring lanes are."""
    if any(i.elements() for place in places for i in place):
        return "the place depends on data"
    strides = access.buffer.strides
    offsets = []
    for place in places:
        offset = sum((i * step for i, step in zip(place, strides, strict=True)), Index())
        # in the first iteration of a large batch, where no lane is beyond the end
        first = {name: constant(LARGE if name == "N" else 0) for name in offset.variables()}
        offsets.append(offset.substitute(first))
    steps = [b - a for a, b in pairwise(offsets)]
    while len(steps) > 1 and steps[-1] == ZERO:  # lanes beyond the end repeat the last one
        steps.pop()
    if not steps or not steps[0].is_constant or any(s != steps[0] for s in steps):
        return "neighbouring lanes are at unequal distances"
    if steps[0].constant == 1:
        return "neighbours in memory, but not known to be in one row or block everywhere"
    return f"neighbouring lanes are {abs(steps[0].constant)} elements apart"


def _masks(function: Function) -> Iterator[str]:
    for s in statements(function.body):
        if isinstance(s, Store) and s.active is not None:
            yield f"masked writes of {s.buffer.name}: {_why_masked(s)}"
    for e in expressions(function.body):
        if isinstance(e, Load) and e.active is not None:
            yield f"masked reads of {e.buffer.name}: {_why_masked(e)}"


def _why_masked(access: Load | Store) -> str:
    extent = access.buffer.shape[-1] if access.buffer.shape else 1
    if not isinstance(extent, int):
        return "the last vector along the batch is partial"
    lanes = access.lanes if isinstance(access, Load) else access.value.lanes
    if extent % lanes:
        return f"rows of {extent} are not whole vectors of {lanes}"
    if isinstance(access, Load):
        return f"the last vector is partial and could leave the row of {extent}"
    return f"the last vector is partial, and what follows in the row of {extent} must stay as it is"
