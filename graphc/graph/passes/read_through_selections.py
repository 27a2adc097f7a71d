"""Selections: what only picks elements moves into the one pointwise formula that reads it, and is never stored.

s[n,c,y,x] = (c < 16 ? X[n, c % 16, 2·y, 2·x] : 0)
Y[n,c,y,x] = H[n,c,y,x] + s[n,c,y,x]          ->   Y[n,c,y,x] = H[n,c,y,x] + (c < 16 ? X[n, c % 16, 2·y, 2·x] : 0)
"""

from __future__ import annotations

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import inline_producer, inlining_needs_guard, why_not_inlined
from graphc.ops.compose import is_selection


def read_through_selections(graph: Graph) -> Graph:
    """The graph without selections that a single pointwise node reads."""
    consumers, results = graph.consumers(), set(graph.results)
    selections: dict[Value, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.formula.is_pointwise:
            for value in dict.fromkeys(node.inputs):
                if value in selections:
                    node = _through(node, selections[value])
        nodes.append(node)
        single = len(consumers[node.output]) == 1 and node.output not in results
        if single and is_selection(node.formula):
            selections[node.output] = node
    changed = graph.with_nodes(tuple(nodes))
    return graph if changed is graph else eliminate_dead_code(changed)


def _through(node: Node, selection: Node) -> Node:
    """The node with the selection in its formula, where it can stand there."""
    if why_not_inlined(node, selection) is not None or inlining_needs_guard(node, selection):
        return node
    return inline_producer(node, selection)
