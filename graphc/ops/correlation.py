"""Formulas that slide one operand over another, recognised by structure, and their Winograd form in four formulas.

    out[n, k, y] = Σ_{c, r} D[n, c, y + r + o]·F[k, c, r]              few r: filter taps, y is tiled
    out[k, c, r] = Σ_{n, y} D[n, c, y + r + o]·F[n, k, y]              few r: the filter's gradient, y is tiled

`y + r` may be `y - r`, and there may be two such pairs of axes. Names do not matter: axes count as n, c or k by the
operands that they occur in. The rewritten form, for one pair (tables as in ops.winograd, α = m + taps - 1):

    U[a, c, k]    = Σ_r G[a, r]·F[k, c, r]            U[a, n, t, k] = Σ_p G[a, p]·F[n, k, m·t + p]
    V[a, n, t, c] = Σ_p B[a, p]·D[n, c, m·t + p + o]  V the same
    M[a, n, t, k] = Σ_c V·U                           M[a, c, k]    = Σ_{n, t} V·U
    out[n, k, y]  = Σ_a A[y mod m, a]·M[a, n, y // m, k]     out[k, c, r]  = Σ_a A[r, a]·M[a, c, k]

Reading is total, so the last tile may reach beyond the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import (
    Axis,
    Constants,
    FloorDiv,
    Formula,
    Mod,
    Read,
    Table,
    affine,
    all_reads,
    formula,
    free_symbols,
    index_symbol,
    replace,
    tensor_symbol,
)
from graphc.ops.intervals import extents_of, simplify_reads
from graphc.ops.winograd import Transform, winograd
from graphc.types import Batch, Extent

LONGEST = 5
"""Taps of the longest filter."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`position` axis of the data is read at long + short + offset, or where `backward` at long - short + offset."""

    long: Axis
    short: Axis
    position: int
    offset: int
    backward: bool

    @property
    def first(self) -> int:
        """Where the window at long = 0 begins."""
        return self.offset - (self.taps - 1 if self.backward else 0)

    @property
    def taps(self) -> int:
        return _size(self.short)

    def ordered(self, short: Expr) -> Expr:
        """The position within the window, counted upwards."""
        return self.taps - 1 - short if self.backward else short


@dataclass(frozen=True, slots=True)
class Correlation:
    """scale · Σ data · filter, where the data is read at sums of axes.

    `gradient`: the short axes are in the result and the long ones are summed. Of the other axes `free` are those of the
    data and the result, `features` those of the filter and the result, `shared` those of both, which are summed.
    """

    data: Read
    filter: Read
    scale: sp.Number
    pairs: tuple[Pair, ...]
    gradient: bool
    free: tuple[Axis, ...]
    shared: tuple[Axis, ...]
    features: tuple[Axis, ...]

    def transforms(self, tiles: Sequence[int]) -> tuple[Transform, ...]:
        """F(m, r) for each pair: a gradient has as many outputs as taps, and the tile is its filter."""
        sizes = [(p.taps, m) if self.gradient else (m, p.taps) for p, m in zip(self.pairs, tiles, strict=True)]
        return tuple(winograd(*size) for size in sizes)


@dataclass(frozen=True, slots=True)
class Tiled:
    """A correlation by Winograd's method. The operands of `product` are V and U, that of `result` is M."""

    filter: Formula
    data: Formula
    product: Formula
    result: Formula


def _size(axis: Axis) -> int:
    assert isinstance(axis.extent, int)
    return axis.extent


# ---------------------------------------------------------------------------------------------- recognition


def correlation(f: Formula, shapes: Mapping[str, tuple[Extent, ...]]) -> Correlation | str:
    """The structure of a formula whose operands have these shapes, or why it has not the one wanted here."""
    if f.reduction != "sum":
        return "it is not a sum"
    if f.conditions:
        return "conditions leave out terms, as in the gradient of a strided window"
    scale, body = f.body.as_coeff_Mul()
    factors = sp.Mul.make_args(body)
    if len(factors) != 2 or not all(isinstance(e, Read) for e in factors):
        return "it is not a sum of products of two reads"
    if any(all_reads(i) for e in factors for i in e.index):
        return "an index is read from a tensor"
    idle = {a.symbol: sp.S.Zero for a in f.over if a.extent == 1}
    data, taps = (replace(e, idle) for e in factors)
    over = tuple(a for a in f.over if a.extent != 1)
    for first, second in permutations((data, taps)):
        places = [k for k, i in enumerate(first.index) if _slides(i, f.axes, over)]
        if places:
            return _Matching(f.axes, over, first, second, scale).at(places, shapes)
    return "no operand is read at the sum of an axis of the result and a summed axis"


