"""Reverse accumulation over a graph: Graph -> Graph, applicable again to its own result.

    gradients(graph, loss, wrt)                       ∂loss/∂w for every w
    vjp(graph, cotangents, wrt)                       Σ_y  v_y · ∂y/∂w
    jvp(graph, outputs, tangents)                     Σ_w  ∂y/∂w · t_w, by applying vjp twice
    hessian_vector_product(graph, loss, wrt, vectors) Σ_u  ∂²loss/∂w∂u · v_u

Nodes that came from one application of an operator are differentiated together, and so are their adjoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Adjoint, Application, cotangent_name
from graphc.errors import DerivativeError, GraphError
from graphc.graph.analysis.recurrences import is_cycle, settled, units
from graphc.graph.analysis.topology import ancestors
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.rewriting import rewire
from graphc.ops.compose import is_identity_read
from graphc.ops.formula import (
    Axis,
    Formula,
    N,
    Read,
    formula,
    free_symbols,
    index_symbol,
    rename_operands,
    tensor_symbol,
    value_reads,
)
from graphc.ops.notation import pointwise_names
from graphc.ops.operator import Statement

Vectors: TypeAlias = Mapping[Value, Value] | Iterable[tuple[Value, Value]]
"""Values with what is pulled back or pushed forward along them."""


def gradients(
    graph: Graph,
    loss: Value,
    wrt: tuple[Value, ...],
    cotangent: Value | None = None,
    *,
    normalise: bool = True,
) -> tuple[Graph, tuple[Value, ...]]:
    """∂loss/∂w for each value of `wrt`, as new nodes at the end of the graph; zeros where it has no part.

    With a `cotangent` of the loss's type, the loss need not be a scalar: Σ cotangent · ∂loss/∂w.
    Raises DerivativeError for a loss that is not a scalar or not floating-point and for an integer w,
    GraphError for values of another graph.
    """
    if cotangent is None and loss.type.rank:
        raise DerivativeError(
            f"the loss {loss} is {loss.type}, expected a scalar",
            hint="reduce it with mean() or sum(), or give the cotangent to be pulled back",
        )
    sweep = _Sweep(graph, wrt, normalise)
    if cotangent is None:
        sweep.seed(loss)
    else:
        sweep.give(loss, cotangent)
    return sweep.run(graph)


def vjp(
    graph: Graph, cotangents: Vectors, wrt: tuple[Value, ...], *, normalise: bool = True
) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_y v_y · ∂y/∂w for each value of `wrt`; the `cotangents` of a value that is given several times add up."""
    sweep = _Sweep(graph, wrt, normalise)
    for value, cotangent in _pairs(cotangents):
        sweep.give(value, cotangent)
    return sweep.run(graph)


def hessian_vector_product(
    graph: Graph, loss: Value, wrt: tuple[Value, ...], vectors: tuple[Value, ...]
) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_u ∂²loss/∂w∂u · v_u: the gradients of Σ_u v_u · ∂loss/∂u with respect to `wrt`."""
    graph, first = gradients(graph, loss, wrt)
    return vjp(graph, zip(first, vectors, strict=True), wrt)


def jvp(graph: Graph, outputs: tuple[Value, ...], tangents: Vectors) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_w ∂y/∂w · t_w for each output y; `tangents` pairs every w with its t_w.

    The vector-Jacobian product is linear in its cotangents; its own vector-Jacobian product is the answer.
    """
    builder = Builder(graph)
    placeholders = tuple(builder.value(y.type) for y in outputs)
    builder.inputs += placeholders
    with_placeholders = builder.graph(graph.outputs, graph.updates)
    wrt, directions = zip(*_pairs(tangents), strict=True)
    pulled, back = vjp(with_placeholders, zip(outputs, placeholders, strict=True), wrt)
    pushed, result = vjp(pulled, zip(back, directions, strict=True), placeholders)
    nodes = _needed(pushed, result, graph)
    return replace(pushed, inputs=graph.inputs, nodes=nodes), result


def _pairs(vectors: Vectors) -> Iterable[tuple[Value, Value]]:
    return vectors.items() if isinstance(vectors, Mapping) else vectors


def _needed(graph: Graph, results: tuple[Value, ...], base: Graph) -> tuple[Node, ...]:
    """The base graph's nodes and those of the later ones on which the results depend."""
    live = ancestors(graph, results)
    return (*base.nodes, *(node for node in graph.nodes[len(base.nodes) :] if node.output in live))


# -------------------------------------------------------------------------------------------------- the sweep


