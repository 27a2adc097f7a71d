"""Squares of registers transposed: what shuffles do to the numbers of the lanes, and native code against numpy."""

from __future__ import annotations

import re

import numpy as np
import pytest

from graphc.codegen.transpose import transpose
from graphc.codegen.writer import Writer
from graphc.errors import VerificationError
from graphc.loops.expressions import Buffer, Cell, Const, Load
from graphc.loops.index import constant
from graphc.loops.interpreter import run_function
from graphc.loops.ir import Assign, Declare, Function, Statement, Store, Transpose
from graphc.loops.printer import statement_head
from graphc.loops.verifier import verify
from graphc.target import GENERIC
from graphc.types import DType


def shuffled(lines: list[str], registers: dict[str, np.ndarray]) -> None:
    """Carry out shufflevector instructions on named arrays."""
    for line in lines:
        target, a, b, order = re.fullmatch(
            r"\s*(%\w+) = shufflevector <[^>]*> (%\w+), <[^>]*> (%\w+), <[^>]*> <(.*)>", line
        ).groups()
        places = [int(k.removeprefix("i32 ")) for k in order.split(", ")]
        registers[target] = np.concatenate([registers[a], registers[b]])[places]


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_shuffles_exchange_lanes_and_registers(lanes: int, dtype: DType) -> None:
    writer = Writer((), {}, GENERIC)
    square = np.arange(lanes * lanes).reshape(lanes, lanes)
    registers = {f"%r{k}": square[k] for k in range(lanes)}
    columns = transpose(writer, list(registers), dtype)
    lines = writer.scopes[0].lines
    shuffled(lines, registers)
    np.testing.assert_array_equal([registers[c] for c in columns], square.T)
    assert len(lines) == lanes * (lanes.bit_length() - 1)


def square_function(lanes: int, cells: int) -> Function:
    buffers = tuple(Buffer(name, DType.FLOAT32, (cells, lanes)) for name in ("b0", "b1"))
    zero = constant(0)
    body: list[Statement] = [Declare("x", (cells,), DType.FLOAT32, Const(0, DType.FLOAT32, lanes), lanes)]
    for k in range(cells):
        body.append(Assign("x", (constant(k),), Load(buffers[0], (constant(k), zero), lanes)))
    body.append(Transpose("x"))
    for k in range(cells):
        body.append(Store(buffers[1], (constant(k), zero), Cell("x", (constant(k),), DType.FLOAT32, lanes)))
    return Function("square", buffers, tuple(body))


def test_the_statement_is_verified_printed_and_interpreted() -> None:
    function = square_function(4, 4)
    verify(function)
    given, result = np.arange(16, dtype=np.float32).reshape(4, 4), np.zeros((4, 4), np.float32)
    run_function(function, {"b0": given, "b1": result}, 1)
    np.testing.assert_array_equal(result, given.T)
    assert statement_head(Transpose("x")) == "transpose x"


@pytest.mark.parametrize("cells", [3, 8])
def test_only_squares_are_transposed(cells: int) -> None:
    with pytest.raises(VerificationError, match="as many cells as lanes"):
        verify(square_function(4, cells))
