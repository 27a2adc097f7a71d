"""Linking: the kernels of a program in order, equal ones once, barriers where data crosses threads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

from graphc.loops.access import buffer_of
from graphc.loops.ir import Barrier, Call, Function, Guard, Step
from graphc.loops.rewrite import BufferRenamer, all_bound_names, let_names
from graphc.ops.fingerprint import pattern
from graphc.schedule.program import Kernel, Memory, Program
from graphc.schedule.stretches import stretches

Unit = Sequence[Kernel]


def link(
    program: Program,
    lower: Callable[[Unit], Function],
    clear: Callable[[Memory], Function] | None = None,
    name: str = "step",
) -> Step:
    """One step: what every thread executes.

    `lower` gives the function of a kernel, or of a chain of kernels, `clear` that of zeros in the border of a memory:
    it is called before the first kernel that writes to a slot with a border and a life.
    """
    memories = {m.name: m for m in program.memories}
    functions = _Functions(memories, lower)
    body: list[Call | Barrier | Guard] = []
    persistent = {m.name for m in program.memories if m.role == "parameter"}
    bordered = {m.slot for m in program.memories if m.life is not None and m.layout.has_halo}
    guarded, now = program.guard is None, 0
    for unit, stretch in zip(program.units, stretches(program), strict=True):
        written = dict.fromkeys(name for kernel in unit for name in kernel.writes)
        if stretch > now:
            body.append(Barrier())
            now = stretch
        if not guarded and persistent & written.keys():
            assert program.guard is not None
            body.append(Guard(program.guard))
            guarded = True
        for memory in map(memories.__getitem__, written):
            if memory.slot in bordered and memory.role == "temporary":
                assert clear is not None, f"{memory.name} needs zeros around it"
                body.append(functions.clearing(memory, clear))
                bordered.remove(memory.slot)
        body.append(functions.call(unit))
    buffers = tuple(buffer_of(m) for m in program.memories)
    private = frozenset(m.name for m in program.memories if m.role == "scratch")
    return Step(name, buffers, tuple(functions.shared.values()), tuple(body), private)


class _Functions:
    """The functions of a step: units that differ only in names are lowered once, and equal code is kept once."""

    def __init__(self, memories: Mapping[str, Memory], lower: Callable[[Unit], Function]) -> None:
        self.shared: dict[tuple[object, ...], Function] = {}
        self._memories, self._lower = memories, lower
        self._known: dict[Hashable, tuple[Function, tuple[int, ...]]] = {}

    def call(self, unit: Unit) -> Call:
        """The call that computes a unit."""
        key, names = _anonymous(unit, self._memories)
        if key not in self._known:
            function = self._lower(unit)
            own = canonical(function, f"kernel{len(self.shared)}")
            known = self.shared.setdefault((own.buffers, own.body), own)
            self._known[key] = known, tuple(names.index(b.name) for b in function.buffers)
        function, order = self._known[key]
        return Call(function.name, tuple(names[k] for k in order), scope_of(unit))

    def clearing(self, memory: Memory, clear: Callable[[Memory], Function]) -> Call:
        """The call that clears the border of a memory."""
        own = canonical(clear(memory), f"kernel{len(self.shared)}")
        known = self.shared.setdefault((own.buffers, own.body), own)
        return Call(known.name, (memory.name,))


def _anonymous(unit: Unit, memories: Mapping[str, Memory]) -> tuple[Hashable, tuple[str, ...]]:
    """What lowering a unit depends on, but for names; the names in the order of their appearance."""
    used = dict.fromkeys(name for kernel in unit for name in (*kernel.reads, *kernel.writes))
    names = {*used, *(stage.name for kernel in unit for stage in kernel.stages)}
    kernels = [
        replace(
            kernel, name="", scope="", location=None, remarks=(),
            stages=tuple(replace(s, value=replace(s.value, id=0, name="")) for s in kernel.stages),
            chain=kernel.chain and replace(kernel.chain, name=""),
        )
        for kernel in unit
    ]  # fmt: skip
    touched = [
        replace(memories[name], slot=-1, life=None, value=replace(memories[name].value, id=0, name="")) for name in used
    ]
    return pattern((kernels, touched), names)


def scope_of(unit: Unit) -> str:
    """The layers that kernels belong to."""
    return "+".join(dict.fromkeys(kernel.scope for kernel in unit if kernel.scope))


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
