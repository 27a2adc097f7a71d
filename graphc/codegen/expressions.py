"""Expressions of the loop language as LLVM instructions.

Every function returns the operand that holds the value: a register or a constant.
"""

from __future__ import annotations

import math

from graphc.codegen import arithmetic
from graphc.codegen.indices import address, integer
from graphc.codegen.spelling import SCALAR, constant, is_float, overload, prefix_mask, row, spell
from graphc.codegen.writer import RegisterArray, Writer
from graphc.errors import LoweringError
from graphc.loops.expressions import (
    REDUCTIONS,
    Binary,
    Bitcast,
    Bool,
    Cast,
    Cell,
    Compare,
    Const,
    ElementType,
    Expression,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Name,
    Number,
    Pack,
    Random,
    Select,
    Shuffle,
    Splat,
    Unary,
)
from graphc.loops.index import Index, bounds
from graphc.types import DType

_COMPARISONS = {"lt": ("fcmp olt", "icmp slt"), "le": ("fcmp ole", "icmp sle"), "eq": ("fcmp oeq", "icmp eq")}


def value(writer: Writer, e: Expression) -> str:
    """The operand that holds an expression."""
    match e:
        case Load():
            return load(writer, e)
        case Cell():
            return read_at(writer, e.array, e.index)
        case Name():
            return writer.bound(e.name)
        case Splat():
            return splat(writer, value(writer, e.x), e.dtype, e.lanes)
        case Const():
            return constant(e.value, e.dtype, e.lanes)
        case Binary():
            return _binary(writer, e)
        case Fma():
            return arithmetic.fma(writer, value(writer, e.a), value(writer, e.b), value(writer, e.c), e.dtype, e.lanes)
        case Unary():
            return arithmetic.unary(writer, e.operation, value(writer, e.x), e.dtype, e.lanes)
        case Select():
            return _select(writer, e)
        case Compare():
            kind = _COMPARISONS[e.operation][not is_float(e.a.dtype)]
            a, b = value(writer, e.a), value(writer, e.b)
            return writer.here(f"{kind} {spell(e.a.dtype, e.a.lanes)} {a}, {b}")
        case Number():
            return _number(writer, e)
        case Cast():
            return _cast(writer, value(writer, e.x), e.x.dtype, e.dtype, e.lanes)
        case Bitcast():
            return _bitcast(writer, e)
        case Iota():
            return row(range(e.lanes), e.dtype) if e.lanes > 1 else constant(0, e.dtype)
        case Pack():
            return _pack(writer, e)
        case Shuffle():
            return _shuffle(writer, e)
        case Extract():
            x = value(writer, e.x)
            return x if e.x.lanes == 1 else writer.here(f"extractelement {spell(e.dtype, e.x.lanes)} {x}, i32 {e.lane}")
        case Fold():
            return _fold(writer, e)
        case Random():
            raise LoweringError("random numbers are expanded into arithmetic before code is generated")


# ---------------------------------------------------------------------------------------------------- memory


def load(writer: Writer, e: Load) -> str:
    """buffer[index]; inactive lanes are zero."""
    dtype, lanes = e.buffer.dtype, e.lanes
    mask = active_lanes(writer, e.active, lanes)
    if mask == "none":
        return "zeroinitializer" if lanes > 1 else constant(0, dtype)
    pointer = address(writer, e.buffer, e.index)
    if not mask:
        return writer.read(e.buffer.name, f"load {spell(dtype, lanes)}, ptr {pointer}, align {dtype.bytes}")
    vector = f"<{lanes} x {SCALAR[dtype]}>"
    call = writer.intrinsic(
        f"llvm.masked.load.v{lanes}{overload(dtype)}.p0",
        vector,
        f"ptr {pointer}",
        f"i32 {dtype.bytes}",
        f"<{lanes} x i1> {mask}",
        f"{vector} zeroinitializer",
    )
    read = writer.read(e.buffer.name, call)
    return read if lanes > 1 else writer.here(f"extractelement {vector} {read}, i32 0")


