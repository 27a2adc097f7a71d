"""The rules of Loop IR. Every pass must keep them; a broken one is named with the statement that breaks it.

Names, loop variables and register arrays are bound before use and never twice on one path; element types
and lanes agree; every access has as many indices as its buffer or array has axes; VECTOR loops do not nest,
PARALLEL loops neither, nor do they hide in a VECTOR loop; a program calls known kernels with buffers that
fit them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.errors import VerificationError
from graphc.loops.index import Index
from graphc.loops.ir import (
    BINARY,
    BOOL,
    COMPARISONS,
    REDUCTIONS,
    UNARY,
    Accumulate,
    Assign,
    Barrier,
    Binary,
    Bind,
    Bitcast,
    Buffer,
    Call,
    Cast,
    Cell,
    Compare,
    Const,
    Declare,
    ElementType,
    Expression,
    Extract,
    Fma,
    Fold,
    For,
    Function,
    Guard,
    If,
    Iota,
    Let,
    Load,
    Mode,
    Name,
    Number,
    Pack,
    Select,
    Splat,
    Statement,
    Step,
    Store,
    Unary,
)
from graphc.loops.printer import expression_text, statement_head, type_text
from graphc.types import Batch, DType

Type = tuple[ElementType, int]
"""Element type and lanes."""


def verify(ir: Function | Step) -> None:
    """Raise VerificationError where a kernel or a program breaks a rule."""
    if isinstance(ir, Function):
        _verify_function(ir)
    else:
        _verify_step(ir)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is visible at a statement."""

    owner: str
    buffers: dict[str, Buffer]
    variables: set[str] = field(default_factory=lambda: {"N"})
    names: dict[str, Type] = field(default_factory=dict)
    arrays: dict[str, Declare] = field(default_factory=dict)
    modes: frozenset[Mode] = frozenset()
    statement: Statement | None = None

    def inner(self, mode: Mode | None = None) -> _Scope:
        modes = self.modes | {mode} if mode else self.modes
        return replace(
            self, variables=set(self.variables), names=dict(self.names), arrays=dict(self.arrays), modes=modes
        )

    def error(self, message: str) -> VerificationError:
        place = self.owner if self.statement is None else f"{self.owner}: `{statement_head(self.statement)}`"
        return VerificationError(f"{place}: {message}")

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise self.error(message)


def _verify_function(f: Function) -> None:
    scope = _Scope(f"kernel {f.name}", {b.name: b for b in f.buffers})
    scope.require(len(scope.buffers) == len(f.buffers), "two buffers have the same name")
    for b in f.buffers:
        _verify_buffer(b, scope)
    _verify_body(f.body, scope)


def _verify_buffer(b: Buffer, scope: _Scope) -> None:
    fixed = all(not isinstance(e, Batch) for e in b.shape[1:])
    scope.require(fixed, f"buffer {b}: expected the batch as the first extent only")
    scope.require(
        all(isinstance(e, Batch) or e > 0 for e in b.shape), f"buffer {b}: expected positive extents"
    )


# ----------------------------------------------------------------------------------------------- statements


def _verify_body(body: tuple[Statement, ...], scope: _Scope) -> None:
    for s in body:
        _verify_statement(s, replace(scope, statement=s))


def _verify_statement(s: Statement, scope: _Scope) -> None:
    match s:
        case For():
            _verify_loop(s, scope)
        case If(conditions, body):
            for c in conditions:
                scope.require(c.kind in ("ge", "divides"), f"unknown condition {c.kind}")
                scope.require(c.divisor > 0, f"expected a positive divisor, got {c.divisor}")
                _verify_index(c.index, scope)
            _verify_body(body, scope.inner())
        case Let(name, value):
            typ = _type(value, scope)
            _unbound(name, scope)
            scope.names[name] = typ
        case Bind(var, index):
            _verify_index(index, scope)
            _unbound(var, scope)
            scope.variables.add(var)
        case Store(buffer, index, value, active):
            _verify_access(buffer, index, active, scope)
            dtype, _ = _type(value, scope)
            scope.require(dtype is buffer.dtype, f"expected {buffer.dtype.short}, got {dtype.short}")
            scope.require(bool(index) or value.lanes == 1, f"expected one lane, got {value.lanes}")
        case Declare(array, shape, dtype, initial, lanes):
            _same((dtype, lanes), _type(initial, scope), "initial value", scope)
            scope.require(all(e > 0 for e in shape), f"expected positive extents, got {list(shape)}")
            _unbound(array, scope)
            scope.arrays[array] = s
        case Assign(array, index, value):
            _same(_verify_cell(array, index, scope), _type(value, scope), "value", scope)
        case Accumulate(array, index, reduction, value):
            _verify_reduction(reduction, scope)
            _same(_verify_cell(array, index, scope), _type(value, scope), "value", scope)


