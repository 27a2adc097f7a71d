"""Index expressions as 64-bit integer arithmetic, and addresses as chains from the outermost loop inwards.

The terms of a sum are added in the order of the loops that they depend on, so that everything invariant in an
inner loop is computed outside of it and shared by all addresses that have it in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.codegen.spelling import SCALAR
from graphc.codegen.writer import Writer
from graphc.errors import LoweringError
from graphc.loops.expressions import Buffer
from graphc.loops.index import Atom, Element, Index, Maximum, Minimum, Quotient, Remainder, Var, bounds

Sum = tuple[list[tuple[str, int]], int]
"""Registers with their coefficients, outermost first, and a constant."""


def integer(writer: Writer, index: Index) -> str:
    """The operand that holds an index expression."""
    if not index.terms:
        return str(index.constant)
    terms, constant = linear(writer, ((index, 1),))
    value = ""
    for register, k in terms:
        product = _times(writer, register, k)
        value = writer.hoisted(f"add i64 {value}, {product}", value, product) if value else product
    if not value:
        return str(constant)
    return writer.hoisted(f"add i64 {value}, {constant}", value) if constant else value


def address(writer: Writer, buffer: Buffer, index: Sequence[Index]) -> str:
    """The pointer to buffer[index].

    The constant part of the offset is added last and in place, where it becomes the displacement of the
    access.
    """
    strides = writer.strides.get(buffer.name)
    if strides is None or len(index) != len(strides):
        writer.buffer(buffer.name)
        raise LoweringError(
            f"buffer {buffer.name} has {len(buffer.shape)} axes, but is indexed by {len(index)} expressions"
        )
    element = SCALAR[buffer.dtype]
    terms, constant = linear(writer, zip(index, strides, strict=True))
    pointer = writer.pointers[buffer.name]
    for register, k in terms:
        offset = _times(writer, register, k)
        pointer = writer.hoisted(f"getelementptr {element}, ptr {pointer}, i64 {offset}", pointer, offset)
    return writer.here(f"getelementptr {element}, ptr {pointer}, i64 {constant}") if constant else pointer


def linear(writer: Writer, parts: Iterable[tuple[Index, int]]) -> Sum:
    """Σ index · factor over the parts, like terms merged."""
    merged: dict[str, int] = {}
    constant = 0
    for index, factor in parts:
        constant += index.constant * factor
        for term, k in index.terms:
            operand = writer.variable(term.name) if isinstance(term, Var) else _atom(writer, term)
            if operand[0] == "%":
                merged[operand] = merged.get(operand, 0) + k * factor
            else:
                constant += int(operand) * k * factor
    terms = [(register, k) for register, k in merged.items() if k]
    if len(terms) > 1:
        terms.sort(key=lambda term: writer.depth(term[0]))
    return terms, constant


def _times(writer: Writer, register: str, k: int) -> str:
    return register if k == 1 else writer.hoisted(f"mul i64 {register}, {k}", register)


def _atom(writer: Writer, term: Atom) -> str:
    match term:
        case Var(name):
            return writer.variable(name)
        case Quotient(of, divisor):
            return _quotient(writer, of, divisor)
        case Remainder(of, divisor):
            return _remainder(writer, of, divisor)
        case Minimum(a, b):
            return _extreme(writer, "smin", a, b)
        case Maximum(a, b):
            return _extreme(writer, "smax", a, b)
        case Element(name, index):
            return element(writer, writer.buffer(name), index)


def _extreme(writer: Writer, operation: str, a: Index, b: Index) -> str:
    x, y = integer(writer, a), integer(writer, b)
    if x[0] != "%" and y[0] != "%":
        return str(min(int(x), int(y)) if operation == "smin" else max(int(x), int(y)))
    call = writer.intrinsic(f"llvm.{operation}.i64", "i64", f"i64 {x}", f"i64 {y}")
    return writer.hoisted(call, x, y)


def element(writer: Writer, buffer: Buffer, index: Sequence[Index]) -> str:
    """An element of an integer buffer, widened to 64 bits; read where it is needed, never earlier."""
    if buffer.dtype.is_float:
        raise LoweringError(f"buffer {buffer.name} of {buffer.dtype.value} is used as an index; expected integers")
    source = SCALAR[buffer.dtype]
    value = writer.read(buffer.name, f"load {source}, ptr {address(writer, buffer, index)}, align {buffer.dtype.bytes}")
    return value if source == "i64" else writer.here(f"sext {source} {value} to i64")


def _quotient(writer: Writer, of: Index, divisor: int) -> str:
    """of // divisor, rounded down."""
    x = integer(writer, of)
    if x[0] != "%":
        return str(int(x) // divisor)
    if divisor & (divisor - 1) == 0:  # an arithmetic shift rounds down whatever the sign
        return writer.hoisted(f"ashr i64 {x}, {divisor.bit_length() - 1}", x)
    if bounds(of, writer.ranges)[0] >= 0:
        return writer.hoisted(f"udiv i64 {x}, {divisor}", x)
    truncated = writer.hoisted(f"sdiv i64 {x}, {divisor}", x)
    return writer.hoisted(f"add i64 {truncated}, {_sign(writer, x, divisor)}", truncated, x)


def _remainder(writer: Writer, of: Index, divisor: int) -> str:
    """of mod divisor, never negative."""
    x = integer(writer, of)
    if x[0] != "%":
        return str(int(x) % divisor)
    if divisor & (divisor - 1) == 0:  # the low bits of two's complement are the remainder whatever the sign
        return writer.hoisted(f"and i64 {x}, {divisor - 1}", x)
    if bounds(of, writer.ranges)[0] >= 0:
        return writer.hoisted(f"urem i64 {x}, {divisor}", x)
    truncated = writer.hoisted(f"srem i64 {x}, {divisor}", x)
    correction = writer.hoisted(f"and i64 {_sign(writer, x, divisor)}, {divisor}", x)
    return writer.hoisted(f"add i64 {truncated}, {correction}", truncated, correction)


def _sign(writer: Writer, x: str, divisor: int) -> str:
    """-1 where the truncated remainder of x is negative, else 0."""
    truncated = writer.hoisted(f"srem i64 {x}, {divisor}", x)
    return writer.hoisted(f"ashr i64 {truncated}, 63", truncated)
