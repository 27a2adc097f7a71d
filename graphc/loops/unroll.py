"""Unrolling: UNROLL loops become one copy of their body for each iteration, with the variable a constant.

**Requires** constant bounds. **Ensures** register arrays inside are indexed by constants. Names bound in the body get
the iteration number appended.
"""

from __future__ import annotations

from functools import partial

from graphc.loops.index import Index, constant
from graphc.loops.ir import For, Function, If, Mode, Statement
from graphc.loops.rewrite import Rewriter, bound_names


def unroll(function: Function) -> Function:
    """The function without UNROLL loops."""
    body = _unroll(function.body)
    return function if body == function.body else Function(function.name, function.buffers, body, function.scope)


def _unroll(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for s in body:
        match s:
            case For(var, start, stop, inner, Mode.UNROLL, step):
                inner = _unroll(inner)
                iterations = range(start.constant, stop.constant, step)
                names = bound_names(inner)
                for k in iterations:
                    renamed = {n: f"{n}_{k}" for n in names} if len(iterations) > 1 else {}
                    at = {var: constant(k)}
                    result += Rewriter(partial(Index.substitute, mapping=at), renamed).statements(inner)
            case For(var, start, stop, inner, mode, step, active):
                result.append(For(var, start, stop, _unroll(inner), mode, step, active))
            case If(conditions, inner):
                result.append(If(conditions, _unroll(inner)))
            case _:
                result.append(s)
    return tuple(result)
