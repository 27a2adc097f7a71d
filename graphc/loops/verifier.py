"""The rules of Loop IR. Every pass must keep them; a broken one is named with the statement that breaks it.

Names, loop variables and register arrays are bound before use and never twice on one path; element types
and lanes agree; every access has as many indices as its buffer or array has axes; VECTOR loops do not nest,
PARALLEL loops neither, nor do they hide in a VECTOR loop; a program calls known kernels with buffers that
fit them.
"""

from __future__ import annotations

from graphc.loops.expressions import Buffer
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Barrier,
    Bind,
    Call,
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
from graphc.loops.typecheck import (
    Scope,
    expression_type,
    same_type,
    verify_access,
    verify_cell,
    verify_index,
    verify_reduction,
)
from graphc.types import Batch


def verify(ir: Function | Step) -> None:
    """Raise VerificationError where a kernel or a program breaks a rule."""
    if isinstance(ir, Function):
        _verify_function(ir)
    else:
        _verify_step(ir)


def _verify_function(f: Function) -> None:
    scope = Scope(f"kernel {f.name}", {b.name: b for b in f.buffers})
    scope.require(len(scope.buffers) == len(f.buffers), "two buffers have the same name")
    for b in f.buffers:
        _verify_buffer(b, scope)
    _verify_body(f.body, scope)


def _verify_buffer(b: Buffer, scope: Scope) -> None:
    fixed = all(not isinstance(e, Batch) for e in b.shape[1:])
    scope.require(fixed, f"buffer {b}: expected the batch as the first extent only")
    scope.require(all(isinstance(e, Batch) or e > 0 for e in b.shape), f"buffer {b}: expected positive extents")


# ----------------------------------------------------------------------------------------------- statements


def _verify_body(body: tuple[Statement, ...], scope: Scope) -> None:
    for s in body:
        _verify_statement(s, scope.at(s))


def _verify_statement(s: Statement, scope: Scope) -> None:
    match s:
        case For():
            _verify_loop(s, scope)
        case If(conditions, body):
            for c in conditions:
                scope.require(c.kind in ("ge", "divides"), f"unknown condition {c.kind}")
                scope.require(c.divisor > 0, f"expected a positive divisor, got {c.divisor}")
                verify_index(c.index, scope)
            _verify_body(body, scope.inner())
        case Let(name, value):
            typ = expression_type(value, scope)
            _unbound(name, scope)
            scope.names[name] = typ
        case Bind(var, index):
            verify_index(index, scope)
            _unbound(var, scope)
            scope.variables.add(var)
        case Store(buffer, index, value, active):
            verify_access(buffer, index, active, scope)
            dtype, _ = expression_type(value, scope)
            if dtype is not buffer.dtype:
                raise scope.error(f"expected {buffer.dtype.short}, got {dtype.short}")
            scope.require(bool(index) or value.lanes == 1, f"expected one lane, got {value.lanes}")
        case Prefetch(buffer, index):
            verify_access(buffer, index, None, scope)
        case Declare(array, shape, dtype, initial, lanes):
            same_type((dtype, lanes), expression_type(initial, scope), "initial value", scope)
            scope.require(all(e > 0 for e in shape), f"expected positive extents, got {list(shape)}")
            _unbound(array, scope)
            scope.arrays[array] = s
        case Assign(array, index, value):
            same_type(verify_cell(array, index, scope), expression_type(value, scope), "value", scope)
        case Transpose(array):
            declared = scope.arrays.get(array)
            if declared is None:
                raise scope.error(f"register array {array} is not declared")
            square = declared.shape == (declared.lanes,) and not declared.lanes & (declared.lanes - 1)
            scope.require(square, f"{array}: expected as many cells as lanes, and a power of two")
        case Accumulate(array, index, reduction, value):
            verify_reduction(reduction, scope)
            same_type(verify_cell(array, index, scope), expression_type(value, scope), "value", scope)


def _verify_loop(loop: For, scope: Scope) -> None:
    for index in (loop.start, loop.stop, *([] if loop.active is None else [loop.active])):
        verify_index(index, scope)
    scope.require(loop.step > 0, f"expected a positive step, got {loop.step}")
    scope.require(loop.active is None or loop.mode is Mode.VECTOR, f"a {loop.mode.value} loop has no inactive lanes")
    match loop.mode:
        case Mode.VECTOR:
            scope.require(Mode.VECTOR not in scope.modes, "a vector loop inside a vector loop")
        case Mode.PARALLEL:
            scope.require(Mode.PARALLEL not in scope.modes, "a parallel loop inside a parallel loop")
            scope.require(Mode.VECTOR not in scope.modes, "a parallel loop inside a vector loop")
        case _:
            pass
    inner = scope.inner(loop.mode)
    _unbound(loop.var, inner)
    inner.variables.add(loop.var)
    _verify_body(loop.body, inner)


def _unbound(name: str, scope: Scope) -> None:
    taken = name in scope.names or name in scope.variables or name in scope.arrays or name in scope.buffers
    if taken:
        raise scope.error(f"{name} is bound twice")


# ------------------------------------------------------------------------------------------------- programs


def _verify_step(step: Step) -> None:
    scope = Scope(f"step {step.name}", {b.name: b for b in step.buffers})
    scope.require(len(scope.buffers) == len(step.buffers), "two buffers have the same name")
    functions = {f.name: f for f in step.functions}
    scope.require(len(functions) == len(step.functions), "two kernels have the same name")
    for b in step.buffers:
        _verify_buffer(b, scope)
    for f in step.functions:
        _verify_function(f)
    for item in step.body:
        match item:
            case Call():
                _verify_call(item, functions.get(item.function), scope)
            case Guard(name):
                known = scope.buffers.get(name)
                scope.require(known is not None, f"guard: buffer {name} is not declared")
                scope.require(known is None or known.dtype.is_float, f"guard: expected floats in {known}")
            case Barrier():
                pass


def _verify_call(call: Call, function: Function | None, scope: Scope) -> None:
    if function is None:
        raise scope.error(f"call of {call.function}, which is not a kernel of the step")
    expected, got = len(function.buffers), len(call.buffers)
    scope.require(expected == got, f"call of {call.function}: expected {expected} buffers, got {got}")
    for parameter, name in zip(function.buffers, call.buffers, strict=True):
        buffer = scope.buffers.get(name)
        if buffer is None:
            raise scope.error(f"call of {call.function}: buffer {name} is not declared")
        if (buffer.dtype, buffer.shape) != (parameter.dtype, parameter.shape):
            raise scope.error(f"call of {call.function}: expected {parameter}, got {buffer}")
