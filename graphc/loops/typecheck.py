"""The types of expressions: names bound, element types and lanes agreeing, indices of the right number."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.errors import VerificationError
from graphc.loops.expressions import (
    BINARY,
    BOOL,
    COMPARISONS,
    REDUCTIONS,
    UNARY,
    Binary,
    Bitcast,
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
from graphc.loops.index import Index
from graphc.loops.ir import Declare, Mode, Statement
from graphc.loops.printer import expression_text, statement_head, type_text
from graphc.types import DType

Type = tuple[ElementType, int]
"""Element type and lanes."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is visible at a statement."""

    owner: str
    buffers: dict[str, Buffer]
    variables: set[str] = field(default_factory=lambda: {"N"})
    names: dict[str, Type] = field(default_factory=dict)
    arrays: dict[str, Declare] = field(default_factory=dict)
    modes: frozenset[Mode] = frozenset()
    statement: Statement | None = None

    def inner(self, mode: Mode | None = None) -> Scope:
        """A body inside: what it binds is not seen outside."""
        modes = self.modes | {mode} if mode else self.modes
        return replace(
            self, variables=set(self.variables), names=dict(self.names), arrays=dict(self.arrays), modes=modes
        )

    def at(self, statement: Statement) -> Scope:
        """What the same body sees at another statement."""
        return Scope(self.owner, self.buffers, self.variables, self.names, self.arrays, self.modes, statement)

    def error(self, message: str) -> VerificationError:
        """An error that names the statement."""
        place = self.owner if self.statement is None else f"{self.owner}: `{statement_head(self.statement)}`"
        return VerificationError(f"{place}: {message}")

    def require(self, holds: bool, message: str) -> None:
        """Raise the error unless a rule holds."""
        if not holds:
            raise self.error(message)


def same_type(expected: Type, got: Type, what: str, scope: Scope) -> None:
    """Require two types to be one."""
    if expected != got:
        raise scope.error(f"{what}: expected {type_text(*expected)}, got {type_text(*got)}")


# -------------------------------------------------------------------------------------------------- indices


def verify_index(index: Index, scope: Scope) -> None:
    """Require every variable of an index to be bound, every buffer inside it to hold integers."""
    if index.is_constant:
        return
    for name in sorted(index.variables() - scope.variables):
        raise scope.error(f"index {index}: variable {name} is not bound")
    for element in index.elements():
        buffer = scope.buffers.get(element.buffer)
        if buffer is None:
            raise scope.error(f"index {index}: buffer {element.buffer} is not declared")
        scope.require(not buffer.dtype.is_float, f"index {index}: expected integers in {buffer}")
        _rank(buffer.name, len(buffer.shape), len(element.index), scope)


def _rank(name: str, expected: int, got: int, scope: Scope) -> None:
    if expected != got:
        raise scope.error(f"{name}: expected {expected} indices, got {got}")


def verify_access(buffer: Buffer, index: tuple[Index, ...], active: Index | None, scope: Scope) -> None:
    """Require a declared buffer with one index for each of its axes."""
    declared = scope.buffers.get(buffer.name)
    if declared != buffer:
        raise scope.error(f"buffer {buffer} is not declared (known: {declared or 'none of its name'})")
    _rank(buffer.name, len(buffer.shape), len(index), scope)
    for i in (*index, *([] if active is None else [active])):
        verify_index(i, scope)


def verify_cell(array: str, index: tuple[Index, ...], scope: Scope) -> Type:
    """The type of a register array's elements; constant indices must lie inside."""
    declared = scope.arrays.get(array)
    if declared is None:
        raise scope.error(f"register array {array} is not declared")
    _rank(array, len(declared.shape), len(index), scope)
    for i, extent in zip(index, declared.shape, strict=True):
        verify_index(i, scope)
        if i.is_constant and not 0 <= i.constant < extent:
            raise scope.error(f"{array}: expected an index below {extent}, got {i}")
    return declared.dtype, declared.lanes


def verify_reduction(reduction: str, scope: Scope) -> None:
    """Require a reduction that exists."""
    scope.require(reduction in REDUCTIONS, f"unknown reduction {reduction}; known: {', '.join(REDUCTIONS)}")


# ---------------------------------------------------------------------------------------------- expressions


