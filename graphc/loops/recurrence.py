"""A recurrence as one function: each thread takes blocks of samples through all steps of time, without waiting.

parallel over the blocks of samples
  serial over the steps, upwards or downwards
    the kernels of the cycle on one block at one time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.loops.access import buffer_of
from graphc.loops.index import UNBOUNDED, Index, Range, constant, minimum, quotient, variable
from graphc.loops.ir import Bind, For, Function, Statement
from graphc.loops.lower import lower_inside
from graphc.loops.nests import nests
from graphc.loops.tiles import outer_loops
from graphc.schedule.program import Kernel, Memory, Walk
from graphc.schedule.recurrence import in_a_step
from graphc.target import Target
from graphc.types import Batch


def lower_recurrence(kernels: Sequence[Kernel], memories: Mapping[str, Memory], target: Target) -> Function:
    """The loops over blocks and time, with the loops of the kernels inside."""
    chain = kernels[0].chain
    assert chain is not None
    samples = [walk for walk in chain.walks if not walk.direction]
    body: list[Statement] = []
    for kernel in kernels:
        body += _one_step(kernel, memories, target)
    for time in chain.walks[len(samples) :]:
        assert isinstance(time.extent, int)
        step = variable(time.loop)
        now = step if time.direction > 0 else step * -1 + (time.extent - 1)
        body = [For(time.loop, constant(0), constant(time.extent), (Bind(at(time), now), *body))]
    block = [statement for walk in samples for statement in _block(walk)]
    loop = outer_loops([(walk.loop, _blocks(walk)) for walk in samples], (*block, *body))
    used = dict.fromkeys(name for k in kernels for name in (*k.reads, *k.writes))
    scope = "+".join(dict.fromkeys(k.scope for k in kernels if k.scope))
    return Function(kernels[-1].name, tuple(buffer_of(memories[name]) for name in used), (loop,), scope)


def _one_step(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> tuple[Statement, ...]:
    """The loops of one kernel: its walked axes stand at the block's samples and at the time of the step."""
    assert kernel.chain is not None
    walks, known = {w.axis: w for w in kernel.chain.walks}, _ranges(kernel.chain.walks)
    body: list[Statement] = []
    local = in_a_step(kernel)
    for nest in nests(local, memories, target.lanes(kernel.stages[0].value.type.dtype)):
        env, axes, held, within = dict(nest.env), dict(nest.axes), {}, {}
        for own, shared in kernel.walked:
            walk = walks[shared]
            if walk.direction:
                env[own] = variable(at(walk))
                del axes[own]
            else:
                env[own] = variable(at(walk)) + variable(own)
                held[own] = _held(walk)
                within[env[own]] = walk.extent
        near = {at(w): constant(0) for w in kernel.chain.walks}
        nest = replace(nest, axes=tuple(axes.items()), env=env, known=known, held=held, near=near, within=within)
        body += lower_inside(local, memories, target, nest)
    return tuple(body)


def at(walk: Walk) -> str:
    """The variable that holds where the block, or the step, at hand begins."""
    return f"{walk.axis}_at"


def _held(walk: Walk) -> Index:
    """How many samples the block at hand has: a variable where the last block can be shorter."""
    whole = isinstance(walk.extent, int) and walk.extent % walk.block == 0
    return constant(walk.block) if whole else variable(f"{walk.axis}_held")


def _block(walk: Walk) -> list[Statement]:
    """Where a block of samples begins, and how many it has."""
    start = variable(walk.loop) * walk.block
    found: list[Statement] = [Bind(at(walk), start)]
    if not _held(walk).is_constant:
        extent = variable("N") if isinstance(walk.extent, Batch) else constant(walk.extent)
        found.append(
            Bind(str(_held(walk)), minimum(constant(walk.block), extent - variable(at(walk)), _ranges((walk,))))
        )
    return found


def _blocks(walk: Walk) -> Index:
    if isinstance(walk.blocks, int):
        return constant(walk.blocks)
    return quotient(variable("N") + (walk.block - 1), walk.block, {"N": (1, UNBOUNDED)})


def _ranges(walks: Sequence[Walk]) -> dict[str, Range]:
    """What is known of the variables around the loops of a kernel."""
    known: dict[str, Range] = {"N": (1, UNBOUNDED)}
    for walk in walks:
        last = walk.extent - 1 if isinstance(walk.extent, int) else UNBOUNDED
        known |= {at(walk): (0, last), f"{walk.axis}_held": (1, walk.block)}
    return known
