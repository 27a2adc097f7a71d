"""Rows: kernels that pass a large matrix on row by row run on one block of its rows after another.

    s[n,h,q,k] = Σ_d x·y;  m = max_k s;  l = Σ_k e^(s - m);  p = e^(s - m) / l;  o[n,h,q,e] = Σ_k p·v
    ->  parallel over n, h and blocks of q: all of them, s and p being scratch of one block

The matrix of scores of an attention has the square of the length of a sequence, what it is computed from and what
becomes of it have not: so it is never stored whole (Rabe, Staats: Self-attention does not need O(n²) memory, 2021). One
thread computes a whole row, so the bits do not depend on how blocks are shared.

**Ensures** the kernels of a chain are neighbours, and each reads what others pass on in its own rows only.
**Fails** never; what forms no chain remains as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.graph.passes.recompute_matrices import LARGE
from graphc.ops.separable import separable
from graphc.ops.structure import accesses, product
from graphc.schedule.program import Chain, Kernel, Walk
from graphc.target import Target
from graphc.types import Batch, Extent

LEAST, MOST = 8, 64
"""Rows of a block: enough for a register tile, and no more than pay."""


def form_rows(kernels: tuple[Kernel, ...], lasting: frozenset[str], target: Target) -> tuple[Kernel, ...]:
    """The kernels with every large product that is consumed row by row in a chain with what consumes it.

    `lasting` names parameters and outputs.
    """
    result = list(kernels)
    for kernel in kernels:
        if not _starts(kernel, lasting):
            continue
        members = _members(kernel, result)
        place = _place(members, result)
        if len(members) < 2 or place is None:
            continue
        before, after = place
        result = [*before, *_chained(members, target), *after]
    return tuple(result)


def _starts(kernel: Kernel, lasting: frozenset[str]) -> bool:
    """Whether a kernel multiplies two operands of each sample, and nobody keeps the large result."""
    first, outer = kernel.stages[0].formula, {a.name for a in kernel.axes[:-2]}
    if not _plain(kernel) or product(first) is None or not outer or not all(outer <= a.axes for a in accesses(first)):
        return False
    type = kernel.stages[0].value.type
    large = type.per_sample()[0] * type.dtype.bytes >= LARGE and not isinstance(kernel.axes[-1].extent, Batch)
    return large and bool(kernel.writes) and lasting.isdisjoint(kernel.writes)


def _plain(kernel: Kernel) -> bool:
    """Whether a kernel has loops of its own and changes nothing in place."""
    own = kernel.chain is None and kernel.split is None and all(s == m for s, m in kernel.stores)
    return own and not kernel.scatters and not separable(kernel.stages[0].formula)


def _members(start: Kernel, kernels: Sequence[Kernel]) -> list[Kernel]:
    """The start with all its readers, and theirs as long as matrices of the same shape are passed on row by row."""
    rows = len(start.axes) - 1
    members, waiting = [start], [start]
    while waiting:
        kernel = waiting.pop(0)
        readers = [k for k in kernels if not set(kernel.writes).isdisjoint(k.reads)]
        fitting = all(_plain(k) and all(_in_rows(k, name, rows) for name in kernel.writes) for k in readers)
        if _shape(kernel) != _shape(start) or not readers or not fitting:
            if kernel is start:
                return []
            continue  # its result is stored
        beside = [k for reader in readers for k in kernels if _passes(k, reader, kernels, _shape(start))]
        members += (new := [k for k in dict.fromkeys((*readers, *beside)) if k not in members])
        waiting += new
    passed = {name for k in members for name in k.writes}
    members.sort(key=kernels.index)
    return members if all(_in_rows(k, name, rows) for k in members for name in k.reads if name in passed) else []


def _passes(kernel: Kernel, reader: Kernel, kernels: Sequence[Kernel], shape: tuple[Extent, ...]) -> bool:
    """Whether a kernel makes another matrix for a reader, and passes it on in rows only."""
    if _shape(kernel) != shape or not _plain(kernel) or set(kernel.writes).isdisjoint(reader.reads):
        return False
    wanting = [k for k in kernels if not set(kernel.writes).isdisjoint(k.reads)]
    return all(_plain(k) and _in_rows(k, name, len(shape) - 1) for k in wanting for name in kernel.writes)


def _shape(kernel: Kernel) -> tuple[Extent, ...]:
    return tuple(a.extent for a in kernel.axes)


def _in_rows(kernel: Kernel, name: str, rows: int) -> bool:
    """Whether a kernel reads a memory in the places of its own first axes, whole rows at a time."""
    own = tuple(a.name for a in kernel.axes[:rows])
    reads = [a for stage in kernel.stages for a in accesses(stage.formula) if a.operand == name]
    return len(own) == rows and all(a.bare[:rows] == own for a in reads)


def _place(members: Sequence[Kernel], kernels: Sequence[Kernel]) -> tuple[list[Kernel], list[Kernel]] | None:
    """What comes before the chain and what after it, or None if something needs a member and is needed by one."""
    inside = {k.name for k in members}
    wanted = {name for k in members for name in k.reads}
    before: list[Kernel] = []
    after: list[Kernel] = []
    made = {name for k in members for name in k.writes}
    started = False
    for k in kernels:
        started = started or k.name in inside
        if k.name in inside:
            continue
        if started and not made.isdisjoint((*k.reads, *k.writes)):
            made |= set(k.writes)
            after.append(k)
        elif started and not _moves_up(k, after):
            after.append(k)
        else:
            before.append(k)
    late = {name for k in after for name in k.writes}
    return None if wanted & late else (before, after)


def _moves_up(kernel: Kernel, after: Sequence[Kernel]) -> bool:
    """Whether a kernel can come before some that stood in front of it: it overwrites nothing that they read."""
    return all(set(kernel.writes).isdisjoint((*k.reads, *k.writes)) for k in after)


def _chained(members: Sequence[Kernel], target: Target) -> list[Kernel]:
    first = members[0]
    *outer, rows, columns = first.axes
    assert isinstance(columns.extent, int)
    matrices = sum(_shape(k) == _shape(first) for k in members)
    row = matrices * columns.extent * first.stages[0].value.type.dtype.bytes
    block = max(LEAST, min(MOST, target.l2 // 2 // row))
    extent = rows.extent
    walks = [Walk(a.name, a.extent, 1) for a in outer]
    walks.append(Walk(rows.name, extent, block if isinstance(extent, Batch) else min(block, extent)))
    chain = Chain(f"rows of {first.stages[0].name}", tuple(walks), rows=True)
    return [
        replace(k, chain=chain, walked=tuple((a.name, w.axis) for a, w in zip(k.axes, walks, strict=False)))
        for k in members
    ]
