"""Conversions that change numbers are never read through."""

from __future__ import annotations

import numpy as np

import graphc as gc
from graphc.ops.counting import counts, pair_counts


def test_fractions_are_cut_off_before_numbers_are_compared() -> None:
    x, y = gc.input("x"), gc.input("y", (gc.BATCH,), "int64")
    whole = x.astype("int64")
    program = gc.compile_inference((counts(whole, classes=4), pair_counts(whole, y, extents=(4, 2))), threads=1)
    numbers, places = np.array([0.5, 2.9, 3.0, 2.1, -0.5], np.float32), np.array([0, 1, 1, 1, 0])
    alone, pairs = program(x=numbers, y=places)
    assert alone.tolist() == [2, 0, 2, 1]
    assert pairs.tolist() == [[2, 0], [0, 0], [0, 2], [0, 1]]