def _slides(index: Expr, axes: tuple[Axis, ...], over: tuple[Axis, ...]) -> bool:
    found = free_symbols(index)
    return len(found) == 2 and all(len(found & {a.symbol for a in group}) == 1 for group in (axes, over))


@dataclass(frozen=True, slots=True)
class _Matching:
    """Two reads of a sum of products, the first of which may be the data of a correlation."""

    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    data: Read
    filter: Read
    scale: sp.Number

    def at(self, places: list[int], shapes: Mapping[str, tuple[Extent, ...]]) -> Correlation | str:
        """The correlation that slides on these axes of the data, or why there is none."""
        if len(places) > 2:
            return f"windows of {len(places)} axes; two are the most"
        found = [self._pair(k) for k in places]
        pairs = [p for p in found if isinstance(p, tuple)]
        if len(pairs) < len(found):
            return next(p for p in found if isinstance(p, str))
        gradient = not all(_size(r) <= LONGEST for _, r, _, _ in pairs)
        if gradient and not all(_size(o) <= LONGEST for o, _, _, _ in pairs):
            return f"a window of more than {LONGEST} elements"
        if all(_size(o if gradient else r) == 1 for o, r, _, _ in pairs):
            return "a window of one element"
        sliding = []
        for place, (o, r, terms, offset) in zip(places, pairs, strict=True):
            long, short = (r, o) if gradient else (o, r)
            if terms[long.symbol] != 1:
                return f"{long.name} runs backwards"
            sliding.append(Pair(long, short, place, offset, terms[short.symbol] == -1))
        if gradient and (reason := self._longer_than_summed(sliding, shapes)):
            return reason
        return self._classified(tuple(sliding), gradient)

    def _pair(self, place: int) -> tuple[Axis, Axis, Mapping[sp.Symbol, sp.Rational], int] | str:
        """(axis of the result, summed axis, coefficients, offset) of one index of the data."""
        index = self.data.index[place]
        symbols = free_symbols(index)
        o = next(a for a in self.axes if a.symbol in symbols)
        r = next(a for a in self.over if a.symbol in symbols)
        form = affine(index)
        if form is None or not form[1].is_Integer:
            return f"index {index} is not affine with a constant offset"
        if isinstance(o.extent, Batch) or isinstance(r.extent, Batch):
            return "the window slides along the batch"
        if any(abs(k) != 1 for k in form[0].values()):
            return f"index {index} has a stride or dilation"
        elsewhere = [i for k, i in enumerate(self.data.index) if k != place]
        if any(symbols & free_symbols(i) for i in elsewhere):
            return f"{o.name} or {r.name} occurs in two indices of the data"
        if any(o.symbol in free_symbols(i) for i in self.filter.index):
            return f"both operands depend on {o.name}"
        if sum(r.symbol in free_symbols(i) for i in self.filter.index) != 1 or r.symbol not in self.filter.index:
            return f"the filter is not read at {r.name} alone"
        return o, r, form[0], int(form[1])

    def _longer_than_summed(self, pairs: list[Pair], shapes: Mapping[str, tuple[Extent, ...]]) -> str | None:
        """A tile may read the filter beyond the summed range only where that is beyond the tensor, and so zero."""
        for p in pairs:
            extent = shapes[self.filter.name][self.filter.index.index(p.long.symbol)]
            if extent != p.long.extent:
                return f"{p.long.name} sums over a part of {self.filter.name} only"
        return None

    def _classified(self, pairs: tuple[Pair, ...], gradient: bool) -> Correlation | str:
        used = {a.symbol for p in pairs for a in (p.long, p.short)}
        data, filter = (frozenset().union(*map(free_symbols, e.index)) for e in (self.data, self.filter))
        free: list[Axis] = []
        features: list[Axis] = []
        shared: list[Axis] = []
        for a in self.axes:
            if a.symbol in used:
                continue
            if a.symbol in data and a.symbol in filter:
                return f"every {a.name} has a filter of its own"
            if a.symbol not in data and a.symbol not in filter:
                return f"the result repeats along {a.name}"
            (free if a.symbol in data else features).append(a)
        for a in self.over:
            if a.symbol in used:
                continue
            if a.symbol not in data or a.symbol not in filter:
                return f"only one operand depends on {a.name}"
            shared.append(a)
        if not shared and not gradient:
            return "there are no channels to sum over"
        return Correlation(
            self.data, self.filter, self.scale, pairs, gradient, tuple(free), tuple(shared), tuple(features)
        )


