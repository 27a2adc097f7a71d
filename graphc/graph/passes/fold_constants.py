"""Constants: nodes that read nothing become numbers in the formulas that read them; copies disappear."""

from __future__ import annotations

from graphc.graph.analysis.recurrences import settled
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import exchange, inline_producer, inlining_needs_guard, rewire, why_not_inlined
from graphc.ops.compose import decide_conditions, drop_idle_axes, is_constant, is_identity_read
from graphc.passes import remark


def fold_constants(graph: Graph) -> Graph:
    """The graph with constant nodes folded into their consumers and identity nodes by-passed.

    Multiplying by one and adding zero vanish by folding, since then the consumer is an identity. A constant
    that is read outside its box stays a node, because there it is zero. A copy of an input or parameter
    that is itself a result stays, because a result is memory of its own.
    """
    constants: dict[Value, Node] = {}
    copies: dict[Value, Value] = {}
    results = set(graph.results)
    leaves = {*graph.inputs, *graph.parameters}
    nodes: list[Node] = []
    for original in graph.nodes:
        node = _fold(rewire(original, copies), constants)
        if is_constant(node.formula):
            constants[node.output] = node
        source = _copied(node)
        if source is not None and not (node.output in results and source in leaves):
            copies[node.output] = source
        nodes.append(node)
    folded = exchange(graph.with_nodes(tuple(nodes)), copies)
    return graph if folded == graph else settled(eliminate_dead_code(folded))


def _fold(node: Node, constants: dict[Value, Node]) -> Node:
    for v in dict.fromkeys(node.inputs):
        # folding one constant may have removed the read of another: 0·x reads nothing
        if v not in constants or v not in node.inputs:
            continue
        reason = why_not_inlined(node, constants[v])
        if reason is None and inlining_needs_guard(node, constants[v]):
            reason = "it is read outside its box, where it is zero"
        if reason is None:
            node = inline_producer(node, constants[v])
        else:
            remark(str(node.output), f"constant {v} not folded: {reason}")
    formula = drop_idle_axes(decide_conditions(node.formula))
    if formula is node.formula:
        return node
    return node.stating(formula, dict(zip(node.formula.operands, node.inputs, strict=True)))


def _copied(node: Node) -> Value | None:
    """The value that a node merely copies."""
    if len(node.inputs) != 1 or node.inputs[0].type != node.output.type:
        return None
    return node.inputs[0] if is_identity_read(node.formula, node.formula.operands[0]) else None
