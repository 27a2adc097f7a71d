"""Lanes: the axis along which the vector lanes of every kernel run, and so the innermost axis of every value.

The choice follows from the structure of the formulas alone. A contraction runs its lanes along an axis of the result
that exactly one factor has and has alone as an index (the output channels of a convolution, the columns of a matrix
product); other kernels follow the values that they read and write. Where all such axes are so short that most lanes
would be idle (an image with few channels), a contraction slides along its data instead: the lanes are neighbouring
pixels of the result, or of the sum for a weight's gradient. A parameter takes the arrangement that its first
contraction wants, packed in blocks of one register tile, and optimiser state takes that of its parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from graphc.graph.ir import Graph, Value
from graphc.ops.formula import Formula
from graphc.ops.scattering import scattering
from graphc.ops.separable import separable
from graphc.ops.structure import Access, accesses, product, reads_identity
from graphc.ops.wellformed import index_operands
from graphc.schedule.fuse import value_name
from graphc.schedule.program import Kernel
from graphc.schedule.tiling import choose_tile
from graphc.target import Target
from graphc.types import Batch

# What speaks for an axis, in the order of importance.
IN_PLACE = 4.0  # a parameter that the kernel updates, or its state, has it innermost
WEIGHTS = 3.0  # a contraction may pack a parameter along it
RETURNED = 2.5  # an output whose last axis it is: programs return arrays in C order
ALREADY = 2.0  # an operand has it innermost
READERS = 1.5  # later kernels read the result beside operands that have it innermost
CONTIGUOUS = 1.0  # an input has it innermost as it comes
SHUFFLED = 1.0  # the same, but in steps that take a shuffle
ELSEWHERE = -1.0  # an operand would have to be copied
WASTE = 2.0  # times the share of idle lanes

CROWDED = 0.5
"""The share of idle lanes above which a contraction looks for another kind of axis."""

NEAR = (Fraction(1, 2), Fraction(1), Fraction(2))
"""Steps of neighbouring lanes that one or two vectors and a shuffle can read."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What one value should look like: its innermost axis, the order of the others, packed in blocks or not."""

    lane: int
    others: tuple[int, ...] | None = None
    block: int = 0


@dataclass(slots=True)
class Lanes:
    """The arrangements chosen so far; values are known by the names of their memories."""

    target: Target
    values: dict[str, Value]
    parameters: frozenset[str]
    outputs: frozenset[str] = frozenset()
    arrangement: dict[str, Arrangement] = field(default_factory=dict)

    def lane_of(self, name: str) -> int | None:
        """The innermost axis of a value, if it has been chosen."""
        known = self.arrangement.get(name)
        return None if known is None else known.lane


def choose_lanes(graph: Graph, kernels: tuple[Kernel, ...], target: Target) -> tuple[tuple[Kernel, ...], Lanes]:
    """The kernels with their lanes and loop orders, and what values should look like."""
    values = {value_name(v): v for v in (*graph.inputs, *graph.parameters)}
    values |= {s.name: s.value for kernel in kernels for s in kernel.stages}
    parameters, outputs = (frozenset(map(value_name, group)) for group in (graph.parameters, graph.outputs))
    lanes = Lanes(target, values, parameters, outputs)
    return tuple(_choose(lanes, kernel, kernels[k + 1 :]) for k, kernel in enumerate(kernels)), lanes