def _verify_loop(loop: For, scope: _Scope) -> None:
    for index in (loop.start, loop.stop, *([] if loop.active is None else [loop.active])):
        _verify_index(index, scope)
    scope.require(loop.step > 0, f"expected a positive step, got {loop.step}")
    scope.require(
        loop.active is None or loop.mode is Mode.VECTOR, f"a {loop.mode.value} loop has no inactive lanes"
    )
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


def _unbound(name: str, scope: _Scope) -> None:
    taken = name in scope.names or name in scope.variables or name in scope.arrays or name in scope.buffers
    scope.require(not taken, f"{name} is bound twice")


def _same(expected: Type, got: Type, what: str, scope: _Scope) -> None:
    scope.require(expected == got, f"{what}: expected {type_text(*expected)}, got {type_text(*got)}")


# -------------------------------------------------------------------------------------------------- indices


def _verify_index(index: Index, scope: _Scope) -> None:
    for name in sorted(index.variables() - scope.variables):
        raise scope.error(f"index {index}: variable {name} is not bound")
    for element in index.elements():
        buffer = scope.buffers.get(element.buffer)
        if buffer is None:
            raise scope.error(f"index {index}: buffer {element.buffer} is not declared")
        scope.require(not buffer.dtype.is_float, f"index {index}: expected integers in {buffer}")
        _rank(buffer.name, len(buffer.shape), len(element.index), scope)


def _rank(name: str, expected: int, got: int, scope: _Scope) -> None:
    scope.require(expected == got, f"{name}: expected {expected} indices, got {got}")


def _verify_access(buffer: Buffer, index: tuple[Index, ...], active: Index | None, scope: _Scope) -> None:
    declared = scope.buffers.get(buffer.name)
    scope.require(
        declared == buffer, f"buffer {buffer} is not declared (known: {declared or 'none of its name'})"
    )
    _rank(buffer.name, len(buffer.shape), len(index), scope)
    for i in (*index, *([] if active is None else [active])):
        _verify_index(i, scope)


def _verify_cell(array: str, index: tuple[Index, ...], scope: _Scope) -> Type:
    """The type of a register array's elements; constant indices must lie inside."""
    declared = scope.arrays.get(array)
    if declared is None:
        raise scope.error(f"register array {array} is not declared")
    _rank(array, len(declared.shape), len(index), scope)
    for i, extent in zip(index, declared.shape, strict=True):
        _verify_index(i, scope)
        inside = not i.is_constant or 0 <= i.constant < extent
        scope.require(inside, f"{array}: expected an index below {extent}, got {i}")
    return declared.dtype, declared.lanes


def _verify_reduction(reduction: str, scope: _Scope) -> None:
    scope.require(reduction in REDUCTIONS, f"unknown reduction {reduction}; known: {', '.join(REDUCTIONS)}")


# ---------------------------------------------------------------------------------------------- expressions


def _type(e: Expression, scope: _Scope) -> Type:
    """The type of an expression, once all rules hold inside it."""
    scope.require(e.lanes > 0, f"expected at least one lane, got {e.lanes}")
    match e:
        case Const(value, dtype):
            _verify_constant(value, dtype, scope)
        case Iota():
            pass
        case Number(index):
            _verify_index(index, scope)
        case Name(name, dtype, lanes):
            if name not in scope.names:
                raise scope.error(f"{name} is not bound")
            _same(scope.names[name], (dtype, lanes), name, scope)
        case Load(buffer, index, lanes, active):
            _verify_access(buffer, index, active, scope)
            scope.require(bool(index) or lanes == 1, f"{buffer.name}: expected one lane, got {lanes}")
        case Cell(array, index, dtype, lanes):
            _same(_verify_cell(array, index, scope), (dtype, lanes), array, scope)
        case Unary(operation, x):
            scope.require(operation in UNARY, f"unknown operation {operation}")
            _verify_domain(operation, _type(x, scope)[0], scope)
        case Binary(operation, a, b):
            scope.require(operation in BINARY, f"unknown operation {operation}")
            _verify_domain(operation, _alike(e, (a, b), scope)[0], scope)
        case Fma(a, b, c):
            _verify_domain("fma", _alike(e, (a, b, c), scope)[0], scope)
        case Compare(operation, a, b):
            scope.require(operation in COMPARISONS, f"unknown comparison {operation}")
            _alike(e, (a, b), scope)
        case Select(condition, a, b):
            _same((BOOL, a.lanes), _type(condition, scope), "condition", scope)
            _alike(e, (a, b), scope)
        case Cast(x):
            _type(x, scope)
        case Bitcast(x, dtype):
            source, _ = _type(x, scope)
            wide = isinstance(source, DType) and source.bits == dtype.bits
            scope.require(wide, f"expected {dtype.bits} bits, got {source.short}")
        case Splat(x):
            _one_lane(x, scope)
        case Pack(items):
            for item in items:
                _one_lane(item, scope)
            _alike(e, items, scope)
        case Extract(x, lane, lanes):
            _type(x, scope)
            scope.require(0 <= lane < x.lanes, f"expected a lane below {x.lanes}, got {lane}")
            scope.require(lanes == 1, f"one lane of a vector: expected 1 lane, got {lanes}")
        case Fold():
            _verify_fold(e, scope)
    return e.dtype, e.lanes


