"""A composed formula has the value of the consumer applied to the producer, edges included."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from graphc.errors import LoweringError
from graphc.ops.compose import (
    decide_conditions,
    drop_idle_axes,
    inline,
    is_constant,
    is_identity_read,
    is_permutation,
    is_zero,
    needs_guard,
    reads_inside_box,
    refusal,
    remap_of,
    vanishes_outside,
    wired,
)
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import (
    Axis,
    FloorDiv,
    Formula,
    Mod,
    N,
    Read,
    Where,
    divides,
    eq,
    formula,
    ge,
    index_symbol,
    le,
    lt,
    tensor_symbol,
)
from graphc.types import BATCH

N_AXIS, COLUMN, OTHER = (index_symbol(name) for name in "nij")
T, X, B, W, L = (tensor_symbol(name) for name in "TXBWL")
RANDOM = np.random.default_rng(11)
ARRAYS = {"X": RANDOM.normal(size=(3, 4)), "B": RANDOM.normal(size=4), "W": RANDOM.normal(size=(5, 9))}
SHAPES = {"X": (BATCH, 4), "B": (4,), "W": (5, 9)}
ROWS = (Axis(N_AXIS, BATCH), Axis(COLUMN, 4))

PRODUCERS = {
    "doubled": formula(ROWS, 2 * Read(X, N_AXIS, COLUMN)),
    "biased": formula(ROWS, Read(X, N_AXIS, COLUMN) + Read(B, COLUMN)),
    "exponential": formula(ROWS, sp.exp(Read(X, N_AXIS, COLUMN))),
    "reversed": formula(ROWS, Read(X, N_AXIS, 3 - COLUMN)),
    "one": formula(ROWS, sp.S.One),
    "zero": formula(ROWS, sp.S.Zero),
    "masked": formula(ROWS, Read(X, N_AXIS, COLUMN) + 1, conditions=[ge(2 - COLUMN)]),
    "positive": formula(ROWS, Where(le(Read(X, N_AXIS, COLUMN), 0), 0, Read(X, N_AXIS, COLUMN))),
}
CONSUMERS = {
    "square": formula(ROWS, Read(T, N_AXIS, COLUMN) ** 2),
    "padded": formula((Axis(N_AXIS, BATCH), Axis(COLUMN, 7)), Read(T, N_AXIS, COLUMN - 1) + 1),
    "shifted rows": formula(ROWS, Read(T, N_AXIS - 1, COLUMN) - Read(T, N_AXIS + 1, COLUMN)),
    "sum": formula((Axis(N_AXIS, BATCH),), Read(T, N_AXIS, COLUMN), "sum", (Axis(COLUMN, 4),)),
    "windows": formula(
        (Axis(N_AXIS, BATCH), Axis(COLUMN, 4)),
        Read(T, N_AXIS, COLUMN + OTHER - 1) * (1 + OTHER),
        "sum",
        (Axis(OTHER, 3),),
    ),
    "matrix": formula(
        (Axis(N_AXIS, BATCH), Axis(OTHER, 5)),
        Read(W, OTHER, COLUMN) * Read(T, N_AXIS, COLUMN),
        "sum",
        (Axis(COLUMN, 9),),
    ),
    "digits": formula(
        (Axis(N_AXIS, BATCH), Axis(COLUMN, 8)), Read(T, N_AXIS, 2 * Mod(COLUMN, 2) + FloorDiv(COLUMN, 4))
    ),
    "largest": formula((Axis(N_AXIS, BATCH),), Read(T, N_AXIS, COLUMN), "max", (Axis(COLUMN, 4),), [ge(COLUMN - 1)]),
    "chosen": formula(ROWS, Where(lt(0, Read(T, N_AXIS, COLUMN)), Read(T, N_AXIS, 3 - COLUMN), Read(T, N_AXIS, 0))),
}


def run(f: Formula, arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(evaluate(f, {o: arrays[o] for o in f.operands}, 3, np.dtype("float64")))


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("shapes", [{}, SHAPES], ids=["guarded", "shapes known"])
def test_value_of_the_composition(consumer: str, producer: str, shapes: dict) -> None:
    f, g = CONSUMERS[consumer], PRODUCERS[producer]
    expected = run(f, ARRAYS | {"T": run(g, ARRAYS)})
    together = inline(f, "T", g, {o: o for o in g.operands}, shapes=shapes)
    assert "T" not in together.operands
    np.testing.assert_allclose(run(together, ARRAYS), expected, rtol=1e-12, atol=1e-12)


def test_guards_appear_only_where_the_edge_can_be_seen() -> None:
    padded = CONSUMERS["padded"]
    assert str(inline(padded, "T", PRODUCERS["doubled"], {"X": "X"}, shapes=SHAPES)) == ("out[n,i] = 2·X[n, i - 1] + 1")
    assert str(inline(padded, "T", PRODUCERS["exponential"], {"X": "X"}, shapes=SHAPES)) == (
        "out[n,i] = (i - 1 >= 0 ? (4 - i >= 0 ? exp(X[n, i - 1]) : 0) : 0) + 1"
    )
    assert not needs_guard(padded, "T", PRODUCERS["doubled"], SHAPES)
    assert needs_guard(padded, "T", PRODUCERS["doubled"])
    assert not needs_guard(padded, "T", PRODUCERS["biased"], SHAPES)
    assert needs_guard(CONSUMERS["shifted rows"], "T", PRODUCERS["biased"], SHAPES)
    assert not needs_guard(CONSUMERS["square"], "T", PRODUCERS["biased"])


def test_what_vanishes_outside() -> None:
    assert vanishes_outside(PRODUCERS["doubled"], 1, SHAPES)
    assert vanishes_outside(PRODUCERS["positive"], 1, SHAPES)
    assert not vanishes_outside(PRODUCERS["exponential"], 1, SHAPES)
    assert not vanishes_outside(PRODUCERS["biased"], 0, SHAPES)
    assert not vanishes_outside(PRODUCERS["doubled"], 1, {"X": (BATCH, 9)})


def test_names_do_not_capture() -> None:
    """The producer's X is the consumer's X only if the names say so."""
    f = formula(ROWS, Read(X, N_AXIS, COLUMN) + Read(T, N_AXIS, COLUMN))
    apart = inline(f, "T", PRODUCERS["doubled"], {"X": "X2"})
    assert str(apart) == "out[n,i] = X[n, i] + 2·X2[n, i]"
    assert apart.operands == ("X", "X2")
    assert str(inline(f, "T", PRODUCERS["doubled"], {"X": "X"})) == "out[n,i] = 3·X[n, i]"


def test_axes_do_not_capture() -> None:
    """A producer whose axes have the names of the consumer's, in the other order."""
    producer = formula((Axis(COLUMN, 4), Axis(N_AXIS, BATCH)), Read(X, N_AXIS, COLUMN) + COLUMN)
    consumer = formula(ROWS, Read(T, COLUMN, N_AXIS))
    assert str(inline(consumer, "T", producer, {"X": "X"})) == "out[n,i] = i + X[n, i]"


