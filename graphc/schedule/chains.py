"""Chains: a product between constant transforms runs block by block, so that what passes between them stays in cache.

    result of a transform        V = B·x      W = G·y           scratch of one block
    product                      M = V·U      M += V·W          scratch, or partial sums over the blocks
    transform of the product     Y = A·M                        with all pointwise stages behind it

Fast convolutions have this shape: their values V and M are larger than what they are computed from, and passing them
through memory would cost more than the multiplications that they save.

**Ensures** the kernels of a chain are neighbours; what passes between them is read by nobody else.
**Fails** never; what forms no chain remains as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

from graphc.graph.ir import Value
from graphc.ops.formula import Axis, Formula
from graphc.ops.separable import Separable, separable
from graphc.ops.structure import Access, accesses, partial_sum, product
from graphc.schedule.program import Chain, Kernel, Layout, Memory, Stage, Walk
from graphc.schedule.recurrence import in_a_step, within_a_step
from graphc.target import Target
from graphc.types import Batch, DType, Extent, TensorType

PARTS, FEW_PARTS = 16, 4
PARTS_BYTES = 2 << 20
"""Partial sums are as many as fit into so many bytes, within limits that never depend on the number of threads."""

RUN = 8
"""Products in a chain sum at least so many terms at a time, and total these sums: the constants of the transforms
magnify rounding, and this makes up for it."""

ENOUGH_ROWS = 16
"""Tiles of a block for which an operand that is the same for all of them is read from the second cache once."""


def run_length(terms: int) -> int:
    """How many terms a product sums at a time: near the root of all, where rounding is smallest, in fours."""
    return max(RUN, 4 * round(sqrt(terms) / 4))


def form_chains(kernels: tuple[Kernel, ...], lasting: frozenset[str], target: Target) -> tuple[Kernel, ...]:
    """The kernels with every product of transforms in a chain with them; `lasting` names parameters and outputs."""
    result = list(kernels)
    next_id = 1 + max((s.value.id for k in kernels for s in k.stages), default=0)
    for kernel in kernels:
        links = _links(kernel, result, lasting)
        if links is None:
            continue
        chained = _forward(links, target) if links.result else _summed(links, target, next_id)
        if chained is None or not all(map(_has_lanes, chained)):
            continue
        next_id += 1
        members = {k.name for k in (*links.makers, links.product, links.result) if k is not None}
        last = (links.result or links.product).name
        place = next(i for i, k in enumerate(result) if k.name == last)
        before = [k for k in result[:place] if k.name not in members]
        result = [*before, *chained, *result[place + 1 :]]
    return tuple(result)


@dataclass(frozen=True, slots=True)
class _Links:
    """A product kernel, the transforms that make its operands, and the transform of its result, if it is alone."""

    product: Kernel
    reads: tuple[Access, ...]
    makers: tuple[Kernel, ...]
    result: Kernel | None


def _links(kernel: Kernel, kernels: Sequence[Kernel], lasting: frozenset[str]) -> _Links | None:
    first = kernel.stages[0].formula
    form = product(first)
    if form is None or len(form.factors) != 2 or separable(first) or len(kernel.stages) != 1 or kernel.split:
        return None
    if kernel.chain is not None:
        return None
    reads = accesses(first)
    if len(reads) != 2 or any(None in access.bare for access in reads):
        return None
    readers = {name: [k for k in kernels if name in k.reads] for name in (*kernel.reads, *kernel.writes)}
    made = {m: k for k in kernels for m in k.writes if _makes_tiles(k)}
    makers = tuple(
        made[a.operand]
        for a in reads
        if a.operand in made
        and len(readers[a.operand]) == 1
        and lasting.isdisjoint((a.operand, *made[a.operand].reads))
    )
    (name,) = kernel.writes
    after = readers[name]
    result = after[0] if len(after) == 1 and name not in lasting and _reads_tiles(after[0], name) else None
    if result and makers:  # the other operand is the same for all blocks
        makers = (max(makers, key=lambda k: k.stages[0].value.type.per_sample()[::-1]),)
    if len(makers) != (1 if result else 2):
        return None
    return _Links(kernel, reads, makers, result)


def _makes_tiles(kernel: Kernel) -> bool:
    """Whether a kernel is a transform whose one result has whole tiles, and belongs to no chain yet."""
    form = separable(kernel.stages[0].formula)
    return form is not None and not form.tiled and len(kernel.writes) == 1 and kernel.chain is None


def _reads_tiles(kernel: Kernel, name: str) -> bool:
    """Whether a kernel begins with a transform of a value, tile by tile."""
    form = separable(kernel.stages[0].formula) if kernel.chain is None else None
    later = {o for s in kernel.stages[1:] for o in s.formula.operands}
    return form is not None and form.operand == name and bool(form.tiled) and name not in later


def _has_lanes(kernel: Kernel) -> bool:
    """Whether a transform has vectors within a block: along an axis that is not walked and that it only hands on."""
    first = kernel.stages[0].formula
    form, walked = separable(first), dict(kernel.walked)
    bare = {name for a in accesses(first) if form and a.operand == form.operand for name in a.bare}
    return form is None or any(a.name in bare and a.name not in walked for a in kernel.axes)


def _forward(links: _Links, target: Target) -> list[Kernel] | None:
    """transform -> product -> transform, walking over the axes that all three have."""
    (maker,), result = links.makers, links.result
    assert result is not None
    read = next(a for a in links.reads if a.operand in maker.writes)
    planes = _planes(links)
    first = links.product.stages[0].formula
    axes = _batch_first([a for a in first.axes if a.name in read.axes and a.name not in planes], first)
    if not axes:
        return None
    lane = target.lanes(links.product.stages[0].value.type.dtype)
    depth = sum(-(-_size(e) // lane) * lane for e in (*_rest(links, read), links.product.axes[-1].extent))
    walks = _walks(axes, depth * _volume(links, planes), target)
    chain = Chain(f"chain {links.product.name}", walks)
    names = tuple(w.axis for w in walks)
    own = tuple(n for n in read.bare if n is not None)
    making = tuple(zip((a.name for a in maker.axes), own, strict=True))
    form = separable(result.stages[0].formula)
    assert form is not None
    (back,) = (a for a in accesses(result.stages[0].formula) if a.operand == form.operand)
    coming = tuple((next(iter(m)), p.name) for m, p in zip(back.moves, links.product.axes, strict=True) if len(m) == 1)
    return [
        replace(maker, chain=chain, walked=_among(making, names)),
        replace(links.product, chain=chain, walked=tuple((n, n) for n in names)),
        replace(result, chain=chain, walked=_among(coming, names)),
    ]


def _summed(links: _Links, target: Target, next_id: int) -> list[Kernel] | None:
    """Two transforms -> partial sums of products over the blocks; then their total."""
    kernel, first = links.product, links.product.stages[0]
    axes = [a for a in first.formula.over if all(a.name in read.axes for read in links.reads)]
    axes = _batch_first(axes, first.formula) if len(axes) == len(first.formula.over) else []
    if not axes:
        return None
    planes = _planes(links)
    lane = target.lanes(first.value.type.dtype)
    depth = sum(-(-_size(a.extent) // lane) * lane for a in first.formula.axes if a.name not in planes)
    walks = _walks(axes, depth * _volume(links, planes), target)
    bytes_ = prod(_size(e) for e in first.value.type.shape) * first.value.type.dtype.bytes
    parts = max(FEW_PARTS, min(PARTS, PARTS_BYTES // bytes_))
    chain = Chain(f"chain {kernel.name}", walks, parts)
    names = tuple(w.axis for w in walks)
    part = Value(next_id, TensorType((parts, *first.value.type.shape), first.value.type.dtype))
    name = f"t{part.id}"
    partial, total = partial_sum(first.formula, name, parts)
    chained = []
    for maker in links.makers:
        read = next(a for a in links.reads if a.operand in maker.writes)
        own = tuple(n for n in read.bare if n is not None)
        making = tuple(zip((a.name for a in maker.axes), own, strict=True))
        chained.append(replace(maker, chain=chain, walked=_among(making, names)))
    remark = f"sum over the blocks in {parts} parts"
    stage, (target_name,) = Stage(name, part, partial), kernel.writes
    chained.append(
        replace(
            kernel, name=f"{kernel.name}a", stages=(stage,), stores=((name, name),), chain=chain,
            walked=tuple((n, n) for n in names), remarks=(*kernel.remarks, remark),
        )
    )  # fmt: skip
    whole = (replace(first, formula=total),)
    return [*chained, replace(kernel, name=f"{kernel.name}b", stages=whole, stores=((first.name, target_name),))]


def _batch_first(axes: list[Axis], first: Formula) -> list[Axis]:
    """The axes in the order of their loops; none where the size of a block would depend on that of the batch."""
    batch = [a for a in (*first.axes, *first.over) if isinstance(a.extent, Batch)]
    if len(batch) > 1 or any(a not in axes for a in batch):
        return []
    return [*batch, *(a for a in axes if a not in batch)]


def _planes(links: _Links) -> frozenset[str]:
    """The axes of the product that both operands have: one independent product for each."""
    own = {a.name for a in links.product.axes}
    return frozenset(own & links.reads[0].axes & links.reads[1].axes)


def _volume(links: _Links, planes: frozenset[str]) -> int:
    """Bytes of all planes for one element of the other axes."""
    count = prod(_size(a.extent) for a in links.product.axes if a.name in planes)
    return count * links.product.stages[0].value.type.dtype.bytes


def _rest(links: _Links, read: Access) -> list[Extent]:
    """The extents of the reduced axes."""
    return [a.extent for a in links.product.stages[0].formula.over if a.name in read.axes]


def _walks(axes: list[Axis], bytes_: int, target: Target) -> tuple[Walk, ...]:
    """Blocks of whole samples if one fits into half of the second cache, else of rows of tiles, at least one."""
    (sample, samples), *others = [(a.name, a.extent) for a in axes]
    budget = target.l2 // 2 // bytes_
    tiles = prod(_size(e) for _, e in others)
    if tiles <= budget or not others:
        block = max(1, min(-(-ENOUGH_ROWS // tiles), budget // tiles))
        return (Walk(sample, samples, block if isinstance(samples, Batch) else min(block, samples)),)
    (row, rows), *inner = others
    assert isinstance(rows, int)
    one = prod(_size(e) for _, e in inner)
    block = max(d for d in range(1, rows + 1) if rows % d == 0 and (d == 1 or d * one <= budget))
    return Walk(sample, samples, 1), Walk(row, rows, block)


def _among(pairs: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((own, shared) for own, shared in pairs if shared in names)


def _size(extent: Extent) -> int:
    return 1 if isinstance(extent, Batch) else extent


# ---------------------------------------------------------------------------------------------------- blocks


def inside(kernel: Kernel) -> Kernel:
    """The product of a chain as it looks inside one block: walked axes are as long as a block, a part is given.

    Samples count as one where there are other rows for tiles: a block can have fewer samples than it has room for.
    """
    assert kernel.chain is not None
    if kernel.stepwise:
        return in_a_step(kernel)
    (stage,), (memory,) = kernel.stages, kernel.writes
    blocks = {w.axis: w.block for w in kernel.chain.walks}
    part = kernel.axes[0].name if kernel.chain.parts else None
    batch = next((a.name for a in kernel.axes if isinstance(a.extent, Batch)), None)
    one, other = accesses(stage.formula)
    rows = [a for a in kernel.axes if a.name in one.axes ^ other.axes and a.name not in (batch, kernel.lane)]
    single = {part, batch if any(a.extent != 1 for a in rows) else None}
    axes = tuple(Axis(a.symbol, 1 if a.name in single else blocks.get(a.name, a.extent)) for a in kernel.axes)
    over = tuple(Axis(a.symbol, blocks.get(a.name, a.extent)) for a in stage.formula.over)
    # a part is updated in place: its stage is not the memory's value
    name = f"{stage.name}_block" if part else stage.name
    stage = replace(stage, name=name, formula=replace(stage.formula, axes=axes, over=over))
    return replace(kernel, stages=(stage,), stores=((name, memory),))


def run_of(kernel: Kernel) -> int:
    """How many terms the product of a chain sums at a time, 0 for all of them."""
    over = kernel.stages[0].formula.over
    if kernel.chain is None or kernel.stepwise or kernel.chain.parts or len(over) != 1:
        return 0
    length = over[0].extent
    return run_length(length) if isinstance(length, int) and length > RUN else 0


# --------------------------------------------------------------------------------------------------- memory


def scratch(kernel: Kernel, name: str, value: Value, lane: int | None, target: Target) -> Memory:
    """The memory of one block of what a kernel of a chain passes on: planes outermost, lanes innermost.

    Planes that lie a multiple of a kilobyte apart would share few sets of the first cache: each row of tiles is then
    one tile longer.
    """
    assert kernel.chain is not None
    lane = -1 if lane is None else lane
    walked, walks = dict(kernel.walked), {w.axis: w for w in kernel.chain.walks}
    local = tuple(
        walks[walked[a.name]].block if a.name in walked else _size(a.extent) for a in kernel.axes
    )  # fmt: skip
    type = TensorType(local, value.type.dtype)
    planes = _plane_axes(kernel)
    others = [a for a in range(len(local)) if a not in planes and a != lane]
    width = target.lanes(value.type.dtype)
    last = -(-local[lane] // width) * width
    plane = prod(local[a] for a in others) * last * value.type.dtype.bytes
    halo = [(0, 0)] * len(local)
    if others and plane % 1024 == 0:
        halo[others[-1]] = (0, 1)
    order = (*planes, *others, lane)
    return Memory(name, Value(value.id, type), Layout(order, tuple(halo), last), "scratch")


def _plane_axes(kernel: Kernel) -> tuple[int, ...]:
    """The positions of the axes that number the planes of a transform's or a product's result."""
    first = kernel.stages[0].formula
    form: Separable | None = separable(first)
    if form is not None:
        return tuple(i for i, a in enumerate(first.axes) if a.name in form.unrolled)
    one, other = accesses(first)
    return tuple(i for i, a in enumerate(first.axes) if a.name in one.axes & other.axes)


def internal(kernels: Sequence[Kernel]) -> dict[str, Kernel]:
    """Memory name -> the kernel of a chain that writes it for later kernels of the same chain, block by block."""
    readers: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        for name in kernel.reads:
            readers.setdefault(name, []).append(kernel)
    return {
        name: kernel
        for kernel in kernels
        if kernel.chain is not None
        for name in kernel.writes
        if {reader.chain for reader in readers.get(name, ())} == {kernel.chain}
        and (not kernel.stepwise or within_a_step(name, kernel, readers[name]))
    }


def dtype_of(kernel: Kernel) -> DType:
    """The element type of what a kernel computes."""
    return kernel.stages[0].value.type.dtype