def _one_lane(e: Expression, scope: _Scope) -> None:
    _, lanes = _type(e, scope)
    if lanes != 1:
        raise scope.error(f"{expression_text(e)}: expected one lane, got {lanes}")


def _alike(e: Expression, operands: tuple[Expression, ...], scope: _Scope) -> Type:
    """The type that all operands share."""
    first, *others = (_type(x, scope) for x in operands)
    for other in others:
        if other != first:  # asked here, since the text of an expression costs more than the answer
            _same(first, other, f"operands of {expression_text(e)}", scope)
    return first


def _verify_constant(value: float | int, dtype: ElementType, scope: _Scope) -> None:
    if dtype is BOOL:
        fits = value in (0, 1)
    elif isinstance(dtype, DType) and not dtype.is_float:
        fits = value == int(value) and -(2 ** (dtype.bits - 1)) <= value < 2 ** (dtype.bits - 1)
    else:
        fits = True
    scope.require(fits, f"constant {value} is not of type {dtype.short}")


FLOAT_ONLY = UNARY - {"neg", "abs", "not"} | {"pow", "copysign", "fma"}
"""Operations on floating-point numbers; neg, abs and the rest of arithmetic take integers too."""

INTEGER_ONLY = frozenset({"shl", "ashr"})
LOGICAL = frozenset({"and", "or", "not"})


def _verify_domain(operation: str, dtype: ElementType, scope: _Scope) -> None:
    """Whether an operation is defined on an element type."""
    is_float = isinstance(dtype, DType) and dtype.is_float
    if operation in FLOAT_ONLY:
        scope.require(is_float, f"{operation}: expected a float, got {dtype.short}")
    elif operation in INTEGER_ONLY:
        scope.require(
            not is_float and dtype is not BOOL, f"{operation}: expected an integer, got {dtype.short}"
        )
    elif operation in LOGICAL:
        scope.require(not is_float, f"{operation}: expected bool or an integer, got {dtype.short}")
    else:
        scope.require(dtype is not BOOL, f"{operation}: expected a number, got bool")


def _verify_fold(e: Fold, scope: _Scope) -> None:
    """A fold takes a vector as wide as itself, or a row of a register array, its last index given or not."""
    _verify_reduction(e.reduction, scope)
    power = e.width > 0 and not e.width & (e.width - 1)
    scope.require(power, f"fold: expected a power of two, got width {e.width}")
    scope.require(e.lanes == 1, f"fold: expected a result of one lane, got {e.lanes}")
    if isinstance(e.x, Cell) and e.x.lanes == 1:
        declared = scope.arrays.get(e.x.array)
        if declared is not None and len(e.x.index) == len(declared.shape) - 1:
            _verify_cell(e.x.array, (*e.x.index, Index()), scope)
            _same((declared.dtype, 1), (e.x.dtype, declared.lanes), e.x.array, scope)
        else:
            _type(e.x, scope)
        width = declared.shape[-1] if declared and declared.shape else 1
    else:
        _, width = _type(e.x, scope)
    scope.require(width == e.width, f"fold: expected {e.width} numbers, got {width}")


# ------------------------------------------------------------------------------------------------- programs


def _verify_step(step: Step) -> None:
    scope = _Scope(f"step {step.name}", {b.name: b for b in step.buffers})
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


def _verify_call(call: Call, function: Function | None, scope: _Scope) -> None:
    if function is None:
        raise scope.error(f"call of {call.function}, which is not a kernel of the step")
    expected, got = len(function.buffers), len(call.buffers)
    scope.require(expected == got, f"call of {call.function}: expected {expected} buffers, got {got}")
    for parameter, name in zip(function.buffers, call.buffers, strict=True):
        buffer = scope.buffers.get(name)
        if buffer is None:
            raise scope.error(f"call of {call.function}: buffer {name} is not declared")
        fits = (buffer.dtype, buffer.shape) == (parameter.dtype, parameter.shape)
        scope.require(fits, f"call of {call.function}: expected {parameter}, got {buffer}")
