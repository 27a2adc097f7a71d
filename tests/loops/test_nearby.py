"""Lanes that read near each other: one load and a shuffle, the same numbers as lane by lane."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.loops.expressions import Buffer, Expression, Load, Shuffle
from graphc.loops.index import Index, constant, quotient, variable
from graphc.loops.interpreter import Frame, evaluate
from graphc.loops.nearby import nearby
from graphc.types import BATCH, DType

ROW = Buffer("x", DType.FLOAT64, (3, 16))
WIDTH = 4
RANGES = {"b": (0, 1)}
b = variable("b")


def found(at: list[Index], buffer: Buffer = ROW) -> Expression | None:
    return nearby(buffer, tuple((constant(1), i) for i in at), RANGES)


@pytest.mark.parametrize(
    "at",
    [
        [b * 8 + 2 * k for k in range(WIDTH)],
        [b * 8 + 2 * k + 1 for k in range(WIDTH)],
        [quotient(b * WIDTH + k, 2, RANGES) for k in range(WIDTH)],
        [b * -1 + 9 - k for k in range(WIDTH)],
    ],
    ids=["every second", "every second from the first", "each twice", "backwards"],
)
def test_one_load_gives_what_single_reads_give(at: list[Index]) -> None:
    memory = np.arange(48.0).reshape(3, 16)
    e = found(at)
    assert isinstance(e, Shuffle)
    assert isinstance(e.a, Load)
    assert e.a.lanes <= 2 * WIDTH
    for block in (0, 1):
        frame = Frame({"x": memory}, {"b": block}, {}, {})
        alone = [evaluate(Load(ROW, (constant(1), i)), frame) for i in at]
        np.testing.assert_array_equal(evaluate(e, frame), alone)


@pytest.mark.parametrize(
    "at",
    [
        [b * 8 + 4 * k for k in range(WIDTH)],
        [b * k for k in range(WIDTH)],
        [b * 8 + 2 * k + 4 for k in range(WIDTH)],
    ],
    ids=["too far apart", "at unequal distances in every block", "the load would leave the row"],
)
def test_other_reads_stay_single(at: list[Index]) -> None:
    assert found(at) is None


def test_along_the_batch_reads_stay_single() -> None:
    assert nearby(Buffer("x", DType.FLOAT64, (BATCH,)), ((b,), (b + 2,)), RANGES) is None
