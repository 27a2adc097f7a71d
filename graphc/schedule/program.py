"""Program IR: kernels over memories, in order.

Program(kernels, memories, inputs, parameters, outputs, guard)
Kernel(name, stages, stores, reads, ...)      one loop nest: an optional reduction and the pointwise stages on it
Stage(value, formula)                         the first may reduce; later ones read earlier ones in place
Memory(name, value, layout, role, slot)       where a value lives, and how its elements are arranged
Layout(order, halo, last, block)              axis order, zero border, padded or blocked last axis
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.ir import Value
from graphc.ops.formula import Axis, Formula
from graphc.types import Batch, Extent, Location, TensorType


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


@dataclass(frozen=True, slots=True)
class Memory:
    """A place for one value.

    role: input (the caller's array), scalar (a run-time number), parameter (persistent), constant, or temporary.
    Temporaries that share a `slot` take turns; memories with a halo keep their slot to themselves, because the
    border is cleared once and never written.
    """

    name: str
    value: Value
    layout: Layout
    role: str
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Stage:
    """One value of a kernel. Operands of the formula are memory names, or names of earlier stages."""

    name: str
    value: Value
    formula: Formula


@dataclass(frozen=True, slots=True)
class Kernel:
    """One loop nest.

    `stores` pairs stage names with the memories that they are written to; `lane` is the axis along the vector
    lanes, an axis of the result or, for `lane_reduces`, of the reduction; `order` lists the reduced axes from the
    outermost loop inwards. With `split`, the named reduced axis starts
    at the first axis of the result and advances by that axis' extent: partial sums whose number never depends on the
    thread count. `digits` replaces an axis by a mixed-radix number: axis name and the divisors of its digits.
    """

    name: str
    stages: tuple[Stage, ...]
    stores: tuple[tuple[str, str], ...] = ()
    lane: str | None = None
    lane_reduces: bool = False
    order: tuple[str, ...] = ()
    split: str | None = None
    digits: tuple[tuple[str, tuple[int, ...]], ...] = ()
    scope: str = ""
    location: Location | None = None
    remarks: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the result, shared by all stages."""
        return self.stages[0].formula.axes

    @property
    def reads(self) -> tuple[str, ...]:
        """The memories that are read."""
        own = {s.name for s in self.stages}
        return tuple(dict.fromkeys(o for s in self.stages for o in s.formula.operands if o not in own))

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

    def __str__(self) -> str:
        from graphc.schedule.printer import program_text

        return program_text(self)
