"""What surrounds a call: addresses, ranges, and checks that remember what the last call looked like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import InputError
from graphc.runtime.driver import inside
from graphc.runtime.executable import address


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3), np.zeros((), np.float32), np.arange(10)[3:], np.zeros((2, 0)), np.arange(6).reshape(2, 3).T,
        np.frombuffer(b"12345678", np.int64), np.zeros(3).view(np.matrix),
    ],
    ids=str,
)  # fmt: skip
def test_the_address_of_an_array_is_that_of_numpy(array: np.ndarray) -> None:
    assert address(array) == array.ctypes.data


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_ranges_are_those_of_numpy(dtype: Any) -> None:
    info = np.iinfo(dtype)
    for values in ([], [0], [9], [10], [-1], [3, 4, 10, 2], [3, 4, 9, 0], [info.max], [info.min]):
        numbers = np.array(values, dtype)
        for limit in (1, 10, 2**31 - 1, 2**31, 2**40):
            expected = all(0 <= v < limit for v in values)
            # the largest number of a type is never below a limit that the type cannot hold
            if limit > info.max and info.max in values:
                continue
            assert bool(inside(numbers.itemsize)(address(numbers), numbers.size, limit)) is expected, (values, limit)


@pytest.fixture(scope="module")
def program() -> Any:
    x, labels = gc.input("x", (gc.BATCH, 3)), gc.input("labels", (gc.BATCH,), "int32")
    return gc.compile_inference(gc.cross_entropy(x * 2.0, labels))


X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1], np.int32)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (X, np.array([0, 1, 3, 1], np.int32), r"input labels is 3 at \[2\], expected 0\.\.2"),
        (X, np.array([0, 1, 2, -1], np.int32), r"input labels is -1 at \[3\]"),
        (X[:3], LABELS, "input labels has 4 samples, but x has 3"),
        (X[:, :2], LABELS, r"input x has shape \(4, 2\), expected \(N, 3\)"),
        (X, LABELS.astype(np.float32), "input labels has dtype float32"),
        (X[0], LABELS, "input x has rank 1"),
    ],
)
def test_what_is_wrong_after_a_good_call_is_refused(
    x: np.ndarray, labels: np.ndarray, message: str, program: Any
) -> None:
    for _ in range(2):
        program(x=X, labels=LABELS)
    with pytest.raises(InputError, match=message):
        program(x=x, labels=labels)
    with pytest.raises(InputError, match="there is no input named more"):
        program(x=X, labels=LABELS, more=X)
    with pytest.raises(InputError, match="input x is missing"):
        program(labels=LABELS)


def test_what_is_held_otherwise_after_a_good_call_is_converted(program: Any) -> None:
    expected = program(x=X, labels=LABELS)
    for x in (X.astype(np.float64), np.asfortranarray(X), X.astype(">f4"), X.tolist(), X[::-1][::-1]):
        assert program(x=x, labels=LABELS.astype(np.int64)) == expected
        assert program(x=X, labels=LABELS) == expected
    half = program(x=X[:2], labels=LABELS[:2])
    assert program(x=X[:2].copy(), labels=LABELS[:2]) == half != expected
