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

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Adjoint, Application, cotangent_name
from graphc.errors import DerivativeError, GraphError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
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
    graph: Graph, cotangents: Mapping[Value, Value], wrt: tuple[Value, ...], *, normalise: bool = True
) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_y v_y · ∂y/∂w for each value of `wrt`, where `cotangents` maps every y to its v_y."""
    return _pulled(graph, cotangents.items(), wrt, normalise)


def _pulled(
    graph: Graph, cotangents: Iterable[tuple[Value, Value]], wrt: tuple[Value, ...], normalise: bool = True
) -> tuple[Graph, tuple[Value, ...]]:
    """vjp for pairs: one value may be the gradient of several others, and then has several cotangents."""
    sweep = _Sweep(graph, wrt, normalise)
    for value, cotangent in cotangents:
        sweep.give(value, cotangent)
    return sweep.run(graph)


def hessian_vector_product(
    graph: Graph, loss: Value, wrt: tuple[Value, ...], vectors: tuple[Value, ...]
) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_u ∂²loss/∂w∂u · v_u: the gradients of Σ_u v_u · ∂loss/∂u with respect to `wrt`."""
    graph, first = gradients(graph, loss, wrt)
    return _pulled(graph, zip(first, vectors, strict=True), wrt)


def jvp(graph: Graph, outputs: tuple[Value, ...], tangents: Mapping[Value, Value]) -> tuple[Graph, tuple[Value, ...]]:
    """Σ_w ∂y/∂w · t_w for each output y, where `tangents` maps every w to its t_w.

    The vector-Jacobian product is linear in its cotangents; its own vector-Jacobian product is the answer.
    """
    builder = Builder(graph)
    placeholders = tuple(builder.value(y.type) for y in outputs)
    builder.inputs += placeholders
    with_placeholders = builder.graph(graph.outputs, graph.updates)
    pulled, back = vjp(with_placeholders, dict(zip(outputs, placeholders, strict=True)), tuple(tangents))
    pushed, result = _pulled(pulled, zip(back, tangents.values(), strict=True), placeholders)
    nodes = _needed(pushed, result, graph)
    return replace(pushed, inputs=graph.inputs, nodes=nodes), result


def _needed(graph: Graph, results: tuple[Value, ...], base: Graph) -> tuple[Node, ...]:
    """The base graph's nodes and those of the later ones on which the results depend."""
    live = set(results)
    kept: list[Node] = []
    for node in reversed(graph.nodes[len(base.nodes) :]):
        if node.output in live:
            kept.append(node)
            live.update(node.inputs)
    return (*base.nodes, *reversed(kept))


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
        active = self._active(graph)
        for nodes in reversed(self._applications(graph)):
            self._pull_back(nodes, active)
        results = tuple(self._result(w) for w in self.wrt)
        return self.builder.graph(graph.outputs, graph.updates), results

    def _applications(self, graph: Graph) -> list[tuple[Node, ...]]:
        """Consecutive nodes of one call, cut behind every value whose own cotangent is asked for."""
        runs: list[list[Node]] = []
        for node in graph.nodes:
            if runs and runs[-1][-1].call == node.call and runs[-1][-1].output not in self.wrt:
                runs[-1].append(node)
            else:
                runs.append([node])
        return [tuple(run) for run in runs]

    def _active(self, graph: Graph) -> frozenset[Value]:
        """Everything whose value depends on one of `wrt`, and these themselves."""
        active = set(self.wrt)
        for node in graph.nodes:
            if node.output.type.dtype.is_float and not active.isdisjoint(_differentiable(node)):
                active.add(node.output)
        return frozenset(active)

    def _pull_back(self, nodes: tuple[Node, ...], active: frozenset[Value]) -> None:
        outputs = {n.output for n in nodes if n.output in active}
        given = [v for v in outputs if v in self.contributions or v in self.constants]
        if not given:
            return
        application, names = _application(nodes)
        inside = {n.output for n in nodes}
        wanted = {
            v: names[v] for n in nodes for v in n.inputs if v in active and v not in inside and v.type.dtype.is_float
        }
        if not wanted:
            return
        last = nodes[-1]
        cotangents: list[tuple[str, Expr | None]] = []
        values = {name: v for v, name in names.items()}
        for node in nodes:
            if node.output in self.constants and node.output not in self.contributions:
                cotangents.append((names[node.output], self.constants[node.output]))
            elif node.output in given:
                cotangents.append((names[node.output], None))
                values[cotangent_name(names[node.output])] = self._total(node.output, last)
        derived = adjoint(application, tuple(cotangents), tuple(wanted.values()), self.normalise)
        known = self._append(derived, values, last)
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
                origin=of.output.id, location=of.location,
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


def _axes(value: Value) -> tuple[Axis, ...]:
    names = pointwise_names(value.type.rank)
    return tuple(Axis(index_symbol(n), e) for n, e in zip(names, value.type.shape, strict=True))


def _differentiable(node: Node) -> Iterable[Value]:
    """The inputs in whose values a node can be differentiated."""
    names = {r.name for r in value_reads(node.formula.body)}
    return [v for o, v in zip(node.formula.operands, node.inputs, strict=True) if o in names]


def _application(nodes: tuple[Node, ...]) -> tuple[Application, dict[Value, str]]:
    """The nodes of one call as statements over names that depend on their structure alone."""
    names: dict[Value, str] = {}
    taken: set[str] = set()

    def name(value: Value, wish: str) -> None:
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
            name(value, operand)
    operands = tuple((names[v], v.type) for v in names if v not in outputs)
    for node in nodes:
        name(node.output, "Y")
    statements = tuple(
        Statement(
            names[n.output],
            rename_operands(n.formula, {o: names[v] for o, v in zip(n.formula.operands, n.inputs, strict=True)}),
            n.output.type,
        )
        for n in nodes
    )
    return Application(nodes[-1].operator, operands, statements), names


def _constant(f: Formula) -> Expr | None:
    """The number that a formula has in every element, if it is one."""
    if f.reduction or f.conditions or f.operands or free_symbols(f.body) - {N}:
        return None
    return f.body