# ------------------------------------------------------------------------------------------------ rewriting


def tiled(f: Formula, found: Correlation, tiles: Sequence[int]) -> Tiled:
    """The four formulas that together compute what f does, with tiles of these lengths along the pairs' long axes."""
    transforms = found.transforms(tiles)
    taken = {a.name for a in (*f.axes, *f.over)}
    a, p, t = (_fresh(letters, len(tiles), taken) for letters in ("ab", "ps", "tu"))
    inner = [Axis(s, e.size) for s, e in zip(a, transforms, strict=True)]
    within = [Axis(s, e.size) for s, e in zip(p, transforms, strict=True)]
    tile = [Axis(s, -(-_size(e.long) // m)) for s, e, m in zip(t, found.pairs, tiles, strict=True)]
    starts = [m * t.symbol for m, t in zip(tiles, tile, strict=True)]

    place = list(found.data.index)
    for pair, start, i in zip(found.pairs, starts, within, strict=True):
        place[pair.position] = start + i.symbol + pair.first
    read = Read(tensor_symbol(found.data.name), *place)
    outer, channels = (found.shared, found.free) if found.gradient else (found.free, found.shared)
    seen = [i.symbol for i in within]
    data = formula(
        (*inner, *outer, *tile, *channels), _weighted([e.B for e in transforms], inner, seen, read), "sum", within
    )

    ordered = [e.ordered(e.short.symbol) for e in found.pairs]
    digits: dict[Expr, Expr] = {}
    if found.gradient:
        steps = [Axis(i.symbol, m) for i, m in zip(within, tiles, strict=True)]
        moved = {e.long.symbol: start + i.symbol for e, start, i in zip(found.pairs, starts, steps, strict=True)}
        read, seen = replace(found.filter, moved), [i.symbol for i in steps]
        filter_axes = (*inner, *found.shared, *tile, *found.features)
        product_axes, over = (*inner, *found.free, *found.features), (*found.shared, *tile)
        rows = ordered
    else:
        steps = [e.short for e in found.pairs]
        read, seen = found.filter, ordered
        filter_axes = (*inner, *found.shared, *found.features)
        product_axes, over = (*inner, *found.free, *tile, *found.features), found.shared
        sizes = [(e.long.symbol, sp.Integer(m)) for e, m in zip(found.pairs, tiles, strict=True)]
        rows = [Mod(*size) for size in sizes]
        digits = {s.symbol: FloorDiv(*size) for s, size in zip(tile, sizes, strict=True)}
    filter = formula(filter_axes, _weighted([e.G for e in transforms], inner, seen, read), "sum", steps)

    product = formula(product_axes, _at("V", data.axes) * _at("U", filter.axes), "sum", over, operands=("V", "U"))

    weights = [Table(e.A, row, s.symbol) for e, row, s in zip(transforms, rows, inner, strict=True)]
    body = sp.Mul(found.scale, *weights, replace(_at("M", product_axes), digits))
    result = formula(f.axes, simplify_reads(body, extents_of(f.axes, tuple(inner))), "sum", inner)
    return Tiled(filter, data, product, result)


def _weighted(tables: Iterable[Constants], rows: Sequence[Axis], columns: Sequence[Expr], read: Read) -> Expr:
    """Π table[row, column] · read"""
    return sp.Mul(*[Table(t, a.symbol, p) for t, a, p in zip(tables, rows, columns, strict=True)], read)


def _at(name: str, axes: Iterable[Axis]) -> Read:
    return Read(tensor_symbol(name), *[a.symbol for a in axes])


def _fresh(letters: str, count: int, taken: Collection[str]) -> list[sp.Symbol]:
    """New index symbols: the letters first, then with numbers."""
    candidates = (f"{c}{k or ''}" for k in range(count + len(taken)) for c in letters)
    return [index_symbol(n) for n in candidates if n not in taken][:count]