class _Sweep:
    """Cotangents of values, accumulated from the last application to the first."""

    def __init__(self, graph: Graph, wrt: tuple[Value, ...], normalise: bool) -> None:
        self.builder = Builder(graph)
        self.wrt, self.normalise = wrt, normalise
        self.defined = set(graph.values)
        for w in wrt:
            self._known(w)
            if not w.type.dtype.is_float:
                raise DerivativeError(
                    f"{w} is {w.type}; integers have no derivative",
                    hint="ask for derivatives with respect to floating-point values",
                )
        self.contributions: dict[Value, list[Value]] = {}
        self.constants: dict[Value, Expr] = {}
        """Cotangents that are one known number in every element: no node is needed for them."""
        self.promised: set[Value] = set()
        """Cotangents that are read, at a later time of their recurrence, before they are defined."""

    def _known(self, value: Value) -> None:
        if value not in self.defined:
            raise GraphError(f"{value} is not a value of this graph", hint="take values from the graph given")

    def seed(self, loss: Value) -> None:
        """∂loss/∂loss = 1"""
        self._known(loss)
        if not loss.type.dtype.is_float:
            raise DerivativeError(f"the loss {loss} is {loss.type}; integers have no derivative")
        self.constants[loss] = sp.S.One

    def give(self, value: Value, cotangent: Value) -> None:
        """The cotangent of a value, from outside."""
        self._known(value)
        self._known(cotangent)
        if cotangent.type != value.type:
            raise DerivativeError(f"the cotangent of {value} is {cotangent.type}, expected {value.type}")
        self.contributions.setdefault(value, []).append(cotangent)

    def run(self, graph: Graph) -> tuple[Graph, tuple[Value, ...]]:
        active = dependents(graph, self.wrt)
        for nodes in reversed(_stretches(graph)):
            later = self._from_later_times(nodes, active)
            for application in reversed(_applications(nodes, self.wrt)):
                self._pull_back(application, active)
            self._define({promise: self._result(value) for promise, value in later.items()})
        results = tuple(self._result(w) for w in self.wrt)
        return settled(self.builder.graph(graph.outputs, graph.updates)), results

    # Time runs backwards in the adjoint of a recurrence. For P[n,t,k] = H[n,t-1,k] the cotangent of H receives
    # d_P[n,t+1,k], which is computed from it, at a later time: a delayed read again, of a value that is promised first.

    def _from_later_times(self, nodes: tuple[Node, ...], active: frozenset[Value]) -> dict[Value, Value]:
        """Add what delayed reads contribute; returns the promised cotangents with the values that they belong to."""
        promises: dict[Value, Value] = {}
        if not any(n.output in self.contributions or n.output in self.constants for n in nodes):
            return promises
        for node in nodes:
            application, names, past = _application((node,))
            for v in node.delayed:
                if node.output in active and v in active and v in _differentiable(node):
                    promise = self.builder.value(node.output.type)
                    self.promised.add(promise)
                    promises[promise] = node.output
                    seed = ((names[node.output], None),)
                    derived = adjoint(application, seed, (past[v],), self.normalise)
                    values = _by_name(names, past) | {cotangent_name(names[node.output]): promise}
                    self._contribute(derived, {v: past[v]}, values, node)
        return promises

    def _define(self, promised: dict[Value, Value]) -> None:
        """Keep promises: what was read ahead of its definition is known now."""
        if promised:
            self.builder.nodes = [rewire(node, promised) for node in self.builder.nodes]

    def _pull_back(self, nodes: tuple[Node, ...], active: frozenset[Value]) -> None:
        outputs = {n.output for n in nodes if n.output in active}
        given = [v for v in outputs if v in self.contributions or v in self.constants]
        if not given:
            return
        application, names, past = _application(nodes)
        inside = {n.output for n in nodes}
        wanted = {
            v: names[v] for n in nodes for v in n.inputs
            if v in active and v not in inside and v not in n.delayed and v.type.dtype.is_float
        }  # fmt: skip
        if not wanted:
            return
        last = nodes[-1]
        cotangents: list[tuple[str, Expr | None]] = []
        values = _by_name(names, past)
        for node in nodes:
            if node.output in self.constants and node.output not in self.contributions:
                cotangents.append((names[node.output], self.constants[node.output]))
            elif node.output in given:
                cotangents.append((names[node.output], None))
                values[cotangent_name(names[node.output])] = self._total(node.output, last)
        derived = adjoint(application, tuple(cotangents), tuple(wanted.values()), self.normalise)
        self._contribute(derived, wanted, values, last)

    def _contribute(self, derived: Adjoint, wanted: dict[Value, str], values: dict[str, Value], of: Node) -> None:
        """Append the statements of an adjoint and add its results to the cotangents of the wanted values."""
        known = self._append(derived, values, of)
        results = dict(derived.results)
        for v, name in wanted.items():
            result = results[name]
            if result in known:
                self.constants[v] = self.constants.get(v, sp.S.Zero) + known[result]
            elif result is not None:
                self.contributions.setdefault(v, []).append(values[result])

    def _append(self, derived: Adjoint, values: dict[str, Value], of: Node) -> dict[str, Expr]:
        """Nodes for the statements of an adjoint, added to `values`; returns results that are one number."""
        operands = {result: operand for operand, result in derived.results if result is not None}
        known: dict[str, Expr] = {}
        call = self.builder.new_call()
        base = of.operator
        for s in derived.statements:
            if s.name in operands and (constant := _constant(s.formula)) is not None:
                known[s.name] = constant
                continue
            source = next(iter(s.formula.operands), None)
            if source is not None and is_identity_read(s.formula, source) and values[source].type == s.type:
                values[s.name] = values[source]
                continue
            title = f"adjoint {base}/{operands[s.name]}" if s.name in operands else f"adjoint {base}.{s.name}"
            inputs = [values[o] for o in s.formula.operands]
            values[s.name] = self.builder.node(
                title, s.formula, inputs, s.type, call=call, scope=of.scope,
                origin=of.output.id, location=of.location, delayed=[v for v in inputs if v in self.promised],
            )  # fmt: skip
        return known

    def _total(self, value: Value, near: Node | None = None) -> Value:
        """The sum of all contributions to a cotangent."""
        parts = self.contributions[value]
        constant = self.constants.get(value, sp.S.Zero)
        if len(parts) == 1 and constant == 0:
            return parts[0]
        axes = _axes(value)
        names = [f"x{k}" for k in range(len(parts))]
        body = sp.Add(constant, *[Read(tensor_symbol(n), *[a.symbol for a in axes]) for n in names])
        total = self.builder.node(
            "accumulate", formula(axes, body, operands=names), parts, value.type,
            scope=near.scope if near else "", origin=value.id, location=near.location if near else None,
        )  # fmt: skip
        self.contributions[value] = [total]
        self.constants.pop(value, None)
        return total

    def _result(self, value: Value) -> Value:
        if value in self.contributions:
            return self._total(value)
        constant = self.constants.get(value, sp.S.Zero)
        return self.builder.node(
            "zeros" if constant == 0 else "seed",
            formula(_axes(value), constant),
            (),
            value.type,
            origin=value.id,
        )


