"""Borders of zeros: the loops that clear them, where other memories may have been in their place."""

from __future__ import annotations

from graphc.loops.access import buffer_of
from graphc.loops.expressions import Const
from graphc.loops.index import Index, constant, variable
from graphc.loops.ir import For, Function, Mode, Statement, Store
from graphc.schedule.program import Memory
from graphc.target import Target


def clear_border(memory: Memory, target: Target) -> Function:
    """Zeros into the border of a memory of whole samples, whose innermost axis has none.

    Each axis with a border is cleared at both its ends, inside the box of the axes before it.
    """
    buffer, layout = buffer_of(memory), memory.layout
    lanes = target.lanes(buffer.dtype)
    borders = [layout.halo[axis] for axis in layout.order]
    boxes: list[tuple[range, ...]] = []
    inner = [range(e) if isinstance(e, int) else range(0) for e in buffer.shape]
    for axis, (low, high) in enumerate(borders):
        whole = inner[axis]
        for end in (range(low), range(len(whole) - high, len(whole))):
            if end:
                boxes.append((*inner[1:axis], end, *inner[axis + 1 :]))
        if low or high:
            inner[axis] = range(low, len(whole) - high)
    body = tuple(_zeros(memory, box, lanes) for box in boxes)
    return Function(
        f"border of {memory.name}", (buffer,), (For("sample", constant(0), variable("N"), body, Mode.PARALLEL),)
    )


def _zeros(memory: Memory, box: tuple[range, ...], lanes: int) -> Statement:
    """Loops over a box of one sample that store zeros, whole vectors at a time where rows consist of them."""
    buffer = buffer_of(memory)
    index: list[Index] = [variable("sample"), *(variable(f"i{k}") for k in range(len(box)))]
    row = len(box[-1])
    if row % lanes == 0:
        index[-1] = variable("row") * lanes + variable("lane")
    loop: Statement = Store(buffer, tuple(index), Const(0, buffer.dtype))
    if row % lanes == 0:
        loop = For("lane", constant(0), constant(lanes), (loop,), Mode.VECTOR)
        loop = For("row", constant(0), constant(row // lanes), (loop,))
    else:
        loop = For(f"i{len(box) - 1}", constant(0), constant(row), (loop,))
    for k, extent in reversed([*enumerate(box)][:-1]):
        loop = For(f"i{k}", constant(extent.start), constant(extent.stop), (loop,))
    return loop
