from __future__ import annotations

import sympy as sp

from graphc.graph.passes import fold_constants
from graphc.graph.verifier import verify
from graphc.ops.notation import Sum, axes, axis
from graphc.ops.operator import op
from graphc.passes import History, run
from graphc.types import BATCH
from tests.graph.passes.build import after, build
from tests.strategies import (
    add,
    column_sum,
    copy,
    multiply,
    ones_like,
    pad,
    relu,
    row_mean,
    scaled,
    zeros_like,
)


def test_one_and_zero_disappear(golden) -> None:
    def body(b, x):
        once = b.apply(multiply, (x, b.apply(ones_like, (x,))))
        same = b.apply(add, (once, b.apply(zeros_like, (x,))))
        return [b.apply(relu, (b.apply(copy, (same,)),))]

    assert after(fold_constants, build(body, (BATCH, 4))) == golden


def test_constants_fold_through_constants_and_sums(golden) -> None:
    def body(b, x):
        threes = b.apply(scaled, (b.apply(ones_like, (x,)),), {"factor": 3.0})
        return [b.apply(row_mean, (threes,)), b.apply(column_sum, (threes,))]

    assert after(fold_constants, build(body, (BATCH, 4))) == golden


def test_a_constant_read_outside_its_box_stays() -> None:
    graph = build(lambda b, x: [b.apply(pad, (b.apply(ones_like, (x,)),))], (BATCH, 4))
    history = History()
    assert run([fold_constants], graph, verify, [history]) is graph
    assert [str(r) for r in history.remarks] == [
        "fold_constants: %2: constant %1 not folded: it is read outside its box, where it is zero"
    ]


def test_padded_zeros_are_zeros() -> None:
    graph = build(lambda b, x: [b.apply(pad, (b.apply(zeros_like, (x,)),))], (BATCH, 4))
    folded = fold_constants(graph)
    assert str(folded.nodes[-1].formula) == "out[n,i] = 0"
    assert len(folded.nodes) == 1


def test_copies_that_are_results_keep_their_memory() -> None:
    graph = build(lambda b, x: [b.apply(copy, (x,))], (BATCH, 4))
    assert fold_constants(graph) is graph
    deeper = build(lambda b, x: [b.apply(copy, (b.apply(relu, (x,)),))], (BATCH, 4))
    assert [n.operator for n in fold_constants(deeper).nodes] == ["relu"]


@op
def numbered(X):
    n, i = axes("n i")
    return X[n, i] + i


@op
def ramp(X):
    axis("n", X.shape[0])
    return axis("i", X.shape[1]) * sp.S.One


@op
def weighted(X, W):
    n, i = axes("n i")
    return Sum(X[n, i] * W[n, i], over=i)


def test_a_constant_may_depend_on_its_axes() -> None:
    graph = build(lambda b, x: [b.apply(weighted, (x, b.apply(ramp, (x,))))], (BATCH, 4))
    folded = fold_constants(graph)
    assert [str(n.formula) for n in folded.nodes] == ["out[n] = Σ_{i<4} i·X[n, i]"]


def test_conditions_on_numbers_are_decided() -> None:
    """relu(0) is 0, and what is multiplied by it is no longer read."""

    def body(b, x):
        zero = b.apply(zeros_like, (x,))
        rectified = b.apply(relu, (zero,))
        return [
            b.apply(relu, (b.apply(ones_like, (x,)),)),
            b.apply(multiply, (zero, rectified)),
            b.apply(multiply, (rectified, x)),
        ]

    folded = fold_constants(build(body, (BATCH, 4)))
    assert [str(n.formula) for n in folded.nodes] == ["out[n,i] = 1", "out[n,i] = 0", "out[n,i] = 0"]