def _choose(lanes: Lanes, kernel: Kernel, later: tuple[Kernel, ...]) -> Kernel:
    """One kernel with its lane; the values that it touches first learn their arrangement."""
    first = kernel.stages[0].formula
    if separable(first) is not None:
        return _choose_transform(lanes, kernel)
    scores = _scores(lanes, kernel, later)
    if kernel.scatters:
        return _choose_scattered(lanes, kernel, scores)
    # between transforms the last axis is what the result of the product is read along
    ballot = list(scores)[:: -1 if kernel.chain else 1]
    best = max(ballot, key=lambda name: scores[name], default=None)
    order = reduction_order(kernel, lanes)
    contraction = product(first) is not None
    alone = contraction and kernel.chain is None
    streamed = _sliding_sum(lanes, kernel) if alone and _each_once(first) else None
    if streamed is not None:
        return _along_sum(kernel, order, streamed)
    crowded = alone and bool(scores) and min(_idle(lanes, kernel, name) for name in scores) > CROWDED
    sliding = _sliding(lanes, kernel) if crowded else None
    best = sliding or best
    if (crowded and sliding is None) or (not contraction and (best is None or scores[best] <= 0)):
        reduced = _sliding_sum(lanes, kernel) if contraction else _reduced_lane(lanes, kernel)
        if reduced is not None:
            return _along_sum(kernel, order, reduced)
    if best is None:
        long = [a for a in kernel.axes[bool(kernel.split) :] if a.extent != 1 and a.name not in dict(kernel.walked)]
        wide = [a for a in long if not isinstance(a.extent, Batch)]
        best = (wide or long)[-1].name if long else None
    kernel = replace(kernel, lane=best, order=order)
    if best is not None:
        axis = [a.name for a in first.axes].index(best)
        for stage in kernel.stages:
            lanes.arrangement.setdefault(stage.name, Arrangement(axis))
        _arrange_weights(lanes, kernel, best)
        _arrange_state(lanes, kernel, axis)
    return kernel


def _along_sum(kernel: Kernel, order: tuple[str, ...], reduced: str) -> Kernel:
    """The kernel with its lanes along a reduced axis."""
    rest = tuple(n for n in order if n != reduced)
    return replace(kernel, lane=reduced, lane_reduces=True, order=(*rest, reduced))


def _each_once(first: Formula) -> bool:
    """Whether a factor of a sum is as large as all its work: then another order of its elements would cost as much."""
    everything = {a.name for a in (*first.axes, *first.over)}
    return any(access.axes == everything for access in accesses(first))


def _choose_transform(lanes: Lanes, kernel: Kernel) -> Kernel:
    """A transform runs its lanes where its operand has them; one of weights where its product will read them."""
    form = separable(kernel.stages[0].formula)
    assert form is not None
    read = next(a for a in accesses(kernel.stages[0].formula) if a.operand == form.operand)
    axes = [a.name for a in kernel.axes]
    walked = dict(kernel.walked)
    fixed = [a.name for a in kernel.axes if not isinstance(a.extent, Batch) and a.name not in walked]
    bare = [name for name in fixed if name in read.bare]
    known = lanes.lane_of(form.operand)
    lane = bare[-1] if bare else None
    if known is not None and form.operand not in lanes.parameters and read.bare[known] in bare:
        lane = read.bare[known]
    if lane is None:
        return kernel
    kernel = replace(kernel, lane=lane)
    for stage in kernel.stages:
        lanes.arrangement.setdefault(stage.name, Arrangement(axes.index(lane)))
    if form.operand in lanes.parameters:
        lanes.arrangement.setdefault(form.operand, Arrangement(read.bare.index(lane)))
    _arrange_state(lanes, kernel, axes.index(lane))
    return kernel


def _choose_scattered(lanes: Lanes, kernel: Kernel, scores: dict[str, float]) -> Kernel:
    """A scattered sum runs its lanes along an axis that does not matter for the places of its terms."""
    form = scattering(kernel.stages[0].formula)
    assert form is not None
    wide = [a.name for a in kernel.axes if isinstance(a.extent, int) and a.extent != 1 and a.name not in form.fixed]
    lane = max(wide[::-1], key=lambda name: scores.get(name, 0.0), default=None)
    if lane is None:
        return kernel
    axis = [a.name for a in kernel.axes].index(lane)
    lanes.arrangement.setdefault(kernel.stages[0].name, Arrangement(axis))
    return replace(kernel, lane=lane)


