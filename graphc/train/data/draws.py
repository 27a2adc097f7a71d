"""Random numbers for samples: a function of (seed, epoch, step, number of the sample), whatever batch it is in.

Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": a counter in, four words out.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.train.data.blocks import Indices

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]

LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
ROUNDS = 10

CHUNK = 1 << 14
"""How many counters are worked on at a time: few enough for a core's cache."""


def philox(key: Words, counters: Words) -> Words:
    """Four words of 32 bits [4, ...] for counters of four words [4, ...], all in 64 bits, with a key of two."""
    lanes = (2, *[1] * (counters.ndim - 1))
    multipliers, even, odd = MULTIPLIERS.reshape(lanes), counters[0::2], counters[1::2]
    for turn in range(ROUNDS):
        product = even * multipliers
        even = (product >> HALF)[::-1] ^ odd ^ ((key + WEYL * np.uint64(turn)) & LOW).reshape(lanes)
        odd = (product & LOW)[::-1]
    return np.stack([even, odd], 1).reshape(counters.shape)


class Draws:
    """The random numbers of one step of augmentation for some samples; each call gives new ones."""

    def __init__(self, seed: int, epoch: int, step: int, numbers: Indices) -> None:
        self._key = np.random.SeedSequence([seed, epoch, step]).generate_state(2).astype(np.uint64)
        self._numbers, self._calls = numbers.astype(np.uint64), 0

    def __len__(self) -> int:
        return len(self._numbers)

    def words(self, *shape: int) -> npt.NDArray[np.uint32]:
        """Integers of 32 bits [samples, *shape]."""
        count, width = prod(shape), -(-prod(shape) // 4)
        words = np.empty((len(self), width, 4), np.uint32)
        size = max(1, CHUNK // max(width, 1))
        for start in range(0, len(self), size):
            numbers = self._numbers[start : start + size, None]
            counters = np.empty((4, len(numbers), width), np.uint64)
            counters[0], counters[1] = np.arange(width), self._calls
            counters[2], counters[3] = numbers & LOW, numbers >> HALF
            words[start : start + size] = philox(self._key, counters).transpose(1, 2, 0)
        self._calls += 1
        return words.reshape(len(self), 4 * width)[:, :count].reshape(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Floats:
        """Numbers low <= u < high [samples, *shape]."""
        unit = (self.words(*shape) >> np.uint32(8)).astype(np.float32)
        unit *= np.float32((high - low) * 2.0**-24)
        unit += np.float32(low)
        return unit

    def normal(self, *shape: int) -> Floats:
        """Normal numbers [samples, *shape]. Source: Box, Muller 1958."""
        count = prod(shape)
        first, second = self.uniform(2, -(-count // 2)).swapaxes(0, 1)
        # 1 - u is never 0, so the logarithm is finite
        radius, angle = np.sqrt(-2 * np.log1p(-first)), np.float32(2 * np.pi) * second
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return both[:, :count].reshape(len(self), *shape)

    def integers(self, *limits: int) -> tuple[Indices, ...]:
        """For each limit integers 0 <= k < limit [samples]."""
        words = self.words(len(limits)).astype(np.uint64)
        return tuple((words[:, k] * np.uint64(limit) >> HALF).astype(np.int64) for k, limit in enumerate(limits))

    def chance(self, probability: float) -> npt.NDArray[np.bool_]:
        """Whether something happens, for each sample."""
        return self.uniform() < probability

    def beta(self, alpha: float) -> Floats:
        """Numbers of the distribution Beta(alpha, alpha), one for each sample.

        Source: L. Devroye 1996, "Random variate generation in one line of code".
        """
        u, v, sign = (column.astype(np.float64) for column in self.uniform(3).T)
        with np.errstate(over="ignore"):
            tail: Any = np.minimum(np.expm1(-np.log1p(-u) / alpha), 1e300) * np.cos(2 * np.pi * v) ** 2
        return (0.5 + np.copysign(0.5, sign - 0.5) * np.sqrt(tail / (1 + tail))).astype(np.float32)
