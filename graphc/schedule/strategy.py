"""How a unit of kernels is computed, in words: its tile, what it shares with others, what else was considered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.ops.compose import remap_of
from graphc.ops.scattering import scattering
from graphc.ops.separable import separable
from graphc.ops.stacking import stack_axis
from graphc.ops.structure import product
from graphc.schedule.chains import inside, run_of
from graphc.schedule.lanes import slid
from graphc.schedule.program import Kernel, Memory
from graphc.schedule.tiling import Tile, candidates, choose_tile, lane_accesses
from graphc.schedule.turning import turning_tile
from graphc.target import Target
from graphc.types import Batch

Unit = Sequence[Kernel]
"""Kernels that run together: those of a chain, or one."""

ALTERNATIVES = 2
"""How many refused tiles are worth telling."""


def strategy(unit: Unit, memories: Mapping[str, Memory], target: Target) -> str:
    """How a unit is computed, in words."""
    steps = [_strategy(k, memories, target) for k in unit]
    if unit[0].chain is None:
        return steps[0]
    return f"{_chain(unit)}: {', then '.join(dict.fromkeys(steps))}"


def _strategy(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> str:
    first = kernel.stages[0].formula
    form = separable(first)
    if form is not None:
        return f"transform by {' and '.join(f'{x.rows}x{len(x.matrix[0])}' for x in form.factors)} constants"
    if kernel.scatters:
        along = f", lanes along {kernel.lane}" if kernel.lane else ""
        return f"terms added where {', '.join(_named(kernel))} says{along}"
    parts = f"sum in {kernel.axes[0].extent} parts: " if kernel.split else ""
    counter = stack_axis(first)
    stack = f"{counter.extent} sums at once, " if counter else ""
    tile = planned_tile(kernel, memories, target)[0]
    if product(first) is not None:
        return parts + stack + _contraction(kernel, memories, tile)
    if first.reduction is not None:
        lanes = ", lanes reduced" if kernel.lane_reduces else ""
        over = ", ".join(a.name for a in first.over)
        return f"{parts}{stack}{first.reduction} over {over}{lanes}, {tile}"
    turned = turning_tile(kernel, memories, target) is not None
    if is_copy(kernel):
        return "transposing copy" if turned else "copy"
    return "pointwise pass" + (f", squares of {tile.rows} transposed in registers" if turned else "")


def _named(kernel: Kernel) -> tuple[str, ...]:
    form = scattering(kernel.stages[0].formula)
    return form.indices if form is not None else ()


def _contraction(kernel: Kernel, memories: Mapping[str, Memory], tile: Tile) -> str:
    if kernel.lane_reduces:
        return f"dot products, lanes reduced, {tile}"
    if kernel.lane is None:
        return "one lane"
    along = lane_accesses(kernel)
    kind = "outer product" if tile.row else "matrix by vector"
    if any(slid(a, kernel.lane) is not None for a in along):
        kind = "outer product, pixels in lanes"
    packed = any(a.operand in memories and memories[a.operand].layout.block for a in along)
    return f"{kind}, tile {tile}{', packed panels' if packed else ''}"


def _chain(unit: Unit) -> str:
    """`chain F(4x4, 3x3) by 4 n`: results and terms of a tile of a sliding sum of products, samples in a block.
    `recurrence over t, 64 steps, 16 n at a time` where blocks follow each other."""
    chain = unit[0].chain
    assert chain is not None
    if chain.recurs:
        *samples, time = chain.walks
        blocks = "".join(f", {w.block} {w.axis} at a time" for w in samples)
        order = " backwards" if time.direction < 0 else ""
        return f"recurrence over {time.axis}{order}, {time.extent} step{'s' * (time.extent != 1)}{blocks}"
    if chain.rows:
        return f"chain by rows, {', '.join(f'{w.block} {w.axis}' for w in chain.walks)} at a time"
    forms = [form for k in unit if (form := separable(k.stages[0].formula)) is not None]
    back = next((form for form in forms if form.tiled), None)
    if back is not None:
        own = [(len(x.matrix), len(x.matrix[0])) for x in sorted(back.factors, key=lambda x: x.column)]
        outputs, terms = [m for m, _ in own], [size - m + 1 for m, size in own]
    else:
        short = min(forms, key=lambda form: [len(x.matrix[0]) for x in form.factors])
        own = [(len(x.matrix), len(x.matrix[0])) for x in sorted(short.factors, key=lambda x: x.row)]
        outputs, terms = [size - m + 1 for size, m in own], [m for _, m in own]
    sizes = ", ".join("x".join(map(str, side)) for side in (outputs, terms))
    parts = f" in {chain.parts} parts" if chain.parts else ""
    return f"chain F({sizes}) by {', '.join(f'{w.block} {w.axis}' for w in chain.walks)}{parts}"


def is_contraction(kernel: Kernel) -> bool:
    """Whether a kernel is a sum of products of values, not of constants."""
    first = kernel.stages[0].formula
    return product(first) is not None and separable(first) is None


def is_copy(kernel: Kernel) -> bool:
    """Whether a kernel only moves values."""
    return remap_of(kernel.stages[0].formula) is not None and len(kernel.stages) == 1


def refused_tiles(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> tuple[str, ...]:
    """The next best tiles of a contraction, and why they are not better."""
    if not is_contraction(kernel):
        return ()
    tile, chosen = planned_tile(kernel, memories, target)
    ranked = sorted(candidates(*_inside(kernel, target)), key=lambda c: -c.efficiency)
    others = {(c.tile.row, c.tile.rows, c.tile.vectors): c for c in reversed(ranked)}
    others.pop((tile.row, tile.rows, tile.vectors), None)
    best = sorted(others.values(), key=lambda c: -c.efficiency)[:ALTERNATIVES]
    return tuple(
        f"tile {c.tile} would start {c.efficiency:.1%} of the multiply-adds, {tile} starts {chosen:.1%}" for c in best
    )


# ---------------------------------------------------------------------------------------------------- tiles


def in_parts(kernel: Kernel) -> bool:
    """Whether the first axis of a kernel numbers partial sums."""
    last = kernel.chain is not None and kernel.chain.parts > 0 and separable(kernel.stages[0].formula) is None
    return kernel.split is not None or last


def used_lanes(kernel: Kernel, target: Target) -> float:
    """Lanes with work, on the average over the vectors of an axis."""
    lanes = target.lanes(kernel.stages[0].value.type.dtype)
    first = kernel.stages[0].formula
    extent = next((a.extent for a in (*first.axes, *first.over) if a.name == kernel.lane), 1)
    return lanes if isinstance(extent, Batch) else extent / -(-extent // lanes)


def planned_tile(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> tuple[Tile, float]:
    """The tile of a kernel that is no transform, and the predicted part of the multiply-adds that it starts."""
    kernel, target = _inside(kernel, target)
    tile = turning_tile(kernel, memories, target) or choose_tile(kernel, target)
    if kernel.lane_reduces:
        return tile, _efficiency_of_sums(kernel, tile, target)
    return tile, next((c.efficiency for c in candidates(kernel, target) if c.tile == tile), 1.0) or 1.0


def _efficiency_of_sums(kernel: Kernel, tile: Tile, target: Target) -> float:
    """Lanes along a sum: a vector of every factor is loaded, shared between rows or columns."""
    loads = sum(
        (tile.rows if tile.row in a.axes else 1) * (tile.columns if tile.column in a.axes else 1)
        for a in lane_accesses(kernel)
    )
    sums = tile.rows * tile.columns
    busy = sums / target.multiply_adds
    return busy / max(busy, loads / target.loads, target.latency)


def _inside(kernel: Kernel, target: Target) -> tuple[Kernel, Target]:
    """A kernel and the registers as they are inside one block of its chain, if it is in one.

    A long sum keeps two sums at a time there: that of a run of terms, and that of the runs before it.
    """
    if kernel.chain is None or separable(kernel.stages[0].formula) is not None:
        return kernel, target
    return inside(kernel), replace(target, registers=target.registers // 2 + 1) if run_of(kernel) else target
