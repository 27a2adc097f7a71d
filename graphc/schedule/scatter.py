"""Scattered sums: which of them go through their terms once, instead of asking every result for its own.

    clear the result
    for each term in its order: result[index[term]] += term, whole vectors of it at a time

Every thread has a part of the other axes of the result to itself and goes through all terms, so that each element is
added up in the same order whatever the number of threads.
"""

from __future__ import annotations

from graphc.graph.ir import Node
from graphc.ops.scattering import scattering
from graphc.types import Batch

FEW = 64
"""Up to so many results in all, asking each of them for its terms is as fast, and fills the lanes."""


def scatters(node: Node) -> bool:
    """Whether a node is a sum that goes through its terms, which takes indices that are integers."""
    form = scattering(node.formula)
    if form is None:
        return False
    dtypes = {o: v.type.dtype for o, v in zip(node.formula.operands, node.inputs, strict=True)}
    if any(dtypes[o].is_float for o in form.indices):
        return False
    named = others = 1
    for axis in node.formula.axes:
        extent = 1 if isinstance(axis.extent, Batch) else axis.extent
        named, others = (named * extent, others) if axis.name in form.named else (named, others * extent)
    return named * min(others, FEW) > FEW
