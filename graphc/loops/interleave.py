"""Pass: long chains of arithmetic that do not depend on each other take turns.

    a1; a2; a3; store a; b1; b2; b3; store b   ->   a1; b1; a2; b2; a3; b3; store a; store b

An unrolled tile computes its vectors one after the other. Where each takes dozens of operations in a row, as an
exponential does, the instructions that wait for one chain fill the processor's queue, and it sees no other chain.

**Requires** a kernel after `expand_transcendentals`. **Ensures** the same operations in another order: the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import count, zip_longest
from typing import cast

from graphc.loops.expressions import Buffer, Cell, Const, Expression, Iota, Load, Name, Number
from graphc.loops.ir import For, Function, If, Let, Statement, Store
from graphc.loops.rewrite import all_bound_names

LONG = 24
"""Operations from which a chain is worth it."""

TURNS = 4
"""So many chains take turns: together they fill the pipelines, and their intermediate values fit the registers."""

Straight = Let | Store


def interleave(function: Function) -> Function:
    """The kernel with independent chains of its straight-line code taking turns; itself if there are none."""
    taken = frozenset(all_bound_names(function.body))
    names = (name for k in count() if (name := f"c{k}") not in taken)
    body = _body(function.body, names)
    return function if body == function.body else replace(function, body=body)


def _body(body: tuple[Statement, ...], names: Iterator[str]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    straight: list[Straight] = []
    for s in body:
        match s:
            case Let() | Store():
                straight.append(s)
                continue
            case For(body=inner) | If(body=inner):
                s = replace(s, body=_body(inner, names))
            case _:
                pass
        result += [*_in_turns(straight, names), s]
        straight = []
    return (*result, *_in_turns(straight, names))


def _in_turns(straight: list[Straight], names: Iterator[str]) -> list[Straight]:
    """Straight-line code with its chains taking turns, a few at a time; as it is where it reads what it writes."""
    written = {s.buffer.name for s in straight if isinstance(s, Store)}
    if any(e.buffer.name in written for s in straight for e in _inside(s.value) if isinstance(e, Load)):
        return straight
    chains = _chains(straight)
    if len(chains) < 2 or min(sum(_operations(s.value) for s in chain) for chain in chains) < LONG:
        return straight
    steps = [[step for s in chain for step in _single_steps(s, names)] for chain in chains]
    result: list[Straight] = []
    for first in range(0, len(steps), TURNS):
        rounds = zip_longest(*steps[first : first + TURNS])
        result += [s for together in rounds for s in together if s is not None]
    return result


def _chains(straight: list[Straight]) -> list[list[Straight]]:
    """Statements grouped by what they need of each other, in the order of their first statements."""
    group: dict[str, int] = {}
    chains: dict[int, list[int]] = {}
    for k, s in enumerate(straight):
        needed = {group[e.name] for e in _inside(s.value) if isinstance(e, Name) and e.name in group}
        home, *merged = sorted(needed) or [k]
        for other in merged:
            chains[home] += chains.pop(other)
            group = {n: home if g == other else g for n, g in group.items()}
        chains.setdefault(home, []).append(k)
        if isinstance(s, Let):
            group[s.name] = home
    return [[straight[k] for k in sorted(members)] for members in chains.values()]


def _single_steps(s: Straight, names: Iterator[str]) -> list[Straight]:
    """The statement with every operation inside of it as a statement of its own, operands first."""
    steps: list[Straight] = []

    def named(e: Expression) -> Expression:
        if not _operations(e):
            return e
        let = Let(next(names), rebuilt(e))
        steps.append(let)
        return Name(let.name, e.dtype, e.lanes)

    def rebuilt(e: Expression) -> Expression:
        parts = {name: named(part) for name, part in _parts(e)}
        return replace(e, **parts) if parts else e  # type: ignore[arg-type]

    steps.append(replace(s, value=rebuilt(s.value)))
    return steps


def _parts(e: Expression) -> Iterator[tuple[str, Expression]]:
    """The expressions directly inside of one, by their fields; those of a tuple stay together."""
    for f in fields(e):
        value = getattr(e, f.name)
        if hasattr(value, "lanes") and not isinstance(value, Buffer):
            yield f.name, cast(Expression, value)


def _inside(e: Expression) -> Iterator[Expression]:
    """The expression and all expressions in it."""
    yield e
    for _, part in _parts(e):
        yield from _inside(part)
    for item in getattr(e, "items", ()):
        yield from _inside(item)


def _operations(e: Expression) -> int:
    return sum(not isinstance(x, Const | Name | Cell | Number | Iota | Load) for x in _inside(e))
