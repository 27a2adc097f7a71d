"""Fusion: which nodes share a loop nest.

A pointwise node joins the kernel that computes one of its operands when both have the same axes, the operand is read
in place, and nothing else that the node needs depends on that kernel. A reduction always opens a kernel of its own.
The kernels of a recurrence are a chain, which no other node joins.

**Ensures** kernels in a topological order in which a parameter is overwritten after its last other reader.
**Fails** never; what was not fused is a kernel of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphc.errors import LoweringError
from graphc.graph.analysis.order import stable_order
from graphc.graph.analysis.recurrences import Recurrence, recurrences, units
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.cost import operations
from graphc.ops.formula import Axis, Formula, index_symbol, rename_axes, rename_operands
from graphc.ops.structure import identity, reads_identity
from graphc.ops.wellformed import index_operands
from graphc.schedule.program import Kernel, Stage
from graphc.schedule.recurrence import late, recurrence, with_copies_near
from graphc.schedule.scatter import scatters
from graphc.types import Batch, Extent

LONG = 96
"""Cycles of a formula that is no part of a sum's kernel: it would be written out for each vector of a row of a tile,
and reading the sum again costs less."""

LOWERING_NAMES = re.compile(r"N|acc|whole|tile|once|t\d+|.*_([0blrtuv]|block|held|at)")
"""Loop variables, register arrays and values that lowering makes: axes of these names are renamed."""


def value_name(value: Value) -> str:
    """The name of a value's memory: the user's for inputs and parameters."""
    return value.name or f"t{value.id}"


def with_own_names(graph: Graph) -> Graph:
    """The graph with ids above every number k for which a user has called something t<k>."""
    named = [v.name for v in (*graph.inputs, *graph.parameters)]
    numbers = [int(name[1:]) for name in named if re.fullmatch(r"t[0-9]+", name)]
    if not numbers:
        return graph
    shift = 1 + max(numbers)
    moved = {v: replace(v, id=v.id + shift) for v in graph.values}
    nodes = tuple(
        replace(
            n, inputs=tuple(moved[v] for v in n.inputs), output=moved[n.output],
            delayed=tuple(moved[v] for v in n.delayed), origin=None if n.origin is None else n.origin + shift,
        )
        for n in graph.nodes
    )  # fmt: skip
    return Graph(
        tuple(moved[v] for v in graph.inputs), tuple(moved[v] for v in graph.parameters), nodes,
        tuple(moved[v] for v in graph.outputs), tuple((moved[a], moved[b]) for a, b in graph.updates),
    )  # fmt: skip


def with_own_copies(graph: Graph) -> Graph:
    """The graph in which a parameter's new value that is another parameter, or an input, is computed: by a copy.

    It is then read like any value, before the other parameter is overwritten.
    """
    leaves = {*graph.inputs, *graph.parameters}
    builder, updates = Builder(graph), []
    for old, new in graph.updates:
        if new in leaves and new != old:
            new = builder.node("copy", identity("X", new.type.shape), [new], new.type, scope=old.name)
        updates.append((old, new))
    return builder.graph(graph.outputs, updates) if len(builder.nodes) > len(graph.nodes) else graph


@dataclass(slots=True)
class _Group:
    """A kernel while it is being gathered."""

    nodes: list[Node]
    cycle: Recurrence | None = None

    @property
    def scatters(self) -> bool:
        return self.cycle is None and scatters(self.nodes[0])

    @property
    def shape(self) -> tuple[Extent, ...]:
        return self.nodes[0].output.type.shape


def fuse(graph: Graph) -> tuple[Kernel, ...]:
    """Kernels of a graph, not yet laid out: stage operands and stores carry value names."""
    groups: list[_Group] = []
    group_of: dict[Value, int] = {}
    ancestors: list[set[int]] = []
    cycles = {node.output: cycle for cycle in recurrences(graph) for node in cycle.nodes}
    for unit in units(graph):
        cycle, first = cycles.get(unit[0].output), len(groups)
        for node in unit if cycle is None else late(unit):
            direct = {group_of[v] for v in node.inputs if v in group_of and v not in node.delayed}
            home = _home(node, cycle, groups, group_of, ancestors, direct)
            if home is None:
                home = len(groups)
                groups.append(_Group([node], cycle))
                ancestors.append(set())
            else:
                groups[home].nodes.append(node)
            group_of[node.output] = home
            for g in direct - {home}:
                new = {g} | ancestors[g]
                ancestors[home] |= new
                for later, known in enumerate(ancestors):
                    if home in known:
                        ancestors[later] |= new
        if cycle is not None:  # each member depends on all of them
            members = range(first, len(groups))
            before = set(members).union(*(ancestors[g] for g in members))
            ancestors[first:] = [before - {g} for g in members]
    return _order(graph, groups, group_of, ancestors)


def _home(
    node: Node, cycle: Recurrence | None, groups: list[_Group], group_of: dict[Value, int],
    ancestors: list[set[int]], direct: set[int],
) -> int | None:  # fmt: skip
    """The latest kernel that the node may join: one that computes an operand, in a recurrence any pointwise one."""
    if not node.formula.is_pointwise:
        return None
    operands = dict(zip(node.formula.operands, node.inputs, strict=True))
    indices = set(index_operands(node.formula))  # what is used as an index is read from memory
    long = operations(node.formula.body).cycles > LONG
    beside = [g for g, group in enumerate(groups) if cycle is not None and group.nodes[0].formula.is_pointwise]
    for g in (*sorted(direct, reverse=True), *reversed(beside)):
        if groups[g].nodes[0].output.type != node.output.type or groups[g].cycle is not cycle or groups[g].scatters:
            continue
        if long and cycle is None and not groups[g].nodes[0].formula.is_pointwise:
            continue
        members = [o for o, v in operands.items() if group_of.get(v) == g]
        if not all(reads_identity(node.formula, o) for o in members) or not indices.isdisjoint(members):
            continue
        if any(g in ancestors[other] for other in direct - {g}):
            continue
        return g
    return None


def _order(
    graph: Graph, groups: list[_Group], group_of: dict[Value, int], ancestors: list[set[int]]
) -> tuple[Kernel, ...]:
    """Topological order; a parameter's new value comes after all other readers of the old one and after the loss.

    Where that is impossible the new value is stored apart and copied at the end.
    """
    readers: dict[Value, set[int]] = {}
    edges: set[tuple[int, int]] = set()
    for g, group in enumerate(groups):
        for node in group.nodes:
            for v in node.inputs:
                readers.setdefault(v, set()).add(g)
                if v in group_of and group_of[v] != g and v not in node.delayed:
                    edges.add((group_of[v], g))
    loss = group_of.get(graph.outputs[0]) if graph.outputs and graph.updates else None
    in_place: dict[Value, Value] = {}
    for old, new in graph.updates:
        home = group_of.get(new)
        before = readers.get(old, set()) | ({loss} if loss is not None else set())
        if home is None or any(home == g or home in ancestors[g] for g in before - {home}):
            continue
        if home == loss or not _reads_in_place(groups[home], old) or new in in_place:
            continue
        in_place[new] = old
        for g in before - {home}:  # whose kernels now come before this one and all that need it
            edges.add((g, home))
            if not (earlier := {g} | ancestors[g]) <= ancestors[home]:
                for later, known in enumerate(ancestors):
                    if later == home or home in known:
                        ancestors[later] |= earlier
    live = set(graph.results)
    needed_elsewhere = {
        v
        for g, group in enumerate(groups)
        for n in group.nodes
        for v in n.inputs
        if group_of.get(v, g) != g or v in n.delayed
    }
    kernels: list[Kernel] = []
    for together in _together(groups, edges):
        some = [_kernel(groups[g], live | needed_elsewhere, in_place) for g in together]
        cycle = groups[together[0]].cycle
        kernels += some if cycle is None else recurrence(cycle, some)
    kernels += [_copy(old, in_place.get(new, new)) for old, new in graph.updates if in_place.get(new) != old]
    named = [replace(k, name=f"k{i}") for i, k in enumerate(kernels)]
    return tuple(with_copies_near(named, frozenset(map(value_name, live))))


def _together(groups: list[_Group], edges: set[tuple[int, int]]) -> Iterator[list[int]]:
    """Groups in order, those of a recurrence together, in the order of one step."""
    members: dict[int, list[int]] = {}
    for g, group in enumerate(groups):
        members.setdefault(g if group.cycle is None else ~id(group.cycle), []).append(g)
    grouped = list(members.values())
    unit_of = {g: u for u, together in enumerate(grouped) for g in together}
    outer = {(unit_of[a], unit_of[b]) for a, b in edges if unit_of[a] != unit_of[b]}
    for u in stable_order(len(grouped), outer):
        together = grouped[u]
        place = {g: k for k, g in enumerate(together)}
        inner = {(place[a], place[b]) for a, b in edges if a in place and b in place}
        yield [together[k] for k in stable_order(len(together), inner)]


def _reads_in_place(group: _Group, parameter: Value) -> bool:
    """Whether a kernel touches each element of a parameter only where it computes the new one."""
    for node in group.nodes:
        for operand, v in zip(node.formula.operands, node.inputs, strict=True):
            if v == parameter and not reads_identity(node.formula, operand):
                return False
    return True


def _copy(parameter: Value, new: Value) -> Kernel:
    """A kernel that overwrites a parameter with its new value."""
    body = identity(value_name(new), new.type.shape)
    name = f"{value_name(parameter)}_new"
    why = f"{parameter} is overwritten at the end: its old value is needed until then"
    return Kernel("", (Stage(name, new, body),), ((name, value_name(parameter)),), scope=parameter.name, remarks=(why,))


def _kernel(group: _Group, stored: set[Value], in_place: dict[Value, Value]) -> Kernel:
    nodes = group.nodes
    axes = _plain(nodes[0].formula.axes)
    own = {n.output for n in nodes}
    names = {v: value_name(v if v in own else in_place.get(v, v)) for n in nodes for v in (*n.inputs, n.output)}
    stages = tuple(Stage(names[n.output], n.output, _own(n, axes, names)) for n in nodes)
    stores = tuple((s.name, value_name(in_place.get(s.value, s.value))) for s in stages if s.value in stored)
    for node in nodes:
        if node.output in stored:
            _check_batch(node)
    scope = "+".join(dict.fromkeys(n.scope for n in nodes if n.scope))
    return Kernel("", stages, stores, scatters=group.scatters, scope=scope, location=nodes[0].location)


def _own(node: Node, axes: tuple[Axis, ...], memory: dict[Value, str]) -> Formula:
    """The node's formula over the kernel's axes and the names of memories."""
    theirs = node.formula.axes
    names = {a.name: b.name for a, b in zip(theirs, axes, strict=True)}
    taken = set(names.values())
    for axis in node.formula.over:
        names[axis.name] = _free(f"{axis.name}_r" if axis.name in taken else axis.name, taken)
        taken.add(names[axis.name])
    away = rename_axes(node.formula, {old: f"~{old}" for old in names})
    f = rename_axes(away, {f"~{old}": new for old, new in names.items()})
    operands = dict(zip(node.formula.operands, node.inputs, strict=True))
    away = rename_operands(f, {o: f"~{o}" for o in operands})
    return rename_operands(away, {f"~{o}": memory[v] for o, v in operands.items()})


def _check_batch(node: Node) -> None:
    """Raises LoweringError for a value whose size is not linear in the batch."""
    if sum(isinstance(e, Batch) for e in node.output.type.shape) > 1:
        raise LoweringError(
            f"{node.operator} is {node.output.type}: memory holds the batch on one axis only",
            location=node.location, layer=node.scope,
            hint="declare the inputs with a fixed number of samples: gc.input(name, (64, ...))",
        )  # fmt: skip


def _plain(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The axes under names that the loops made of them may have."""
    taken: set[str] = set()
    result = []
    for axis in axes:
        name = _free(axis.name, taken)
        taken.add(name)
        result.append(Axis(index_symbol(name), axis.extent))
    return tuple(result)


def _free(name: str, taken: set[str]) -> str:
    """The name, with underscores behind it if it is taken or one that lowering gives."""
    while name in taken or LOWERING_NAMES.fullmatch(name):
        name += "_"
    return name
