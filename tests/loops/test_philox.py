"""Random numbers in Loop IR: every stage and native code draw the numbers of the reference, bit for bit."""

from __future__ import annotations

import re

import numpy as np
import pytest

from graphc.errors import VerificationError
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.loops.expand import expand_expression, expand_transcendentals
from graphc.loops.expressions import Binary, Buffer, Const, Load, Number, Random
from graphc.loops.index import constant, variable
from graphc.loops.interpreter import evaluate_over, run_function
from graphc.loops.ir import For, Function, Let, Mode, Store
from graphc.loops.printer import expression_text, function_text
from graphc.loops.vectorise import vectorise
from graphc.loops.verifier import verify
from graphc.ops import random
from graphc.ops.philox import uniform
from graphc.types import BATCH, DType, TensorType
from tests.loops.steps import STAGES, interpret_step, lowered
from tests.native import Native

I64 = DType.INT64
KEY, STEP = Load(Buffer("key", I64, ()), ()), Load(Buffer("step", I64, ()), ())
GIVEN = {"key": np.array(-(5**27)), "step": np.array(3**39)}


def kernel(stride: int, first: int, dtype: DType, lanes: int = 8, rows: int = 3) -> Function:
    """Lanes that draw the numbers first + 100·row + stride·lane."""
    out = Buffer("out", dtype, (rows, lanes))
    row, lane = variable("row"), variable("lane")
    e = Random(KEY, STEP, Number(lane * stride + row * 100 + first, I64), dtype)
    inner = For("lane", constant(0), constant(lanes), (Let("u", e), Store(out, (row, lane), e)), Mode.VECTOR)
    return Function("f", (KEY.buffer, STEP.buffer, out), (For("row", constant(0), constant(rows), (inner,)),))


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64], ids=["f32", "f64"])
@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize(("stride", "first"), [(1, 0), (1, 7), (2, 0), (2, 1), (3, 5), (12, 2**33 + 1), (0, 4), (0, 9)])
def test_all_stages_draw_the_same(stride: int, first: int, lanes: int, dtype: DType) -> None:
    function = kernel(stride, first, dtype, lanes)
    index = first + 100 * np.arange(3)[:, None] + stride * np.arange(lanes)
    wanted = uniform(GIVEN["key"], GIVEN["step"], index, dtype)
    vectorised = vectorise(function)
    for stage in (vectorised, expand_transcendentals(vectorised)):
        verify(stage)
        arrays = {**GIVEN, "out": np.zeros((3, lanes), dtype.numpy)}
        run_function(stage, arrays, batch=1)
        np.testing.assert_array_equal(arrays["out"], wanted)


def test_neighbours_from_an_even_index_share_their_blocks() -> None:
    text = {
        first: function_text(expand_transcendentals(vectorise(kernel(1, first, DType.FLOAT32)))) for first in (2, 3)
    }
    assert "i64x4" in text[2]
    assert "i64x8" not in text[2]
    assert "shuffle8" in text[2]
    assert "i64x8" in text[3]


def test_what_depends_on_key_and_step_alone_is_computed_before_the_loops() -> None:
    head, _, body = function_text(expand_transcendentals(vectorise(kernel(1, 0, DType.FLOAT32)))).partition("  for row")
    assert "key" in head
    assert "step" in head
    assert head.count("splat4") >= 20
    assert not re.search(r"\b(key|step)\b", body)


def test_an_even_index_and_the_next_in_one_statement_share_their_block() -> None:
    pair = [Random(KEY, STEP, Number(variable("i") * 2 + k, I64), DType.FLOAT64) for k in (0, 1)]
    out = Buffer("out", DType.FLOAT64, ())
    store = Store(out, (), Binary("sub", *pair))
    body = (For("i", constant(3), constant(4), (store,)),)
    function = expand_transcendentals(Function("f", (KEY.buffer, STEP.buffer, out), body))
    assert function_text(function).count("* 3528531795") == 10
    arrays = {**GIVEN, "out": np.zeros(())}
    run_function(function, arrays, batch=1)
    even, odd = uniform(GIVEN["key"], GIVEN["step"], np.array([6, 7]), DType.FLOAT64)
    assert arrays["out"] == even - odd


def test_an_expression_can_be_expanded_in_place() -> None:
    e = Random(Const(7, I64), Const(8, I64), Const(9, I64), DType.FLOAT32)
    assert float(evaluate_over(expand_expression(e), {})) == float(uniform(7, 8, 9, DType.FLOAT32))
    assert expression_text(e) == "random(7, 8, 9)"


def test_the_verifier_wants_integers_of_64_bits() -> None:
    narrow = Random(KEY, STEP, Number(variable("i"), DType.INT32), DType.FLOAT32)
    function = Function("f", (KEY.buffer, STEP.buffer), (For("i", constant(0), constant(1), (Let("u", narrow),)),))
    with pytest.raises(VerificationError, match="expected i64, got i32"):
        verify(function)
    integer = Random(KEY, STEP, Number(variable("i"), I64), I64)
    function = Function("f", (KEY.buffer, STEP.buffer), (For("i", constant(0), constant(1), (Let("u", integer),)),))
    with pytest.raises(VerificationError, match="expected a float, got i64"):
        verify(function)


# shapes that fill vectors or not, rows that begin at even and odd numbers, lanes far apart
@pytest.mark.parametrize(
    ("shape", "order", "dtype"),
    [
        ((BATCH, 48), None, DType.FLOAT32), ((BATCH, 33), None, DType.FLOAT32),
        ((BATCH, 7, 5), (0, 2, 1), DType.FLOAT32),
        ((BATCH, 24), (1, 0), DType.FLOAT64), ((BATCH, 3, 4, 6), (0, 2, 3, 1), DType.FLOAT64),
    ],
    ids=["even", "odd", "turned", "batch last", "channels last"],
)  # fmt: skip
def test_native_code_drops_what_the_formulas_drop(shape: tuple, order: tuple | None, dtype: DType) -> None:
    from graphc.ops.movement import permute

    builder = Builder()
    x = builder.input("x", TensorType(shape, dtype))
    key, step = (builder.parameter(n, TensorType((), I64)) for n in ("key", "step"))
    y = builder.apply(random.dropout, [x, key, step], {"p": 0.4})
    if order is not None:
        y = builder.apply(permute, [y], {"order": order})
    graph = builder.graph([y])
    given = {"x": np.random.default_rng(0).normal(size=(5, *shape[1:])).astype(dtype.numpy)}
    held = {"key": np.int64(2**40 + 3), "step": np.int64(2**33 + 1)}
    (wanted,) = interpret(graph, given, held).outputs
    assert 0.2 < (wanted == 0).mean() < 0.6
    native = Native(graph)
    for threads in (1, 3):
        np.testing.assert_array_equal(native(given, held, 5, threads)[0], wanted)
    history = lowered(graph)
    for stage in STAGES:
        (got,) = interpret_step(history[stage], history["assign_buffers"], graph, given, held, 5)
        np.testing.assert_array_equal(got, wanted)
