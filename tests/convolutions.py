"""Convolutions with their gradients as graphs, and the same by Winograd's method with given tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from graphc.autodiff.backward import gradients
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph
from graphc.graph.passes.apply_winograd import rewritten, structure
from graphc.ops.operator import OPERATORS
from graphc.types import BATCH, DType, Extent, TensorType


def training(
    channels: int, features: int, size: tuple[int, int], taps: tuple[int, int] = (3, 3), padding: int = 1,
    batch: Extent = BATCH, dtype: DType = DType.FLOAT64, rectified: bool = False,
) -> Graph:  # fmt: skip
    """y = conv2d(x, w), perhaps rectified, and the gradients of Σ y² by x and w."""
    b = Builder()
    x = b.input("x", TensorType((batch, channels, *size), dtype))
    w = b.parameter("w", TensorType((features, channels, *taps), dtype))
    y = b.apply(OPERATORS["conv2d"], (x, w), {"padding": padding}, scope="layer")
    if rectified:
        y = b.apply(OPERATORS["relu"], (y,))
    loss = b.apply(OPERATORS["sum"], (b.apply(OPERATORS["multiply"], (y, y)),))
    graph, grads = gradients(b.graph((loss,)), loss, (x, w))
    return replace(graph, outputs=(y, *grads))


def in_tiles(graph: Graph, tiles: tuple[int, int]) -> Graph:
    """The graph with every correlation in tiles of this size, whether they pay or not."""
    builder, nodes = Builder(graph), []
    builder.nodes = nodes
    for node in graph.nodes:
        found = structure(node)
        sizes = [] if isinstance(found, str) else [1 if p.taps == 1 else tiles[p.position - 2] for p in found.pairs]
        nodes += rewritten(node, sizes, builder) if sizes else [node]
    return graph.with_nodes(tuple(nodes))


def arrays(graph: Graph, batch: int, seed: int = 0) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """Normal random inputs and parameters."""
    random = np.random.default_rng(seed)
    inputs, parameters = (
        {v.name: random.standard_normal(v.type.concrete(batch)).astype(v.type.dtype.numpy) for v in group}
        for group in (graph.inputs, graph.parameters)
    )
    return inputs, parameters
