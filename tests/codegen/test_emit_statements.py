"""Loops, conditions, partial vectors, gathers and register arrays, computed natively and by numpy."""

import numpy as np
import pytest

from graphc.errors import LoweringError
from graphc.loops.expressions import Binary, Buffer, Cell, Const, Fold, Load, Name, Number, Pack, Splat
from graphc.loops.index import (
    ZERO,
    Element,
    Maximum,
    Minimum,
    Quotient,
    Remainder,
    constant,
    of_atom,
    variable,
)
from graphc.loops.ir import Accumulate, Assign, Condition, Declare, For, If, Let, Mode, Store
from graphc.types import BATCH, DType

F32, F64, I32, I64 = DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.INT64
N, i, j, k = map(variable, "Nijk")


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 23, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_addition_with_a_masked_tail_over_the_batch(run, single, n, dtype):
    kind = DType.of(dtype)
    x, y, out = (Buffer(name, kind, (BATCH,)) for name in ("x", "y", "out"))
    active = N - i
    e = Binary("add", Load(x, (i,), 8, active), Load(y, (i,), 8, active))
    step = single([For("i", ZERO, N, (Store(out, (i,), e, active),), step=8)], x, y, out)
    a, b = np.arange(n, dtype=dtype), np.arange(n, dtype=dtype) * 10
    np.testing.assert_array_equal(run(step, {"x": a, "y": b, "out": a * 0}, batch=n)["out"], a + b)


@pytest.mark.parametrize("active", [-1, 0, 1, 3, 4, 8, 9])
@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_inactive_lanes_load_zero_and_store_nothing(run, single, lanes, active):
    x, loaded, stored = (Buffer(name, F32, (lanes,)) for name in ("x", "loaded", "stored"))
    zero = (constant(0),)
    step = single(
        [
            Store(loaded, zero, Load(x, zero, lanes, constant(active))),
            Store(stored, zero, Load(x, zero, lanes), constant(active)),
        ],
        x,
        loaded,
        stored,
    )
    a = np.arange(1, lanes + 1, dtype=np.float32)
    got = run(step, {"x": a, "loaded": a * 0 + 50, "stored": a * 0 + 50})
    takes_part = np.arange(lanes) < active
    np.testing.assert_array_equal(got["loaded"], np.where(takes_part, a, 0))
    np.testing.assert_array_equal(got["stored"], np.where(takes_part, a, 50))


@pytest.mark.parametrize("active", [-(2**33), -1, 0, 3, 8, 2**32 + 1])
def test_the_number_of_active_lanes_may_be_any_run_time_number(run, single, active):
    count, x, out = Buffer("count", I64, (1,)), Buffer("x", F32, (8,)), Buffer("out", F32, (8,))
    zero = (constant(0),)
    number = of_atom(Element("count", zero))
    step = single([Store(out, zero, Load(x, zero, 8, number))], count, x, out)
    a = np.arange(1, 9, dtype=np.float32)
    got = run(step, {"count": [active], "x": a, "out": a})["out"]
    np.testing.assert_array_equal(got, np.where(np.arange(8) < active, a, 0))


def test_loops_with_a_step_a_start_and_no_iterations(run, single):
    out = Buffer("out", F32, (32,))
    one = Const(1.0, F32)

    def bump(index):
        return Store(out, (index,), Binary("add", Load(out, (index,)), one))

    body = [
        For("i", constant(3), constant(20), (bump(i),), step=5),
        For("i", constant(5), constant(5), (bump(constant(31)),)),
        For("i", constant(9), N, (bump(constant(30)),)),
        For("i", constant(7), constant(8), (bump(i + 20), For("j", i, i + 3, (bump(j),)))),
        For("i", ZERO, N, (For("j", i, N, (bump(j + 24),)),)),
    ]
    expected = np.zeros(32, np.float32)
    np.add.at(expected, [3, 8, 13, 18, 27, 7, 8, 9], 1)
    expected[24:28] += [1, 2, 3, 4]
    got = run(single(body, out), {"out": np.zeros(32)}, batch=4)["out"]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 10])
