"""Stability across nodes: a logarithm of what another node exponentiated becomes one stable formula."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import inline_producer, why_not_inlined
from graphc.ops.stable_composition import logarithms_of_exponentials, operands_in_logarithms, stabilised
from graphc.passes import remark

DEPTH = 4
"""How many nodes upwards a logarithm looks for an exponential."""


def stabilise_composites(graph: Graph) -> Graph:
    """log(P) with P = exp(u)/s becomes u - log(s), log(1 - sigmoid(u)) becomes -softplus(u), and so on.

    A node that takes a logarithm takes in the pointwise nodes that it reads, as far as an exponential
    function; the result is kept only if no logarithm of an exponential is left in it. Values that other
    nodes read stay as well. A label that selects an element counts as valid: data is checked where it
    enters.
    """
    producers: dict[Value, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        stable = _stable(node, producers)
        if stable is not node:
            remark(str(node.output), "a logarithm was composed with the exponential that it reads")
        producers[stable.output] = stable
        nodes.append(stable)
    rewritten = graph.with_nodes(tuple(nodes))
    return graph if rewritten is graph else eliminate_dead_code(rewritten)


def _stable(node: Node, producers: dict[Value, Node]) -> Node:
    """The node in a stable form, or the node itself."""
    alone = _stabilised(node)
    already = logarithms_of_exponentials(alone.formula)
    current = alone
    for _ in range(DEPTH):
        inside = operands_in_logarithms(current.formula)
        operands = dict(zip(current.formula.operands, current.inputs, strict=True))
        above = [producers[v] for o in inside if (v := operands[o]) in producers]
        above = [p for p in above if why_not_inlined(current, p) is None]
        if not above:
            return alone
        for producer in above:
            if producer.output in current.inputs:
                current = inline_producer(current, producer, trusted=True)
        if logarithms_of_exponentials(current.formula) > already:
            stable = _stabilised(current)
            if logarithms_of_exponentials(stable.formula) <= already:
                return stable
    return alone


def _stabilised(node: Node) -> Node:
    formula = stabilised(node.formula)
    if formula is node.formula:
        return node
    return node.stating(formula, dict(zip(node.formula.operands, node.inputs, strict=True)))