def expression_type(e: Expression, scope: Scope) -> Type:
    """The type of an expression, once all rules hold inside it."""
    if e.lanes <= 0:
        raise scope.error(f"expected at least one lane, got {e.lanes}")
    match e:
        case Const(value, dtype):
            _verify_constant(value, dtype, scope)
        case Iota():
            pass
        case Number(index):
            verify_index(index, scope)
        case Name(name, dtype, lanes):
            if name not in scope.names:
                raise scope.error(f"{name} is not bound")
            same_type(scope.names[name], (dtype, lanes), name, scope)
        case Load(buffer, index, lanes, active):
            verify_access(buffer, index, active, scope)
            scope.require(bool(index) or lanes == 1, f"{buffer.name}: expected one lane, got {lanes}")
        case Cell(array, index, dtype, lanes):
            same_type(verify_cell(array, index, scope), (dtype, lanes), array, scope)
        case Unary(operation, x):
            scope.require(operation in UNARY, f"unknown operation {operation}")
            _verify_domain(operation, expression_type(x, scope)[0], scope)
        case Binary(operation, a, b):
            scope.require(operation in BINARY, f"unknown operation {operation}")
            _verify_domain(operation, _alike(e, (a, b), scope)[0], scope)
        case Fma(a, b, c):
            _verify_domain("fma", _alike(e, (a, b, c), scope)[0], scope)
        case Compare(operation, a, b):
            scope.require(operation in COMPARISONS, f"unknown comparison {operation}")
            _alike(e, (a, b), scope)
        case Select(condition, a, b):
            same_type((BOOL, a.lanes), expression_type(condition, scope), "condition", scope)
            _alike(e, (a, b), scope)
        case Cast(x):
            expression_type(x, scope)
        case Bitcast(x, dtype):
            source, _ = expression_type(x, scope)
            wide = isinstance(source, DType) and source.bits == dtype.bits
            scope.require(wide, f"expected {dtype.bits} bits, got {source.short}")
        case Splat(x):
            _one_lane(x, scope)
        case Pack(items):
            for item in items:
                _one_lane(item, scope)
            _alike(e, items, scope)
        case Shuffle(a, b, order):
            _alike(e, (a, b), scope)
            scope.require(all(0 <= k < 2 * a.lanes for k in order), f"expected lanes below {2 * a.lanes}, got {order}")
        case Extract(x, lane, lanes):
            expression_type(x, scope)
            scope.require(0 <= lane < x.lanes, f"expected a lane below {x.lanes}, got {lane}")
            scope.require(lanes == 1, f"one lane of a vector: expected 1 lane, got {lanes}")
        case Fold():
            _verify_fold(e, scope)
        case Random(key, step, place, dtype):
            for x, lanes in ((key, 1), (step, 1), (place, place.lanes)):
                same_type((DType.INT64, lanes), expression_type(x, scope), expression_text(x), scope)
            scope.require(dtype.is_float, f"random: expected a float, got {dtype.short}")
    return e.dtype, e.lanes


def _one_lane(e: Expression, scope: Scope) -> None:
    _, lanes = expression_type(e, scope)
    if lanes != 1:
        raise scope.error(f"{expression_text(e)}: expected one lane, got {lanes}")


def _alike(e: Expression, operands: tuple[Expression, ...], scope: Scope) -> Type:
    """The type that all operands share."""
    first, *others = (expression_type(x, scope) for x in operands)
    for other in others:
        if other != first:  # asked here, since the text of an expression costs more than the answer
            same_type(first, other, f"operands of {expression_text(e)}", scope)
    return first


def _verify_constant(value: float | int, dtype: ElementType, scope: Scope) -> None:
    if dtype is BOOL:
        fits = value in (0, 1)
    elif isinstance(dtype, DType) and not dtype.is_float:
        fits = value == int(value) and -(2 ** (dtype.bits - 1)) <= value < 2 ** (dtype.bits - 1)
    else:
        fits = True
    if not fits:
        raise scope.error(f"constant {value} is not of type {dtype.short}")


FLOAT_ONLY = UNARY - {"neg", "abs", "not"} | {"pow", "copysign", "fma"}
"""Operations on floating-point numbers; neg, abs and the rest of arithmetic take integers too."""

INTEGER_ONLY = frozenset({"shl", "ashr"})
LOGICAL = frozenset({"and", "or", "xor", "not"})


def _verify_domain(operation: str, dtype: ElementType, scope: Scope) -> None:
    """Whether an operation is defined on an element type."""
    is_float = isinstance(dtype, DType) and dtype.is_float
    if operation in FLOAT_ONLY:
        scope.require(is_float, f"{operation}: expected a float, got {dtype.short}")
    elif operation in INTEGER_ONLY:
        scope.require(not is_float and dtype is not BOOL, f"{operation}: expected an integer, got {dtype.short}")
    elif operation in LOGICAL:
        scope.require(not is_float, f"{operation}: expected bool or an integer, got {dtype.short}")
    else:
        scope.require(dtype is not BOOL, f"{operation}: expected a number, got bool")


def _verify_fold(e: Fold, scope: Scope) -> None:
    """A fold takes a vector as wide as itself, or a row of a register array, its last index given or not."""
    verify_reduction(e.reduction, scope)
    power = e.width > 0 and not e.width & (e.width - 1)
    scope.require(power, f"fold: expected a power of two, got width {e.width}")
    scope.require(e.lanes == 1, f"fold: expected a result of one lane, got {e.lanes}")
    if isinstance(e.x, Cell) and e.x.lanes == 1:
        declared = scope.arrays.get(e.x.array)
        if declared is not None and len(e.x.index) == len(declared.shape) - 1:
            verify_cell(e.x.array, (*e.x.index, Index()), scope)
            same_type((declared.dtype, 1), (e.x.dtype, declared.lanes), e.x.array, scope)
        else:
            expression_type(e.x, scope)
        width = declared.shape[-1] if declared and declared.shape else 1
    else:
        _, width = expression_type(e.x, scope)
    scope.require(width == e.width, f"fold: expected {e.width} numbers, got {width}")
