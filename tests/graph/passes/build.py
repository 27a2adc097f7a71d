"""Small graphs for the tests of passes, and their text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.printer import graph_text
from graphc.graph.verifier import verify
from graphc.types import DType, Extent, TensorType


def build(body: Callable[..., Sequence[Value]], *shapes: tuple[Extent, ...], dtype: DType = DType.FLOAT64) -> Graph:
    """The graph of `body(builder, a, b, ...)` with one input for each shape."""
    builder = Builder()
    inputs = [builder.input("abcdefgh"[k], TensorType(s, dtype)) for k, s in enumerate(shapes)]
    graph = builder.graph(body(builder, *inputs))
    verify(graph)
    return graph


def after(step: Callable[[Graph], Graph], graph: Graph) -> str:
    """The text of a graph before and after a pass, formulas included; the result is verified."""
    changed = step(graph)
    verify(changed, step.__name__)
    return f"{graph_text(graph, formulas=True)}\n{step.__name__}\n\n{graph_text(changed, formulas=True)}"
