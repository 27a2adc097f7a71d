"""Loop IR: typed loops over buffers and register arrays. sympy never comes this far.

    function   Function(name, buffers, body, scope)                       one kernel
    statement  For(var, start, stop, body, mode, step, active)            mode SERIAL | PARALLEL | VECTOR | UNROLL
             | If(conditions, body)
             | Let(name, value)                                           visible to the end of the enclosing body
             | Bind(var, index)                                           an index variable with one value
             | Store(buffer, index, value, active)
             | Prefetch(buffer, index)
             | Declare(array, shape, dtype, lanes, initial)               an array of registers
             | Assign(array, index, value)
             | Transpose(array)                                           lanes and cells of a register array exchanged
             | Accumulate(array, index, reduction, value)                 array[index] = reduction(array[index], value)
    expression see expressions.py

Before the pass `vectorise` all
expressions have one lane and a VECTOR loop runs over the lanes; after it VECTOR loops are gone. After `unroll`
UNROLL loops are gone and every register array is indexed by constants.

`active` on a VECTOR loop, a Load or a Store counts the lanes, from the first, that take part; None means all.
Inactive lanes load zero and store nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Union

from graphc.loops.expressions import Buffer, ElementType, Expression
from graphc.loops.index import Index


class Mode(Enum):
    """How a loop is executed."""

    SERIAL = "serial"
    PARALLEL = "parallel"
    VECTOR = "vector"
    UNROLL = "unroll"


# ---------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Condition:
    """ge: index >= 0; divides: divisor divides index."""

    kind: str
    index: Index
    divisor: int = 1


@dataclass(frozen=True, slots=True)
class For:
    """var runs from start by step while below stop. PARALLEL loops share their iterations among the threads, in
    contiguous blocks; they do not nest."""

    var: str
    start: Index
    stop: Index
    body: tuple[Statement, ...]
    mode: Mode = Mode.SERIAL
    step: int = 1
    active: Index | None = None


@dataclass(frozen=True, slots=True)
class If:
    conditions: tuple[Condition, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Bind:
    """var = index, visible to the end of the enclosing body like a loop variable."""

    var: str
    index: Index


@dataclass(frozen=True, slots=True)
class Store:
    buffer: Buffer
    index: tuple[Index, ...]
    value: Expression
    active: Index | None = None


@dataclass(frozen=True, slots=True)
class Prefetch:
    """The line of an element that will be read and written soon is wanted in the first cache. No effect on values."""

    buffer: Buffer
    index: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Declare:
    array: str
    shape: tuple[int, ...]
    dtype: ElementType
    initial: Expression
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Assign:
    array: str
    index: tuple[Index, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class Transpose:
    """Lane j of cell i and lane i of cell j change places, in an array of one axis with as many cells as lanes.

    Only after `vectorise`, which brings it in for values that are read across their memory.
    """

    array: str


@dataclass(frozen=True, slots=True)
class Accumulate:
    array: str
    index: tuple[Index, ...]
    reduction: str
    value: Expression


Statement = Union[For, If, Let, Bind, Store, Prefetch, Declare, Assign, Transpose, Accumulate]


@dataclass(frozen=True, slots=True)
class Function:
    """One kernel: loops over the buffers that it is given, for one thread's share of the work."""

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Statement, ...]
    scope: str = ""

    def __str__(self) -> str:
        from graphc.loops.printer import function_text

        return function_text(self)


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel applied to buffers of the program, by name, in the order of the kernel's own."""

    function: str
    buffers: tuple[str, ...]
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Barrier:
    """All threads wait here for each other."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The step ends here, in every thread, unless the first element of the buffer is finite."""

    buffer: str


@dataclass(frozen=True, slots=True)
class Step:
    """A whole program for one thread: kernels called in order, barriers only where data crosses threads.

    `buffers` are the program's, in the order of the pointer table that the native entry receives; of those in
    `private` every thread has a copy of its own, one behind the other.
    """

    name: str
    buffers: tuple[Buffer, ...]
    functions: tuple[Function, ...]
    body: tuple[Call | Barrier | Guard, ...]
    private: frozenset[str] = frozenset()

    def __str__(self) -> str:
        from graphc.loops.printer import step_text

        return step_text(self)
