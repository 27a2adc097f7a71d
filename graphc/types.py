"""Element types, extents and tensor types: the leaves that every room shares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt


class DType(Enum):
    """Element type of a tensor."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"

    bits: int
    """Width of one element in bits."""

    bytes: int
    """Width of one element in bytes."""

    is_float: bool
    """Whether values of this type can be differentiated."""

    short: str
    """The two-part spelling of the text forms: f32, f64, i32, i64."""

    def __init__(self, spelling: str) -> None:
        self.bits = int(spelling[-2:])
        self.bytes = self.bits // 8
        self.is_float = spelling.startswith("float")
        self.short = f"{spelling[0]}{self.bits}"

    __hash__ = object.__hash__  # that of Enum is ten times slower

    @property
    def numpy(self) -> npt.DTypeLike:
        """The numpy spelling."""
        return np.dtype(self.value)

    @classmethod
    def of(cls, spelling: DType | npt.DTypeLike) -> DType:
        """The DType of any spelling that numpy understands. Raises TypeError for others."""
        if isinstance(spelling, DType):
            return spelling
        name = np.dtype(spelling).name
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(d.value for d in cls)
            raise TypeError(f"dtype {name} is not supported; choose one of {known}") from None


class Batch:
    """The one symbolic extent: the number of samples in a batch, known when a program runs."""

    __slots__ = ()
    _instance: Batch | None = None

    def __new__(cls) -> Batch:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "N"

    def __reduce__(self) -> tuple[type[Batch], tuple[()]]:
        return Batch, ()


BATCH = Batch()

Extent = int | Batch


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type of a value."""

    shape: tuple[Extent, ...]
    dtype: DType = DType.FLOAT32

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def concrete(self, batch: int) -> tuple[int, ...]:
        """The shape once the batch size is known."""
        return tuple(batch if isinstance(e, Batch) else e for e in self.shape)

    def per_sample(self) -> tuple[int, bool]:
        """(product of the fixed extents, whether the batch multiplies it)."""
        size, batched = 1, False
        for extent in self.shape:
            if isinstance(extent, Batch):
                batched = True
            else:
                size *= extent
        return size, batched


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's own code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line}"
