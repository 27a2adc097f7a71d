"""The text form of a graph: greppable, deterministic, comparable in tests."""

from __future__ import annotations

from graphc.graph.ir import Graph, Node
from graphc.ops.text import formula_text


def node_text(node: Node) -> str:
    """`%3: f32[N,6] = dense(%x, %W)   # mlp.py:12  layer1`; what is read at an earlier time is `delayed`."""
    operands = ", ".join(f"delayed {v}" if v in node.delayed else str(v) for v in node.inputs)
    origin = f" of %{node.origin}" if node.origin is not None else ""
    place = "  ".join(str(p) for p in (node.location, node.scope) if p)
    comment = f"   # {place}{origin}" if place or origin else ""
    return f"{node.output}: {node.output.type} = {node.operator}({operands}){comment}"


def graph_text(graph: Graph, *, formulas: bool = False) -> str:
    """One line for each value; with `formulas`, the index notation below each node."""
    lines = [f"{v}: {v.type} = input" for v in graph.inputs]
    lines += [f"{v}: {v.type} = parameter" for v in graph.parameters]
    for node in graph.nodes:
        lines.append(node_text(node))
        if formulas:
            lines.append(f"    {formula_text(node.formula, str(node.output))}")
    lines += [f"update {old} <- {new}" for old, new in graph.updates]
    lines.append("return " + ", ".join(map(str, graph.outputs)))
    return "\n".join(lines) + "\n"
