"""Sources: what only picks elements of another memory is read there, if its readers walk that memory as well.

    q[n,h,t,d] = x[n, t, 64·h + d];  s = Σ_d q[n, h, t, d]·k[n, h, u, d]   ->   s = Σ_d x[n, t, 64·h + d]·k[n, h, u, d]

Before the lanes are chosen this could not be decided: a selection that no reader finds in its own order is a copy that
is needed anyway.

**Requires** lanes and layouts, no buffers yet. **Ensures** the same values. **Fails** never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphc.ops.compose import inline, needs_guard, refusal, remap_of
from graphc.ops.formula import Formula
from graphc.ops.separable import separable
from graphc.ops.structure import Access, accesses, radices
from graphc.schedule.program import Kernel, Memory, Program
from graphc.schedule.turning import across


def read_sources(program: Program) -> Program:
    """The program without selections that all readers can do without."""
    memories = {m.name: m for m in program.memories}
    kernels = list(program.kernels)
    for place in [k.name for k in program.kernels]:
        selection = next(k for k in kernels if k.name == place)
        if not _selects(selection, memories) or selection.writes[0] in program.outputs:
            continue
        (name,) = selection.writes
        readers = [k for k in kernels if name in k.reads]
        changed = {k.name: _through(k, name, selection, memories) for k in readers}
        if None in changed.values():
            continue
        kernels = [changed.get(k.name) or k for k in kernels if k.name != selection.name]
        del memories[name]
    if len(kernels) == len(program.kernels):
        return program
    named = tuple(replace(k, name=f"k{i}") for i, k in enumerate(kernels))
    return replace(program, kernels=named, memories=tuple(memories.values()))


def _selects(kernel: Kernel, memories: Mapping[str, Memory]) -> bool:
    """Whether a kernel does nothing but pick elements of one memory that nobody changes."""
    source = remap_of(kernel.stages[0].formula)
    if source is None or len(kernel.stages) != 1 or len(kernel.stores) != 1 or kernel.chain is not None:
        return False
    plain = [memories[n] for n in (source, *kernel.writes)]
    if plain[0].role not in ("temporary", "input") or plain[1].role != "temporary":
        return False
    return not any(m.layout.has_halo or m.layout.block for m in plain) and not radices(kernel.stages[0].formula)


def _through(kernel: Kernel, name: str, selection: Kernel, memories: Mapping[str, Memory]) -> Kernel | None:
    """A reader of the selection reading its source, or None where that would cost more than it saves."""
    producer = selection.stages[0].formula
    source = memories[producer.operands[0]]
    if kernel.chain is not None or any(separable(s.formula) for s in kernel.stages):
        return None
    if source.value.type.dtype is not memories[name].value.type.dtype:
        return None
    shapes = {source.name: source.value.type.shape}
    stages = []
    for stage in kernel.stages:
        f = stage.formula
        if name in f.operands:
            if refusal(f, name, producer) is not None or needs_guard(f, name, producer, shapes):
                return None
            f = inline(f, name, producer, {source.name: source.name}, shapes=shapes)
            if not all(_walks(f, a, kernel, source) for a in accesses(f) if a.operand == source.name):
                return None
        stages.append(replace(stage, formula=f))
    return replace(kernel, stages=tuple(stages))


def _walks(f: Formula, access: Access, kernel: Kernel, source: Memory) -> bool:
    """Whether the lanes of a kernel lie along a memory, do not move in it, or a square of it can be turned."""
    if radices(f):
        return False
    innermost = source.layout.order[-1]
    if kernel.lane not in access.axes:
        return True
    alone = not any(kernel.lane in names for k, names in enumerate(access.moves) if k != innermost)
    if alone and dict(access.steps[innermost]).get(str(kernel.lane)) == 1:
        return True
    return f.is_pointwise and across(access, innermost, kernel.lane) is not None
