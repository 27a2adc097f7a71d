"""Recurrences as chains: the kernels of a cycle, one step of time after another, each thread with samples of its own.

    parallel over blocks of samples             if every member has an axis of samples along which nothing moves
      serial over the steps of time
        the kernels of the cycle, in the order of one step

What a step does not pass on to other steps, or to what follows the recurrence, is scratch of one block and one step.
Of what it does pass on, and multiplies itself, it keeps such a copy: rows of a memory are all times of a sample apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from graphc.graph.analysis.recurrences import Recurrence
from graphc.graph.ir import Node, Value
from graphc.ops.formula import Axis, rename_axes
from graphc.ops.recurrence import places
from graphc.ops.structure import accesses, identity, product
from graphc.schedule.program import CONFLICT, LINE, Chain, Kernel, Layout, Memory, Stage, Walk
from graphc.target import Target
from graphc.types import Batch, TensorType

SAMPLES = 16
"""Samples that go through time together: enough rows for whole tiles, few enough for a small batch to have work for
several threads."""


def recurrence(cycle: Recurrence, kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels of a cycle, given in the order of one step, as a chain."""
    time, samples = cycle.axis_of, _samples(cycle)
    along = ([] if samples is None else [samples]) + [time]
    first = kernels[0].stages[0]
    names = [kernels[0].axes[place[first.value]].name for place in along]
    walks = [Walk(names[-1], cycle.steps, 1, -1 if cycle.reverse else 1)]
    if samples is not None:
        extent = first.value.type.shape[samples[first.value]]
        walks.insert(0, Walk(names[0], extent, SAMPLES if isinstance(extent, Batch) else min(SAMPLES, extent)))
    chain = Chain(f"recurrence of {first.name}", tuple(walks))
    return [
        replace(
            kernel,
            chain=chain,
            walked=tuple(
                (kernel.axes[place[kernel.stages[0].value]].name, n) for n, place in zip(names, along, strict=True)
            ),
        )
        for kernel in kernels
    ]


def late(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes of a cycle in the order of one step, each that waits for nothing in it just before its first reader."""
    made = {node.output for node in nodes}
    waiting = {n.output: n for n in nodes if made.isdisjoint(v for v in n.inputs if v not in n.delayed)}
    for node in nodes:
        if node.output not in waiting:
            yield from (waiting.pop(v) for v in node.inputs if v in waiting and v not in node.delayed)
            yield node
    yield from waiting.values()


def _samples(cycle: Recurrence) -> Mapping[Value, int] | None:
    """Where every member has the axis of samples: one that nothing in the cycle is moved along, the batch if it can be.

    Innermost axes do not count, because vectors run along them.
    """
    shape = (first := cycle.nodes[0].output).type.shape
    candidates = [p for p, e in enumerate(shape) if p != cycle.axis_of[first]]
    candidates = [p for p in candidates if isinstance(shape[p], Batch)] + [
        p for p in candidates if not isinstance(shape[p], Batch) and p < max(candidates)
    ]
    return next((found for p in candidates if (found := _still(cycle, first, p)) is not None), None)


def _still(cycle: Recurrence, first: Value, position: int) -> Mapping[Value, int] | None:
    """The axis of every member along which all members are read in place, if it is one for all of them."""
    reads = [
        (node.output, [a.name for a in node.formula.axes], v, index)
        for node in cycle.nodes
        for o, v in zip(node.formula.operands, node.inputs, strict=True)
        for name, index in places(node.formula)
        if name == o and v in cycle.axis_of
    ]
    found, known = {first: position}, 0
    while known < len(found):
        known = len(found)
        for value, names, v, index in reads:
            if v in found and (place := index[found[v]]) is not None:
                found.setdefault(value, names.index(place[0]))
            if value in found and (here := (names[found[value]], 0)) in index:
                found.setdefault(v, index.index(here))
    still = len(found) == len(cycle.nodes) and all(
        index[found[v]] == (names[found[value]], 0) for value, names, v, index in reads
    )
    return found if still else None


def with_copies_near(kernels: Sequence[Kernel], lasting: frozenset[str]) -> list[Kernel]:
    """The kernels of a program, members multiplying a copy of one step of what other steps, later kernels or the
    caller (`lasting`) want too."""
    result = {kernel.name: kernel for kernel in kernels}
    for writer in kernels:
        for name in writer.writes if writer.recurs else ():
            readers = [k for k in kernels if name in k.reads]
            near = [k for k in readers if k.chain == writer.chain and within_a_step(name, writer, [k])]
            products = [k for k in near if product(k.stages[0].formula)]
            if products and (near != readers or name in lasting):
                result[writer.name] = _with_copy(result[writer.name], name)
                for k in products:
                    result[k.name] = result[k.name].reading({name: f"{name}.near"})
    return list(result.values())


def _with_copy(kernel: Kernel, name: str) -> Kernel:
    """A member that stores one of its values twice."""
    value = next(s.value for s in kernel.stages if s.name == name)
    near = f"{name}.near"
    same = rename_axes(identity(name, value.type.shape), {f"i{k}": a.name for k, a in enumerate(kernel.axes)})
    stage = Stage(near, replace(value, name=near), same)
    return replace(kernel, stages=(*kernel.stages, stage), stores=(*kernel.stores, (near, near)))


# ---------------------------------------------------------------------------------------------- one block, one step


def within_a_step(name: str, writer: Kernel, readers: Iterable[Kernel]) -> bool:
    """Whether a value that a member computes is read at its own samples and time only, and is small for a block."""
    if any(isinstance(e, Batch) for e in in_a_step(writer).stages[0].formula.shape):
        return False
    place = {shared: [a.name for a in writer.axes].index(own) for own, shared in writer.walked}
    return all(
        access.bare[place[shared]] == own
        for reader in readers
        for stage in reader.stages
        for access in accesses(stage.formula)
        if access.operand == name
        for own, shared in reader.walked
    )


def in_a_step(kernel: Kernel) -> Kernel:
    """A member as it looks inside one step: as many samples as a block has, one time."""
    assert kernel.chain is not None
    block, walked = {w.axis: w.block for w in kernel.chain.walks}, dict(kernel.walked)
    axes = tuple(Axis(a.symbol, block[walked[a.name]] if a.name in walked else a.extent) for a in kernel.axes)
    stages = tuple(replace(s, formula=replace(s.formula, axes=axes)) for s in kernel.stages)
    return replace(kernel, stages=stages)


def step_scratch(kernel: Kernel, name: str, value: Value, lane: int | None, target: Target) -> Memory:
    """The memory of what a member computes in one step for one block of samples, lanes innermost."""
    shape = in_a_step(kernel).stages[0].formula.shape
    type = TensorType(shape, value.type.dtype)
    lane = type.rank - 1 if lane is None else lane
    extent, width = shape[lane], target.lanes(type.dtype)
    assert isinstance(extent, int)
    last = extent if extent == 1 else -(-extent // width) * width
    if last * type.dtype.bytes % CONFLICT == 0:
        last += LINE // type.dtype.bytes
    order = (*(a for a in range(type.rank) if a != lane), lane)
    return Memory(name, Value(value.id, type), Layout(order, ((0, 0),) * type.rank, last), "scratch")
