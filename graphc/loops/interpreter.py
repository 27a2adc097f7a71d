"""The meaning of Loop IR, in numpy: slow, literal, checked at every memory access.

It runs loops before and after every pass, so that a pass can be tested by running its input and its output.
An expression of one lane is a numpy scalar, one of several lanes an array; arithmetic is that of the
element type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import InputError, VerificationError
from graphc.loops import arithmetic
from graphc.loops.expressions import (
    REDUCTIONS,
    Binary,
    Bitcast,
    Bool,
    Buffer,
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
from graphc.loops.index import Element, Index, Maximum, Minimum, Quotient, Remainder, Var
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Barrier,
    Bind,
    Call,
    Condition,
    Declare,
    For,
    Function,
    Guard,
    If,
    Let,
    Mode,
    Prefetch,
    Statement,
    Step,
    Store,
    Transpose,
)
from graphc.ops.philox import uniform
from graphc.types import TensorType

Array = npt.NDArray[Any]
Value = Any
"""A numpy scalar, or an array with one element for each lane."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is visible at one place: memory by buffer name, loop variables, bound values, register arrays."""

    memory: Mapping[str, Array]
    variables: dict[str, int]
    names: dict[str, Value]
    registers: dict[str, Array]
    thread: int = 0
    threads: int = 1

    def inner(self, **variables: int) -> Frame:
        """A body inside this one: what it binds is forgotten when it ends."""
        return replace(
            self,
            variables={**self.variables, **variables},
            names=dict(self.names),
            registers=dict(self.registers),
        )


def run_function(
    function: Function, arrays: Mapping[str, Array], batch: int, thread: int = 0, threads: int = 1
) -> None:
    """Run one thread's share of a kernel; the arrays, by the kernel's own buffer names, change in place.

    Raises InputError for arrays that do not fit, VerificationError for an access outside a buffer.
    """
    memory = {b.name: _checked(b, arrays, batch) for b in function.buffers}
    frame = Frame(memory, {"N": batch}, {}, {}, thread, threads)
    with np.errstate(all="ignore"):
        _run(function.body, frame)


def run_step(step: Step, arrays: Mapping[str, Array], batch: int, threads: int = 1) -> bool:
    """Run a program, between barriers thread after thread, and tell whether it reached its end."""
    functions = {f.name: f for f in step.functions}
    for stretch, end in _stretches(step):
        for thread in range(threads):
            for call in stretch:
                function = functions[call.function]
                own = {b.name: arrays[n] for b, n in zip(function.buffers, call.buffers, strict=True)}
                run_function(function, own, batch, thread, threads)
        if isinstance(end, Guard) and not np.isfinite(arrays[end.buffer].flat[0]):
            return False
    return True


def _stretches(step: Step) -> Iterator[tuple[list[Call], Barrier | Guard]]:
    """The calls up to each point where the threads meet, and that point."""
    calls: list[Call] = []
    for item in (*step.body, Barrier()):
        match item:
            case Call():
                calls.append(item)
            case Barrier() | Guard():
                yield calls, item
                calls = []


def _checked(buffer: Buffer, arrays: Mapping[str, Array], batch: int) -> Array:
    if buffer.name not in arrays:
        raise InputError(f"buffer {buffer.name} is missing", hint=f"given: {', '.join(arrays) or 'nothing'}")
    array = arrays[buffer.name]
    shape = TensorType(buffer.shape, buffer.dtype).concrete(batch)
    if array.shape != shape or array.dtype != np.dtype(buffer.dtype.numpy):
        raise InputError(
            f"buffer {buffer.name}: expected {buffer.dtype.value} {shape}, got {array.dtype} {array.shape}"
        )
    return array


# ----------------------------------------------------------------------------------------------- statements


