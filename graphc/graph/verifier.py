"""Checks that a graph is a program of its language; every pass is followed by this one."""

from __future__ import annotations

from collections import Counter

from graphc.errors import GraphError, VerificationError
from graphc.graph.analysis.recurrences import recurrences, settled
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.printer import node_text
from graphc.ops.compose import remap_of
from graphc.ops.formula import Formula
from graphc.ops.wellformed import index_operands, malformed, operand_ranks
from graphc.types import Batch


def verify(graph: Graph, stage: str = "") -> None:
    """Single assignment in topological order, formulas that fit operands and results, all defined.

    Only what is delayed may be defined later, in a recurrence whose members stand next to each other.
    Raises VerificationError that names the stage, the node and the rule.
    """
    defined: set[Value] = set()
    ids = Counter(v.id for v in graph.values)
    for v in graph.values:
        if ids[v.id] > 1:
            raise _error(stage, f"%{v.id} is assigned {ids[v.id]} times, expected once")
    _verify_names(graph, stage)
    defined.update(graph.inputs, graph.parameters)
    everything = set(graph.values)
    for node in graph.nodes:
        for v in node.inputs:
            if v not in defined and not (v in node.delayed and v in everything):
                cause = "is read before it is defined" if v in everything else "is not defined in this graph"
                raise _error(stage, f"operand {v} {cause}", node)
        _verify_node(node, stage)
        defined.add(node.output)
    for v in graph.outputs:
        if v not in defined:
            raise _error(stage, f"output {v} is not defined in this graph")
    _verify_updates(graph, defined, stage)
    _verify_recurrences(graph, stage)


def _verify_recurrences(graph: Graph, stage: str) -> None:
    for node in graph.nodes:
        for v in node.delayed:
            if v not in node.inputs:
                raise _error(stage, f"{v} is delayed but is not an operand", node)
    try:
        for node, expected in zip(graph.nodes, settled(graph).nodes, strict=True):
            if node.output != expected.output:
                raise _error(stage, f"stands where {expected.output} should: a recurrence is torn apart", node)
            if node.delayed != expected.delayed:
                raise _error(stage, "something is delayed, but no recurrence holds it", node)
        recurrences(graph)
    except GraphError as error:
        raise _error(stage, error.message) from None


def _verify_names(graph: Graph, stage: str) -> None:
    for kind, values in (("input", graph.inputs), ("parameter", graph.parameters)):
        repeated = [name for name, k in Counter(v.name for v in values if v.name).items() if k > 1]
        if repeated:
            raise _error(stage, f"two {kind}s are named {repeated[0]}")


def _verify_updates(graph: Graph, defined: set[Value], stage: str) -> None:
    seen: set[Value] = set()
    for old, new in graph.updates:
        if old not in graph.parameters:
            raise _error(stage, f"{old} is updated but is not a parameter")
        if old in seen:
            raise _error(stage, f"{old} is updated twice")
        if new not in defined:
            raise _error(stage, f"the new value {new} of {old} is not defined in this graph")
        if new.type != old.type:
            raise _error(stage, f"{old} is {old.type}, but its new value {new} is {new.type}")
        seen.add(old)


def _verify_node(node: Node, stage: str) -> None:
    f = node.formula
    if len(f.operands) != len(node.inputs):
        raise _error(stage, f"the formula has {len(f.operands)} operands, the node {len(node.inputs)}", node)
    fault = malformed(f)
    if fault:
        raise _error(stage, fault, node)
    types = dict(zip(f.operands, (v.type for v in node.inputs), strict=True))
    for name, rank in operand_ranks(f):
        if types[name].rank != rank:
            raise _error(stage, f"{name} is {types[name]} but is read with {rank} indices", node)
    if f.shape != node.output.type.shape:
        raise _error(stage, f"the formula's shape is {_shape(f)}, the result's type {node.output.type}", node)
    _verify_dtypes(node, stage)


def _verify_dtypes(node: Node, stage: str) -> None:
    types = dict(zip(node.formula.operands, (v.type.dtype for v in node.inputs), strict=True))
    floats = {d for d in types.values() if d.is_float}
    if len(floats) > 1:
        mixed = " and ".join(sorted(d.value for d in floats))
        raise _error(stage, f"operands mix {mixed}", node)
    result = node.output.type.dtype
    converts = remap_of(node.formula) is not None
    if floats and result.is_float and floats != {result} and not converts:
        raise _error(stage, f"operands are {next(iter(floats)).value}, the result is {result.value}", node)
    for name in index_operands(node.formula):
        if types[name].is_float:
            raise _error(stage, f"{name} is {types[name].value} but is used as an index", node)


def _shape(f: Formula) -> str:
    return "[" + ",".join("N" if isinstance(e, Batch) else str(e) for e in f.shape) + "]"


def _error(stage: str, message: str, node: Node | None = None) -> VerificationError:
    where = f"after {stage}: " if stage else ""
    if node is None:
        return VerificationError(f"{where}{message}")
    return VerificationError(
        f"{where}{node_text(node)}\n  {node.formula}\n  {message}", location=node.location, layer=node.scope
    )
