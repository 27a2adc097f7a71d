"""Scalar and lane-wise operations as LLVM instructions. No fast-math flag is ever set."""

from __future__ import annotations

from graphc.codegen.spelling import SCALAR, is_float, overload, spell
from graphc.codegen.writer import Writer
from graphc.errors import LoweringError
from graphc.loops.expressions import Bool, ElementType
from graphc.types import DType

_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_LOGIC = {name: name for name in ("and", "or", "xor")}
_INTEGER = _LOGIC | {name: name for name in ("add", "sub", "mul", "shl", "ashr")}
_ROUNDING = {"abs": "fabs", "sqrt": "sqrt", "rint": "rint", "floor": "floor"}


def unary(writer: Writer, operation: str, x: str, dtype: ElementType, lanes: int) -> str:
    """neg, abs, sqrt, rint, floor, not."""
    kind = spell(dtype, lanes)
    if operation == "not" and not is_float(dtype):
        ones = "true" if isinstance(dtype, Bool) else "-1"
        return writer.here(f"xor {kind} {x}, {ones if lanes == 1 else f'splat ({SCALAR[dtype]} {ones})'}")
    if is_float(dtype):
        if operation == "neg":
            return writer.here(f"fneg {kind} {x}")
        if operation in _ROUNDING:
            name = f"llvm.{_ROUNDING[operation]}.{overload(dtype, lanes)}"
            return writer.here(writer.intrinsic(name, kind, f"{kind} {x}"))
    elif not isinstance(dtype, Bool):
        if operation == "neg":
            return writer.here(f"sub {kind} {'0' if lanes == 1 else 'zeroinitializer'}, {x}")
        if operation == "abs":
            name = f"llvm.abs.{overload(dtype, lanes)}"
            return writer.here(writer.intrinsic(name, kind, f"{kind} {x}", "i1 false"))
        if operation in ("rint", "floor"):
            return x
    raise LoweringError(
        f"operation {operation} on {dtype.short} has no instruction",
        hint="functions such as exp are expanded into arithmetic before code is generated",
    )


def binary(writer: Writer, operation: str, a: str, b: str, dtype: ElementType, lanes: int) -> str:
    """add, sub, mul, div, copysign on floats; add, sub, mul and bits on integers; and, or, xor on Bool."""
    kind = spell(dtype, lanes)
    table = _FLOAT if is_float(dtype) else _LOGIC if isinstance(dtype, Bool) else _INTEGER
    if operation in table:
        return writer.here(f"{table[operation]} {kind} {a}, {b}")
    if operation == "copysign" and is_float(dtype):
        name = f"llvm.copysign.{overload(dtype, lanes)}"
        return writer.here(writer.intrinsic(name, kind, f"{kind} {a}", f"{kind} {b}"))
    raise LoweringError(
        f"operation {operation} on {dtype.short} has no instruction",
        hint="pow is expanded before code is generated; integers are divided in index expressions only",
    )


def extreme(
    writer: Writer, operation: str, a: str, b: str, dtype: ElementType, lanes: int, safe: tuple[bool, bool]
) -> str:
    """min or max; NaN where an operand is NaN. `safe` tells which operands cannot be NaN."""
    kind = spell(dtype, lanes)
    if isinstance(dtype, Bool):
        return writer.here(f"{'and' if operation == 'min' else 'or'} {kind} {a}, {b}")
    if not dtype.is_float:
        name = f"llvm.s{operation}.{overload(dtype, lanes)}"
        return writer.here(writer.intrinsic(name, kind, f"{kind} {a}", f"{kind} {b}"))
    if safe[1]:
        a, b = b, a
    # The instruction minps(a, b) is "a < b ? a : b": b where either operand is NaN, right unless a is.
    relation = "olt" if operation == "min" else "ogt"
    test = writer.here(f"fcmp {relation} {kind} {a}, {b}")
    mask = spell(Bool.BOOL, lanes)
    chosen = writer.here(f"select {mask} {test}, {kind} {a}, {kind} {b}")
    if any(safe):
        return chosen
    invalid = writer.here(f"fcmp uno {kind} {a}, {a}")
    return writer.here(f"select {mask} {invalid}, {kind} {a}, {kind} {chosen}")