def active_lanes(writer: Writer, active: Index | None, lanes: int) -> str:
    """The mask of the first `active` lanes; "" when all take part, "none" when no lane does."""
    if active is None:
        return ""
    low, high = bounds(active, writer.ranges)
    if low >= lanes:
        return ""
    if high <= 0:
        return "none"
    if low == high:
        return prefix_mask(low, lanes)
    clipped = integer(writer, active)
    if low < 0:
        clipped = writer.hoisted(writer.intrinsic("llvm.smax.i64", "i64", f"i64 {clipped}", "i64 0"), clipped)
    if high > lanes:
        clipped = writer.hoisted(writer.intrinsic("llvm.smin.i64", "i64", f"i64 {clipped}", f"i64 {lanes}"), clipped)
    count = writer.hoisted(f"trunc i64 {clipped} to i32", clipped)
    if lanes == 1:
        bit = writer.here(f"icmp sgt i32 {count}, 0")
        return writer.here(f"insertelement <1 x i1> poison, i1 {bit}, i32 0")
    # Masks stay in the block that uses them: passing <n x i1> between blocks costs conversions.
    everywhere = splat(writer, count, DType.INT32, lanes)
    return writer.here(f"icmp sgt <{lanes} x i32> {everywhere}, {row(range(lanes), DType.INT32)}")


def cell(writer: Writer, array: str, index: tuple[Index, ...]) -> tuple[str, RegisterArray]:
    """The stack cell of array[index], and the array. The index must be constant."""
    found = writer.array(array)
    place = 0
    for i, extent in zip(index, found.shape, strict=True):
        text = integer(writer, i)
        if text[0] == "%" or not 0 <= int(text) < extent:
            raise LoweringError(
                f"register array {array} of shape {found.shape} is indexed by {i}, expected a constant below {extent}",
                hint="loops around register arrays must be unrolled",
            )
        place = place * extent + int(text)
    return found.cells[place], found


def read_at(writer: Writer, array: str, index: tuple[Index, ...]) -> str:
    """The value of array[index], wherever the index leads."""
    if all(i.is_constant for i in index):
        return read_cell(writer, *cell(writer, array, index))
    found, (place, *inner) = writer.array(array), index
    for i, extent in zip(inner, found.shape[1:], strict=True):
        place = place * extent + i
    kind = spell(found.dtype, found.lanes)
    pointer = writer.here(f"getelementptr {kind}, ptr {found.cells[0]}, i64 {integer(writer, place)}")
    loaded = writer.fresh()
    writer.line(f"{loaded} = load {kind}, ptr {pointer}")
    writer.define(loaded)
    return loaded


def read_cell(writer: Writer, place: str, array: RegisterArray) -> str:
    """The value in a cell."""
    known = writer.scopes[-1].known
    if (value := known.get(place)) is None:
        value = known[place] = writer.fresh()
        writer.line(f"{value} = load {spell(array.dtype, array.lanes)}, ptr {place}")
        writer.define(value)
    return value


def write_cell(writer: Writer, place: str, array: RegisterArray, text: str) -> None:
    """Give a cell a new value."""
    writer.line(f"store {spell(array.dtype, array.lanes)} {text}, ptr {place}")
    writer.scopes[-1].known[place] = text


# ------------------------------------------------------------------------------------------------ arithmetic