def _stretches(graph: Graph) -> list[tuple[Node, ...]]:
    """The nodes in runs: those of one recurrence, or those between recurrences."""
    runs: list[tuple[Node, ...]] = []
    open_run = False
    for unit in units(graph):
        if open_run and not is_cycle(unit):
            runs[-1] += unit
        else:
            runs.append(unit)
        open_run = not is_cycle(unit)
    return runs


def _applications(nodes: tuple[Node, ...], wrt: tuple[Value, ...]) -> list[tuple[Node, ...]]:
    """Consecutive nodes of one call, cut around delays and behind every value whose own cotangent is asked for."""
    runs: list[tuple[Node, ...]] = []
    for node in nodes:
        last = runs[-1][-1] if runs else None
        if last and last.call == node.call and not last.delayed and not node.delayed and last.output not in wrt:
            runs[-1] += (node,)
        else:
            runs.append((node,))
    return runs


def dependents(graph: Graph, wrt: Iterable[Value]) -> frozenset[Value]:
    """Every value that can be differentiated with respect to one of `wrt`, and these themselves."""
    active, before = set(wrt), 0
    while len(active) > before:  # once, and once more for what depends on something delayed
        before = len(active)
        for node in graph.nodes:
            if node.output.type.dtype.is_float and not active.isdisjoint(_differentiable(node)):
                active.add(node.output)
    return frozenset(active)


def _axes(value: Value) -> tuple[Axis, ...]:
    names = pointwise_names(value.type.rank)
    return tuple(Axis(index_symbol(n), e) for n, e in zip(names, value.type.shape, strict=True))


def _differentiable(node: Node) -> Iterable[Value]:
    """The inputs in whose values a node can be differentiated."""
    names = {r.name for r in value_reads(node.formula.body)}
    return [v for o, v in zip(node.formula.operands, node.inputs, strict=True) if o in names]


Names: TypeAlias = dict[Value, str]


def _by_name(*several: Names) -> dict[str, Value]:
    return {name: value for names in several for value, name in names.items()}


def _application(nodes: tuple[Node, ...]) -> tuple[Application, Names, Names]:
    """The nodes of one call as statements over names that depend on their structure alone.

    What is delayed has a name of its own: it is another value than that of now, even where a node reads itself.
    """
    names: Names = {}
    past: Names = {}
    taken: set[str] = set()

    def name(names: Names, value: Value, wish: str) -> None:
        if value in names:
            return
        fresh, k = wish, 1
        while not taken.isdisjoint((fresh, cotangent_name(fresh), fresh.removeprefix(cotangent_name("")))):
            k += 1
            fresh = f"{wish}{k}"
        names[value] = fresh
        taken.add(fresh)

    outputs = {n.output for n in nodes}
    for node in nodes:
        for operand, value in zip(node.formula.operands, node.inputs, strict=True):
            name(past if value in node.delayed else names, value, operand)
    operands = tuple(
        (own, v.type) for own, v in _by_name(names, past).items() if own in past.values() or v not in outputs
    )
    for node in nodes:
        name(names, node.output, "Y")
    statements = tuple(
        Statement(
            names[n.output],
            rename_operands(
                n.formula,
                {o: (past if v in n.delayed else names)[v] for o, v in zip(n.formula.operands, n.inputs, strict=True)},
            ),
            n.output.type,
        )
        for n in nodes
    )
    return Application(nodes[-1].operator, operands, statements), names, past


def _constant(f: Formula) -> Expr | None:
    """The number that a formula has in every element, if it is one."""
    if f.reduction or f.conditions or f.operands or free_symbols(f.body) - {N}:
        return None
    return f.body