def test_threads_share_a_parallel_loop_in_contiguous_blocks(run, single, threads, step, n):
    """Every call of the kernel counts its turn once, so that the owner of each iteration is seen."""
    owner, turn = Buffer("owner", I32, (64,)), Buffer("turn", I32, (1,))
    count = Store(turn, (ZERO,), Binary("add", Load(turn, (ZERO,)), Const(1, I32)))
    mine = Store(owner, (i,), Binary("add", Load(owner, (i,)), Load(turn, (ZERO,))))
    loop = For("i", constant(2), N, (mine,), Mode.PARALLEL, step)
    got = run(single([count, loop], owner, turn), {"owner": np.zeros(64), "turn": [0]}, n + 2, threads)
    expected = np.zeros(64, np.int32)
    visited = list(range(2, n + 2, step))
    for thread in range(threads):
        first, last = (len(visited) * t // threads for t in (thread, thread + 1))
        expected[visited[first:last]] = thread + 1
    np.testing.assert_array_equal(got["owner"], expected)


@pytest.mark.parametrize("divisor", [1, 3, 4, 7, 16])
@pytest.mark.parametrize("offset", [0, -50])
def test_quotients_and_remainders_round_down(run, single, divisor, offset):
    quotients, remainders = Buffer("q", I64, (100,)), Buffer("r", I64, (100,))
    body = (
        Store(quotients, (i,), Number(of_atom(Quotient(i + offset, divisor)), I64)),
        Store(remainders, (i,), Number(of_atom(Remainder(i + offset, divisor)), I64)),
    )
    step = single([For("i", ZERO, constant(100), body)], quotients, remainders)
    got = run(step, {"q": np.zeros(100), "r": np.zeros(100)})
    x = np.arange(100) + offset
    np.testing.assert_array_equal(got["q"], x // divisor)
    np.testing.assert_array_equal(got["r"], x % divisor)


def test_minimum_and_maximum_in_indices(run, single):
    out = Buffer("out", I32, (20,))
    clamped = of_atom(Minimum(of_atom(Maximum(i * 2 - 9, constant(0))), constant(11)))
    step = single([For("i", ZERO, constant(20), (Store(out, (i,), Number(clamped, I32)),))], out)
    np.testing.assert_array_equal(run(step, {"out": np.zeros(20)})["out"], np.clip(np.arange(20) * 2 - 9, 0, 11))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_gather_by_an_element(run, single, kind):
    table, rows, out = (
        Buffer("table", F32, (10, 8)),
        Buffer("rows", DType.of(kind), (BATCH,)),
        Buffer("out", F32, (BATCH, 8)),
    )
    row = of_atom(Element("rows", (i,)))
    step = single([For("i", ZERO, N, (Store(out, (i, ZERO), Load(table, (row, ZERO), 8)),))], table, rows, out)
    values, picked = np.random.default_rng(0).standard_normal((10, 8)), np.array([3, 9, 0, 3, 7])
    got = run(step, {"table": values, "rows": picked, "out": np.zeros((5, 8))}, batch=5)["out"]
    np.testing.assert_array_equal(got, values.astype(np.float32)[picked])


def test_an_index_is_read_again_after_it_was_stored(run, single):
    where, out = Buffer("where", I32, (1,)), Buffer("out", I32, (4,))
    here = of_atom(Element("where", (ZERO,)))
    body = [
        Store(out, (here,), Const(10, I32)),
        Store(where, (ZERO,), Const(3, I32)),
        Store(out, (here,), Const(20, I32)),
    ]
    got = run(single(body, where, out), {"where": [1], "out": np.zeros(4)})
    np.testing.assert_array_equal(got["out"], [0, 10, 0, 20])


def test_a_value_loaded_before_a_loop_is_not_reused_where_the_loop_stores(run, single):
    x, out = Buffer("x", F32, (1,)), Buffer("out", F32, (5,))
    old = Load(x, (ZERO,))
    loop = For("i", constant(1), constant(5), (Store(out, (i,), old), Store(x, (ZERO,), Binary("add", old, old))))
    got = run(single([Store(out, (ZERO,), old), loop], x, out), {"x": [1], "out": np.zeros(5)})
    np.testing.assert_array_equal(got["out"], [1, 1, 2, 4, 8])
    assert got["x"][0] == 16


def test_conditions(run, single):
    out = Buffer("out", I32, (24,))
    mark = (Store(out, (i,), Const(1, I32)),)
    body = (
        If((Condition("ge", i - 5), Condition("ge", i * -1 + 17), Condition("divides", i + 1, 3)), mark),
        If((Condition("ge", i + 1),), (If((Condition("divides", i * 0 + 6, 4),), mark),)),
        If((Condition("ge", i - 23),), mark),
        If((Condition("ge", i - 30),), (Store(out, (ZERO,), Const(7, I32)),)),
    )
    got = run(single([For("i", ZERO, constant(24), body)], out), {"out": np.zeros(24)})["out"]
    x = np.arange(24)
    np.testing.assert_array_equal(got, ((x >= 5) & (x <= 17) & ((x + 1) % 3 == 0)) | (x == 23))


def test_an_index_under_a_condition_is_not_read_outside_of_it(run, single):
    """The rows beyond the condition are far outside of the table: reading there would crash."""
    table, rows, out = Buffer("table", F32, (4,)), Buffer("rows", I64, (4,)), Buffer("out", F32, (4,))
    row = of_atom(Element("rows", (i,)))
    chosen = Store(out, (i,), Load(table, (of_atom(Element("rows", (i,))),)))
    body = If((Condition("ge", row), Condition("ge", row * -1 + 3)), (chosen,))
    got = run(
        single([For("i", ZERO, constant(4), (body,))], table, rows, out),
        {"table": [1, 2, 3, 4], "rows": [2, 2**60, -(2**60), 0], "out": np.zeros(4)},
    )["out"]
    np.testing.assert_array_equal(got, [3, 0, 0, 1])


def test_register_arrays_live_through_loops_and_conditions(run, single):
    x, out = Buffer("x", F32, (10, 2)), Buffer("out", F32, (2, 4))

    def cell(index):
        return Cell("acc", (constant(index),), F32)

    def reduce(index, reduction):
        return Accumulate("acc", (constant(index),), reduction, Load(x, (i, j)))

    kinds = ["sum", "max", "min", "prod"]
    body = [
        Declare("acc", (4,), F32, Const(0.0, F32)),
        Assign("acc", (constant(1),), Const(-np.inf, F32)),
        Assign("acc", (constant(2),), Const(np.inf, F32)),
        Assign("acc", (constant(3),), Const(1.0, F32)),
        For(
            "i",
            ZERO,
            constant(10),
            (
                *(reduce(n, kind) for n, kind in enumerate(kinds[:3])),
                If((Condition("divides", i, 2),), (reduce(3, "prod"),)),
            ),
        ),
        *(Store(out, (j, constant(n)), cell(n)) for n in range(4)),
    ]
    a = np.random.default_rng(1).standard_normal((10, 2)).astype(np.float32)
    got = run(single([For("j", ZERO, constant(2), tuple(body))], x, out), {"x": a, "out": np.zeros((2, 4))})["out"]
    expected = np.stack([a.cumsum(0)[-1], a.max(0), a.min(0), a[::2].cumprod(0)[-1]], 1)
    np.testing.assert_array_equal(got, expected)


def test_the_maximum_of_a_reduction_is_nan_where_an_element_is(run, single):
    x, out = Buffer("x", F32, (4, 8)), Buffer("out", F32, (2,))
    zero = (constant(0),)
    body = [
        Declare("top", (1,), F32, Const(-np.inf, F32, 8), 8),
        For("i", ZERO, constant(4), (Accumulate("top", zero, "max", Load(x, (i, ZERO), 8)),)),
        Store(out, (ZERO,), Fold("max", Cell("top", zero, F32, 8), 8)),
    ]
    a = np.zeros((4, 8), np.float32)
    assert run(single(body, x, out), {"x": a + 3, "out": [0, 0]})["out"][0] == 3
    for place in [(0, 0), (3, 7), (1, 2)]:
        bad = a.copy()
        bad[place] = np.nan
        assert np.isnan(run(single(body, x, out), {"x": bad, "out": [0, 0]})["out"][0])


def test_names_hold_the_value_of_their_moment_and_end_with_their_body(run, single):
    x, out = Buffer("x", F32, (4,)), Buffer("out", F32, (4, 2))
    e = Name("e", F32)
    inner = (Let("e", Binary("mul", Load(x, (i,)), Const(2.0, F32))), Store(out, (i, ZERO), e))
    body = (
        Let("e", Load(x, (i,))),
        If((Condition("ge", i - 2),), inner),
        Store(x, (i,), Const(0.0, F32)),
        Store(out, (i, constant(1)), e),
    )
    got = run(single([For("i", ZERO, constant(4), body)], x, out), {"x": [1, 2, 3, 4], "out": np.zeros((4, 2))})
    np.testing.assert_array_equal(got["out"], [[0, 1], [0, 2], [6, 3], [8, 4]])
    np.testing.assert_array_equal(got["x"], np.zeros(4))


def test_a_strided_read_packed_from_scalars(run, single):
    x, out = Buffer("x", F32, (8, 3)), Buffer("out", F32, (3, 8))
    e = Pack(tuple(Load(x, (constant(lane), i)) for lane in range(8)))
    step = single([For("i", ZERO, constant(3), (Store(out, (i, ZERO), e),))], x, out)
    a = np.arange(24, dtype=np.float32).reshape(8, 3)
    np.testing.assert_array_equal(run(step, {"x": a, "out": np.zeros((3, 8))})["out"], a.T)


def test_a_scalar_loaded_once_for_a_row(run, single):
    x, s, out = Buffer("x", F64, (4, 8)), Buffer("s", F64, (4,)), Buffer("out", F64, (4, 8))
    e = Binary("mul", Load(x, (i, j), 4), Splat(Load(s, (i,)), 4))
    loops = For("i", ZERO, constant(4), (For("j", ZERO, constant(8), (Store(out, (i, j), e),), step=4),))
    random = np.random.default_rng(2)
    a, b = random.standard_normal((4, 8)), random.standard_normal(4)
    got = run(single([loops], x, s, out), {"x": a, "s": b, "out": a})["out"]
    np.testing.assert_array_equal(got, a * b[:, None])


@pytest.mark.parametrize("mode", [Mode.VECTOR, Mode.UNROLL])
def test_loops_for_earlier_passes_are_refused(run, single, mode):
    out = Buffer("out", F32, (4,))
    loop = For("i", ZERO, constant(4), (Store(out, (i,), Const(1.0, F32)),), mode)
    with pytest.raises(LoweringError, match=f"loop i is still a {mode.name} loop") as error:
        run(single([loop], out), {"out": np.zeros(4)})
    assert error.value.layer == "here"


def test_what_is_malformed_is_refused_with_a_reason(run, single):
    out = Buffer("out", F32, (4, 4))
    cases = [
        ([Store(out, (ZERO,), Const(1.0, F32))], "has 2 axes, but is indexed by 1"),
        ([Store(out, (ZERO, i), Const(1.0, F32))], "index variable i has no loop"),
        ([Store(out, (ZERO, ZERO), Name("e", F32))], "name e is used before"),
        ([Store(out, (ZERO, ZERO), Cell("acc", (ZERO,), F32))], "register array acc is used before"),
        ([Store(out, (ZERO, of_atom(Element("rows", (ZERO,)))), Const(1.0, F32))], "buffer rows is not one"),
        ([Store(out, (ZERO, of_atom(Element("out", (ZERO, ZERO)))), Const(1.0, F32))], "expected integers"),
        (
            [
                Declare("acc", (2,), F32, Const(0.0, F32)),
                For("i", ZERO, constant(2), (Assign("acc", (i,), Const(1.0, F32)),)),
            ],
            "is indexed by i, expected a constant below 2",
        ),
        ([If((Condition("odd", i),), ())], "condition odd"),
    ]
    for body, message in cases:
        with pytest.raises(LoweringError, match=message):
            run(single(body, out), {"out": np.zeros((4, 4))})