def _run(body: tuple[Statement, ...], frame: Frame) -> None:
    for s in body:
        match s:
            case For(var, start, _, inner):
                first = evaluate_index(start, frame)
                for k in _iterations(s, frame):
                    _run(inner, frame.inner(**{var: first + k * s.step}))
            case If(conditions, inner):
                if all(_holds(c, frame) for c in conditions):
                    _run(inner, frame.inner())
            case Let(name, value):
                frame.names[name] = evaluate(value, frame)
            case Bind(var, index):
                frame.variables[var] = evaluate_index(index, frame)
            case Store(buffer, index, value, active):
                _store(buffer, index, value, active, frame)
            case Prefetch():
                pass
            case Declare(array, shape, dtype, initial, lanes):
                storage = np.empty((*shape, lanes) if lanes > 1 else shape, _numpy(dtype))
                storage[...] = evaluate(initial, frame)
                frame.registers[array] = storage
            case Transpose(array):
                frame.registers[array][...] = frame.registers[array].T.copy()
            case Assign(array, index, value):
                frame.registers[array][_cell(array, index, frame)] = evaluate(value, frame)
            case Accumulate(array, index, reduction, value):
                storage, place = frame.registers[array], _cell(array, index, frame)
                combine = arithmetic.BINARY[REDUCTIONS[reduction]]
                storage[place] = combine(storage[place], evaluate(value, frame))


