"""Stacking: sums over the same elements are computed in one pass over memory.

    a[p,c] = Σ_{n,y,x} g[n,c,y,x]      b[p,c] = Σ_{n,y,x} (x[n,c,y,x] - m[c])·g[n,c,y,x]

become t[p,s,c] = Σ_{n,y,x} (s = 0 ? ... : ...) with s < 2, whose tile holds all s at once, so g is loaded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.graph.ir import Value
from graphc.ops.stacking import reading_stack, stacked
from graphc.ops.structure import accesses
from graphc.schedule.program import Kernel, Stage
from graphc.types import TensorType

MOST = 4
"""As many sums as the registers hold beside each other."""


def stack_sums(kernels: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """Partial sums over the same elements as one kernel, at the place of the first."""
    result = list(kernels)
    next_id = 1 + max((s.value.id for k in kernels for s in k.stages), default=0)
    position = 0
    while position < len(result):
        together = [position, *_companions(result, position)][:MOST]
        if len(together) > 1:
            name, one = _stacked([result[k] for k in together], next_id)
            next_id += 1
            places = {result[k].stages[0].name: s for s, k in enumerate(together)}
            rest = [k for k in range(len(result)) if k not in together[1:]]
            result = [one if k == position else _reading(result[k], name, places) for k in rest]
        position += 1
    return tuple(result)


def _companions(kernels: Sequence[Kernel], position: int) -> list[int]:
    """Later sums over the elements of the one at `position` for which everything is known there already."""
    first = kernels[position]
    if not _is_partial_sum(first):
        return []
    known_later = {m for k in kernels[position:] for m in k.writes}
    return [
        k
        for k in range(position + 1, len(kernels))
        if _is_partial_sum(kernels[k])
        and _sweep(kernels[k]) == _sweep(first)
        and known_later.isdisjoint(kernels[k].reads)
        and _swept(kernels[k]) & _swept(first)
    ]


def _is_partial_sum(kernel: Kernel) -> bool:
    f = kernel.stages[0].formula
    single = kernel.split is not None and kernel.chain is None and len(kernel.stages) == 1
    return single and not f.conditions and bool(_swept(kernel))


def _sweep(kernel: Kernel) -> tuple[object, ...]:
    """The extents of the loops; the batch is the same axis in all of them."""
    f = kernel.stages[0].formula
    return f.shape, tuple(a.extent for a in f.over), [a.name for a in f.over].index(str(kernel.split))


def _swept(kernel: Kernel) -> frozenset[str]:
    """The operands of which a sum reads every element once."""
    f = kernel.stages[0].formula
    loops = {a.name for a in (*f.axes[1:], *f.over)}
    return frozenset(a.operand for a in accesses(f) if set(a.bare) == loops)


def _stacked(kernels: Sequence[Kernel], id: int) -> tuple[str, Kernel]:
    """The sums as one: its name and its kernel."""
    first = kernels[0]
    summed = stacked([k.stages[0].formula for k in kernels])
    value = Value(id, TensorType(summed.shape, first.stages[0].value.type.dtype))
    name = f"t{id}"
    remarks = tuple(dict.fromkeys(r for k in kernels for r in k.remarks))
    kernel = replace(
        first, stages=(Stage(name, value, summed),), stores=((name, name),),
        remarks=(*remarks, f"{len(kernels)} sums in one pass"),
    )  # fmt: skip
    return name, kernel


def _reading(kernel: Kernel, stack: str, places: dict[str, int]) -> Kernel:
    """The kernel reading from the stack what it read from single sums."""
    if places.keys().isdisjoint(kernel.reads):
        return kernel
    stages = (replace(s, formula=reading_stack(s.formula, stack, places)) for s in kernel.stages)
    return replace(kernel, stages=tuple(stages))
