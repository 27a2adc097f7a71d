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
from dataclasses import dataclass, field, replace
from functools import lru_cache, update_wrapper
from typing import Any, overload

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import DTypeError, GraphcError
from graphc.ops.formula import (
    Axis,
    Formula,
    Read,
    Reduce,
    canonical,
    formula,
    free_symbols,
    tensor_symbol,
    value_reads,
)
from graphc.ops.notation import Operand, Trace, tracing
from graphc.types import DType, TensorType

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


# --------------------------------------------------------------------------------------------- the operator


class Operator:
    """A formula with a name. Calling it on tensors builds graph; `define` gives its statements for tensor types."""

    def __init__(self, function: Callable[..., Expr], name: str, samples: tuple[Sample, ...], integer: tuple[str, ...]):
        self.function, self.name, self.samples, self.integer = function, name, samples, integer
        signature = inspect.signature(function)
        kinds = inspect.Parameter
        self.tensors = tuple(p.name for p in signature.parameters.values() if p.kind is kinds.POSITIONAL_OR_KEYWORD)
        self.attributes = {p.name: p.default for p in signature.parameters.values() if p.kind is kinds.KEYWORD_ONLY}
        self._defined: Callable[..., Definition] = lru_cache(maxsize=4096)(self._define)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<operator {self.name}({', '.join(self.tensors)})>"

    def __call__(self, *tensors: Any, **attributes: Any) -> Any:
        """Apply to tensors of the DSL (or whatever implements `__graphc_apply__`)."""
        if len(tensors) != len(self.tensors):
            raise GraphcError(
                f"{self.name} takes {len(self.tensors)} tensors ({', '.join(self.tensors)}), got {len(tensors)}"
            )
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
            raise GraphcError(
                f"{self.name} has no option {', '.join(sorted(unknown))}; it has {', '.join(self.attributes) or 'none'}"
            )
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
        trace = Trace(self.name)
        trace.operands = operands
        token = tracing.set(trace)
        try:
            body = sp.sympify(self.function(*operands, **dict(attributes)))
            return Definition(self.name, _flatten(trace, body, dtype, set(self.tensors)))
        finally:
            tracing.reset(token)


def _flatten(trace: Trace, body: Expr, dtype: DType, taken: set[str]) -> tuple[Statement, ...]:
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
def op(
    *, name: str | None = None, samples: Iterable[Sample] = (), integer: str = "", register: bool = False
) -> Callable[[Callable[..., Expr]], Operator]: ...
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
