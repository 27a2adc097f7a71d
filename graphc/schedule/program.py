"""Program IR: kernels over memories, in order.

Program(kernels, memories, inputs, parameters, outputs, guard)
Kernel(name, stages, stores, reads, ...)      one loop nest: an optional reduction and the pointwise stages on it
Stage(value, formula)                         the first may reduce; later ones read earlier ones in place
Memory(name, value, layout, role, slot, life) where a value lives, and how its elements are arranged
Chain(name, walks, parts)                     consecutive kernels that run together, block by block or step by step
Layout(order, halo, last, block)              axis order, zero border, padded or blocked last axis
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from graphc.graph.ir import Value
from graphc.ops.formula import Axis, Formula, rename_operands
from graphc.ops.structure import reads_identity
from graphc.types import Batch, Extent, Location, TensorType

CONFLICT, LINE = 1024, 64
"""Rows whose length is a multiple of this many bytes fall into few sets of the first cache: they get one line more."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Arrangement of a tensor in memory.

    `order` lists the logical axes from the outermost to the innermost; `halo` gives each logical axis a border of
    zeros; `last` is the padded extent of the innermost axis; with `block` the innermost axis is cut into blocks of
    that size, which become the outermost physical axis (packed weights).
    """

    order: tuple[int, ...]
    halo: tuple[tuple[int, int], ...]
    last: int = 0
    block: int = 0

    @staticmethod
    def dense(rank: int) -> Layout:
        """The layout of a C-contiguous array."""
        return Layout(tuple(range(rank)), ((0, 0),) * rank)

    def shape(self, type: TensorType) -> tuple[Extent, ...]:
        """The physical shape."""
        extents: list[Extent] = []
        for axis in self.order:
            low, high = self.halo[axis]
            e = type.shape[axis]
            extents.append(e if isinstance(e, Batch) else e + low + high)
        if not extents:
            return ()
        last = extents[-1]
        if self.block:
            assert isinstance(last, int)
            return (-(-last // self.block), *extents[:-1], self.block)
        return (*extents[:-1], self.last or last)

    @property
    def has_halo(self) -> bool:
        return any(border != (0, 0) for border in self.halo)

    def text(self, type: TensorType) -> str:
        """`[N,14,14,6→8] order 0231 halo 2`"""
        physical = ",".join(map(str, self.shape(type)))
        order = "" if self.order == tuple(range(len(self.order))) else " order " + "".join(map(str, self.order))
        halo = " halo " + " ".join(f"{a}+{b}" for a, b in self.halo) if self.has_halo else ""
        block = f" blocks of {self.block}" if self.block else ""
        return f"[{physical}]{order}{halo}{block}"


Life = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """A place for one value.

    role: input (the caller's array), scalar (a run-time number), parameter (persistent), constant, temporary, or
    scratch: one block of a value that passes between the kernels of a chain, private to each thread.
    Temporaries that share a `slot` take turns; if the slot has a `life`, the first and the last stretch in which it is
    used, others may overlap it before and after.
    """

    name: str
    value: Value
    layout: Layout
    role: str
    slot: int = -1
    life: Life | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One value of a kernel. Operands of the formula are memory names, or names of earlier stages."""

    name: str
    value: Value
    formula: Formula


@dataclass(frozen=True, slots=True)
class Walk:
    """A loop of a chain: an axis of so many values, `block` of them at a time.

    Blocks are independent of each other, unless the walk has a `direction`: then each needs the one before it, upwards
    from the first (1) or downwards from the last (-1).
    """

    axis: str
    extent: Extent
    block: int
    direction: int = 0

    @property
    def loop(self) -> str:
        """The variable that counts the blocks."""
        return f"{self.axis}_block"

    @property
    def blocks(self) -> Extent:
        """How many blocks there are; the batch's number of blocks follows from its size."""
        return self.extent if isinstance(self.extent, Batch) else -(-self.extent // self.block)


@dataclass(frozen=True, slots=True)
class Chain:
    """Consecutive kernels that run together: all of them on one block, then on the next.

    What passes between them is a scratch memory of one block. With `parts` the last kernel sums over the blocks: so
    many partial sums, each over every so-manyth block of the first walk, whatever the number of threads. The last walk
    of a recurrence is time. In a chain by `rows` each kernel computes the rows of the block from the same rows.
    """

    name: str
    walks: tuple[Walk, ...]
    parts: int = 0
    rows: bool = False

    @property
    def recurs(self) -> bool:
        """Whether the blocks of the last walk, which is time, follow each other."""
        return self.walks[-1].direction != 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One loop nest.

    `stores` pairs stage names with the memories that they are written to; `lane` is the axis along the vector
    lanes, an axis of the result or, for `lane_reduces`, of the reduction; `order` lists the reduced axes from the
    outermost loop inwards. With `split`, the named reduced axis starts
    at the first axis of the result and advances by that axis' extent: partial sums whose number never depends on the
    thread count. `digits` replaces an axis by a mixed-radix number: axis name and the divisors of its digits. In a
    `chain`, `walked` pairs axes of the kernel with the axes that the chain walks. What `scatters` goes through the
    terms of its sum and adds each to the result that it names.
    """

    name: str
    stages: tuple[Stage, ...]
    stores: tuple[tuple[str, str], ...] = ()
    lane: str | None = None
    lane_reduces: bool = False
    order: tuple[str, ...] = ()
    split: str | None = None
    digits: tuple[tuple[str, tuple[int, ...]], ...] = ()
    chain: Chain | None = None
    walked: tuple[tuple[str, str], ...] = ()
    scatters: bool = False
    scope: str = ""
    location: Location | None = None
    remarks: tuple[str, ...] = ()
    reads: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The memories that are read: in a recurrence also those of its own stages, at an earlier time."""

    def __post_init__(self) -> None:
        own = {s.name for s in self.stages}
        read = dict.fromkeys(
            o for s in self.stages for o in s.formula.operands if o not in own or not reads_identity(s.formula, o)
        )
        object.__setattr__(self, "reads", tuple(read))

    def reading(self, names: Mapping[str, str]) -> Kernel:
        """The kernel with other memories in the places of those that it reads."""
        stages = []
        for stage in self.stages:
            mapping = {o: names.get(o, o) for o in stage.formula.operands}
            stages.append(replace(stage, formula=rename_operands(stage.formula, mapping)))
        return replace(self, stages=tuple(stages))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the result, shared by all stages."""
        return self.stages[0].formula.axes

    @property
    def recurs(self) -> bool:
        """Whether it is a member of a recurrence."""
        return self.chain is not None and self.chain.recurs

    @property
    def stepwise(self) -> bool:
        """Whether it computes its part of one block, or one step, from others' parts of the same."""
        return self.recurs or (self.chain is not None and self.chain.rows)

    @property
    def time(self) -> str | None:
        """The axis of time of a member of a recurrence."""
        return self.walked[-1][0] if self.recurs else None

    @property
    def writes(self) -> tuple[str, ...]:
        """The memories that are written."""
        return tuple(m for _, m in self.stores)


@dataclass(frozen=True, slots=True)
class Program:
    """Kernels in order, over memories.

    `inputs` and `parameters` map the user's names to memories; `outputs` are the memories of the results;
    `guard` is the memory that must be finite before the first kernel that changes a parameter.
    """

    kernels: tuple[Kernel, ...]
    memories: tuple[Memory, ...]
    outputs: tuple[str, ...]
    guard: str | None = None
    remarks: tuple[str, ...] = ()

    def memory(self, name: str) -> Memory:
        """The memory of that name."""
        return next(m for m in self.memories if m.name == name)

    @property
    def units(self) -> tuple[tuple[Kernel, ...], ...]:
        """Kernels that run together: those of a chain, others alone."""
        grouped = groupby(enumerate(self.kernels), lambda item: item[1].chain or item[0])
        return tuple(tuple(kernel for _, kernel in group) for _, group in grouped)

    def __str__(self) -> str:
        from graphc.schedule.printer import program_text

        return program_text(self)
