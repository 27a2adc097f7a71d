"""How LLVM spells types, constants and names."""

from __future__ import annotations

import re
import struct
from ctypes import c_float
from functools import lru_cache

from graphc.loops.expressions import Bool, ElementType
from graphc.types import DType

SCALAR: dict[ElementType, str] = {
    DType.FLOAT32: "float",
    DType.FLOAT64: "double",
    DType.INT32: "i32",
    DType.INT64: "i64",
    Bool.BOOL: "i1",
}
SUFFIX: dict[ElementType, str] = {
    DType.FLOAT32: "f32",
    DType.FLOAT64: "f64",
    DType.INT32: "i32",
    DType.INT64: "i64",
    Bool.BOOL: "i1",
}
_PLAIN = re.compile(r"[A-Za-z$._-][A-Za-z0-9$._-]*")


def is_float(dtype: ElementType) -> bool:
    """Whether arithmetic on the type is floating-point."""
    return isinstance(dtype, DType) and dtype.is_float


@lru_cache(maxsize=256)
def spell(dtype: ElementType, lanes: int = 1) -> str:
    """float, or <8 x float>."""
    return SCALAR[dtype] if lanes == 1 else f"<{lanes} x {SCALAR[dtype]}>"


@lru_cache(maxsize=256)
def overload(dtype: ElementType, lanes: int = 1) -> str:
    """The suffix of an intrinsic's name: f32, or v8f32."""
    return SUFFIX[dtype] if lanes == 1 else f"v{lanes}{SUFFIX[dtype]}"


def number(value: float | int, dtype: ElementType) -> str:
    """A scalar constant, exact: floats are written as the bits of the rounded value."""
    if isinstance(dtype, Bool):
        return "true" if value else "false"
    if not dtype.is_float:
        return str(wrapped(int(value), dtype.bits))
    rounded = c_float(value).value if dtype is DType.FLOAT32 else float(value)
    return f"0x{struct.pack('>d', rounded).hex().upper()}"


def wrapped(value: int, bits: int) -> int:
    """The two's complement number of so many bits that is congruent to the value."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def constant(value: float | int, dtype: ElementType, lanes: int = 1) -> str:
    """A constant of one or several equal lanes."""
    text = number(value, dtype)
    return text if lanes == 1 else f"splat ({SCALAR[dtype]} {text})"


def row(values: list[float] | list[int] | range, dtype: ElementType) -> str:
    """A vector constant, lane by lane."""
    return f"<{', '.join(f'{SCALAR[dtype]} {number(v, dtype)}' for v in values)}>"


@lru_cache(maxsize=256)
def prefix_mask(active: int, lanes: int) -> str:
    """The lane mask whose first `active` lanes are set."""
    return row([int(k < active) for k in range(lanes)], Bool.BOOL)


def identifier(name: str) -> str:
    """A name, quoted where LLVM asks for it."""
    if _PLAIN.fullmatch(name):
        return name
    plain = (c if " " <= c <= "~" and c not in '"\\' else "".join(f"\\{b:02X}" for b in c.encode()) for c in name)
    return f'"{"".join(plain)}"'
