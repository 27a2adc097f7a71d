"""The layers of a graph as they can be watched: what they give, which functions bend it, what they learn.

Nothing is known by name. A layer is a scope; its output is what it computes last of all that others read. Its units lie
along the axis of the output that its parameters are indexed by. An activation is a function of one number whose slope
vanishes far to the left or to the right; the slope is derived, so that dead units are those where it is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.autodiff.partials import partials
from graphc.errors import DerivativeError
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Axis, Formula, all_reads, formula, index_symbol, reads, tensor_symbol, value_reads
from graphc.ops.formula import Read as FormulaRead
from graphc.ops.formula import replace as substituted
from graphc.ops.recurrence import places
from graphc.types import Batch

FAR = 40.0
"""Where a function that will ever be flat is taken to be."""

FLAT = 1e-6
"""The share of the steepest slope that counts as none."""


@dataclass(frozen=True, slots=True)
class Bend:
    """The slope of a function of one number, its largest value, and whether it vanishes on both sides."""

    slope: Formula
    steepest: float
    bounded: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """A layer: its output, its unit axis, its activations by their nodes, its parameters, and what it hands on.

    `states` are the values that its next step in time reads, each with its axis of time.
    """

    scope: str
    output: Value
    unit: int | None
    bends: tuple[tuple[Node, Bend], ...]
    parameters: tuple[Value, ...]
    states: tuple[tuple[Value, int], ...]


def layers_of(graph: Graph) -> tuple[Watched, ...]:
    """The layers that the first output of a forward graph needs, in the order in which they are computed."""
    needed = _needed(graph)
    consumers, producers = graph.consumers(), graph.producers()
    places_of = {node.output: k for k, node in enumerate(graph.nodes)}
    scopes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        scopes.setdefault(node.scope, []).append(node)
    outside = [n for n in scopes.pop("", []) if len(n.inputs) == 1 and n.inputs[0] in producers]
    found = []
    for scope, nodes in scopes.items():
        inside = {n.output for n in nodes}
        given = [v for n in nodes if (v := n.output) in needed and _is_signal(v) and _leaves(consumers[v], inside)]
        if not given:
            continue
        output = given[-1]
        # a function that is applied to a layer's output without being in a layer belongs to it
        after = [n for n in outside if n.inputs[0] == output]
        bends = tuple((n, b) for n in (*nodes, *after) if (b := bend(n.formula)) is not None)
        own = dict.fromkeys(v for n in nodes for v in n.inputs if v in graph.parameters and v.type.dtype.is_float)
        states = dict(state for n in nodes for state in _states(n))
        layer = Watched(scope, output, _unit(nodes, output, own), bends, tuple(own), tuple(states.items()))
        found.append((places_of[output], layer))
    return tuple(layer for _, layer in sorted(found, key=lambda entry: entry[0]))


def _needed(graph: Graph) -> set[Value]:
    """What the first output is computed from, itself included."""
    producers, found, pending = graph.producers(), set[Value](), [graph.outputs[0]]
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            pending += producers[value].inputs if value in producers else ()
    return found


def _is_signal(value: Value) -> bool:
    """Whether a value holds numbers for each sample."""
    return value.type.dtype.is_float and value.type.rank > 1 and any(isinstance(e, Batch) for e in value.type.shape)


def _leaves(consumers: tuple[Node, ...], inside: set[Value]) -> bool:
    return not consumers or any(n.output not in inside for n in consumers)


def _unit(nodes: list[Node], output: Value, parameters: dict[Value, None]) -> int | None:
    """The axis of the output along which a parameter changes, in the last formula of its rank that reads any."""
    for node in reversed(nodes):
        if node.output.type.rank != output.type.rank:
            continue
        axes = [a.name for a in node.formula.axes]
        operands = dict(zip(node.formula.operands, node.inputs, strict=True))
        along = [
            axes.index(place[0])
            for name, index in places(node.formula) if operands[name] in parameters
            for place in index if place is not None
        ]  # fmt: skip
        if along:
            return along[-1]
    return 2 if output.type.rank == 3 else 1


def _states(node: Node) -> Iterator[tuple[Value, int]]:
    """What a node reads of another time, and the axis that it is read along."""
    operands = dict(zip(node.formula.operands, node.inputs, strict=True))
    for name, index in places(node.formula):
        if operands[name] in node.delayed and operands[name].type.dtype.is_float:
            yield from ((operands[name], k) for k, place in enumerate(index) if place is not None and place[1])


@lru_cache(maxsize=4096)
def bend(f: Formula) -> Bend | None:
    """The slope of an activation; None for any other formula."""
    if not f.is_pointwise or f.conditions or len(f.operands) != 1 or len(reads(f)) != 1:
        return None
    (read,) = reads(f)
    if read not in value_reads(f.body) or {*read.index} != {a.symbol for a in f.axes} or not f.axes:
        return None
    try:
        slopes = partials(f.body)
    except DerivativeError:
        return None
    if len(slopes) != 1 or read not in all_reads(slopes[0][1]):
        return None
    x, slope = np.r_[-FAR, np.linspace(-4, 4, 81), FAR], slopes[0][1]
    with np.errstate(all="ignore"):
        steepness = np.abs(_at(slope, read, x))
    if not np.isfinite(steepness).all():
        return None
    left, right = steepness[[0, -1]] <= FLAT * steepness.max()
    if not (left or right):
        return None
    of_slope = formula(f.axes, slope, operands=f.operands)
    return Bend(of_slope, float(steepness.max()), bool(left and right))


def _at(e: Any, read: FormulaRead, x: np.ndarray) -> np.ndarray:
    """A scalar expression in one read at several values of it."""
    i, name = index_symbol("i"), tensor_symbol("x")
    alone = Formula((Axis(i, len(x)),), substituted(e, {read: FormulaRead(name, i)}), operands=("x",))
    return np.asarray(evaluate(alone, {"x": x}))
