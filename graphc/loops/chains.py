"""A chain as one function: all its kernels on one block after another, each thread with scratch of its own.

parallel over the blocks                    parallel over the parts
  transform -> scratch                        clear the part
  product   -> scratch                        serial over every so-manyth block
  transform -> memory                           transforms -> scratch
                                                part += product
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.loops.access import buffer_of
from graphc.loops.expressions import Const
from graphc.loops.index import UNBOUNDED, Index, Range, constant, minimum, quotient, variable
from graphc.loops.ir import Bind, For, Function, Mode, Statement, Store
from graphc.loops.lower import lower_inside
from graphc.loops.nests import Nest, nests
from graphc.loops.recurrence import lower_recurrence
from graphc.loops.tiles import outer_loops
from graphc.loops.transforms import held, is_transform, lower_transform
from graphc.ops.structure import accesses
from graphc.schedule.chains import inside, run_of
from graphc.schedule.program import Chain, Kernel, Memory, Walk
from graphc.target import Target
from graphc.types import Batch


def lower_chain(kernels: Sequence[Kernel], memories: Mapping[str, Memory], target: Target) -> Function:
    """The loops over the blocks of a chain, with the loops of its kernels inside."""
    chain = kernels[0].chain
    assert chain is not None
    if chain.recurs or chain.rows:
        return lower_recurrence(kernels, memories, target)
    used = dict.fromkeys(name for k in kernels for name in (*k.reads, *k.writes))
    buffers = tuple(buffer_of(memories[name]) for name in used)
    body: list[Statement] = [*_held(chain)]
    for kernel in kernels:
        if is_transform(kernel):
            body += lower_transform(kernel, memories, target)
        else:
            local = inside(kernel)
            body += lower_inside(local, memories, target, _nest(local, chain))
    loop = _summing(chain, kernels[-1], memories, target, body) if chain.parts else _independent(chain, body)
    scope = "+".join(dict.fromkeys(k.scope for k in kernels if k.scope))
    return Function(kernels[-1].name, buffers, (loop,), scope)


def _independent(chain: Chain, body: list[Statement]) -> For:
    return outer_loops([(w.loop, _blocks(w)) for w in chain.walks], tuple(body))


def _summing(chain: Chain, last: Kernel, memories: Mapping[str, Memory], target: Target, body: list[Statement]) -> For:
    """Every part sums its blocks in order, whoever computes it."""
    part = last.axes[0].name
    inner: tuple[Statement, ...] = tuple(body)
    first, *others = chain.walks
    for walk in reversed(others):
        inner = (For(walk.loop, constant(0), _blocks(walk), inner),)
    loop = For(first.loop, variable(part), _blocks(first), inner, Mode.SERIAL, chain.parts)
    cleared = _clear(memories[last.writes[0]], part, target)
    return For(part, constant(0), constant(chain.parts), (*cleared, loop), Mode.PARALLEL)


def _clear(memory: Memory, part: str, target: Target) -> tuple[Statement, ...]:
    """Zeros in one part, padding included."""
    type, lanes = memory.value.type, target.lanes(memory.value.type.dtype)
    buffer = buffer_of(memory)
    names = [f"z{k}" for k in range(len(buffer.shape))]
    index: list[Index] = [variable(n) for n in names]
    index[memory.layout.order.index(0)] = variable(part)
    width = buffer.shape[-1]
    assert isinstance(width, int)
    index[-1] = variable(f"{names[-1]}_b") * lanes + variable(f"{names[-1]}_l")
    store: Statement = Store(buffer, tuple(index), Const(0.0, type.dtype))
    loop = For(f"{names[-1]}_l", constant(0), constant(lanes), (store,), Mode.VECTOR)
    body: tuple[Statement, ...] = (For(f"{names[-1]}_b", constant(0), constant(width // lanes), (loop,)),)
    for name, extent, axis in reversed(list(zip(names[:-1], buffer.shape[:-1], memory.layout.order[:-1], strict=True))):
        assert isinstance(extent, int)
        if axis != 0:
            body = (For(name, constant(0), constant(extent), body),)
    return body


def _blocks(walk: Walk) -> Index:
    if isinstance(walk.blocks, int):
        return constant(walk.blocks)
    return quotient(variable("N") + (walk.block - 1), walk.block, {"N": (1, UNBOUNDED)})


def _held(chain: Chain) -> list[Statement]:
    """The sizes of blocks that can be short."""
    statements: list[Statement] = []
    for walk in chain.walks:
        size = held(walk.axis, walk.extent, walk.block)
        if not size.is_constant:
            extent = variable("N") if isinstance(walk.extent, Batch) else constant(walk.extent)
            rest = extent - variable(walk.loop) * walk.block
            statements.append(Bind(str(size), minimum(constant(walk.block), rest, _ranges(chain))))
    return statements


def _ranges(chain: Chain) -> dict[str, Range]:
    """What is known of the variables that the chain's loops bind."""
    known: dict[str, Range] = {"N": (1, UNBOUNDED)}
    for walk in chain.walks:
        known[walk.loop] = (0, walk.blocks - 1 if isinstance(walk.blocks, int) else UNBOUNDED)
        known[f"{walk.axis}_held"] = (1, walk.block)
    return known


def _nest(kernel: Kernel, chain: Chain) -> Nest:
    """The loops of a product inside one block: planes outermost, so that the rest of an operand stays in cache."""
    (nest,) = nests(kernel)
    one, other = accesses(kernel.stages[0].formula)
    planes = one.axes & other.axes
    part = kernel.axes[0].name if chain.parts else ""
    axes = sorted((a for a in nest.axes if a[0] != part), key=lambda a: a[0] not in planes)
    known, env = _ranges(chain), nest.env
    if part:
        known[part], env = (0, chain.parts - 1), env | {part: variable(part)}
    sizes = {w.axis: held(w.axis, w.extent, w.block) for w in chain.walks}
    (sweep,) = nest.passes
    stops = {n: sizes[n] for n, _ in sweep.over if n in sizes}
    blocks = {w.axis: w.block for w in chain.walks}
    return replace(
        nest, axes=tuple((n, blocks.get(n, e)) for n, e in axes), env=env, passes=(replace(sweep, stops=stops),),
        known=known, adds=bool(part), run=run_of(kernel), held=sizes,
    )  # fmt: skip