def test_refusals() -> None:
    total = formula((Axis(N_AXIS, BATCH),), Read(X, N_AXIS, COLUMN), "sum", (Axis(COLUMN, 4),))
    assert refusal(CONSUMERS["square"], "T", total) == "a sum reduction is computed once, not where it is read"
    with pytest.raises(LoweringError, match="cannot compose: a sum reduction"):
        inline(CONSUMERS["square"], "T", total, {"X": "X"})
    gather = formula((Axis(N_AXIS, BATCH),), Read(X, N_AXIS, Read(T, N_AXIS)))
    labels = formula((Axis(N_AXIS, BATCH),), Read(L, N_AXIS))
    assert refusal(gather, "T", labels) == "T is used as an index"
    assert refusal(CONSUMERS["square"], "T", PRODUCERS["doubled"]) is None


def test_a_label_is_trusted_only_on_request() -> None:
    consumer = formula((Axis(N_AXIS, BATCH),), Read(T, N_AXIS, Read(L, N_AXIS)))
    producer = PRODUCERS["exponential"]
    guarded = inline(consumer, "T", producer, {"X": "X"})
    trusted = inline(consumer, "T", producer, {"X": "X"}, trusted=True)
    assert str(trusted) == "out[n] = exp(X[n, L[n]])"
    outside = ARRAYS | {"L": np.array([0, 3, 7])}
    expected = [np.exp(ARRAYS["X"][0, 0]), np.exp(ARRAYS["X"][1, 3]), 0.0]
    np.testing.assert_allclose(run(guarded, outside), expected, rtol=1e-12)


