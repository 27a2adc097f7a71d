"""Inference: the graph of the outputs alone."""

from __future__ import annotations

from dataclasses import replace

from graphc.graph.ir import Graph, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.passes.fold_constants import fold_constants


def specialise_for_inference(graph: Graph) -> Graph:
    """The graph without updates and without what only training reads, constants folded.

    Labels and optimiser state disappear; what is left computes exactly the outputs.
    """
    alone = graph if not graph.updates else replace(graph, updates=())
    alone = fold_constants(eliminate_dead_code(alone))
    needed: set[Value] = {*alone.outputs, *(v for node in alone.nodes for v in node.inputs)}
    inputs = tuple(v for v in alone.inputs if v in needed)
    parameters = tuple(v for v in alone.parameters if v in needed)
    if inputs == alone.inputs and parameters == alone.parameters:
        return alone
    return replace(alone, inputs=inputs, parameters=parameters)
