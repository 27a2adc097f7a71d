"""Factors of adjoints: what the backward part makes of forward values alone is computed where these are made.

    y = Φ(x)·x;   far away  dx = (Φ(x) + φ(x)·x)·dy        ->   y = Φ(x)·x,  s = Φ(x) + φ(x)·x;   dx = s·dy

The forward kernel has x in registers and Φ(x) anyway. Only where s takes the place of x: the backward part then keeps
no more than before. What costs little is left alone: recomputing it is cheaper than memory.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.rewriting import fresh_name
from graphc.ops.factors import costly_factor
from graphc.passes import remark


def keep_factors(graph: Graph) -> Graph:
    """The graph with costly factors of its backward part as values of the forward part."""
    later = {node.output for node in backward_nodes(graph)}
    readers = graph.consumers()
    builder = Builder(graph)
    kept: dict[Value, Node] = {}
    changed: dict[Value, Node] = {}
    for node in graph.nodes:
        if node.output not in later or node.delayed:
            continue
        values = dict(zip(node.formula.operands, node.inputs, strict=True))
        forward = {o for o, v in values.items() if v not in later and v.type == node.output.type}
        name = fresh_name("s", node.formula.operands)
        found = costly_factor(node.formula, forward, name)
        if found is None:
            continue
        factor, rest = found
        sources = [values[o] for o in factor.operands]
        if not any([r.output for r in readers[v] if r.output in later] == [node.output] for v in sources):
            continue  # all of them are kept for others as well
        builder.nodes = []
        title, type = f"{node.operator}.factor", node.output.type
        value = values[name] = builder.node(title, factor, sources, type, scope=node.scope, location=node.location)
        (kept[value],) = builder.nodes
        changed[node.output] = replace(node, formula=rest, inputs=tuple(values[o] for o in rest.operands))
        remark(str(node.output), f"its factor {value} is computed in the forward part")
    return graph.with_nodes(_placed(graph, kept, changed)) if kept else graph


def _placed(graph: Graph, kept: dict[Value, Node], changed: dict[Value, Node]) -> tuple[Node, ...]:
    """The nodes in order, each factor right behind the last of what it reads."""
    known = {*graph.inputs, *graph.parameters}
    waiting = dict(kept)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(changed.get(node.output, node))
        known.add(node.output)
        for value, factor in list(waiting.items()):
            if known.issuperset(factor.inputs):
                nodes.append(waiting.pop(value))
    return tuple(nodes)
