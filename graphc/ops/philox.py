"""Philox-4x32-10: random numbers that are a function of a key and a counter, and of nothing else.

    (hi, lo) = M0 · c0,  (hi', lo') = M1 · c2
    c0, c1, c2, c3  <-  hi' ^ c1 ^ k0,  lo',  hi ^ c3 ^ k1,  lo          ten times, k growing by W

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.

Words are 32-bit numbers inside 64-bit integers, so that a product keeps both of its halves. `philox` is written once,
for whatever has the operators: arrays here, terms of vector code in the loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.types import DType

Array = npt.NDArray[Any]
Words = tuple[Any, Any, Any, Any]

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


def low(x: Any) -> Any:
    """The lower word of a 64-bit integer."""
    return x & WORD


def high(x: Any) -> Any:
    """The upper word of a 64-bit integer."""
    return (x >> 32) & WORD


def philox(counter: Words, round_key: Callable[[int], tuple[Any, Any]], keep: Callable[[Any], Any]) -> Words:
    """Four random words for a counter of four words; `keep` marks the products, both halves of which are used."""
    c0, c1, c2, c3 = counter
    for number in range(ROUNDS):
        k0, k1 = round_key(number)
        left, right = keep(c0 * MULTIPLIERS[0]), keep(c2 * MULTIPLIERS[1])
        c0, c1, c2, c3 = high(right) ^ c1 ^ k0, low(right), high(left) ^ c3 ^ k1, low(left)
    return c0, c1, c2, c3


def round_key(key: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    """The two words of a key, as they are in one round."""
    k0, k1 = (low(k + (number * w & WORD)) for k, w in zip(key, WEYL, strict=True))
    return k0, k1


def counter_of(block: Any, step: Any) -> Words:
    """The counter of one block in one step, both 64-bit integers."""
    return low(block), high(block), low(step), high(step)


def mantissas(words: Words, dtype: DType) -> tuple[Any, Any]:
    """The bits after the point of two random numbers in [1, 2), each made of two words: all 52 in float64, in float32
    the first 23, so that numbers of both types differ by less than 2^-23."""
    a, b, c, d = words
    if dtype is DType.FLOAT32:
        return a >> 9, c >> 9
    return (a << 20) | (b >> 12), (c << 20) | (d >> 12)


ONE = {DType.FLOAT32: 0x3F800000, DType.FLOAT64: 0x3FF0000000000000}
"""The bits of 1.0."""

SHIFT = {DType.FLOAT32: 1 - 2.0**-24, DType.FLOAT64: 1 - 2.0**-53}
"""What takes a number in [1, 2) into (0, 1), to the middle of its cell, without rounding."""


def uniform(key: Array, step: Array, index: Array, dtype: DType) -> Array:
    """The midpoints of equal cells of (0, 1), 2^23 cells in float32 and 2^52 in float64, as drawn for 64-bit integers.

    Two indices share a block: index i is number i % 2 of block i // 2.
    """
    key, step, index = (np.asarray(x, np.int64) for x in (key, step, index))
    with np.errstate(over="ignore"):
        words = philox(counter_of(index >> 1, step), lambda r: round_key((low(key), high(key)), r), lambda x: x)
        even, odd = mantissas(words, dtype)
        bits = np.where(index & 1, odd, even) | ONE[dtype]
    integer = np.int32 if dtype is DType.FLOAT32 else np.int64
    number: Array = bits.astype(integer).view(np.dtype(dtype.numpy))
    return number - np.asarray(SHIFT[dtype], number.dtype)