def _scores(lanes: Lanes, kernel: Kernel, later: tuple[Kernel, ...]) -> dict[str, float]:
    """What speaks for each axis of the result; axes of extent 1 and the batch do not stand for election."""
    first = kernel.stages[0].formula
    contraction = product(first) is not None
    votes: list[tuple[str, float]] = []
    indices = index_operands(first)
    for access in (a for a in accesses(first) if a.operand not in indices):
        others = frozenset().union(*(a.axes for a in accesses(first) if a is not access))
        for position, name in enumerate(access.bare):
            if name is not None and not (contraction and name in others):
                votes.append((name, _affinity(lanes, access, position, contraction)))
            elif not contraction:
                near = [axis for axis, step in access.steps[position] if step in NEAR]
                votes += [(axis, min(SHUFFLED, _affinity(lanes, access, position, contraction))) for axis in near]
    votes += [(name, IN_PLACE) for name in _in_place(lanes, kernel)]
    if contraction:
        votes += [(a.name, RETURNED) for a in kernel.axes[-1:] if not lanes.outputs.isdisjoint(kernel.writes)]
    else:
        votes += [(name, READERS) for name in _beside_readers(lanes, kernel, later)]
    scores: dict[str, float] = {}
    for axis in kernel.axes[bool(kernel.split) :]:  # the parts of a split sum are for the threads
        mine = [weight for name, weight in votes if name == axis.name]
        if mine and isinstance(axis.extent, int) and axis.extent != 1 and axis.name not in dict(kernel.walked):
            scores[axis.name] = sum(mine) - WASTE * _idle(lanes, kernel, axis.name)
    return scores


def _idle(lanes: Lanes, kernel: Kernel, name: str) -> float:
    """The share of lanes without work when they run along an axis; all of them for the batch."""
    first = kernel.stages[0].formula
    extent = next(a.extent for a in (*first.axes, *first.over) if a.name == name)
    if isinstance(extent, Batch):
        return 1.0
    idle = idle_lanes(replace(kernel, lane=name), lanes.target)
    return idle / (extent + idle)


def slid(access: Access, lane: str | None) -> int | None:
    """The axis of an operand along which lanes slide in single steps, not alone: pixels under a moving window."""
    return next((k for k, bare in enumerate(access.bare) if bare is None and _single(access, k, lane)), None)


def _single(access: Access, axis: int, name: str | None) -> bool:
    """Whether an axis of an operand moves by one element with a loop."""
    return any(other == name and step == 1 for other, step in access.steps[axis])


def idle_lanes(kernel: Kernel, target: Target) -> int:
    """How many lanes of a kernel's last vector are idle."""
    first = kernel.stages[0].formula
    width = target.lanes(kernel.stages[0].value.type.dtype)
    extent = next((a.extent for a in (*first.axes, *first.over) if a.name == kernel.lane), width)
    return 0 if isinstance(extent, Batch) else -extent % width


def _sliding(lanes: Lanes, kernel: Kernel) -> str | None:
    """An axis of the result along which one factor of a contraction slides in single steps, and no other moves."""
    first = kernel.stages[0].formula
    found: dict[str, float] = {}
    for axis in reversed(kernel.axes[bool(kernel.split) :]):
        movers = [a for a in accesses(first) if axis.name in a.axes]
        places = [k for a in movers for k, names in enumerate(a.moves) if axis.name in names]
        idle = _idle(lanes, kernel, axis.name)
        if len(movers) == len(places) == 1 and _single(movers[0], places[0], axis.name) and idle <= CROWDED:
            found[axis.name] = _affinity(lanes, movers[0], places[0], False) - WASTE * idle
    return max(found, key=lambda name: found[name], default=None)


def _sliding_sum(lanes: Lanes, kernel: Kernel) -> str | None:
    """A reduced axis along which all factors that move have neighbours in memory: the lanes hold parts of the sum."""
    first = kernel.stages[0].formula
    for axis in () if first.conditions else first.over:
        if axis.name == kernel.split or _idle(lanes, kernel, axis.name) > CROWDED:
            continue
        movers = [a for a in accesses(first) if axis.name in a.axes]
        places = [[k for k, names in enumerate(a.moves) if axis.name in names] for a in movers]
        innermost = [len(a.bare) - 1 if (k := lanes.lane_of(a.operand)) is None else k for a in movers]
        found = zip(movers, places, innermost, strict=True)
        if all(place == [k] and _single(a, k, axis.name) for a, place, k in found):
            return axis.name
    return None


