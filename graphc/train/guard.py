"""What must be finite for a step to change anything: the loss, or with `guard="gradients"` every gradient too.

A loss can be finite and its gradient not: √0 is 0, and its slope infinite. The step then overwrites parameters with
NaN, which shows one step later, when what they were is gone. The guard of gradients reports a loss that is not finite
in their place, so that the step changes nothing; it costs storing all gradients before the first update.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from graphc.graph.builder import Builder
from graphc.graph.ir import Graph
from graphc.ops.formula import where
from graphc.ops.notation import Max, Operand, axes, less, pointwise_names
from graphc.ops.operator import op
from graphc.ops.scalars import absolute

Guard: TypeAlias = Literal["loss", "gradients"]


@op
def largest_size(G: Operand) -> Any:
    """max |G|; NaN if there is one"""
    index = axes(" ".join(pointwise_names(G.rank)))
    return Max(absolute(G[index]), over=index) if index else absolute(G[()])


@op
def guarded_loss(L: Operand, M: Operand) -> Any:
    """L, but for an infinite or undefined M >= 0 L + M, which is not finite either: then M/(1 + M) is no number"""
    return where(less(M[()] / (1 + M[()]), 2), L[()], L[()] + M[()])


def guard_gradients(graph: Graph, count: int) -> Graph:
    """The graph with a loss that is not finite if one of its last `count` outputs, the gradients, is not."""
    builder, (loss, *others) = Builder(graph), graph.outputs
    for gradient in others[len(others) - count :]:
        loss = builder.apply(guarded_loss, [loss, builder.apply(largest_size, [gradient])])
    return builder.graph((loss, *others), graph.updates)
