"""Declaring operators: `@op` turns one function that states a formula into everything the compiler needs.

    @op
    def dense(X, W):
        n, o, i = axes("n o i")
        return Sum(X[n, i] * W[o, i], over=i)

The axes that are not summed over are the axes of the result, in the order of their creation. The extent of an
axis is that of a tensor which it indexes bare (`X[n, i]`), unless it was given: `axis("y", 28)`. Nested reductions
become statements of their own over the smallest index set, and equal ones are shared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache, update_wrapper
from typing import Any, Protocol, overload

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.ops.formula import (
    Axis,
    Cond,
    Formula,
    Read,
    Reduce,
    canonical,
    formula,
    free_symbols,
    index_symbol,
    le,
    lt,
    size_of,
    tensor_symbol,
    value_reads,
)
from graphc.types import DType, Extent, TensorType

# ----------------------------------------------------------------------------------------- what is declared


@dataclass(frozen=True, slots=True)
class Statement:
    """One formula of a definition and the type of its result."""

    name: str
    formula: Formula
    type: TensorType


@dataclass(frozen=True, slots=True)
class Definition:
    """An operator applied to tensor types: statements in order, the last one being the result.

    Statements read the operator's tensors by parameter name and earlier statements by statement name.
    """

    operator: str
    statements: tuple[Statement, ...]

    @property
    def type(self) -> TensorType:
        """The type of the result."""
        return self.statements[-1].type


@dataclass(frozen=True, slots=True)
class Sample:
    """A small application of an operator, from which its tests and its documentation entry are made.

    `tensors` are shapes, or "int:K" + shape tuples for integer tensors with values below K: ("int", K, shape).
    `domain` is the range of the random values, chosen where the operator is smooth.
    """

    tensors: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)
    domain: tuple[float, float] = (-2.0, 2.0)


class Applicable(Protocol):
    """What an operator can be applied to: a tensor of the DSL, or anything that evaluates formulas."""

    def __graphc_apply__(self, operator: Operator, tensors: tuple[Any, ...], attributes: dict[str, Any]) -> Any: ...


# ---------------------------------------------------------------------------------------- while it is traced


class _Trace:
    """Axes and extents of the operator function that is being run."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.axes: dict[sp.Symbol, None] = {}
        self.extents: dict[sp.Symbol, Extent] = {}
        self.origin: dict[sp.Symbol, str] = {}
        self.operands: list[Operand] = []

    def new_axis(self, name: str, extent: Extent | None = None) -> sp.Symbol:
        symbol, k = index_symbol(name), 1
        while symbol in self.axes:
            k += 1
            symbol = index_symbol(f"{name}{k}")
        self.axes[symbol] = None
        if extent is not None:
            self.bind(symbol, extent, "the operator")
        return symbol

    def bind(self, symbol: sp.Symbol, extent: Extent, origin: str) -> None:
        known = self.extents.setdefault(symbol, extent)
        first = self.origin.setdefault(symbol, origin)
        if known != extent:
            raise ShapeError(f"{self.operator}: axis {symbol} is {known} in {first} but {extent} in {origin}")

    def extent(self, symbol: sp.Symbol) -> Extent:
        try:
            return self.extents[symbol]
        except KeyError:
            raise ShapeError(
                f"{self.operator}: the extent of axis {symbol} is not known",
                hint=f'index a tensor with {symbol} alone, or declare axis("{symbol}", extent)',
            ) from None


_trace: ContextVar[_Trace] = ContextVar("graphc_operator_trace")


def _current() -> _Trace:
    try:
        return _trace.get()
    except LookupError:
        raise GraphcError("axes() and axis() can only be used inside an operator's function") from None


def axes(names: str) -> tuple[sp.Symbol, ...]:
    """New axes, one for each name: `n, k = axes("n k")`."""
    return tuple(_current().new_axis(name) for name in names.split())


def axis(name: str, extent: Extent) -> sp.Symbol:
    """A new axis with a given extent, for those that no tensor is indexed by alone."""
    if isinstance(extent, int) and extent < 1:
        raise ShapeError(f"{_current().operator}: axis {name} would have extent {extent}")
    return _current().new_axis(name, extent)


def extent(symbol: sp.Symbol) -> Expr:
    """The number of values of an axis, as a number inside a formula (N for the batch)."""
    return size_of(_current().extent(symbol))


