"""Expressions of the Loop IR: every one knows its element type and its number of lanes at birth.

    expression Const | Number | Iota | Name | Load | Cell | Unary | Binary | Fma | Compare | Select | Cast | Bitcast
             | Splat | Pack | Shuffle | Extract | Fold | Random

`active` on a Load counts the lanes, from the first, that take part; None means all. Inactive lanes load zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Union

from graphc.loops.index import Index
from graphc.types import Batch, DType, Extent


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


ELEMENTARY = (
    "exp", "log", "expm1", "log1p", "tanh", "erf", "sigmoid", "softplus",
    "sin", "cos", "erfc", "normal_cdf", "atan",
)  # fmt: skip
UNARY = frozenset(["neg", "abs", "sqrt", "rint", "floor", "not", *ELEMENTARY])
BINARY = frozenset(["add", "sub", "mul", "div", "min", "max", "pow", "copysign", "and", "or", "xor", "shl", "ashr"])
COMPARISONS = frozenset(["lt", "le", "eq"])
REDUCTIONS = {"sum": "add", "max": "max", "min": "min", "prod": "mul"}
NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf, "prod": 1.0}
"""What a reduction of floating-point numbers starts from."""


def neutral_element(reduction: str, dtype: DType) -> float | int:
    """What a reduction of a type starts from: the least and the greatest integer stand for the infinities."""
    if dtype.is_float or math.isfinite(NEUTRAL[reduction]):
        return NEUTRAL[reduction]
    most: int = 2 ** (dtype.bits - 1)
    return -most if reduction == "max" else most - 1


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
    """min and max propagate NaN. and, or, xor act on Bool or integers; shl, ashr on integers."""

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
class Shuffle(_TypeOfA):
    """Lanes of two vectors of equal width in another order: number k below that width is lane k of a, the others
    count through b."""

    a: Expression
    b: Expression
    order: tuple[int, ...]

    @property
    def lanes(self) -> int:
        return len(self.order)


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


@dataclass(frozen=True, slots=True)
class Random:
    """A number in (0, 1) that is a function of three 64-bit integers, of which only the index has several lanes."""

    key: Expression
    step: Expression
    index: Expression
    dtype: DType

    @property
    def lanes(self) -> int:
        return self.index.lanes


Expression = Union[
    Const, Number, Iota, Name, Load, Cell, Unary, Binary, Fma, Compare, Select, Cast, Bitcast, Splat, Pack, Shuffle,
    Extract, Fold, Random,
]  # fmt: skip
