"""Whether a formula is a sentence of the formula language."""

from __future__ import annotations

from functools import lru_cache

from sympy.core.expr import Expr

from graphc.ops.formula import (
    Cond,
    FloorDiv,
    Formula,
    Mod,
    N,
    Read,
    Reduce,
    Table,
    all_reads,
    free_symbols,
    reads,
    walk,
)

REDUCTIONS = ("sum", "max", "min", "prod")


@lru_cache(maxsize=16384)
def malformed(f: Formula) -> str | None:
    """What is wrong with a formula, or None: unique and bound axes, declared operands, the normal form."""
    names = [a.name for a in (*f.axes, *f.over)]
    if len(set(names)) < len(names):
        return f"axis names repeat: {', '.join(names)}"
    if len(set(f.operands)) < len(f.operands):
        return f"operand names repeat: {', '.join(f.operands)}"
    if f.reduction is None and f.over:
        return f"axes {', '.join(a.name for a in f.over)} are reduced, but by no reduction"
    if f.reduction is not None and f.reduction not in REDUCTIONS:
        return f"unknown reduction {f.reduction}, expected one of {', '.join(REDUCTIONS)}"
    bound = {a.symbol for a in (*f.axes, *f.over)} | {N}
    for e in (f.body, *f.conditions):
        loose = free_symbols(e) - bound
        if loose:
            return f"{', '.join(sorted(s.name for s in loose))} is not an axis of the formula"
        if any(isinstance(node, Reduce) for node in walk(e)):
            return "a reduction inside the body"
    strange = sorted({r.name for r in reads(f)} - set(f.operands))
    return f"{', '.join(strange)} is read but is not an operand" if strange else None


@lru_cache(maxsize=16384)
def operand_ranks(f: Formula) -> tuple[tuple[str, int], ...]:
    """(operand, number of indices) of every read."""
    return tuple(dict.fromkeys((r.name, len(r.index)) for r in reads(f)))


@lru_cache(maxsize=16384)
def index_operands(f: Formula) -> tuple[str, ...]:
    """The operands whose elements are used as indices: in a Read, in // and %, in `s | e`."""
    found: dict[str, None] = {}
    for e in (f.body, *f.conditions):
        for node in walk(e):
            for index in _indices(node):
                found.update(dict.fromkeys(r.name for r in all_reads(index)))
    return tuple(found)


def _indices(node: Expr) -> tuple[Expr, ...]:
    if isinstance(node, (Read, Table)):
        return node.index
    if isinstance(node, (FloorDiv, Mod)):
        return tuple(node.args)
    if isinstance(node, Cond) and node.kind == "divides":
        return tuple(node.args[1:])
    return ()
