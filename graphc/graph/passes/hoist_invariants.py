"""Invariants: what a formula computes from few axes alone is computed once, outside of its loops.

So a batch normalisation multiplies by one factor for each channel, in which weight, variance and root are gathered, and
its adjoint shares that factor.
"""

from __future__ import annotations

from graphc.graph.analysis.recurrences import settled
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.formula import Formula, canonical
from graphc.ops.invariants import invariants
from graphc.types import TensorType

Known = dict[tuple[Formula, tuple[Value, ...]], Value]


def hoist_invariants(graph: Graph) -> Graph:
    """The graph with per-channel and similar factors as nodes of their own, equal ones once."""
    builder = Builder(graph)
    builder.nodes = []
    known: Known = {}
    for node in graph.nodes:
        builder.nodes.append(_hoisted(node, builder, known))
    return graph if len(builder.nodes) == len(graph.nodes) else settled(builder.graph(graph.outputs, graph.updates))


def _hoisted(node: Node, builder: Builder, known: Known) -> Node:
    """The node reading its invariants, for which nodes are appended."""
    operands = dict(zip(node.formula.operands, node.inputs, strict=True))
    dtype = node.output.type.dtype
    usable = {name for name, v in operands.items() if v.type.dtype is dtype and v not in node.delayed}
    new, found = invariants(node.formula, usable)
    for name, f in found:
        inputs = tuple(operands[o] for o in f.operands)
        key = canonical(f), inputs
        if key not in known:
            known[key] = builder.node(
                f"{node.operator}.{name}", f, inputs, TensorType(f.shape, dtype),
                scope=node.scope, origin=node.origin, location=node.location,
            )  # fmt: skip
        operands[name] = known[key]
    return node.stating(new, operands) if found else node
