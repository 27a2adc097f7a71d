"""Store or recompute: which forward values the backward part keeps in memory, by a minimum cut.

Every forward value is an edge in -> out whose capacity is what storing it costs; recomputing it costs the
edge source -> in. What the backward part reads is tied to the sink. The cheapest cut between source and
sink is the cheapest choice: an edge in -> out in the cut is a stored value, an edge source -> in a
recomputed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
from networkx.algorithms.flow import boykov_kolmogorov

from graphc.errors import GraphError
from graphc.graph.analysis.liveness import size_in_bytes
from graphc.graph.analysis.recurrences import members
from graphc.graph.analysis.topology import descendants
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.cost import count, operations

TRAFFIC_PER_BYTE = 16
"""Price of storing one byte: it is written once and read once more, in sixteenths of an operation's time."""

PRICE_PER_CYCLE = 2
"""Price of one vectorised scalar operation on one element, in the same unit."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one forward value that the backward part needs, directly or to recompute another."""

    value: Value
    stored: bool
    reason: str
    bytes: int


def backward_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes that belong to an adjoint, and those that depend on one (the updates)."""
    seeds = [node.output for node in graph.nodes if node.origin is not None]
    reached = descendants(graph, seeds)
    return tuple(node for node in graph.nodes if node.output in reached)


def store_or_recompute(
    graph: Graph, batch: int = 32, overrides: Mapping[Value, bool] | None = None
) -> tuple[Decision, ...]:
    """The decision for each forward value on which the backward part depends, in order of definition.

    Reductions and members of recurrences are never recomputed; pointwise values may be, when the memory that it saves
    is worth the work. `overrides` maps a value to whether it must be stored. Raises GraphError when what is never
    recomputed is to be.
    """
    overrides = overrides or {}
    recurrent = members(graph)
    backward = backward_nodes(graph)
    later = {node.output for node in backward}
    forward = {node.output: node for node in graph.nodes if node.output not in later}
    needed = {v for node in backward for v in node.inputs if v in forward}
    needed |= {v for v in overrides if v in forward}
    for v, stored in overrides.items():
        if v in forward and not stored and (v in recurrent or forward[v].formula.reduction is not None):
            kind = "belongs to a recurrence" if v in recurrent else "is a reduction"
            raise GraphError(
                f"{v} cannot be recomputed: it {kind}", hint="store it, or recompute the values before it"
            )  # fmt: skip
    recomputed = _sink_side(forward, needed, batch, {**overrides, **dict.fromkeys(recurrent, True)})
    relevant = _relevant(forward, needed, recomputed)
    return tuple(
        Decision(
            v,
            v not in recomputed,
            "asked for"
            if v in overrides
            else "a recurrence is never recomputed"
            if v in recurrent
            else _reason(forward[v], v not in recomputed, forward, relevant),
            size_in_bytes(v, batch),
        )
        for v in forward
        if v in relevant
    )


def _sink_side(
    forward: dict[Value, Node], needed: set[Value], batch: int, overrides: Mapping[Value, bool]
) -> set[Value]:
    """The values whose recomputation is cheaper than their storage, all things considered."""
    if not needed:
        return set()
    network = nx.DiGraph()
    for v, node in forward.items():
        network.add_edge(("in", v), ("out", v), **_capacity(_storing(v, batch, overrides.get(v))))
        network.add_edge("source", ("in", v), **_capacity(_recomputing(node, batch, overrides.get(v))))
        for operand in node.inputs:
            if operand in forward:
                network.add_edge(("out", operand), ("in", v))
    for v in forward:
        if v in needed:
            network.add_edge(("out", v), "sink")
    _, (_, sink_side) = nx.minimum_cut(network, "source", "sink", flow_func=boykov_kolmogorov)
    return {v for v in forward if ("in", v) in sink_side}


def _capacity(price: int | None) -> dict[str, int]:
    """An edge without capacity is never cut."""
    return {} if price is None else {"capacity": price}


def _storing(value: Value, batch: int, wish: bool | None) -> int | None:
    return None if wish is False else TRAFFIC_PER_BYTE * size_in_bytes(value, batch)


def _recomputing(node: Node, batch: int, wish: bool | None) -> int | None:
    if wish is True or not node.formula.is_pointwise:
        return None
    # one more than the work, so that of two equal choices the stored value wins
    return 1 + PRICE_PER_CYCLE * operations(node.formula.body).cycles * count(node.formula.shape)(batch)


def _relevant(forward: dict[Value, Node], needed: set[Value], recomputed: set[Value]) -> set[Value]:
    """What the backward part reads, and what is read again in order to recompute it."""
    found: set[Value] = set()
    pending = list(needed)
    while pending:
        v = pending.pop()
        if v in found or v not in forward:
            continue
        found.add(v)
        if v in recomputed:
            pending.extend(forward[v].inputs)
    return found


def _reason(node: Node, stored: bool, forward: dict[Value, Node], relevant: set[Value]) -> str:
    """Why a value is stored or recomputed, in words."""
    work = operations(node.formula.body).total
    if not stored:
        return f"{work} operations for each element, from values that are there anyway"
    if node.formula.reduction is not None:
        return f"a reduction ({node.formula.reduction}) is never recomputed"
    absent = [str(v) for v in dict.fromkeys(node.inputs) if v in forward and v not in relevant]
    if absent:
        return f"to recompute it, {' and '.join(absent)} would have to be stored instead"
    return f"{work} operations for each element cost more than {node.output.type.dtype.bytes} bytes"
