"""Tiles of kernels that read across their memory: a square of values is loaded along it and transposed in registers.

Reading an operand lane by lane from separate lines costs an instruction for each element and touches every line once
for each of its elements; a square costs log2(lanes) shuffles for each vector and touches every line once.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ops.structure import Access, accesses
from graphc.schedule.program import Kernel, Memory
from graphc.schedule.tiling import Tile
from graphc.target import Target

FEWEST = 4
"""Elements along each side of a square from which it pays."""


def turning_tile(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> Tile | None:
    """The tile of a pointwise kernel with an operand whose innermost axis is not that of the lanes, else None.

    The rows of the tile lie along that innermost axis, as many as there are lanes.
    """
    first = kernel.stages[0].formula
    extents = {a.name: a.extent for a in first.axes}
    lane = extents.get(kernel.lane) if kernel.lane is not None else None
    if first.reduction is not None or not isinstance(lane, int) or lane < FEWEST:
        return None
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    for access in (a for stage in kernel.stages for a in accesses(stage.formula)):
        memory = memories.get(access.operand)
        if memory is None or not access.bare:
            continue
        along = across(access, memory.layout.order[-1], kernel.lane)
        extent = extents.get(along) if along is not None else None
        if isinstance(extent, int) and extent >= FEWEST:
            return Tile(along, min(lanes, extent), 1)
    return None


def across(access: Access, innermost: int, lane: str | None) -> str | None:
    """The axis that moves a read along its memory in single steps while the lanes move it through other lines."""
    steps = [name for name, step in access.steps[innermost] if step == 1]
    return steps[0] if lane in access.bare and len(steps) == 1 and steps != [lane] else None
