"""The loops of a reduction: conditions on indices become loop bounds, never tests inside.

Two sources of bounds: the formula's own conditions, and factors of a product that are zero outside their tensor.
Conditions that depend on data, or that differ between the elements of one register tile, remain as masks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.loops.freeze import Scope, freeze_condition, freeze_index
from graphc.loops.index import Index, Range, bounds, constant, maximum, minimum, quotient, variable
from graphc.loops.ir import Statement
from graphc.loops.nests import Nest, Pass
from graphc.loops.rewrite import substitute
from graphc.ops.formula import Cond, reads
from graphc.ops.structure import product
from graphc.schedule.program import Kernel, Memory
from graphc.types import Batch

WINDOW = 16
"""Places of a window that are written out instead of looped over."""


@dataclass(frozen=True, slots=True)
class ReductionLoop:
    """name runs from start to stop by step."""

    name: str
    start: Index
    stop: Index
    step: int = 1

    def run(self, length: int, ranges: dict[str, Range]) -> ReductionLoop:
        """The part of the loop that belongs to the run of iterations that starts at `<name>_r`."""
        start = variable(f"{self.name}_r")
        stop = start + length
        if not self.stop.is_constant or self.stop.constant % length:
            stop = minimum(stop, self.stop, ranges)
        return replace(self, start=start, stop=stop)


def reduction_loops(
    kernel: Kernel, nest: Nest, sweep: Pass, row: str | None, scope: Scope, memories: Mapping[str, Memory]
) -> tuple[tuple[ReductionLoop, ...], tuple[Cond, ...]]:
    """The loops from the outermost inwards, and the conditions that remain."""
    conditions = [c for c in kernel.stages[0].formula.conditions if not (nest.phased and c.kind == "divides")]
    full = _full(kernel, sweep)
    loops = dict(full)
    if kernel.lane_reduces:
        return tuple(loops.values()), tuple(conditions)
    rest = []
    for c in conditions:
        condition = freeze_condition(c, scope)
        inside = [n for n in loops if condition is not None and condition.index.uses(n)]
        bounded = condition is not None and condition.kind == "ge" and inside
        if not (bounded and condition is not None and _clip(loops, inside[-1], condition.index, scope)):
            rest.append(c)
    _skip_zeros(loops, kernel, row, scope, memories)
    lane = frozenset() if kernel.lane is None else nest.env.get(kernel.lane, variable(kernel.lane)).variables()
    tiled = {row, kernel.lane, *lane}  # of an axis in digits one digit runs along the lanes
    if any((loop.start.variables() | loop.stop.variables()) & tiled for loop in loops.values()):
        # bounds that differ between the elements of one tile cannot be loop bounds
        return tuple(full.values()), tuple(conditions)
    return tuple(loops.values()), tuple(rest)


def is_window(loops: tuple[ReductionLoop, ...]) -> bool:
    """Whether the loops are known to run a few times only."""
    places = 1
    for loop in loops:
        if not (loop.start.is_constant and loop.stop.is_constant):
            return False
        places *= len(range(loop.start.constant, loop.stop.constant, loop.step))
    return places <= WINDOW


def written_out(
    loops: tuple[ReductionLoop, ...], body: tuple[Statement, ...], ranges: Mapping[str, Range]
) -> tuple[Statement, ...]:
    """The body for every place of a window, one after another: what is constant there, shuffles can know."""
    counters = [range(loop.start.constant, loop.stop.constant, loop.step) for loop in loops]
    result: list[Statement] = []
    for place in itertools.product(*counters):
        mapping = {loop.name: constant(at) for loop, at in zip(loops, place, strict=True)}
        result += substitute(body, mapping, ranges)
    return tuple(result)


def _full(kernel: Kernel, sweep: Pass) -> dict[str, ReductionLoop]:
    """The loops over whole axes; those of one iteration outermost, since the innermost one is interleaved."""
    extents = dict(sweep.over)
    order = kernel.order or tuple(extents)
    loops = {}
    for name in sorted((n for n in order if n in extents), key=lambda n: extents[n] != 1):
        extent = extents[name]
        stop = variable("N") if isinstance(extent, Batch) else constant(extent)
        stop = sweep.stops.get(name, stop)
        loops[name] = ReductionLoop(name, constant(0), stop)
        if name == kernel.split:
            counter = kernel.axes[0]
            assert isinstance(counter.extent, int)
            loops[name] = ReductionLoop(name, variable(counter.name), stop, counter.extent)
    return loops


def _clip(loops: dict[str, ReductionLoop], name: str, index: Index, scope: Scope) -> bool:
    """Narrow one loop to where index >= 0; False if the index is not linear in its variable."""
    k = index.coefficient(name)
    others = index - variable(name) * k
    if not k or others.uses(name):
        return False
    loop = loops[name]
    if k > 0:
        first = quotient(others * -1 + (k - 1), k, scope.ranges)
        loops[name] = replace(loop, start=maximum(loop.start, first, scope.ranges))
    else:
        last = quotient(others, -k, scope.ranges)
        loops[name] = replace(loop, stop=minimum(loop.stop, last + 1, scope.ranges))
    return True


def _skip_zeros(
    loops: dict[str, ReductionLoop], kernel: Kernel, row: str | None, scope: Scope, memories: Mapping[str, Memory]
) -> None:
    """Leave out iterations in which a factor of every product is outside its tensor, and so zero."""
    first = kernel.stages[0].formula
    form = product(first)
    if form is None:
        return
    factors = {name for name, _ in form.factors if name is not None}
    for r in reads(first):
        if r.name not in factors or r.name not in memories:
            continue
        for extent, e in zip(memories[r.name].value.type.shape, r.index, strict=True):
            index = freeze_index(e, scope)
            inside = [n for n in loops if index.uses(n)]
            if isinstance(extent, Batch) or len(inside) != 1 or index.elements():
                continue
            name = inside[0]
            if abs(index.coefficient(name)) != 1 or index.uses(str(row)) or index.uses(str(kernel.lane)):
                continue
            if loops[name].step != 1 or "N" in loops[name].stop.variables():
                continue
            low, high = bounds(index, scope.ranges)
            if low < 0:
                _clip(loops, name, index, scope)
            if high >= extent:
                _clip(loops, name, index * -1 + (extent - 1), scope)
