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
    Where,
    canonical,
    formula,
    free_symbols,
    tensor_symbol,
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

    @property
    def is_truth(self) -> bool:
        """Whether the result says where a condition holds: 1 there and 0 elsewhere."""
        body = self.statements[-1].formula.body
        return isinstance(body, Where) and set(body.args[1:]) == {sp.S.Zero, sp.S.One}


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


@dataclass(frozen=True, slots=True)
class Bound:
    """An operator with its operands and options, as a call gave them."""

    operator: Operator
    operands: tuple[Any, ...]
    options: dict[str, Any]


class Operator:
    """A formula with a name. Calling it on tensors builds graph; `define` gives its statements for tensor types."""

    def __init__(
        self,
        function: Callable[..., Expr],
        name: str,
        samples: tuple[Sample, ...] = (),
        integer: tuple[str, ...] = (),
        either: tuple[str, ...] = (),
        result: DType | None = None,
    ) -> None:
        self.function, self.name, self.samples = function, name, samples
        self.integer, self.either, self.result = integer, either, result
        parameters, kinds = inspect.signature(function).parameters.values(), inspect.Parameter
        positional = [p for p in parameters if p.kind is kinds.POSITIONAL_OR_KEYWORD]
        self.tensors = tuple(p.name for p in positional)
        self.optional = frozenset(p.name for p in positional if p.default is None)
        self.variadic = next((p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL), None)
        self.attributes = {p.name: p.default for p in parameters if p.kind is kinds.KEYWORD_ONLY}
        self._defined: Callable[..., Definition] = lru_cache(maxsize=4096)(self._define)
        self._forms: dict[tuple[bool, ...], Operator] = {}
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<operator {self.name}({', '.join(self.tensors) or f'*{self.variadic}'})>"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Apply to tensors of the DSL (or whatever implements `__graphc_apply__`), options by position or name."""
        listed = [a for g in arguments for a in (g if isinstance(g, (list, tuple)) else (g,))]
        for candidate in (*listed, *options.values()):
            apply = getattr(candidate, "__graphc_apply__", None)
            if apply is not None:
                return apply(self, arguments, options)
        raise DTypeError(f"{self.name} needs at least one graphc tensor, got {[type(a).__name__ for a in arguments]}")

    def bind(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> Bound:
        """The form for the operands that are present, these operands, and the options. Raises GraphcError."""
        names, options = self.tensors, dict(options)
        if self.variadic:
            several = arguments and isinstance(arguments[0], (list, tuple))
            operands = tuple(arguments[0]) if several else arguments
            rest = arguments[1:] if several else ()
        else:
            given = dict(zip(names, arguments, strict=False))
            twice = [n for n in given if n in options]
            if twice:
                raise GraphcError(f"{self.name}: {twice[0]} is given twice, by position and by name")
            given |= {n: options.pop(n) for n in names if n in options}
            missing = [n for n in names if given.get(n) is None and n not in self.optional]
            if missing:
                raise GraphcError(
                    f"{self.name} takes the tensors {', '.join(self._spelled())}; {', '.join(missing)} is missing"
                )
            operands, rest = tuple(given.get(n) for n in names), arguments[len(names) :]
        if len(rest) > len(self.attributes):
            raise GraphcError(
                f"{self.name} takes {len(names)} tensors ({', '.join(self._spelled())}) and the options "
                f"{', '.join(self.attributes) or 'none'}; got {len(arguments)} arguments"
            )
        by_position = dict(zip(self.attributes, rest, strict=False))
        form = self.form(tuple(o is not None for o in operands))
        return Bound(form, tuple(o for o in operands if o is not None), by_position | options)

    def _spelled(self) -> list[str]:
        return [f"[{n}]" if n in self.optional else n for n in self.tensors]

    def form(self, present: tuple[bool, ...]) -> Operator:
        """The operator of those operands that are present; of a variadic one, for so many operands."""
        if all(present) and not self.variadic and len(present) == len(self.tensors):
            return self
        if present not in self._forms:
            self._forms[present] = self._form(present)
        return self._forms[present]

    def _form(self, present: tuple[bool, ...]) -> Operator:
        if self.variadic:
            names = tuple(f"{self.variadic}{k}" for k in range(len(present)))
            spread = {self.variadic: names}
        else:
            if len(present) != len(self.tensors):
                raise GraphcError(
                    f"{self.name} takes {len(self.tensors)} tensors ({', '.join(self._spelled())}), got {len(present)}"
                )
            names = tuple(n for n, there in zip(self.tensors, present, strict=True) if there)
            spread = {}

        def formula(*operands: Operand, **options: Any) -> Expr:
            given = iter(operands)
            return self.function(*[next(given) if there else None for there in present], **options)

        kinds = inspect.Parameter
        own = [kinds(n, kinds.POSITIONAL_OR_KEYWORD) for n in names]
        keywords = [kinds(n, kinds.KEYWORD_ONLY, default=d) for n, d in self.attributes.items()]
        formula.__signature__ = inspect.Signature([*own, *keywords])  # type: ignore[attr-defined]
        formula.__doc__ = self.__doc__
        integer, either = ([s for n in kind for s in spread.get(n, (n,))] for kind in (self.integer, self.either))
        return Operator(formula, self.name, (), tuple(integer), tuple(either), self.result)

    def define(self, types: tuple[TensorType, ...], attributes: dict[str, Any] | None = None) -> Definition:
        """The statements for operands of these types. Raises ShapeError, DTypeError."""
        given = attributes or {}
        unknown = given.keys() - self.attributes.keys()
        if unknown:
            raise GraphcError(
                f"{self.name} has no option {', '.join(sorted(unknown))}; it has {', '.join(self.attributes) or 'none'}"
            )
        if len(types) != len(self.tensors):
            left_out = self.tensors[len(types) :] if self.optional.issuperset(self.tensors[len(types) :]) else ()
            return self.form((True,) * len(types) + (False,) * len(left_out)).define(types, attributes)
        return self._defined(types, tuple(sorted((self.attributes | given).items())))

    def _define(self, types: tuple[TensorType, ...], attributes: tuple[tuple[str, Any], ...]) -> Definition:
        operands = [Operand(n, t) for n, t in zip(self.tensors, types, strict=True)]
        dtype = self._dtype(types)
        trace = Trace(self.name)
        trace.operands = operands
        token = tracing.set(trace)
        try:
            body = sp.sympify(self.function(*operands, **dict(attributes)))
            statements = _flatten(trace, body, dtype, set(self.tensors))
        finally:
            tracing.reset(token)
        result = dict(attributes).get("dtype", self.result)
        if result is not None:
            last = statements[-1]
            statements = (*statements[:-1], replace(last, type=TensorType(last.type.shape, result)))
        return Definition(self.name, statements)

    def _dtype(self, types: tuple[TensorType, ...]) -> DType:
        """The element type of the statements. Raises DTypeError for operands of a wrong or of several types."""
        computed: dict[DType, None] = {}
        beside = any(name not in self.integer and name not in self.either for name in self.tensors)
        for name, type in zip(self.tensors, types, strict=True):
            if name not in self.either and (name in self.integer) == type.dtype.is_float:
                wanted = "an integer" if name in self.integer else "a floating-point"
                raise DTypeError(f"{self.name}: {name} must have {wanted} dtype, got {type.dtype.value}")
            if name not in self.integer and (type.dtype.is_float or name not in self.either or not beside):
                computed[type.dtype] = None
        if len(computed) > 1:
            raise DTypeError(
                f"{self.name}: operands mix {' and '.join(sorted(d.value for d in computed))}",
                hint="declare all inputs and parameters with one dtype",
            )
        masks = (t.dtype for t in types if t.dtype.is_float)
        return next(iter(computed), next(masks, DType.FLOAT32))


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
            inner, over, conditions = flat(e.body), e.over, tuple(map(flat, e.conditions))
            bound = {a.symbol for a in over}
            free = tuple(a for a in result_axes(inner, *conditions) if a.symbol not in bound)
            f = formula(free, inner, e.kind, over, conditions)
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
        emit(formula(axes, flat(body.body), body.kind, body.over, map(flat, body.conditions)), trace.operator)
    else:
        emit(formula(axes, flat(body)), trace.operator)
    return tuple(statements)


OPERATORS: dict[str, Operator] = {}
"""Every operator of the catalogue by name; tests and documentation are made from it."""


@overload
def op(function: Callable[..., Expr], /) -> Operator: ...
@overload
def op(
    *, name: str | None = None, samples: Iterable[Sample] = (), integer: str = "", either: str = "",
    result: DType | None = None, register: bool = False,
) -> Callable[[Callable[..., Expr]], Operator]: ...  # fmt: skip
def op(
    function: Callable[..., Expr] | None = None,
    /,
    *,
    name: str | None = None,
    samples: Iterable[Sample] = (),
    integer: str = "",
    either: str = "",
    result: DType | None = None,
    register: bool = False,
) -> Any:
    """Declare an operator from one function that states its formula.

    Positional parameters are tensors, those with the default None may be left out, `*X` takes any number; keyword-only
    parameters are options (hashable, with defaults). `integer` names the tensors that hold indices or labels, `either`
    those that may be of any dtype, which is then that of the result unless `result` or an option named dtype gives
    another; beside operands that must be floating-point, their integers are read as numbers. `samples` are small
    applications for the tests, with None for operands that are left out.
    """

    def declare(f: Callable[..., Expr]) -> Operator:
        names = tuple(integer.split()), tuple(either.split())
        operator = Operator(f, name or f.__name__, tuple(samples), *names, result)
        if register:
            OPERATORS[operator.name] = operator
        return operator

    return declare(function) if function is not None else declare
