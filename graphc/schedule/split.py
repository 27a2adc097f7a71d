"""Splitting: a long sum into a small result becomes a fixed number of partial sums and their total.

The number of parts is a constant, never the thread count: results are the same bits for any number of threads.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph.ir import Value
from graphc.ops.formula import Axis, Formula
from graphc.ops.structure import partial_sum
from graphc.schedule.program import Kernel, Stage
from graphc.types import Batch, Extent, TensorType

PARTS = 16
SMALL_RESULT = 4096
LONG_SUM = 16


def split_reductions(kernels: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """Cut long sums over the batch with few results in two kernels each."""
    next_id = 1 + max((s.value.id for k in kernels for s in k.stages), default=0)
    result: list[Kernel] = []
    for kernel in kernels:
        axis = _batch_axis(kernel.stages[0].formula)
        if axis is None or kernel.chain is not None or kernel.scatters:
            result.append(kernel)
            continue
        first = kernel.stages[0]
        part = Value(next_id, TensorType((PARTS, *first.value.type.shape), first.value.type.dtype))
        next_id += 1
        name = f"t{part.id}"
        partial, total = partial_sum(first.formula, name, PARTS)
        reason = f"sum over the batch in {PARTS} parts: {_size(first.formula.shape)} results are too few to share"
        result.append(
            replace(
                kernel,
                name=f"{kernel.name}a",
                stages=(Stage(name, part, partial),),
                stores=((name, name),),
                split=axis.name,
                remarks=(*kernel.remarks, reason),
            )
        )
        stages = (replace(first, formula=total), *kernel.stages[1:])
        result.append(replace(kernel, name=f"{kernel.name}b", stages=stages))
    return tuple(result)


def _batch_axis(f: Formula) -> Axis | None:
    """The batch axis of a sum that is worth splitting."""
    if f.reduction != "sum" or any(isinstance(e, Batch) for e in f.shape):
        return None
    batch = [a for a in f.over if isinstance(a.extent, Batch)]
    if len(batch) != 1 or _size(f.shape) > SMALL_RESULT:
        return None
    return batch[0] if _size(tuple(a.extent for a in f.over)) >= LONG_SUM else None


def _size(shape: tuple[Extent, ...]) -> int:
    size = 1
    for e in shape:
        size *= 1 if isinstance(e, Batch) else e
    return size
