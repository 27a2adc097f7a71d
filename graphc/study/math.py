"""The mathematics of a compiled program: forward formulas, adjoints and updates, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphc.autodiff.application import Application
from graphc.autodiff.backward import dependents
from graphc.autodiff.derivation import derivation
from graphc.errors import GraphError
from graphc.graph.analysis.cost import node_cost
from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.analysis.topology import ancestors
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.cost import volume
from graphc.ops.formula import rename_operands
from graphc.ops.operator import Statement
from graphc.ops.structure import product
from graphc.ops.text import formula_text
from graphc.schedule.fuse import value_name
from graphc.study.compiled import Compiled
from graphc.study.latex import formula_latex
from graphc.study.scopes import check_scope, matches

FORWARD, ADJOINT, UPDATE = "forward", "adjoint", "update"
SYMBOLS = {"weight": "W", "bias": "b"}
"""What parameters are called on paper."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One node of the final graph: its part in the program, what it is called, what it is the derivative by."""

    node: Node
    part: str
    title: str
    target: Value | None = None


def entries(graph: Graph) -> tuple[Entry, ...]:
    """Every node with its part: forward, adjoint, or update."""
    forward = forward_values(graph)
    values = {v.id: v for v in graph.values}
    calls: dict[int, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(node.call, []).append(node)
    producers = graph.producers()
    updated = {new: old for old, new in graph.updates}
    found = []
    for node in graph.nodes:
        if node.origin is not None:
            of = values.get(node.origin)
            target = _target(node, of, producers, calls)
            title = f"∂L/∂{value_name(target)}" if target else node.operator
            found.append(Entry(node, ADJOINT, title, target))
        elif node.output in forward:
            found.append(Entry(node, FORWARD, node.operator))
        else:
            old = updated.get(node.output)
            found.append(Entry(node, UPDATE, f"new {value_name(old)}" if old else node.operator))
    return tuple(found)


def forward_values(graph: Graph) -> frozenset[Value]:
    """The computed values that outputs or adjoints are made from and that are made from no adjoint."""
    backward = {n.output for n in backward_nodes(graph)}
    wanted = {*graph.outputs, *[v for n in graph.nodes if n.origin is not None for v in n.inputs]}
    return frozenset(node.output for node in graph.nodes) & ancestors(graph, wanted) - backward


def _target(node: Node, of: Value | None, producers: dict[Value, Node], calls: dict[int, list[Node]]) -> Value | None:
    """The value whose cotangent a node is, if it can be told."""
    if of is None or not node.operator.startswith("adjoint "):
        return of
    operand = node.operator.rpartition("/")[2]
    for forward in calls[producers[of].call] if of in producers else ():
        if operand in forward.formula.operands:
            return forward.inputs[forward.formula.operands.index(operand)]
    return None


def groups(compiled: Compiled, scope: str | None) -> Iterator[tuple[str, list[Entry]]]:
    """The entries of each layer, in the order of the forward computation. Raises GraphError for no such layer."""
    graph = compiled.formulas
    check_scope(scope, (n.scope for n in graph.nodes))
    layers: dict[str, list[Entry]] = {}
    for entry in entries(graph):
        if matches(entry.node.scope, scope):
            layers.setdefault(entry.node.scope, []).append(entry)
    yield from layers.items()


# ----------------------------------------------------------------------------------------------------- text


def math_text(compiled: Compiled, scope: str | None = None) -> str:
    """Index notation of all formulas with shapes and work, layer by layer: forward, adjoint, update."""
    parts = []
    for layer, found in groups(compiled, scope):
        parts.append(_heading(layer, found) + "\n" + "\n".join(_lines(found)))
    return "\n\n".join(parts) + "\n"


def _heading(layer: str, found: Iterable[Entry]) -> str:
    place = next((str(e.node.location) for e in found if e.node.location), "")
    return f"{layer or 'outside of layers'}{f'   {place}' if place else ''}"


def _lines(found: list[Entry]) -> list[str]:
    width = max(len(e.title) for e in found)
    lines = []
    for part in (FORWARD, ADJOINT, UPDATE):
        for e in found:
            if e.part == part:
                named = statement_of(e.node)
                lines.append(f"  {e.title:<{width}}  {formula_text(named.formula, named.name)}")
                lines.append(f"  {'':<{width}}    {named.type}, {work_text(e.node)}")
    return lines


def work_text(node: Node) -> str:
    """`117,600 multiply-adds per sample`, or the number of operations where nothing is multiplied and added."""
    if product(node.formula) is not None:
        work, unit = volume(node.formula), "multiply-adds"
    else:
        work, unit = node_cost(node).flops, "operations"
    if not work.coefficients:
        return "no arithmetic"
    if len(work.coefficients) > 2:
        return f"{work} {unit}"
    if work.per_sample:
        return f"{work.per_sample:,} {unit} per sample"
    return f"{work.fixed:,} {unit}"


def statement_of(node: Node) -> Statement:
    """The node's formula over the names that values have in all stages."""
    names = {o: value_name(v) for o, v in zip(node.formula.operands, node.inputs, strict=True)}
    away = rename_operands(node.formula, {o: f"~{o}" for o in names})
    f = rename_operands(away, {f"~{o}": name for o, name in names.items()})
    return Statement(value_name(node.output), f, node.output.type)


# ---------------------------------------------------------------------------------------------- derivatives


def derivatives_text(compiled: Compiled, scope: str | None = None) -> str:
    """Each adjoint formula, how it was derived, and the forward formula that it belongs to.

    Raises GraphError for a program without derivatives.
    """
    if not any(r.stage == "differentiate" for r in compiled.stages.records):
        raise GraphError(f"an {compiled.path} program has no derivatives", hint="look at the training program")
    before = next(r.before for r in compiled.stages.records if r.stage == "differentiate")
    check_scope(scope, (n.scope for n in before.nodes))
    active = _active(before, compiled.formulas)
    final: dict[str, list[Entry]] = {}
    for entry in entries(compiled.formulas):
        if entry.part == ADJOINT:
            final.setdefault(entry.node.scope, []).append(entry)
    calls: dict[int, list[Node]] = {}
    for node in before.nodes:
        calls.setdefault(node.call, []).append(node)
    layers: dict[str, list[str]] = {}
    for nodes in calls.values():
        last = nodes[-1]
        if matches(last.scope, scope) and last.output in active:
            layers.setdefault(last.scope, []).append(_derived(nodes, active))
    parts = []
    for layer, derivations in layers.items():
        own = final.get(layer, [])
        heading = _heading(layer, own)
        parts.append("\n\n".join([heading, *derivations, "  in the program\n" + "\n".join(_lines(own))]))
    return "\n\n".join(parts) + "\n"


def _active(graph: Graph, final: Graph) -> frozenset[Value]:
    """The parameters that are learnt, and every value that depends on one."""
    learnt = {old.name for old, _ in final.updates}
    return dependents(
        graph, (p for p in graph.parameters if p.type.dtype.is_float and (p.name in learnt or not learnt))
    )


def _derived(nodes: list[Node], active: frozenset[Value]) -> str:
    """The derivations for all active operands of one application."""
    statements = tuple(map(statement_of, nodes))
    inside = {n.output for n in nodes}
    operands = dict.fromkeys(v for n in nodes for v in n.inputs if v not in inside)
    application = Application(nodes[-1].operator, tuple((value_name(v), v.type) for v in operands), statements)
    lines = [f"  {nodes[-1].operator}"]
    lines += [f"    {formula_text(s.formula, s.name)}" for s in statements]
    for v in operands:
        if v not in active:
            reason = "an integer" if not v.type.dtype.is_float else "an input" if v.name else "not learnt"
            lines.append(f"  ∂L/∂{value_name(v)} is not needed: {reason}")
            continue
        steps = derivation(application, value_name(v)).splitlines()[len(statements) :]
        lines += [f"  ∂L/∂{value_name(v)}", *[f"    {line}" for line in steps]]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------- LaTeX


def latex_text(compiled: Compiled, scope: str | None = None) -> str:
    r"""Markdown with all formulas as LaTeX; \bar{v} is the derivative of the loss by v."""
    everything = entries(compiled.formulas)
    names = _latex_names(compiled.formulas, everything)
    parts = [f"# The mathematics of the {compiled.path} program"]
    for layer, found in groups(compiled, scope):
        parts.append(f"## {layer or 'Outside of layers'}")
        for part in (FORWARD, ADJOINT, UPDATE):
            own = [e for e in found if e.part == part]
            if own:
                parts.append(f"*{part}*")
            for e in own:
                named = statement_of(e.node)
                shape = r" \times ".join(map(str, e.node.output.type.shape)) or "1"
                parts.append(f"{e.node.operator}, ${shape}$, {work_text(e.node)}:")
                parts.append(f"$$\n{formula_latex(named.formula, named.name, names)}\n$$")
    return "\n\n".join(parts) + "\n"


def _latex_names(graph: Graph, found: tuple[Entry, ...]) -> dict[str, str]:
    names = {value_name(p): _parameter_latex(p.name) for p in graph.parameters}
    names |= {value_name(v): rf"\mathrm{{{_escaped(v.name)}}}" for v in graph.inputs}
    by_target: dict[Value, list[Node]] = {}
    for e in found:
        if e.part == ADJOINT and e.target is not None:
            by_target.setdefault(e.target, []).append(e.node)
    for target, nodes in by_target.items():
        # where several nodes add up, only the total is the derivative
        total = [n for n in nodes if not n.operator.startswith("adjoint ")] or nodes
        if len(total) == 1:
            plain = names.get(value_name(target)) or f"t_{{{target.id}}}"
            names[value_name(total[0].output)] = rf"\bar{{{plain}}}"
    for old, new in graph.updates:
        names[value_name(new)] = rf"{names[value_name(old)]}{{}}'"
    return names


def _parameter_latex(name: str) -> str:
    """`conv1.weight` as W^{conv1}."""
    layer, _, own = name.rpartition(".")
    symbol = SYMBOLS.get(own) or rf"\mathrm{{{_escaped(own)}}}"
    return rf"{symbol}^{{\mathrm{{{_escaped(layer)}}}}}" if layer else symbol


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")