def test_kinds_of_movement() -> None:
    transposed = formula((Axis(COLUMN, 4), Axis(N_AXIS, BATCH)), Read(X, N_AXIS, COLUMN))
    copied = formula(ROWS, Read(X, N_AXIS, COLUMN))
    assert remap_of(transposed) == "X"
    assert remap_of(PRODUCERS["doubled"]) is None
    assert remap_of(formula(ROWS, Read(X, N_AXIS, COLUMN), conditions=[eq(COLUMN, 1)])) is None
    assert is_permutation(transposed)
    assert not is_permutation(PRODUCERS["reversed"])
    assert is_identity_read(copied, "X")
    assert not is_identity_read(copied, "T")
    assert not is_identity_read(transposed, "X")
    assert is_constant(PRODUCERS["one"])
    assert is_zero(PRODUCERS["zero"])
    assert not is_zero(PRODUCERS["one"])


def test_reads_inside_box() -> None:
    assert reads_inside_box(CONSUMERS["digits"], "T", (BATCH, 4))
    assert not reads_inside_box(CONSUMERS["digits"], "T", (BATCH, 3))
    assert not reads_inside_box(CONSUMERS["windows"], "T", (BATCH, 4))


def test_idle_axes() -> None:
    over = (Axis(COLUMN, 4), Axis(OTHER, 5))
    f = formula((Axis(N_AXIS, BATCH),), Read(X, N_AXIS, COLUMN), "sum", over)
    assert str(drop_idle_axes(f)) == "out[n] = Σ_{i<4} 5·X[n, i]"
    whole = formula((), sp.S(3), "sum", (Axis(N_AXIS, BATCH), Axis(COLUMN, 4)))
    assert drop_idle_axes(whole) == formula((), 12 * N)
    largest = formula((Axis(N_AXIS, BATCH),), Read(B, 0), "max", over)
    assert str(drop_idle_axes(largest)) == "out[n] = B[0]"
    limited = formula((Axis(N_AXIS, BATCH),), Read(B, 0), "max", over, [ge(N_AXIS - 1)])
    assert drop_idle_axes(limited) is limited
    busy = CONSUMERS["matrix"]
    assert drop_idle_axes(busy) is busy


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (ge(sp.S(0)), "X[n, i]"),
        (ge(sp.S(-1)), "B[i]"),
        (lt(1, 1), "B[i]"),
        (le(1, 1), "X[n, i]"),
        (eq(1, 2), "B[i]"),
        (divides(2, 4), "X[n, i]"),
        (divides(2, 3), "B[i]"),
        (ge(COLUMN), "(i >= 0 ? X[n, i] : B[i])"),
    ],
)
def test_decided_conditions(condition: sp.Expr, expected: str) -> None:
    f = decide_conditions(formula(ROWS, Where(condition, Read(X, N_AXIS, COLUMN), Read(B, COLUMN))))
    assert str(f) == f"out[n,i] = {expected}"
    assert set(f.operands) == {name for name in "XB" if name in expected}


def test_keys_of_applications() -> None:
    difference = formula(ROWS, Read(X, N_AXIS, COLUMN) - Read(T, N_AXIS, COLUMN), operands=("X", "T"))
    total = formula(ROWS, Read(X, N_AXIS, COLUMN) + Read(T, N_AXIS, COLUMN), operands=("X", "T"))
    assert wired(total, (1, 2)) == wired(total, (2, 1))
    assert wired(difference, (1, 2)) != wired(difference, (2, 1))
    assert wired(total, (1, 2)) != wired(total, (1, 3))
    assert wired(total, (1, 1)) == wired(PRODUCERS["doubled"], (1,))
