"""The roofs of the processor at hand, measured once in a process: how fast it multiplies and adds, and reads memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from time import perf_counter

import numpy as np

from graphc.codegen.probe import CHAINS, STREAMS, TURNS, probe
from graphc.runtime.cache import open_cache
from graphc.runtime.executable import address
from graphc.runtime.jit import compile_ir
from graphc.schedule.arrange import aligned
from graphc.schedule.roofline import CACHES, Machine
from graphc.target import Target
from graphc.types import DType

SECONDS = 0.02
"""How long each number is measured."""

AT_LEAST, AT_MOST = 64 << 20, 256 << 20
"""Bytes that are read to see the memory behind the caches."""


@lru_cache(maxsize=4)
def measured(target: Target) -> Machine:
    """The clock that the multiply-adds of a core imply, and the bytes that it reads in a cycle from each memory."""
    native = compile_ir(probe(target), target, open_cache())
    whole, number = ctypes.c_void_p, ctypes.c_int64
    multiply_adds = ctypes.CFUNCTYPE(None, whole, number)(native.address("multiply_adds"))
    read = ctypes.CFUNCTYPE(None, whole, number, number, whole)(native.address("read"))
    cell, rounds = aligned((64,), np.uint8), 4096
    place = address(cell)
    seconds = _fastest(partial(multiply_adds, place, rounds))
    clock = CHAINS * TURNS * rounds / seconds / target.multiply_adds
    behind = min(AT_MOST, max(AT_LEAST, 4 * target.l3))
    data = aligned((behind,), np.uint8)
    data.fill(0)  # pages that nobody has written would all be the same one
    start, block = address(data), STREAMS * target.lanes(DType.FLOAT32) * DType.FLOAT32.bytes
    rates = {}
    sizes = (target.l1 // 2, target.l2 // 2, target.l3 // 2, behind)
    for name, size in zip((*CACHES, "memory"), sizes, strict=True):
        blocks = size // block
        times = max(1, (1 << 20) // size)
        seconds = _fastest(partial(read, start, blocks, times, place))
        rates[name] = blocks * block * times / seconds / clock
    return Machine(clock, rates)


def _fastest(call: Callable[[], object]) -> float:
    """The shortest of many calls, after one that does not count."""
    call()
    best, end = float("inf"), perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best