def _affinity(lanes: Lanes, access: Access, axis: int, contraction: bool) -> float:
    """How well an operand suits lanes along one of its axes."""
    known = lanes.lane_of(access.operand)
    if known is not None:
        return ALREADY if known == axis else ELSEWHERE
    if access.operand in lanes.parameters:
        return WEIGHTS if contraction else CONTIGUOUS
    return CONTIGUOUS if axis == len(access.bare) - 1 else ELSEWHERE


def _in_place(lanes: Lanes, kernel: Kernel) -> Iterator[str]:
    """Axes that parameters read or written element by element already have innermost."""
    names = [a.name for a in kernel.axes]
    touched = [o for s in kernel.stages for o in s.formula.operands if reads_identity(s.formula, o)]
    for name in dict.fromkeys((*(o for o in touched if o in lanes.parameters), *kernel.writes)):
        known = lanes.lane_of(name)
        if known is not None:
            yield names[known]


def _beside_readers(lanes: Lanes, kernel: Kernel, later: tuple[Kernel, ...]) -> frozenset[str]:
    """Axes of the result along which later kernels already have other operands innermost."""
    names = [a.name for a in kernel.axes]
    written = set(kernel.writes)
    found: set[str] = set()
    for reader in later:
        if written.isdisjoint(reader.reads):
            continue
        reads = [access for stage in reader.stages for access in accesses(stage.formula)]
        innermost = {a.bare[k] for a in reads if a.bare and (k := lanes.lane_of(a.operand)) is not None}
        for access in reads:
            if access.operand in written:
                found |= {
                    names[axis] for axis, name in enumerate(access.bare) if name is not None and name in innermost
                }
    return frozenset(found)


def _reduced_lane(lanes: Lanes, kernel: Kernel) -> str | None:
    """A reduced axis along which an operand is contiguous."""
    first = kernel.stages[0].formula
    over = {a.name for a in first.over if a.extent != 1 and a.name != kernel.split}
    for access in accesses(first):
        if access.bare:
            known = lanes.lane_of(access.operand)
            name = access.bare[-1 if known is None else known]
            if name in over:
                return name
    return None


def _arrange_weights(lanes: Lanes, kernel: Kernel, lane: str) -> None:
    """Parameters that a contraction reads along its lanes: innermost there, the rest in the order of its loops."""
    first = kernel.stages[0].formula
    if product(first) is None:
        return
    for access in accesses(first):
        name = access.operand
        if name not in lanes.parameters or name in lanes.arrangement or lane not in access.bare:
            continue
        axis = access.bare.index(lane)
        type = lanes.values[name].type
        size = choose_tile(kernel, lanes.target).vectors * lanes.target.lanes(type.dtype)
        extent = type.shape[axis]
        block = size if isinstance(extent, int) and extent > size else 0
        lanes.arrangement[name] = Arrangement(axis, loop_order(kernel, access, axis), block)


def _arrange_state(lanes: Lanes, kernel: Kernel, axis: int) -> None:
    """Parameters that the kernel reads in place look like the first of them that has an arrangement."""
    twins = [
        o for s in kernel.stages for o in s.formula.operands if o in lanes.parameters and reads_identity(s.formula, o)
    ]
    known = next((lanes.arrangement[t] for t in twins if t in lanes.arrangement), Arrangement(axis))
    for twin in twins:
        lanes.arrangement.setdefault(twin, known)


def loop_order(kernel: Kernel, access: Access, lane: int) -> tuple[int, ...]:
    """The axes of an operand other than the innermost, in the order in which the kernel's loops move them."""
    loops = [access.bare.index(name) for name in kernel.order if name in access.bare]
    rest = [axis for axis in range(len(access.bare)) if axis != lane and axis not in loops]
    return (*rest, *(axis for axis in loops if axis != lane))


def reduction_order(kernel: Kernel, lanes: Lanes) -> tuple[str, ...]:
    """Reduced axes from the outermost loop inwards: the batch first, those that an operand has innermost last."""
    first = kernel.stages[0].formula
    innermost = {
        access.bare[known]
        for access in accesses(first)
        if access.bare and (known := lanes.lane_of(access.operand)) is not None
    } - {kernel.split}
    rank = {a.name: 0 if isinstance(a.extent, Batch) else 1 + (a.name in innermost) for a in first.over}
    return tuple(sorted(rank, key=lambda name: rank[name]))
