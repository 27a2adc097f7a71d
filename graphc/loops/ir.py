"""Loop IR: typed loops over buffers and register arrays. sympy never comes this far.

    function   Function(name, buffers, body, scope)                       one kernel
    statement  For(var, start, stop, body, mode, step, active)            mode SERIAL | PARALLEL | VECTOR | UNROLL
             | If(conditions, body)
             | Let(name, value)                                           visible to the end of the enclosing body
             | Bind(var, index)                                           an index variable with one value
             | Store(buffer, index, value, active)
             | Declare(array, shape, dtype, lanes, initial)               an array of registers
             | Assign(array, index, value)
             | Accumulate(array, index, reduction, value)                 array[index] = reduction(array[index], value)
    expression Const | Number | Iota | Name | Load | Cell | Unary | Binary | Compare | Select | Cast | Bitcast
             | Splat | Pack | Extract | Fold

Every expression knows its element type and its number of lanes at birth. Before the pass `vectorise` all
expressions have one lane and a VECTOR loop runs over the lanes; after it VECTOR loops are gone. After `unroll`
UNROLL loops are gone and every register array is indexed by constants.

`active` on a VECTOR loop, a Load or a Store counts the lanes, from the first, that take part; None means all.
Inactive lanes load zero and store nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Union

from graphc.loops.index import Index
from graphc.types import Batch, DType, Extent


class Mode(Enum):
    """How a loop is executed."""

    SERIAL = "serial"
    PARALLEL = "parallel"
    VECTOR = "vector"
    UNROLL = "unroll"


class Bool(Enum):
    """The type of conditions; a lane mask when it has several lanes."""

    BOOL = "bool"

    @property
    def short(self) -> str:
        return "bool"


BOOL = Bool.BOOL
ElementType = Union[DType, Bool]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory seen by a kernel: row-major over its physical shape, whose first extent alone may be the batch."""

    name: str
    dtype: DType
    shape: tuple[Extent, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each physical axis."""
        strides, step = [], 1
        for extent in reversed(self.shape):
            strides.append(step)
            if not isinstance(extent, Batch):
                step *= extent
        return tuple(reversed(strides))

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.short}[{','.join(map(str, self.shape))}]"


# --------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Const:
    value: float | int
    dtype: ElementType
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Number:
    """An index expression used as a number."""

    index: Index
    dtype: DType
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Iota:
    """The lane numbers 0, 1, 2, ..."""

    dtype: DType
    lanes: int


@dataclass(frozen=True, slots=True)
class Name:
    """A value bound by Let."""

    name: str
    dtype: ElementType
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """buffer[index], with several lanes: that many neighbours along the last physical axis."""

    buffer: Buffer
    index: tuple[Index, ...]
    lanes: int = 1
    active: Index | None = None

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype


@dataclass(frozen=True, slots=True)
class Cell:
    """An element of a register array."""

    array: str
    index: tuple[Index, ...]
    dtype: ElementType
    lanes: int = 1


UNARY = frozenset(
    ("neg", "abs", "sqrt", "rint", "floor", "not")
    + ("exp", "log", "expm1", "log1p", "tanh", "erf", "sigmoid", "softplus", "sin", "cos")
)
BINARY = frozenset(["add", "sub", "mul", "div", "min", "max", "pow", "copysign", "and", "or", "shl", "ashr"])
COMPARISONS = frozenset(["lt", "le", "eq"])
REDUCTIONS = {"sum": "add", "max": "max", "min": "min", "prod": "mul"}


class _TypeOfX:
    """The element type of the operand x."""

    __slots__ = ()
    x: Expression

    @property
    def dtype(self) -> ElementType:
        return self.x.dtype


class _LanesOfX:
    """The lanes of the operand x."""

    __slots__ = ()
    x: Expression

    @property
    def lanes(self) -> int:
        return self.x.lanes


class _TypeOfA:
    """The element type of the operand a."""

    __slots__ = ()
    a: Expression

    @property
    def dtype(self) -> ElementType:
        return self.a.dtype


class _LanesOfA:
    """The lanes of the operand a."""

    __slots__ = ()
    a: Expression

    @property
    def lanes(self) -> int:
        return self.a.lanes


@dataclass(frozen=True, slots=True)
class Unary(_TypeOfX, _LanesOfX):
    operation: str
    x: Expression


@dataclass(frozen=True, slots=True)
class Binary(_TypeOfA, _LanesOfA):
    """min and max propagate NaN. and, or act on Bool or integers; shl, ashr on integers."""

    operation: str
    a: Expression
    b: Expression


@dataclass(frozen=True, slots=True)
class Fma(_TypeOfA, _LanesOfA):
    """a * b + c, rounded once."""

    a: Expression
    b: Expression
    c: Expression


@dataclass(frozen=True, slots=True)
class Compare(_LanesOfA):
    """Ordered comparison lt, le, eq: false where an operand is NaN."""

    operation: str
    a: Expression
    b: Expression

    @property
    def dtype(self) -> ElementType:
        return BOOL


@dataclass(frozen=True, slots=True)
class Select(_TypeOfA, _LanesOfA):
    condition: Expression
    a: Expression
    b: Expression


@dataclass(frozen=True, slots=True)
class Cast(_LanesOfX):
    """Conversion of the value; float to integer truncates."""

    x: Expression
    dtype: DType


@dataclass(frozen=True, slots=True)
class Bitcast(_LanesOfX):
    """The same bits under another type of the same width."""

    x: Expression
    dtype: DType


@dataclass(frozen=True, slots=True)
class Splat(_TypeOfX):
    """One number in every lane."""

    x: Expression
    lanes: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Lanes from separate scalars (a strided or gathered read)."""

    items: tuple[Expression, ...]

    @property
    def dtype(self) -> ElementType:
        return self.items[0].dtype

    @property
    def lanes(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Extract(_TypeOfX):
    """One lane as a scalar."""

    x: Expression
    lane: int
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Fold(_TypeOfX):
    """All elements of a vector (or, before vectorise, of a register array's last axis) reduced by a fixed
    binary tree: lane k with lane k + half, again and again."""

    reduction: str
    x: Expression
    width: int
    lanes: int = 1


Expression = Union[
    Const, Number, Iota, Name, Load, Cell, Unary, Binary, Fma, Compare, Select, Cast, Bitcast, Splat, Pack, Extract,
    Fold,
]  # fmt: skip


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
class Accumulate:
    array: str
    index: tuple[Index, ...]
    reduction: str
    value: Expression


Statement = Union[For, If, Let, Bind, Store, Declare, Assign, Accumulate]


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

    `buffers` are the program's, in the order of the pointer table that the native entry receives.
    """

    name: str
    buffers: tuple[Buffer, ...]
    functions: tuple[Function, ...]
    body: tuple[Call | Barrier | Guard, ...]

    def __str__(self) -> str:
        from graphc.loops.printer import step_text

        return step_text(self)