def fma(writer: Writer, a: str, b: str, c: str, dtype: ElementType, lanes: int) -> str:
    """a · b + c, rounded once."""
    kind = spell(dtype, lanes)
    if not is_float(dtype):
        product = binary(writer, "mul", a, b, dtype, lanes)
        return binary(writer, "add", product, c, dtype, lanes)
    if dtype is DType.FLOAT32 and not writer.target.fused:
        return _fma_in_double(writer, a, b, c, lanes)
    name = f"llvm.fma.{overload(dtype, lanes)}"
    return writer.here(writer.intrinsic(name, kind, f"{kind} {a}", f"{kind} {b}", f"{kind} {c}"))


def multiply_add(writer: Writer, a: str, b: str, c: str, dtype: ElementType, lanes: int) -> str:
    """a · b + c as the target does it fastest: fused where that is one instruction, else rounded twice."""
    if writer.target.fused or not is_float(dtype):
        return fma(writer, a, b, c, dtype, lanes)
    return binary(writer, "add", binary(writer, "mul", a, b, dtype, lanes), c, dtype, lanes)


def _fma_in_double(writer: Writer, a: str, b: str, c: str, lanes: int) -> str:
    """a · b + c of float32, rounded once, on a processor without the instruction.

    The product is exact in float64. The sum is rounded to odd there (its last bit set whenever something was
    lost, which the error term of the addition tells), so that the rounding to float32 comes out as if it were
    the only one. Source: Boldo, Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE Trans. Comp.
    57 (2008).
    """
    f32, f64, i64 = (spell(t, lanes) for t in (DType.FLOAT32, DType.FLOAT64, DType.INT64))
    bit = spell(Bool.BOOL, lanes)

    one, zero, sign = (text if lanes == 1 else f"splat (i64 {text})" for text in ("1", "0", "63"))
    wide = [writer.here(f"fpext {f32} {x} to {f64}") for x in (a, b, c)]
    product = writer.here(f"fmul {f64} {wide[0]}, {wide[1]}")
    total = writer.here(f"fadd {f64} {product}, {wide[2]}")
    virtual = writer.here(f"fsub {f64} {total}, {product}")
    back = writer.here(f"fsub {f64} {total}, {virtual}")
    lost_product = writer.here(f"fsub {f64} {product}, {back}")
    lost_addend = writer.here(f"fsub {f64} {wide[2]}, {virtual}")
    lost = writer.here(f"fadd {f64} {lost_product}, {lost_addend}")
    bits = writer.here(f"bitcast {f64} {total} to {i64}")
    last = writer.here(f"and {i64} {bits}, {one}")
    even = writer.here(f"icmp eq {i64} {last}, {zero}")
    inexact = writer.here(f"fcmp one {f64} {lost}, {'0.0' if lanes == 1 else 'zeroinitializer'}")
    adjust = writer.here(f"and {bit} {even}, {inexact}")
    # One step away from zero when the lost part has the sign of the sum, one step towards zero otherwise.
    lost_bits = writer.here(f"bitcast {f64} {lost} to {i64}")
    signs = writer.here(f"xor {i64} {bits}, {lost_bits}")
    differ = writer.here(f"ashr {i64} {signs}, {sign}")
    step = writer.here(f"or {i64} {differ}, {one}")
    moved = writer.here(f"add {i64} {bits}, {step}")
    odd = writer.here(f"select {bit} {adjust}, {i64} {moved}, {i64} {bits}")
    rounded = writer.here(f"bitcast {i64} {odd} to {f64}")
    return writer.here(f"fptrunc {f64} {rounded} to {f32}")