def splat(writer: Writer, x: str, dtype: ElementType, lanes: int) -> str:
    """x in every lane."""
    if lanes == 1:
        return x
    if x[0] != "%":
        return f"splat ({SCALAR[dtype]} {x})"
    vector = f"<{lanes} x {SCALAR[dtype]}>"
    first = writer.hoisted(f"insertelement {vector} poison, {SCALAR[dtype]} {x}, i32 0", x)
    return writer.hoisted(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer", first)


def never_nan(e: Expression) -> bool:
    """Whether it shows in the expression itself that no lane is NaN."""
    match e:
        case Const():
            return not math.isnan(e.value)
        case Number() | Iota():
            return True
        case Cast():
            return not is_float(e.x.dtype)
        case Splat():
            return never_nan(e.x)
    return False


def _binary(writer: Writer, e: Binary) -> str:
    a, b = value(writer, e.a), value(writer, e.b)
    if e.operation in ("min", "max"):
        safe = never_nan(e.a), never_nan(e.b)
        return arithmetic.extreme(writer, e.operation, a, b, e.dtype, e.lanes, safe)
    return arithmetic.binary(writer, e.operation, a, b, e.dtype, e.lanes)


def _select(writer: Writer, e: Select) -> str:
    condition, a, b = value(writer, e.condition), value(writer, e.a), value(writer, e.b)
    kind = spell(e.dtype, e.lanes)
    return writer.here(f"select {spell(Bool.BOOL, e.condition.lanes)} {condition}, {kind} {a}, {kind} {b}")


def _number(writer: Writer, e: Number) -> str:
    x = integer(writer, e.index)
    if x[0] != "%":
        return constant(int(x), e.dtype, e.lanes)
    match e.dtype:
        case DType.INT64:
            scalar = x
        case DType.INT32:
            scalar = writer.hoisted(f"trunc i64 {x} to i32", x)
        case _:
            scalar = writer.hoisted(f"sitofp i64 {x} to {SCALAR[e.dtype]}", x)
    return splat(writer, scalar, e.dtype, e.lanes)


def _cast(writer: Writer, x: str, source: ElementType, to: DType, lanes: int) -> str:
    if source is to:
        return x
    if isinstance(source, Bool):
        operation = "uitofp" if to.is_float else "zext"
    elif source.is_float:
        operation = ("fpext" if to.bits > source.bits else "fptrunc") if to.is_float else "fptosi"
    else:
        operation = "sitofp" if to.is_float else ("sext" if to.bits > source.bits else "trunc")
    return writer.here(f"{operation} {spell(source, lanes)} {x} to {spell(to, lanes)}")


def _bitcast(writer: Writer, e: Bitcast) -> str:
    x = value(writer, e.x)
    if e.x.dtype is e.dtype:
        return x
    if isinstance(e.x.dtype, Bool) or e.x.dtype.bits != e.dtype.bits:
        raise LoweringError(f"bits of {e.x.dtype.short} cannot be read as {e.dtype.short}: expected equal widths")
    return writer.here(f"bitcast {spell(e.x.dtype, e.lanes)} {x} to {spell(e.dtype, e.lanes)}")


def _pack(writer: Writer, e: Pack) -> str:
    if e.lanes == 1:
        return value(writer, e.items[0])
    if all(isinstance(item, Const) for item in e.items):
        return row([item.value for item in e.items if isinstance(item, Const)], e.dtype)
    vector, packed = spell(e.dtype, e.lanes), "poison"
    for lane, item in enumerate(e.items):
        packed = writer.here(f"insertelement {vector} {packed}, {SCALAR[e.dtype]} {value(writer, item)}, i32 {lane}")
    return packed


def _shuffle(writer: Writer, e: Shuffle) -> str:
    vector, a = spell(e.dtype, e.a.lanes), value(writer, e.a)
    alone = e.b == e.a
    b = "poison" if alone else value(writer, e.b)
    order = row([k % e.a.lanes if alone else k for k in e.order], DType.INT32)
    return writer.here(f"shufflevector {vector} {a}, {vector} {b}, <{e.lanes} x i32> {order}")


def _fold(writer: Writer, e: Fold) -> str:
    """The first `width` lanes reduced by a binary tree; a lane without a partner waits for the next level."""
    x, lanes, width = value(writer, e.x), e.x.lanes, e.width
    if width > lanes:
        raise LoweringError(f"a fold over {width} lanes is given a value of {lanes}")
    operation = REDUCTIONS[e.reduction]
    parts: list[str] = []
    while width > 1 and width & (width - 1) == 0 and width == lanes:
        half = width // 2
        if half == 1:
            break
        kind = spell(e.dtype, lanes)
        low, high = (
            writer.here(
                f"shufflevector {kind} {x}, {kind} poison, <{half} x i32> "
                + row(range(start, start + half), DType.INT32)
            )
            for start in (0, half)
        )
        x = combine(writer, operation, low, high, e.dtype, half)
        width = lanes = half
    if lanes == 1:
        return x
    kind = spell(e.dtype, lanes)
    parts = [writer.here(f"extractelement {kind} {x}, i32 {k}") for k in range(width)]
    while len(parts) > 1:
        half = (len(parts) + 1) // 2
        parts = [
            combine(writer, operation, parts[k], parts[k + half], e.dtype, 1) if k + half < len(parts) else parts[k]
            for k in range(half)
        ]
    return parts[0]


def combine(writer: Writer, operation: str, a: str, b: str, dtype: ElementType, lanes: int) -> str:
    """Two operands of a reduction."""
    if operation in ("min", "max"):
        return arithmetic.extreme(writer, operation, a, b, dtype, lanes, (False, False))
    return arithmetic.binary(writer, operation, a, b, dtype, lanes)
