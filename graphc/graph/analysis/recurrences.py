"""Recurrences: the cycles of a graph, which run one step of time after another, and the order that they need.

    P[n,t,k] = (t == 0 ? h0[n, k] : H[n, t - 1, k])
    H[n,t,k] = tanh(X[n, t, k] + P[n, t, k])               Recurrence((P, H), steps=T, reverse=False, {P: 1, H: 1})

A cycle is a strongly connected component of the graph of values. Its time is an axis of every member: the one along
which delayed reads go back by a whole number of steps, and at which all other reads of members stand still.
Whatever a cycle does not depend on, such as the products with its inputs, is outside of it, and so is what only
depends on it, such as the gradients of its weights: sums over time that are computed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import networkx as nx

from graphc.errors import GraphError, VerificationError
from graphc.graph.analysis.order import stable_order
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.printer import node_text
from graphc.ops.recurrence import Place, places


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Nodes that run together, all of them for each of `steps` times, from the last time to the first if `reverse`.

    `nodes` are in the order in which they run within a step; `axis_of` is the position of time in each member.
    """

    nodes: tuple[Node, ...]
    steps: int
    reverse: bool
    axis_of: dict[Value, int]

    def time(self, node: Node) -> str:
        """The name of the axis of time in the formula of a member."""
        return node.formula.axes[self.axis_of[node.output]].name


def recurrences(graph: Graph) -> tuple[Recurrence, ...]:
    """The recurrences of a graph, in its order. Raises GraphError for a cycle without a time of its own."""
    return tuple(_recurrence(unit) for unit in units(graph) if is_cycle(unit))


def members(graph: Graph) -> frozenset[Value]:
    """Every value that belongs to a recurrence."""
    return frozenset(node.output for unit in units(graph) if is_cycle(unit) for node in unit)


def units(graph: Graph) -> tuple[tuple[Node, ...], ...]:
    """The nodes in an order in which they can run: alone, or all members of a cycle together.

    Raises GraphError for a cycle in which nothing is delayed.
    """
    if not any(node.delayed for node in graph.nodes):
        return tuple((node,) for node in graph.nodes)
    return tuple(tuple(graph.nodes[k] for k in unit) for unit in _units(graph.nodes))


@lru_cache(maxsize=16)  # every pass and the verifier ask for those of the same nodes
def _units(nodes: tuple[Node, ...]) -> tuple[tuple[int, ...], ...]:
    """The positions of nodes, in an order in which they can run."""
    view = nx.DiGraph()
    position = {node.output: k for k, node in enumerate(nodes)}
    view.add_nodes_from(position)
    view.add_edges_from((v, n.output) for n in nodes for v in n.inputs if v in position)
    together = sorted(sorted(position[v] for v in component) for component in nx.strongly_connected_components(view))
    unit_of = {k: u for u, component in enumerate(together) for k in component}
    edges = ((unit_of[position[a]], unit_of[position[b]]) for a, b in view.edges)
    order = stable_order(len(together), ((a, b) for a, b in edges if a != b))
    return tuple(_within_a_step(nodes, together[u]) for u in order)


def _within_a_step(nodes: tuple[Node, ...], unit: list[int]) -> tuple[int, ...]:
    """The members of a cycle in the order in which they run: what is delayed is there before."""
    number = {nodes[k].output: i for i, k in enumerate(unit)}
    edges = [
        (number[v], i)
        for i, node in enumerate(nodes[k] for k in unit)
        for v in node.inputs
        if v in number and v not in node.delayed
    ]
    try:
        return tuple(unit[i] for i in stable_order(len(unit), edges))
    except VerificationError:
        cycle = " -> ".join(map(str, number))
        raise GraphError(f"the graph has a cycle without a delay: {cycle}", location=nodes[unit[0]].location) from None


def is_cycle(unit: Sequence[Node]) -> bool:
    """Whether a unit is a recurrence: several nodes, or one that reads itself."""
    return len(unit) > 1 or unit[0].output in unit[0].inputs


def settled(graph: Graph) -> Graph:
    """The graph with the members of each recurrence next to each other, and nothing delayed that is in none.

    What passes do to a recurrence can break its cycle up, and may put other nodes between its members.
    """
    if not any(node.delayed for node in graph.nodes):
        return graph
    nodes = tuple(node for unit in units(graph) for node in _delayed_inside(unit))
    return graph.with_nodes(nodes)


def _delayed_inside(unit: tuple[Node, ...]) -> Iterator[Node]:
    """The nodes of a unit, delayed only where they read a member of their cycle."""
    members = {node.output for node in unit} if is_cycle(unit) else set()
    for node in unit:
        delayed = tuple(v for v in node.delayed if v in members)
        yield node if delayed == node.delayed else replace(node, delayed=delayed)


# ------------------------------------------------------------------------------------------------ the axis of time


def _recurrence(nodes: tuple[Node, ...]) -> Recurrence:
    """The recurrence of a cycle. Several axes may be shifted in one delayed read; only one of them can be time."""
    members = {node.output for node in nodes}
    first = next(node for node in nodes if members.intersection(node.delayed))
    source = next(v for v in first.delayed if v in members)
    why = f"{first.output} reads {source} at no earlier time"
    for _, index in _reads(first, source):
        for position, place in enumerate(index):
            if place is None or not place[1]:
                continue
            found = _along(nodes, source, position, place[1] > 0)
            if isinstance(found, Recurrence):
                return found
            why = found
    raise GraphError(
        f"no axis is the time of the cycle {' -> '.join(str(n.output) for n in nodes)}: {why}",
        location=first.location, layer=first.scope,
    )  # fmt: skip


def _along(nodes: tuple[Node, ...], source: Value, position: int, reverse: bool) -> Recurrence | str:
    """The recurrence along an axis of one member, or why it is none."""
    members = {node.output for node in nodes}
    axis_of = {source: position}
    steps = source.type.shape[position]
    if not isinstance(steps, int):
        return "the batch has no order"
    pending = [source]
    while pending:
        v = pending.pop()
        for node in nodes:
            if v in node.inputs and node.output not in axis_of:
                for text, index in _reads(node, v)[:1]:
                    place = index[axis_of[v]]
                    if place is None:
                        return f"{node_text(node)} reads {text} at a time of its own"
                    axis_of[node.output] = [a.name for a in node.formula.axes].index(place[0])
                    pending.append(node.output)
    for node in nodes:
        if node.output.type.shape[axis_of[node.output]] != steps:
            return f"{node.output} has another number of steps than {steps}"
        for v in members.intersection(node.inputs):
            for text, index in _reads(node, v):
                place = index[axis_of[v]]
                if place is None or place[0] != node.formula.axes[axis_of[node.output]].name:
                    return f"{node_text(node)} reads {text} at a time of its own"
                if not _in_time(place, v in node.delayed, reverse):
                    return f"{node_text(node)} reads {text} at {place[0]}{place[1]:+d}"
    return Recurrence(nodes, steps, reverse, axis_of)


def _in_time(place: Place, delayed: bool, reverse: bool) -> bool:
    back = place[1] if reverse else -place[1]
    return back >= 1 if delayed else back == 0


def _reads(node: Node, value: Value) -> list[tuple[str, tuple[Place | None, ...]]]:
    """(operand, places) of every read of a value."""
    names = {o for o, v in zip(node.formula.operands, node.inputs, strict=True) if v == value}
    return [(name, index) for name, index in places(node.formula) if name in names]
