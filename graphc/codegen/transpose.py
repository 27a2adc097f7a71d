"""A square of vector registers transposed by shuffles that the processor has as single instructions.

Registers are made of blocks of 128 bits. First each block of neighbouring rows is transposed by interleaving, then the
blocks as wholes: log2(lanes) shuffles for each row.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.codegen.spelling import row, spell
from graphc.codegen.writer import Writer
from graphc.loops.expressions import ElementType
from graphc.types import DType

BLOCK_BITS = 128


def transpose(writer: Writer, rows: Sequence[str], dtype: ElementType) -> list[str]:
    """The columns of as many registers as each of them has lanes, a power of two."""
    lanes = len(rows)
    block = min(lanes, BLOCK_BITS // dtype.bits) if isinstance(dtype, DType) else 1
    kind = spell(dtype, lanes)

    def shuffle(pair: tuple[str, str], order: list[int]) -> str:
        a, b = pair
        return writer.here(f"shufflevector {kind} {a}, {kind} {b}, <{lanes} x i32> {row(order, DType.INT32)}")

    def interleaved(group: Sequence[str], unit: int) -> list[str]:
        """The group's columns, for each block: runs of `unit` elements of two registers in turn."""
        if len(group) == 1:
            return list(group)
        halves = [_interleave(lanes, block, unit, start) for start in (0, block // 2)]
        return [c for half in halves for c in interleaved([shuffle(p, half) for p in _pairs(group)], 2 * unit)]

    def gathered(group: Sequence[str]) -> list[str]:
        """Block k of all registers of the group, for each k."""
        if len(group) == 1:
            return list(group)
        even, odd = (gathered([shuffle(p, _every_other(lanes, block, k)) for p in _pairs(group)]) for k in (0, 1))
        return [c for pair in zip(even, odd, strict=True) for c in pair]

    groups = [interleaved(rows[k : k + block], 1) for k in range(0, lanes, block)]
    places = [gathered(list(same)) for same in zip(*groups, strict=True)]
    return [column for columns in zip(*places, strict=True) for column in columns]


def _pairs(group: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(group[::2], group[1::2], strict=True))


def _interleave(lanes: int, block: int, unit: int, start: int) -> list[int]:
    """In every block: `unit` elements of a, as many of b, and so on, from half a block that begins at `start`."""
    order = []
    for first in range(start, lanes, block):
        for k in range(first, first + block // 2, unit):
            order += [*range(k, k + unit), *range(lanes + k, lanes + k + unit)]
    return order


def _every_other(lanes: int, block: int, parity: int) -> list[int]:
    """The even or odd blocks of a, then those of b."""
    blocks = range(parity * block, 2 * lanes, 2 * block)
    return [k for first in blocks for k in range(first, first + block)]
