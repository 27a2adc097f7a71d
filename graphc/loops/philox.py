"""Random numbers as Loop IR arithmetic: Philox on 64-bit lanes that hold 32-bit words.

A block gives two numbers, for an even index and the next. Where lanes count from an even index on, there is one block
for two lanes; where their parity is fixed, one of the numbers is left out; elsewhere every lane computes both.
"""

from __future__ import annotations

from graphc.loops.expressions import Binary, Cast, Const, Expression, Iota, Load, Number, Pack, Random, Shuffle, Splat
from graphc.loops.index import ZERO, Index, quotient, remainder
from graphc.loops.term import Naming, Term
from graphc.ops.philox import ONE, SHIFT, counter_of, high, low, mantissas, philox, round_key
from graphc.types import DType

TOGETHER = 2
"""Stands for the parity of lanes that are even and odd in turn."""


def random(e: Random, key: Expression, step: Expression, bind: Naming, bind_outside: Naming) -> Expression:
    """The number of a `Random`, whose key and step are given expanded. Equal blocks are computed once, what follows
    from key and step outside of all loops."""
    block, parity = _halved(e.index)
    fixed = bind_outside if all(isinstance(x, Load) and not x.index for x in (key, step)) else bind

    def wide(t: Term) -> Term:
        return Term(fixed(Splat(t.e, block.lanes) if block.lanes > 1 else t.e), bind)

    s, k = (Term(x, fixed).named() for x in (step, key))
    halves = low(k).named(), high(k).named()

    def keys(number: int) -> tuple[Term, Term]:
        k0, k1 = round_key(halves, number)
        return wide(k0), wide(k1)

    c0, c1, c2, c3 = counter_of(Term(block, bind).named(), s)
    even, odd = mantissas(philox((c0, c1, wide(c2), wide(c3)), keys, Term.named), e.dtype)
    if e.dtype is DType.FLOAT32:
        even, odd = (Term(Cast(t.e, DType.INT32), bind) for t in (even, odd))
    if parity == TOGETHER:
        order = tuple(lane // 2 + lane % 2 * block.lanes for lane in range(e.lanes))
        bits = Term(Shuffle(even.e, odd.e, order) if block.lanes > 1 else Pack((even.e, odd.e)), bind)
    elif parity is not None:
        bits = (even, odd)[parity]
    else:
        bits = (Term(e.index, bind) & 1).equals(0).then(even, odd)
    return ((bits | ONE[e.dtype]).from_bits() - SHIFT[e.dtype]).e


def _halved(index: Expression) -> tuple[Expression, int | None]:
    """(index // 2, the parity of all lanes, None where it differs); half as many lanes where they go TOGETHER."""
    match index:
        case Number(i, dtype, lanes) if (parity := remainder(i, 2)).is_constant:
            return Number(quotient(i, 2), dtype, lanes), parity.constant
        case Binary("add", Splat(Number(i, dtype), lanes), Iota()) if remainder(i, 2) == ZERO and lanes % 2 == 0:
            return _counted(quotient(i, 2), dtype, lanes // 2, 1), TOGETHER
        case Binary("add", Splat(Number(i, dtype), lanes), Binary("mul", Iota(), Const(k))) if (
            k % 2 == 0 and (parity := remainder(i, 2)).is_constant
        ):
            return _counted(quotient(i, 2), dtype, lanes, int(k) // 2), parity.constant
    return Binary("ashr", index, Const(1, DType.INT64, index.lanes)), None


def _counted(start: Index, dtype: DType, lanes: int, step: int) -> Expression:
    """start, start + step, start + 2·step, ..."""
    if lanes == 1:
        return Number(start, dtype)
    count: Expression = Iota(dtype, lanes)
    if step != 1:
        count = Binary("mul", count, Const(step, dtype, lanes))
    return Binary("add", Splat(Number(start, dtype), lanes), count)
