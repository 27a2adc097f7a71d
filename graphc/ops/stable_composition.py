"""Stability across formulas: what one formula alone cannot show to be a logarithm of an exponential.

log(P), P = exp(u)/s                u - log(s)                 once P stands in the logarithm
log(s), s = Σ exp(u)                m + log(s'), m = max u, s' = Σ exp(u - m)
"""

from __future__ import annotations

from dataclasses import replace as with_fields
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Cond,
    Formula,
    Read,
    all_reads,
    formula,
    reads,
    replace,
    tensor_symbol,
    value_reads,
    walk,
)
from graphc.ops.stability import stabilise

EXPONENTIALS = frozenset({"exp", "expm1", "sigmoid", "tanh", "erf", "erfc", "normal_cdf"})
"""Functions that saturate: their values reach 0, 1 or infinity long before their arguments do."""

LOGARITHMS = frozenset({"log", "log1p"})


@lru_cache(maxsize=16384)
def logarithms_of_exponentials(f: Formula) -> int:
    """How many logarithms have an exponential inside: each is infinite where the true value is not."""
    return sum(_has_exponential(node.args[0]) for node in _logarithms(f))


@lru_cache(maxsize=16384)
def operands_in_logarithms(f: Formula) -> tuple[str, ...]:
    """The operands whose values stand inside a logarithm."""
    return tuple(dict.fromkeys(r.name for node in _logarithms(f) for r in value_reads(node.args[0])))


@lru_cache(maxsize=16384)
def operands_beside_exponentials(f: Formula) -> tuple[str, ...]:
    """The operands whose values are used as numbers, in the body."""
    return tuple(dict.fromkeys(r.name for r in value_reads(f.body)))


def stabilised(f: Formula) -> Formula:
    """The formula with its body rewritten by the rules of stability; itself if none applies."""
    body = stabilise(f.body)
    return f if body == f.body else _with_body(f, body)


def has_exponential(f: Formula) -> bool:
    """Whether the body contains an exponential function."""
    return _has_exponential(f.body)


def exponent_of_sum(f: Formula) -> tuple[str, ...] | None:
    """The operands of u when the formula is Σ exp(u), or None."""
    if f.reduction != "sum" or not isinstance(f.body, sp.exp):
        return None
    return tuple(dict.fromkeys(r.name for r in value_reads(f.body))) or None


def shifted_sum(f: Formula, shift: str) -> tuple[Formula, Formula]:
    """(max u, Σ exp(u - shift)) for the formula Σ exp(u); the second reads the first by the name `shift`."""
    exponent = f.body.args[0]
    here = Read(tensor_symbol(shift), *[a.symbol for a in f.axes])
    largest = formula(f.axes, exponent, "max", f.over, f.conditions)
    return largest, formula(f.axes, sp.exp(exponent - here), "sum", f.over, f.conditions)


def reading_shifted(consumer: Formula, operand: str, shift: str) -> Formula | None:
    """The consumer with exp(shift)·operand for operand, or None where that exponential stays alone.

    Inside a logarithm, and beside another exponential, exp(shift) is absorbed; elsewhere it would overflow.
    """
    if any(r.name == operand for c in consumer.conditions for r in all_reads(c)):
        return None
    mapping = {}
    for r in reads(consumer):
        if r.name == operand:
            mapping[r] = sp.exp(Read(tensor_symbol(shift), *r.index)) * r
    body = stabilise(_join_exponentials(replace(consumer.body, mapping)))
    for node in walk(body):
        if isinstance(node, sp.exp):
            inside = {r.name for r in value_reads(node.args[0])}
            if inside == {shift}:
                return None
    return _with_body(consumer, body)


@lru_cache(maxsize=16384)
def _join_exponentials(e: Expr) -> Expr:
    """exp(a)·exp(b) = exp(a + b) in every product."""
    if not e.args or isinstance(e, (Read, Cond)):
        return e
    e = e.func(*[_join_exponentials(a) for a in e.args])
    exponents = [a.args[0] for a in sp.Mul.make_args(e) if isinstance(a, sp.exp)]
    if len(exponents) < 2:
        return e
    rest = [a for a in sp.Mul.make_args(e) if not isinstance(a, sp.exp)]
    return sp.Mul(*rest, sp.exp(sp.Add(*exponents)))


def _with_body(f: Formula, body: Expr) -> Formula:
    still = {r.name for e in (body, *f.conditions) for r in all_reads(e)}
    new = dict.fromkeys(r.name for r in all_reads(body))
    operands = tuple(o for o in dict.fromkeys((*f.operands, *new)) if o in still)
    return with_fields(f, body=body, operands=operands)


def _logarithms(f: Formula) -> tuple[Expr, ...]:
    return tuple(node for node in walk(f.body) if node.func.__name__ in LOGARITHMS)


@lru_cache(maxsize=16384)
def _has_exponential(e: Expr) -> bool:
    return any(node.func.__name__ in EXPONENTIALS for node in walk(e))
