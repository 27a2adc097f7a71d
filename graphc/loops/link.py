"""Linking: the kernels of a program in order, equal ones once, barriers where data crosses threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from graphc.loops.access import buffer_of
from graphc.loops.ir import Barrier, Call, Function, Guard, Step
from graphc.loops.rewrite import BufferRenamer, all_bound_names, let_names
from graphc.schedule.program import Program


def link(program: Program, functions: Iterable[Function], name: str = "step") -> Step:
    """One step: what every thread executes. `functions` are those of the kernels, in order."""
    shared: dict[tuple[object, ...], Function] = {}
    body: list[Call | Barrier | Guard] = []
    place = {m.name: (m.role, m.slot) if m.slot >= 0 else (m.name, -1) for m in program.memories}
    persistent = {m.name for m in program.memories if m.role == "parameter"}
    written: set[tuple[str, int]] = set()
    read: set[tuple[str, int]] = set()
    guarded = program.guard is None
    for kernel, function in zip(program.kernels, functions, strict=True):
        if not guarded and persistent & set(kernel.writes):
            assert program.guard is not None
            body += [Barrier(), Guard(program.guard)]
            written, read, guarded = set(), set(), True
        own = canonical(function, f"kernel{len(shared)}")
        key = (own.buffers, own.body)
        known = shared.setdefault(key, own)
        reads, writes = {place[r] for r in kernel.reads}, {place[w] for w in kernel.writes}
        if reads & written or writes & (read | written):
            body.append(Barrier())
            written, read = set(), set()
        body.append(Call(known.name, tuple(b.name for b in function.buffers), kernel.scope))
        written |= writes
        read |= reads
    return Step(name, tuple(buffer_of(m) for m in program.memories), tuple(shared.values()), tuple(body))


def canonical(function: Function, name: str) -> Function:
    """The function under another name, buffers called b0, b1, ..., values v0, v1, ...: equal iff the code is.

    Where the body binds such a name itself, as for an axis called b1, `b_` is taken.
    """
    values = tuple(dict.fromkeys(let_names(function.body)))
    bound = set(all_bound_names(function.body)) - set(values)
    buffers = _numbered("b", [b.name for b in function.buffers], bound)
    renamer = BufferRenamer(buffers, _numbered("v", values, bound))
    renamed = tuple(replace(b, name=buffers[b.name]) for b in function.buffers)
    return Function(name, renamed, renamer.statements(function.body), function.scope)


def _numbered(prefix: str, names: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Each name as the prefix and its place."""
    while taken & {f"{prefix}{k}" for k in range(len(names))}:
        prefix += "_"
    return {name: f"{prefix}{k}" for k, name in enumerate(names)}
