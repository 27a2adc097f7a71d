"""Lanes that read close to each other but not one after another: one or two vectors and a shuffle.

Every second element of a row (windows that move by two), every element twice (the way back from such windows).
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.expressions import Buffer, Load, Shuffle
from graphc.loops.index import Index, Range, bounds

VECTORS = 2
"""How many vectors the lanes' elements may span: one shuffle instruction reads two."""


def nearby(buffer: Buffer, places: tuple[tuple[Index, ...], ...], ranges: Mapping[str, Range]) -> Shuffle | None:
    """The elements at `places`, one for each lane, from one row of a buffer; None where they are too far apart."""
    first, extent = places[0], buffer.shape[-1] if buffer.shape else 1
    if not isinstance(extent, int) or any(place[:-1] != first[:-1] for place in places):
        return None
    distances = [place[-1] - first[-1] for place in places]
    if not all(d.is_constant for d in distances):
        return None
    nearest = min(d.constant for d in distances)
    span = max(d.constant for d in distances) - nearest + 1
    wide = 1 << (span - 1).bit_length()
    if wide < 2 or wide > VECTORS * len(places):
        return None
    start = first[-1] + nearest
    low, high = bounds(start, ranges)
    beyond = max(0, high + wide - extent)  # the load may not leave the row: it starts earlier
    if low < beyond or span + beyond > wide:
        return None
    load = Load(buffer, (*first[:-1], start - beyond), wide)
    order = tuple(d.constant - nearest + beyond for d in distances)
    return Shuffle(load, load, order)