class Operand:
    """A tensor inside an operator's function: `X[n, i]` reads it, `X[...]` reads it pointwise with broadcasting."""

    __slots__ = ("name", "type")

    def __init__(self, name: str, type: TensorType) -> None:
        self.name, self.type = name, type

    @property
    def shape(self) -> tuple[Extent, ...]:
        return self.type.shape

    @property
    def rank(self) -> int:
        return self.type.rank

    def __getitem__(self, index: Any) -> Read:
        index = index if isinstance(index, tuple) else (index,)
        if index == (Ellipsis,):
            index = self._pointwise()
        if len(index) != self.rank:
            raise ShapeError(
                f"{_current().operator}: {self.name} has {self.rank} axes {self.shape}, "
                f"but is indexed with {len(index)}"
            )
        trace = _current()
        for position, i in enumerate(index):
            if isinstance(i, sp.Symbol) and i in trace.axes:
                trace.bind(i, self.shape[position], self.name)
        return Read(tensor_symbol(self.name), *index)

    def _pointwise(self) -> tuple[Any, ...]:
        """Axes of the broadcast shape of all operands; a unit extent is read at 0."""
        trace = _current()
        shape = broadcast_shape(trace.operator, [o.shape for o in trace.operands])
        names = pointwise_names(len(shape))
        symbols = []
        for name, e in zip(names, shape, strict=True):
            symbol = index_symbol(name)
            if symbol not in trace.axes:
                trace.new_axis(name, e)
            symbols.append(symbol)
        mine = symbols[len(shape) - self.rank :]
        full = shape[len(shape) - self.rank :]
        return tuple(
            s if own == whole else sp.S.Zero for s, own, whole in zip(mine, self.shape, full, strict=True)
        )


def pointwise_names(rank: int) -> list[str]:
    """Conventional axis names for a tensor of this rank: n, c, y, x for images, i, j, ... otherwise."""
    match rank:
        case 1:
            return ["i"]
        case 2:
            return ["n", "i"]
        case 4:
            return ["n", "c", "y", "x"]
        case _:
            return [f"i{k}" for k in range(rank)]


def broadcast_shape(operator: str, shapes: Iterable[tuple[Extent, ...]]) -> tuple[Extent, ...]:
    """The numpy broadcast of shapes that may hold the batch extent. Raises ShapeError."""
    shapes = list(shapes)
    rank = max((len(s) for s in shapes), default=0)
    result: list[Extent] = []
    for position in range(-rank, 0):
        extents = dict.fromkeys(s[position] for s in shapes if len(s) >= -position)
        wide = [e for e in extents if e != 1]
        if len(wide) > 1:
            raise ShapeError(
                f"{operator}: shapes {' and '.join(map(str, shapes))} do not broadcast: "
                f"axis {position} is {' and '.join(map(str, wide))}"
            )
        result.append(wide[0] if wide else 1)
    return tuple(result)


# ------------------------------------------------------------------------------------ reductions, comparisons


def _reduce(kind: str, body: Any, over: Any, where: Any) -> Reduce:
    trace = _current()
    symbols = over if isinstance(over, (tuple, list)) else (over,)
    conditions = where if isinstance(where, (tuple, list)) else (where,)
    pairs = [sp.Tuple(s, size_of(trace.extent(s))) for s in symbols]
    return Reduce(sp.Symbol(kind), sp.sympify(body), sp.Tuple(*pairs), *conditions)