def _iterations(loop: For, frame: Frame) -> range:
    """The iteration numbers that this thread runs."""
    distance = evaluate_index(loop.stop, frame) - evaluate_index(loop.start, frame)
    total = max(0, -(-distance // loop.step))
    if loop.mode is Mode.PARALLEL:
        return range(total * frame.thread // frame.threads, total * (frame.thread + 1) // frame.threads)
    if loop.active is not None:
        return range(min(total, max(0, evaluate_index(loop.active, frame))))
    return range(total)


def _holds(c: Condition, frame: Frame) -> bool:
    value = evaluate_index(c.index, frame)
    return value >= 0 if c.kind == "ge" else value % c.divisor == 0


def _store(buffer: Buffer, index: tuple[Index, ...], value: Expression, active: Index | None, frame: Frame) -> None:
    lanes = value.lanes
    count = _active_lanes(active, lanes, frame)
    vector = np.broadcast_to(evaluate(value, frame), (lanes,))
    if count:
        frame.memory[buffer.name][_span(buffer.name, index, count, frame)] = vector[:count]


# -------------------------------------------------------------------------------------------------- indices


def evaluate_index(index: Index, frame: Frame) -> int:
    """The integer value of an index expression."""
    result = index.constant
    for atom, k in index.terms:
        match atom:
            case Var(name):
                value = frame.variables[name]
            case Quotient(of, divisor):
                value = evaluate_index(of, frame) // divisor
            case Remainder(of, divisor):
                value = evaluate_index(of, frame) % divisor
            case Minimum(a, b):
                value = min(evaluate_index(a, frame), evaluate_index(b, frame))
            case Maximum(a, b):
                value = max(evaluate_index(a, frame), evaluate_index(b, frame))
            case Element(buffer, inner):
                value = int(frame.memory[buffer][_span(buffer, inner, 1, frame)].item())
        result += k * value
    return result


def _active_lanes(active: Index | None, lanes: int, frame: Frame) -> int:
    return lanes if active is None else min(lanes, max(0, evaluate_index(active, frame)))


def _span(buffer: str, index: tuple[Index, ...], count: int, frame: Frame) -> tuple[Any, ...]:
    """The place of `count` neighbours along the last axis, all of them inside the buffer."""
    shape = frame.memory[buffer].shape
    at = [evaluate_index(i, frame) for i in index]
    reach = [1] * len(at)
    if at:
        reach[-1] = count
    if not all(0 <= i <= extent - r for i, r, extent in zip(at, reach, shape, strict=True)):
        lanes = f" with {count} lanes" if count > 1 else ""
        raise VerificationError(f"access outside a buffer: {buffer}{at}{lanes}, but its shape is {list(shape)}")
    return (*at[:-1], slice(at[-1], at[-1] + count)) if at else (...,)


def _cell(array: str, index: tuple[Index, ...], frame: Frame) -> tuple[Any, ...]:
    """A register array's element; `...` keeps a whole vector, and makes a scalar of one lane assignable."""
    shape = frame.registers[array].shape
    at = tuple(evaluate_index(i, frame) for i in index)
    if not all(0 <= i < extent for i, extent in zip(at, shape, strict=False)):
        raise VerificationError(f"access outside a register array: {array}{list(at)}, its shape is {list(shape)}")
    return (*at, ...)


# ---------------------------------------------------------------------------------------------- expressions


def _numpy(dtype: ElementType) -> np.dtype[Any]:
    return np.dtype(bool) if isinstance(dtype, Bool) else np.dtype(dtype.numpy)


def evaluate(e: Expression, frame: Frame) -> Value:
    """The value of an expression.

    Constants may come back as scalars where lanes are meant: numpy spreads them. A name may be bound to an
    array of any length: an expression of one lane is then evaluated for all its elements at once.
    """
    match e:
        case Const(value, dtype):
            return _numpy(dtype).type(value)
        case Number(index, dtype):
            return _numpy(dtype).type(evaluate_index(index, frame))
        case Iota(dtype, lanes):
            return np.arange(lanes, dtype=_numpy(dtype))
        case Name(name):
            return frame.names[name]
        case Load(buffer, index, lanes, active):
            return _load(buffer, index, lanes, active, frame)
        case Cell(array, index):
            return frame.registers[array][_cell(array, index, frame)][()].copy()
        case Unary(operation, x):
            return arithmetic.UNARY[operation](evaluate(x, frame))
        case Binary(operation, a, b):
            return arithmetic.BINARY[operation](evaluate(a, frame), evaluate(b, frame))
        case Fma(a, b, c):
            return arithmetic.fma(evaluate(a, frame), evaluate(b, frame), evaluate(c, frame))
        case Compare(operation, a, b):
            return arithmetic.COMPARE[operation](evaluate(a, frame), evaluate(b, frame))
        case Select(condition, a, b):
            chosen: Array = np.asarray(np.where(*(evaluate(x, frame) for x in (condition, a, b))))
            return chosen[()]
        case Cast(x, dtype):
            return np.asarray(evaluate(x, frame)).astype(_numpy(dtype))[()]
        case Bitcast(x, dtype):
            return np.asarray(evaluate(x, frame)).view(_numpy(dtype))[()]
        case Splat(x, lanes):
            return np.broadcast_to(evaluate(x, frame), (lanes,))
        case Pack(items):
            return np.array([evaluate(i, frame) for i in items], _numpy(e.dtype))
        case Shuffle(a, b, order):
            both = [np.broadcast_to(evaluate(x, frame), (x.lanes,)) for x in (a, b)]
            return np.concatenate(both)[list(order)]
        case Extract(x, lane):
            return np.broadcast_to(evaluate(x, frame), (x.lanes,))[lane]
        case Fold(reduction, x, width):
            return _fold(reduction, _row(x, width, frame))
        case Random(key, step, place, dtype):
            return uniform(evaluate(key, frame), evaluate(step, frame), evaluate(place, frame), dtype)[()]


def _load(buffer: Buffer, index: tuple[Index, ...], lanes: int, active: Index | None, frame: Frame) -> Value:
    count = _active_lanes(active, lanes, frame)
    result = np.zeros(lanes, _numpy(buffer.dtype))
    if count:
        result[:count] = frame.memory[buffer.name][_span(buffer.name, index, count, frame)]
    return result if lanes > 1 else result[0]


def _row(x: Expression, width: int, frame: Frame) -> Array:
    """The numbers to fold: the lanes of a vector, or the last axis of a register array."""
    if x.lanes == width:
        return np.broadcast_to(evaluate(x, frame), (width,))
    if not isinstance(x, Cell):
        raise VerificationError(f"fold of {width} numbers: expected a vector or a register array, got {x.lanes}")
    array = frame.registers[x.array]
    outer = x.index[: array.ndim - 1]
    start = evaluate_index(x.index[-1], frame) if len(x.index) == array.ndim else 0
    row: Array = array[_cell(x.array, outer, frame)][start : start + width]
    if row.shape != (width,):
        raise VerificationError(f"fold of {width} numbers: {x.array} has {list(array.shape)}")
    return row


def _fold(reduction: str, row: Array) -> Value:
    combine = arithmetic.BINARY[REDUCTIONS[reduction]]
    while len(row) > 1:
        half = len(row) // 2
        row = combine(row[:half], row[half:])
    return row[0]


def evaluate_over(e: Expression, names: Mapping[str, Array]) -> Array:
    """An expression of one lane over whole arrays: names are bound to arrays of equal length."""
    with np.errstate(all="ignore"):
        return np.asarray(evaluate(e, Frame({}, {}, dict(names), {})))
