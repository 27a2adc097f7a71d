"""Choosing the parts of a program that belong to a layer, and naming what they touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.errors import GraphError
from graphc.graph.ir import Graph
from graphc.loops.ir import Call, Function, Step
from graphc.loops.rewrite import BufferRenamer
from graphc.schedule.program import Kernel, Program


def matches(scope: str, wanted: str | None) -> bool:
    """Whether a path, or one of several joined by "+", is the wanted layer or inside of it."""
    if wanted is None:
        return True
    layer = wanted.strip("/").replace(".", "/")
    return any(part == layer or part.startswith(f"{layer}/") for part in scope.split("+"))


def check_scope(wanted: str | None, scopes: Iterable[str]) -> None:
    """Raises GraphError unless one of the scopes matches."""
    known = list(dict.fromkeys(part for scope in scopes for part in scope.split("+") if part))
    if wanted is not None and not any(matches(scope, wanted) for scope in known):
        raise GraphError(f"no layer {wanted} at this stage", hint=f"layers: {', '.join(known) or 'none'}")


def part_of_graph(graph: Graph, wanted: str | None) -> Graph:
    """The nodes of a layer and the leaves that they read."""
    if wanted is None:
        return graph
    check_scope(wanted, (n.scope for n in graph.nodes))
    nodes = tuple(n for n in graph.nodes if matches(n.scope, wanted))
    values = {v for n in nodes for v in (*n.inputs, n.output)}
    return Graph(
        tuple(v for v in graph.inputs if v in values),
        tuple(v for v in graph.parameters if v in values),
        nodes,
        tuple(v for v in graph.outputs if v in values),
        tuple((old, new) for old, new in graph.updates if new in values),
    )


def part_of_program(program: Program, wanted: str | None) -> Program:
    """The kernels of a layer and the memories that they touch."""
    if wanted is None:
        return program
    check_scope(wanted, (k.scope for k in program.kernels))
    kernels = tuple(k for k in program.kernels if matches(k.scope, wanted))
    touched = {name for k in kernels for name in (*k.reads, *k.writes)}
    return Program(
        kernels,
        tuple(m for m in program.memories if m.name in touched),
        tuple(o for o in program.outputs if o in touched),
        program.guard if program.guard in touched else None,
    )


def functions_of(step: Step, wanted: str | None) -> tuple[tuple[Function, tuple[Call, ...]], ...]:
    """The functions that a layer's kernels became, in order of their first call, with those calls.

    A function that several kernels share appears once.
    """
    calls = [item for item in step.body if isinstance(item, Call)]
    check_scope(wanted, (c.scope for c in calls))
    functions = {f.name: f for f in step.functions}
    chosen: dict[str, list[Call]] = {}
    for call in calls:
        if matches(call.scope, wanted):
            chosen.setdefault(call.function, []).append(call)
    return tuple((functions[name], tuple(own)) for name, own in chosen.items())


def applied(function: Function, call: Call) -> Function:
    """The function with its buffers under the names that a call passes, and the scope of the call."""
    names = {b.name: actual for b, actual in zip(function.buffers, call.buffers, strict=True)}
    renamer = BufferRenamer(names)
    buffers = tuple(renamer.renamed(b) for b in function.buffers)
    return Function(function.name, buffers, renamer.statements(function.body), call.scope)


def unit_name(unit: Sequence[Kernel]) -> str:
    """`k3`, or `k3-k5` for kernels that run together."""
    return unit[0].name if len(unit) == 1 else f"{unit[0].name}-{unit[-1].name}"


def layer_of(unit: Sequence[Kernel]) -> str:
    """The layers that kernels belong to, each once."""
    return "+".join(dict.fromkeys(part for kernel in unit for part in kernel.scope.split("+") if part))
