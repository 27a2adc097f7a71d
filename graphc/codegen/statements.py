"""Statements of the loop language as LLVM control flow.

A loop tests at its end, behind one test in front of it unless it is known to run:

    br (start < stop), body, exit      body: var = phi; ...; next = var + step; br (next < stop), body, exit
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen import arithmetic
from graphc.codegen.expressions import active_lanes, cell, combine, read_cell, value, write_cell
from graphc.codegen.indices import address, integer
from graphc.codegen.spelling import SCALAR, is_float, overload, spell
from graphc.codegen.transpose import transpose
from graphc.codegen.writer import RegisterArray, Writer
from graphc.errors import LoweringError
from graphc.loops.expressions import REDUCTIONS, Binary
from graphc.loops.index import bounds
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Bind,
    Condition,
    Declare,
    For,
    If,
    Let,
    Mode,
    Prefetch,
    Statement,
    Store,
    Transpose,
)


def body(writer: Writer, statements: Sequence[Statement]) -> None:
    """A sequence of statements in the innermost scope."""
    for statement in statements:
        match statement:
            case Accumulate():
                _accumulate(writer, statement)
            case Store():
                _store(writer, statement)
            case Prefetch(buffer, index):
                arguments = f"ptr {address(writer, buffer, index)}", "i32 1", "i32 3", "i32 1"
                writer.line(writer.intrinsic("llvm.prefetch.p0", "void", *arguments))
            case Bind(var, index):
                writer.scopes[-1].variables[var] = integer(writer, index)
                writer.ranges[var] = bounds(index, writer.ranges)
            case Let(name, e):
                writer.scopes[-1].names[name] = value(writer, e)
            case Assign(array, index, e):
                write_cell(writer, *cell(writer, array, index), value(writer, e))
            case Transpose(array):
                _transpose(writer, writer.array(array))
            case Declare():
                _declare(writer, statement)
            case For():
                _loop(writer, statement)
            case If():
                _conditional(writer, statement)


def stored(statements: Sequence[Statement]) -> set[str]:
    """The names of all buffers that the statements store to."""
    found: set[str] = set()
    for statement in statements:
        match statement:
            case Store(buffer):
                found.add(buffer.name)
            case For() | If():
                found |= stored(statement.body)
    return found


def _accumulate(writer: Writer, s: Accumulate) -> None:
    place, array = cell(writer, s.array, s.index)
    match s.value:
        case Binary("mul", a, b) if s.reduction == "sum" and is_float(array.dtype):
            x, y = value(writer, a), value(writer, b)
            old = read_cell(writer, place, array)
            new = arithmetic.multiply_add(writer, x, y, old, array.dtype, array.lanes)
        case e:
            x = value(writer, e)
            old = read_cell(writer, place, array)
            new = combine(writer, REDUCTIONS[s.reduction], old, x, array.dtype, array.lanes)
    write_cell(writer, place, array, new)


def _store(writer: Writer, s: Store) -> None:
    dtype, lanes = s.buffer.dtype, s.value.lanes
    mask = active_lanes(writer, s.active, lanes)
    if mask == "none":
        return
    text = value(writer, s.value)
    pointer = address(writer, s.buffer, s.index)
    if mask:
        vector = f"<{lanes} x {SCALAR[dtype]}>"
        if lanes == 1:
            text = writer.here(f"insertelement {vector} poison, {SCALAR[dtype]} {text}, i32 0")
        name = f"llvm.masked.store.v{lanes}{overload(dtype)}.p0"
        arguments = f"{vector} {text}", f"ptr {pointer}", f"i32 {dtype.bytes}", f"<{lanes} x i1> {mask}"
        writer.line(writer.intrinsic(name, "void", *arguments))
    else:
        writer.line(f"store {spell(dtype, lanes)} {text}, ptr {pointer}, align {dtype.bytes}")
    writer.forget((s.buffer.name,))


def _transpose(writer: Writer, array: RegisterArray) -> None:
    rows = [read_cell(writer, place, array) for place in array.cells]
    for place, column in zip(array.cells, transpose(writer, rows, array.dtype), strict=True):
        write_cell(writer, place, array, column)


def _declare(writer: Writer, s: Declare) -> None:
    kind, count = spell(s.dtype, s.lanes), 1
    for extent in s.shape:
        count *= extent
    initial = value(writer, s.initial)
    cells = writer.allocate(kind, count, s.array)
    scope = writer.scopes[-1]
    scope.arrays[s.array] = RegisterArray(cells, s.shape, s.dtype, s.lanes)
    for place in cells:
        writer.line(f"store {kind} {initial}, ptr {place}")
        scope.known[place] = initial


# -------------------------------------------------------------------------------------------------- control


def _conditional(writer: Writer, s: If) -> None:
    test = ""
    for condition in s.conditions:
        bit = _holds(writer, condition)
        if bit == "false":
            return
        if bit != "true":
            test = writer.here(f"and i1 {test}, {bit}") if test else bit
    if not test:
        body(writer, s.body)
        return
    outer = writer.scopes[-1]
    inner = writer.enter("then")
    first = inner.label
    body(writer, s.body)
    writer.leave()
    outer.label = _end(first)
    outer.lines.append(f"  br i1 {test}, label %{first}, label %{outer.label}")
    outer.lines += (f"{first}:", *inner.lines, f"  br label %{outer.label}", f"{outer.label}:")


def _holds(writer: Writer, condition: Condition) -> str:
    """An i1 operand: "true" or "false" where intervals decide."""
    low, high = bounds(condition.index, writer.ranges)
    match condition.kind:
        case "ge":
            if low >= 0 or high < 0:
                return "true" if low >= 0 else "false"
            return writer.here(f"icmp sge i64 {integer(writer, condition.index)}, 0")
        case "divides":
            x = integer(writer, condition.index)
            if x[0] != "%":
                return "false" if int(x) % condition.divisor else "true"
            rest = writer.here(f"srem i64 {x}, {condition.divisor}")
            return writer.here(f"icmp eq i64 {rest}, 0")
    raise LoweringError(f"condition {condition.kind} is unknown; expected ge or divides")


def _loop(writer: Writer, s: For) -> None:
    if s.mode in (Mode.VECTOR, Mode.UNROLL):
        raise LoweringError(
            f"loop {s.var} is still a {s.mode.name} loop",
            hint="run the passes vectorise and unroll before emission",
        )
    (low, _), (_, high) = bounds(s.start, writer.ranges), bounds(s.stop, writer.ranges)
    shortest, longest = bounds(s.stop - s.start, writer.ranges)
    if longest <= 0:
        return
    start, stop = integer(writer, s.start), integer(writer, s.stop)
    runs = shortest > 0
    if s.mode is Mode.PARALLEL:
        # The block of one thread may be empty even where the whole loop is not.
        start, stop = _share(writer, start, stop, s.step, shortest >= 0)
        runs = False
    shadowed = writer.ranges.get(s.var)
    writer.ranges[s.var] = low, high - 1
    if runs and longest <= s.step:  # exactly one iteration
        _once(writer, s, start)
    else:
        writer.forget(stored(s.body))  # the second iteration must not see what was read before the first
        _repeat(writer, s, start, stop, runs)
    if shadowed is None:
        del writer.ranges[s.var]
    else:
        writer.ranges[s.var] = shadowed


def _once(writer: Writer, s: For, start: str) -> None:
    """A loop that is known to run exactly once: its body."""
    outer = writer.scopes[-1]
    names, arrays, variables = dict(outer.names), dict(outer.arrays), dict(outer.variables)
    outer.variables[s.var] = start
    body(writer, s.body)
    outer.names, outer.arrays, outer.variables = names, arrays, variables


def _repeat(writer: Writer, s: For, start: str, stop: str, runs: bool) -> None:
    outer = writer.scopes[-1]
    guard = "" if runs else writer.here(f"icmp slt i64 {start}, {stop}")
    inner = writer.enter(f"for.{s.var}")
    first = inner.label
    variable = writer.fresh(s.var)
    following = writer.fresh(f"{s.var}.next")
    inner.variables[s.var] = variable
    writer.define(variable)
    body(writer, s.body)
    again = writer.here(f"icmp slt i64 {following}, {stop}")
    # The comparison reads the next value, so that one is computed first.
    inner.lines.insert(len(inner.lines) - 1, f"  {following} = add nsw i64 {variable}, {s.step}")
    writer.leave()
    done = _end(first)
    outer.lines.append(f"  br i1 {guard}, label %{first}, label %{done}" if guard else f"  br label %{first}")
    outer.lines.append(f"{first}:")
    outer.lines.append(f"  {variable} = phi i64 [ {start}, %{outer.label} ], [ {following}, %{inner.label} ]")
    outer.lines += inner.lines
    outer.lines.append(f"  br i1 {again}, label %{first}, label %{done}")
    outer.lines.append(f"{done}:")
    outer.label = done


def _end(label: str) -> str:
    """The label behind the construct that starts at a label."""
    return f"{label}.end" if label[0] != '"' else f'{label[:-1]}.end"'


def _share(writer: Writer, start: str, stop: str, step: int, never_negative: bool) -> tuple[str, str]:
    """The bounds of this thread's block: iterations total·thread/threads up to total·(thread+1)/threads."""

    def combine(operation: str, x: str, y: str) -> str:
        return writer.hoisted(f"{operation} i64 {x}, {y}", x, y)

    total = stop if start == "0" else combine("sub", stop, start)
    if not never_negative:
        total = writer.hoisted(writer.intrinsic("llvm.smax.i64", "i64", f"i64 {total}", "i64 0"), total)
    if step > 1:
        total = combine("udiv", combine("add", total, str(step - 1)), str(step))
    ends = []
    for thread in ("%thread", combine("add", "%thread", "1")):
        iterations = combine("udiv", combine("mul", total, thread), "%threads")
        ends.append(combine("add", combine("mul", iterations, str(step)), start))
    return ends[0], ends[1]