def Sum(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """Σ_{over | where} body"""
    return _reduce("sum", body, over, where)


def Max(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """max_{over | where} body; the derivative goes to the first maximum."""
    return _reduce("max", body, over, where)


def Min(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """min_{over | where} body; the derivative goes to the first minimum."""
    return _reduce("min", body, over, where)


def less(a: Any, b: Any) -> Cond:
    """The condition a < b."""
    return lt(a, b)


def less_equal(a: Any, b: Any) -> Cond:
    """The condition a <= b."""
    return le(a, b)


# --------------------------------------------------------------------------------------------- the operator


class Operator:
    """A formula with a name. Calling it on tensors builds graph; `define` gives its statements for tensor types."""

    def __init__(self, function: Callable[..., Expr], name: str, samples: tuple[Sample, ...], integer: tuple[str, ...]):
        self.function, self.name, self.samples, self.integer = function, name, samples, integer
        signature = inspect.signature(function)
        kinds = inspect.Parameter
        self.tensors = tuple(
            p.name for p in signature.parameters.values() if p.kind is kinds.POSITIONAL_OR_KEYWORD
        )
        self.attributes = {
            p.name: p.default for p in signature.parameters.values() if p.kind is kinds.KEYWORD_ONLY
        }
        self._defined: Callable[..., Definition] = lru_cache(maxsize=4096)(self._define)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<operator {self.name}({', '.join(self.tensors)})>"

    def __call__(self, *tensors: Any, **attributes: Any) -> Any:
        """Apply to tensors of the DSL (or whatever implements `__graphc_apply__`)."""
        if len(tensors) != len(self.tensors):
            raise GraphcError(f"{self.name} takes {len(self.tensors)} tensors ({', '.join(self.tensors)}), got {len(tensors)}")
        for candidate in tensors:
            apply = getattr(candidate, "__graphc_apply__", None)
            if apply is not None:
                return apply(self, tensors, attributes)
        raise DTypeError(f"{self.name} needs at least one graphc tensor, got {[type(t).__name__ for t in tensors]}")

    def define(self, types: tuple[TensorType, ...], attributes: dict[str, Any] | None = None) -> Definition:
        """The statements for operands of these types. Raises ShapeError, DTypeError."""
        given = attributes or {}
        unknown = given.keys() - self.attributes.keys()
        if unknown:
            raise GraphcError(f"{self.name} has no option {', '.join(sorted(unknown))}; it has {', '.join(self.attributes) or 'none'}")
        return self._defined(types, tuple(sorted((self.attributes | given).items())))

    def _define(self, types: tuple[TensorType, ...], attributes: tuple[tuple[str, Any], ...]) -> Definition:
        operands = [Operand(n, t) for n, t in zip(self.tensors, types, strict=True)]
        floats = {t.dtype for n, t in zip(self.tensors, types, strict=True) if n not in self.integer}
        for name, type in zip(self.tensors, types, strict=True):
            if (name in self.integer) == type.dtype.is_float:
                wanted = "an integer" if name in self.integer else "a floating-point"
                raise DTypeError(f"{self.name}: {name} must have {wanted} dtype, got {type.dtype.value}")
        if len(floats) > 1:
            raise DTypeError(
                f"{self.name}: operands mix {' and '.join(sorted(d.value for d in floats))}",
                hint="declare all inputs and parameters with one dtype",
            )
        dtype = next(iter(floats), DType.FLOAT32)
        trace = _Trace(self.name)
        trace.operands = operands
        token = _trace.set(trace)
        try:
            body = sp.sympify(self.function(*operands, **dict(attributes)))
            return Definition(self.name, _flatten(trace, body, dtype, set(self.tensors)))
        finally:
            _trace.reset(token)


def _flatten(trace: _Trace, body: Expr, dtype: DType, taken: set[str]) -> tuple[Statement, ...]:
    """Nested reductions as statements of their own over their smallest index set; equal ones once."""
    statements: list[Statement] = []
    shared: dict[tuple[Formula, tuple[str, ...]], str] = {}

    def name_for(kind: str) -> str:
        k = 0
        while f"{kind}{k}" in taken:
            k += 1
        taken.add(f"{kind}{k}")
        return f"{kind}{k}"

    def result_axes(*parts: Expr) -> tuple[Axis, ...]:
        free = frozenset().union(*map(free_symbols, parts))
        return tuple(Axis(s, trace.extent(s)) for s in trace.axes if s in free)

    def emit(f: Formula, name: str) -> str:
        declared = [o.name for o in trace.operands] + [s.name for s in statements]
        f = replace(f, operands=tuple(n for n in declared if n in f.operands))
        statements.append(Statement(name, f, TensorType(f.shape, dtype)))
        return name

    def flat(e: Expr) -> Expr:
        if isinstance(e, Reduce):
            inner, over = flat(e.body), e.over
            bound = {a.symbol for a in over}
            free = tuple(a for a in result_axes(inner, *e.conditions) if a.symbol not in bound)
            f = formula(free, inner, e.kind, over, e.conditions)
            key = (canonical(f), f.operands)
            if key not in shared:
                shared[key] = emit(f, name_for(e.kind))
            return Read(tensor_symbol(shared[key]), *[a.symbol for a in free])
        if not e.args or not e.has(Reduce):
            return e
        return e.func(*[flat(a) for a in e.args])

    bound = {a.symbol for r in sp.preorder_traversal(body) if isinstance(r, Reduce) for a in r.over}
    axes = tuple(Axis(s, trace.extent(s)) for s in trace.axes if s not in bound)
    if isinstance(body, Reduce):
        emit(formula(axes, flat(body.body), body.kind, body.over, body.conditions), trace.operator)
    else:
        emit(formula(axes, flat(body)), trace.operator)
    return tuple(statements)


OPERATORS: dict[str, Operator] = {}
"""Every operator of the catalogue by name; tests and documentation are made from it."""


@overload
def op(function: Callable[..., Expr], /) -> Operator: ...
@overload
def op(*, name: str | None = None, samples: Iterable[Sample] = (), integer: str = "", register: bool = False) -> Callable[[Callable[..., Expr]], Operator]: ...
def op(
    function: Callable[..., Expr] | None = None,
    /,
    *,
    name: str | None = None,
    samples: Iterable[Sample] = (),
    integer: str = "",
    register: bool = False,
) -> Any:
    """Declare an operator from one function that states its formula.

    Positional parameters are tensors, keyword-only parameters are options (hashable, with defaults).
    `integer` names the tensors that hold indices or labels; `samples` are small applications for the tests.
    """

    def declare(f: Callable[..., Expr]) -> Operator:
        operator = Operator(f, name or f.__name__, tuple(samples), tuple(integer.split()))
        if register:
            OPERATORS[operator.name] = operator
        return operator

    return declare(function) if function is not None else declare


def differentiable(f: Formula, types: dict[str, TensorType]) -> tuple[str, ...]:
    """The operands of a formula in whose values it can be differentiated."""
    return tuple(dict.fromkeys(r.name for r in value_reads(f.body) if types[r.name].dtype.is_float))
