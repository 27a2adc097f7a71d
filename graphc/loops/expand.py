"""Pass: transcendental functions become arithmetic.

Requires any valid Loop IR, before or after vectorise. Ensures that the unary operations left are neg, abs,
sqrt, rint, floor and not, and that no pow and no random number is left; values used more than once are bound by Let
before the statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import localcontext

from graphc.loops import elementary
from graphc.loops.expressions import (
    Binary,
    Bitcast,
    Cast,
    Compare,
    Const,
    Expression,
    Extract,
    Fma,
    Fold,
    Name,
    Pack,
    Random,
    Select,
    Shuffle,
    Splat,
    Unary,
)
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Bind,
    Declare,
    For,
    Function,
    If,
    Let,
    Prefetch,
    Statement,
    Store,
    Transpose,
)
from graphc.loops.minimax import EXACT
from graphc.loops.philox import random
from graphc.loops.term import Naming, Term


def expand_transcendentals(function: Function) -> Function:
    """The same kernel without transcendental functions; itself if it has none."""
    taken = frozenset(_bound_names(function.body)) | {b.name for b in function.buffers}
    with localcontext(EXACT):
        body = _body(function.body, _Names(taken))
    return function if body == function.body else replace(function, body=body)


def expand_expression(e: Expression) -> Expression:
    """One expression without transcendental functions, shared values repeated in place."""
    with localcontext(EXACT):
        return _expression(e, lambda value: value, lambda value: value)


@dataclass(slots=True)
class _Names:
    """Fresh names t0, t1, ... that the kernel does not use yet."""

    taken: frozenset[str]
    count: int = 0

    def fresh(self) -> str:
        while True:
            name = f"t{self.count}"
            self.count += 1
            if name not in self.taken:
                return name


@dataclass(slots=True)
class _Bindings:
    """The Lets that go before one statement; an expression seen again gets the name it already has."""

    names: _Names
    lets: list[Let] = field(default_factory=list)
    known: dict[Expression, Name] = field(default_factory=dict)

    def __call__(self, value: Expression) -> Expression:
        if value not in self.known:
            let = Let(self.names.fresh(), value)
            self.lets.append(let)
            self.known[value] = Name(let.name, value.dtype, value.lanes)
        return self.known[value]


def _bound_names(body: tuple[Statement, ...]) -> Iterator[str]:
    for s in body:
        match s:
            case For(var, _, _, inner):
                yield var
                yield from _bound_names(inner)
            case If(_, inner):
                yield from _bound_names(inner)
            case Let(name) | Bind(name) | Declare(name):
                yield name
            case _:
                pass


def _body(body: tuple[Statement, ...], names: _Names, outside: _Bindings | None = None) -> tuple[Statement, ...]:
    """Statements expanded; `outside` binds what does not change in the loops around them, if there are any."""
    result: list[Statement] = []
    for s in body:
        bindings = _Bindings(names)
        first = bindings if outside is None else outside
        match s:
            case For(body=inner) | If(body=inner):
                new: Statement = replace(s, body=_body(inner, names, first))
            case Let(value=value) | Store(value=value) | Assign(value=value) | Accumulate(value=value):
                new = replace(s, value=_expression(value, bindings, first))
            case Declare(initial=initial):
                new = replace(s, initial=_expression(initial, bindings, first))
            case Bind() | Prefetch() | Transpose():
                new = s
        result += (*bindings.lets, new)
    return tuple(result)


def _expression(e: Expression, bind: Naming, bind_outside: Naming) -> Expression:
    def inner(x: Expression) -> Expression:
        return _expression(x, bind, bind_outside)

    match e:
        case Unary("exp", Binary("mul", y, Unary("log", x)) | Binary("mul", Unary("log", x), y)):
            return elementary.exp_of_log(Term(inner(x), bind), Term(inner(y), bind)).e
        case Unary(operation, x) if operation in elementary.UNARY:
            return elementary.UNARY[operation](Term(inner(x), bind)).e
        case Binary("div", Const(1), Unary("sqrt", x) | Binary("pow", x, Const(0.5))):
            return elementary.reciprocal_root(Term(inner(x), bind)).e
        case Binary(operation, a, b) if operation in elementary.BINARY:
            return elementary.BINARY[operation](Term(inner(a), bind), Term(inner(b), bind)).e
        case Unary(x=x) | Cast(x=x) | Bitcast(x=x) | Splat(x=x) | Extract(x=x) | Fold(x=x):
            return replace(e, x=inner(x))
        case Binary(a=a, b=b) | Compare(a=a, b=b) | Shuffle(a=a, b=b):
            return replace(e, a=inner(a), b=inner(b))
        case Fma(a, b, c):
            return Fma(inner(a), inner(b), inner(c))
        case Select(condition, a, b):
            return Select(inner(condition), inner(a), inner(b))
        case Pack(items):
            return Pack(tuple(map(inner, items)))
        case Random(key, step):
            return random(e, inner(key), inner(step), bind, bind_outside)
        case _:
            return e
