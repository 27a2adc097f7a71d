"""Sums of products by their indices: `ij,jk->ik`, Einstein's convention as numpy and torch write it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.notation import Operand, Sum, axis, broadcast_shape
from graphc.ops.operator import Sample, op
from graphc.types import Extent

ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """The letters of each operand and those of the result; `...` stands as one sign for all axes that have none."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]

    def __str__(self) -> str:
        return f"{','.join(map(''.join, self.operands))}->{''.join(self.result)}"


@lru_cache(maxsize=1024)
def parse(equation: str) -> Equation:
    """The parts of an equation. Without `->` the result has the letters that occur once, in their order.

    Raises GraphcError with the sign that is wrong.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = tuple(_letters(equation, part) for part in left.split(","))
    every = [s for part in operands for s in part]
    if arrow:
        result = _letters(equation, right)
    else:
        once = sorted(s for s in set(every) if every.count(s) == 1 and s != ELLIPSIS)
        result = (*([ELLIPSIS] if ELLIPSIS in every else []), *once)
    for s in result:
        if s not in every and s != ELLIPSIS:
            raise GraphcError(
                f"einsum: {equation!r}: the result has index {s}, but no operand has",
                hint=f"the operands have {', '.join(sorted(set(every) - {ELLIPSIS}))}",
            )
        if result.count(s) > 1:
            raise GraphcError(f"einsum: {equation!r}: index {s} stands twice in the result", hint="name it once")
    return Equation(operands, result)


def _letters(equation: str, part: str) -> tuple[str, ...]:
    """The signs of one operand."""
    before, dots, after = part.partition(ELLIPSIS)
    for s in before + after:
        if not (s.isascii() and s.isalpha()):
            raise GraphcError(
                f"einsum: {equation!r}: {s!r} is not an index", hint="indices are letters, ... the others"
            )
    return (*before, *([ELLIPSIS] if dots else []), *after)


def spread(equation: Equation, shapes: tuple[tuple[Extent, ...], ...]) -> tuple[Equation, dict[str, Extent]]:
    """The equation with every axis named, those of `...` as .0, .1, ... from the right, and the extents of all.

    Raises GraphcError for another number of operands or axes, ShapeError for an index with two extents.
    """
    if len(shapes) != len(equation.operands):
        raise GraphcError(f"einsum: {equation} is for {len(equation.operands)} operands, got {len(shapes)}")
    named: list[tuple[str, ...]] = []
    extents: dict[str, Extent] = {}
    origin: dict[str, int] = {}
    hidden: list[tuple[Extent, ...]] = []
    for k, (signs, shape) in enumerate(zip(equation.operands, shapes, strict=True)):
        missing = len(shape) - len([s for s in signs if s != ELLIPSIS])
        if missing < 0 or (missing and ELLIPSIS not in signs):
            raise ShapeError(
                f"einsum: {''.join(signs)} names {len(signs)} axes, but operand {k} has {len(shape)} {shape}",
                hint="write ... for axes that are not named" if missing > 0 else "",
            )
        letters: list[str] = []
        for s in signs:
            letters += [f".{missing - 1 - j}" for j in range(missing)] if s == ELLIPSIS else [s]
        named.append(tuple(letters))
        hidden.append(tuple(e for s, e in zip(letters, shape, strict=True) if s.startswith(".")))
        for s, extent in zip(letters, shape, strict=True):
            known = extents.setdefault(s, extent)
            first = origin.setdefault(s, k)
            if known != extent and not s.startswith("."):
                raise ShapeError(f"einsum: index {s} is {known} in operand {first} but {extent} in operand {k}")
    whole = broadcast_shape("einsum", hidden)
    extents |= {f".{len(whole) - 1 - j}": e for j, e in enumerate(whole)}
    result: list[str] = []
    for s in equation.result:
        result += [f".{len(whole) - 1 - j}" for j in range(len(whole))] if s == ELLIPSIS else [s]
    return Equation(tuple(named), tuple(result)), extents


@op(
    register=True,
    samples=[
        Sample(((2, 3), (3, 4)), {"equation": "ij,jk->ik"}),
        Sample(((3, 3),), {"equation": "ii->i"}),
        Sample(((2, 3, 4), (4, 5), (2, 5)), {"equation": "bij,jk,bk->bi"}),
        Sample(((2, 3, 4), (1, 4, 2)), {"equation": "...ij,...jk"}),
    ],
)
def einsum(*X: Operand, equation: str = "") -> Expr:
    """Y[result] = Σ_{other indices} Π_k Xk[indices]: any number of operands; an index that repeats takes a diagonal.

    `...` stands for any axes, which broadcast; summed over if the result does not have it. Raises GraphcError for a
    mistake in the equation, ShapeError for an index with two extents.
    """
    named, extents = spread(parse(equation), tuple(x.shape for x in X))
    places = {s: axis(f"b{s[1:]}" if s.startswith(".") else s, extents[s]) for s in (*named.result, *_bound(named))}
    factors = []
    for x, letters in zip(X, named.operands, strict=True):
        wide = zip(letters, x.shape, strict=True)
        factors.append(x.at(*[sp.S.Zero if e == 1 != extents[s] else places[s] for s, e in wide]))
    over = tuple(places[s] for s in _bound(named))
    return Sum(sp.Mul(*factors), over=over) if over else sp.Mul(*factors)


def _bound(equation: Equation) -> tuple[str, ...]:
    """The indices that are summed over."""
    every = dict.fromkeys(s for letters in equation.operands for s in letters)
    return tuple(s for s in every if s not in equation.result)


# ------------------------------------------------------------------------------------- the order of products

Pair = tuple[int, int]


def cheapest(equation: Equation, extents: dict[str, Extent], batch: int = 64) -> list[tuple[Pair, Equation]]:
    """Products of two by which several operands are multiplied with the fewest multiplications.

    Each step names two operands, whose product stands behind the others from then on, and its own equation. All orders
    are compared, by dynamic programming over sets of operands (Selinger et al., 1979); `batch` stands for samples.
    """
    operands = equation.operands
    sizes = {s: e if isinstance(e, int) else batch for s, e in extents.items()}
    count = len(operands)
    letters = {1 << k: frozenset(o) for k, o in enumerate(operands)}
    best: dict[int, tuple[float, tuple[int, int] | None]] = {1 << k: (0.0, None) for k in range(count)}
    full = (1 << count) - 1
    for group in sorted((g for g in range(1, full + 1) if g.bit_count() > 1), key=int.bit_count):
        outside = frozenset(equation.result).union(*(operands[k] for k in range(count) if not group >> k & 1))
        inside = frozenset().union(*(operands[k] for k in range(count) if group >> k & 1))
        letters[group] = inside & outside
        part = (group - 1) & group
        while part:
            other = group ^ part
            if part < other:
                work = float(sp.prod([sizes[s] for s in letters[part] | letters[other]]))
                total = work + best[part][0] + best[other][0]
                if group not in best or total < best[group][0]:
                    best[group] = total, (part, other)
            part = (part - 1) & group
    steps: list[tuple[Pair, Equation]] = []
    current = [1 << k for k in range(count)]
    own = {1 << k: o for k, o in enumerate(operands)}

    def make(group: int) -> None:
        split = best[group][1]
        if split is None:
            return
        for part in split:
            make(part)
        a, b = (current.index(part) for part in split)
        order = dict.fromkeys((*own[split[0]], *own[split[1]]))
        kept = equation.result if group == full else tuple(s for s in order if s in letters[group])
        steps.append(((a, b), Equation((own[split[0]], own[split[1]]), kept)))
        own[group] = kept
        for part in split:
            current.remove(part)
        current.append(group)

    make(full)
    return steps
