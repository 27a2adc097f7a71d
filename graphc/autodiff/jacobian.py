"""Jacobians: the vector-Jacobian product for all unit vectors at once.

With the cotangent δ(o', o) in place of a vector, every formula of the backward sweep gets the axes o' in front:

    d_X[i] = Σ_o d_Y[o]·W[o, i]          becomes          d_X[o', i] = Σ_o δ(o', o)·W[o, i]

In index notation nothing else has to change, so there is no loop over the outputs. The memory is that of one sweep
times the number of outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import islice

from sympy.core.expr import Expr

from graphc.autodiff.backward import vjp
from graphc.errors import DerivativeError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.formula import Axis, Formula, Read, eq, formula, index_symbol, reads, replace, tensor_symbol
from graphc.ops.notation import pointwise_names
from graphc.types import Batch, Extent, TensorType


def jacobian(graph: Graph, output: Value, wrt: tuple[Value, ...]) -> tuple[Graph, tuple[Value, ...]]:
    """∂output[o]/∂w[i] with the shape o + i for each value of `wrt`, as new nodes at the end of the graph.

    Raises DerivativeError for an output with a batch axis and for integers, GraphError for values of another graph.
    """
    if any(isinstance(e, Batch) for e in output.type.shape):
        raise DerivativeError(
            f"the Jacobian of {output.type} would have the batch twice",
            hint="declare the inputs with a fixed number of samples, or sum the output over the batch",
        )
    builder = Builder(graph)
    unit = builder.value(output.type)
    builder.inputs.append(unit)
    swept, rows = vjp(builder.graph(graph.outputs, graph.updates), {output: unit}, wrt)
    nodes = swept.nodes[len(graph.nodes) :]
    builder.extend(swept)
    builder.inputs.remove(unit)
    del builder.nodes[len(graph.nodes) :]
    lifting = _Lifting(builder, output.type.shape, unit, nodes)
    lifting.identity(unit)
    for node in nodes:
        lifting.node(node)
    results = tuple(lifting.result(row) for row in rows)
    return builder.graph(graph.outputs, graph.updates), results


class _Lifting:
    """Copies nodes; those that depend on the unit vector get further axes in front."""

    def __init__(self, builder: Builder, shape: tuple[Extent, ...], unit: Value, nodes: Iterable[Node]) -> None:
        self.builder, self.shape = builder, shape
        dependent = _dependents(unit, nodes)
        self.lifted = {v: builder.value(self._type(v)) for v in dependent}

    def identity(self, unit: Value) -> None:
        """δ(o', o) in place of the unit vector."""
        columns = _named(pointwise_names(len(self.shape)), self.shape)
        rows = self._axes(columns)
        same = [eq(r.symbol, c.symbol) for r, c in zip(rows, columns, strict=True)]
        delta = formula((*rows, *columns), 1, conditions=same)
        self.builder.nodes.append(Node("identity", delta, (), self.lifted[unit], self.builder.new_call()))

    def node(self, node: Node) -> None:
        """A copy of a node; the node itself where it does not depend on the unit vector."""
        if node.output in self.lifted:
            names = {o for o, v in zip(node.formula.operands, node.inputs, strict=True) if v in self.lifted}
            node = dataclasses.replace(
                node, formula=self._formula(node.formula, names), output=self.lifted[node.output],
                inputs=tuple(self.lifted.get(v, v) for v in node.inputs),
                delayed=tuple(self.lifted.get(v, v) for v in node.delayed),
            )  # fmt: skip
        self.builder.nodes.append(node)

    def result(self, row: Value) -> Value:
        """The lifted value; one that does not depend on the unit vector is zero, in every row."""
        if row in self.lifted:
            return self.lifted[row]
        type = self._type(row)
        return self.builder.node("zeros", formula(_named(pointwise_names(type.rank), type.shape), 0), (), type)

    def _type(self, value: Value) -> TensorType:
        return TensorType((*self.shape, *value.type.shape), value.type.dtype)

    def _axes(self, taken: Iterable[Axis]) -> tuple[Axis, ...]:
        """Axes with the lifted extents and names that are not taken."""
        names = {a.name for a in taken}
        free = (n for k in range(len(self.shape) + len(names)) if (n := f"o{k}") not in names)
        return _named(islice(free, len(self.shape)), self.shape)

    def _formula(self, f: Formula, names: set[str]) -> Formula:
        axes = self._axes((*f.axes, *f.over))
        index = tuple(a.symbol for a in axes)
        lifted: dict[Expr, Expr] = {}
        for read in reads(f):
            if read.name in names:
                lifted[read] = Read(tensor_symbol(read.name), *index, *read.index)
        conditions = tuple(replace(c, lifted) for c in f.conditions)
        return Formula((*axes, *f.axes), replace(f.body, lifted), f.reduction, f.over, conditions, f.operands)


def _dependents(unit: Value, nodes: Iterable[Node]) -> dict[Value, None]:
    """The values that depend on the unit vector, itself first; a recurrence also reads what is defined later."""
    dependent, nodes = {unit: None}, tuple(nodes)
    while True:
        size = len(dependent)
        dependent |= {n.output: None for n in nodes if not dependent.keys().isdisjoint(n.inputs)}
        if len(dependent) == size:
            return dependent


def _named(names: Iterable[str], shape: Iterable[Extent]) -> tuple[Axis, ...]:
    return tuple(Axis(index_symbol(n), e) for n, e in zip(names, shape, strict=True))
