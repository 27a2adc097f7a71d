"""Sums that add elements at places which integers name: the adjoints of gathers.

    out[v, d] = Σ_{n, t | v = index[n, t]} g[n, t, d]

Asking every result which terms are its own costs the product of all extents; going through the terms once, and adding
each to the result that it names, costs as much as there are terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sympy.core.expr import Expr

from graphc.ops.formula import Cond, Formula, Read, all_reads, free_symbols
from graphc.types import Batch


@dataclass(frozen=True, slots=True)
class Scattering:
    """The axes of the result that are known once a term is, with the index of each, and the other conditions."""

    places: tuple[tuple[str, Expr], ...]
    conditions: tuple[Cond, ...]

    @property
    def named(self) -> frozenset[str]:
        """The axes of the result that the terms name."""
        return frozenset(name for name, _ in self.places)

    @property
    def fixed(self) -> frozenset[str]:
        """The axes that a place is named for, or along: all that differ between places."""
        return self.named | {s.name for _, index in self.places for s in free_symbols(index)}

    @property
    def indices(self) -> tuple[str, ...]:
        """The operands that name them, which must hold integers."""
        return tuple(dict.fromkeys(r.name for _, index in self.places for r in all_reads(index)))


@lru_cache(maxsize=16384)
def scattering(f: Formula) -> Scattering | None:
    """The places of a sum's terms, or None where no condition reads them."""
    if f.reduction != "sum":
        return None
    axes = {a.symbol for a in f.axes if not isinstance(a.extent, Batch)}
    over = {a.symbol for a in f.over}
    places: dict[str, Expr] = {}
    rest: list[Cond] = []
    for c in f.conditions:
        sides = c.args[1:] if c.kind == "eq" else ()
        for place, index in (sides, sides[::-1]) if sides else ():
            told = isinstance(index, Read) and place in axes and place.name not in places
            if told and place not in free_symbols(index) and free_symbols(index) & over:
                places[place.name] = index
                break
        else:
            rest.append(c)
    symbols = {s.name for index in places.values() for s in free_symbols(index)}
    return Scattering(tuple(places.items()), tuple(rest)) if places and symbols.isdisjoint(places) else None
