from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.passes import shift_exponential_sums, stabilise_composites
from graphc.graph.printer import graph_text
from graphc.graph.verifier import verify
from graphc.ops.notation import Sum, axes, extent
from graphc.ops.operator import op
from graphc.types import BATCH, DType, TensorType
from tests.graph.passes.build import after, build
from tests.strategies import add, complement, log_of, logistic, plain_softmax, relu, scaled, softmax

EXTREME = np.float32([[-300.0, 0.0, 300.0], [1e4, -1e4, 9e3], [0.5, 0.25, -0.25]])


@op
def exponential(X):
    return sp.exp(X[...])


@op
def row_sum(X):
    n, i = axes("n i")
    return Sum(X[n, i], over=i)


@op
def over_rows(X, S):
    n, i = axes("n i")
    return X[n, i] / S[n]


@op(integer="L")
def negative_log_likelihood(P, L):
    (n,) = axes("n")
    return Sum(-sp.log(P[n, L[n]]), over=n) / extent(n)


@op
def cross_entropy(P, T):
    n, c = axes("n c")
    return -Sum(T[n, c] * sp.log(P[n, c]), over=(n, c))


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    shifted = x - x.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def run_single(graph, **arrays) -> np.ndarray:
    with np.errstate(all="ignore"):
        return interpret(graph, arrays).outputs[0]


def test_log_of_softmax(golden) -> None:
    graph = build(lambda b, x: [b.apply(log_of, (b.apply(softmax, (x,)),))], (BATCH, 3), dtype=DType.FLOAT32)
    assert not np.isfinite(run_single(graph, a=EXTREME)).all()
    np.testing.assert_allclose(
        run_single(stabilise_composites(graph), a=EXTREME), log_softmax(EXTREME), rtol=1e-6, atol=1e-6
    )
    assert after(stabilise_composites, graph) == golden


def test_log_of_one_minus_sigmoid_through_two_nodes() -> None:
    def body(b, x):
        return [b.apply(log_of, (b.apply(complement, (b.apply(logistic, (x,)),)),))]

    stable = stabilise_composites(build(body, (BATCH, 3), dtype=DType.FLOAT32))
    assert [str(n.formula) for n in stable.nodes] == ["out[n,i] = -softplus(X[n, i])"]
    expected = -np.logaddexp(0, EXTREME.astype(np.float64))
    np.testing.assert_allclose(run_single(stable, a=EXTREME), expected, rtol=1e-6, atol=1e-30)


def test_a_label_selects_a_probability(golden) -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 3)))
    labels = builder.input("labels", TensorType((BATCH,), DType.INT64))
    graph = builder.graph([builder.apply(negative_log_likelihood, (builder.apply(softmax, (x,)), labels))])
    chosen = np.array([0, 1, 2])
    expected = -log_softmax(EXTREME)[np.arange(3), chosen].mean()
    assert run_single(graph, x=EXTREME, labels=chosen) == np.inf
    stable = stabilise_composites(graph)
    assert run_single(stable, x=EXTREME, labels=chosen) == pytest.approx(expected, rel=1e-6)
    assert after(stabilise_composites, graph) == golden


def test_cross_entropy_of_probabilities() -> None:
    def body(b, x, t):
        return [b.apply(cross_entropy, (b.apply(softmax, (x,)), t))]

    stable = stabilise_composites(build(body, (BATCH, 3), (BATCH, 3), dtype=DType.FLOAT32))
    targets = np.float32([[1, 0, 0], [0, 0, 1], [0, 0.5, 0.5]])
    expected = -(targets * log_softmax(EXTREME)).sum()
    assert run_single(stable, a=EXTREME, b=targets) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("inner", [relu, scaled])
def test_other_logarithms_stay(inner) -> None:
    graph = build(lambda b, x: [b.apply(log_of, (b.apply(inner, (x,)),))], (BATCH, 3))
    assert stabilise_composites(graph) is graph


def test_a_plain_softmax_is_shifted(golden) -> None:
    graph = build(lambda b, x: [b.apply(plain_softmax, (x,))], (BATCH, 3), dtype=DType.FLOAT32)
    assert np.isnan(run_single(graph, a=EXTREME)).any()
    np.testing.assert_allclose(
        run_single(shift_exponential_sums(graph), a=EXTREME),
        np.exp(log_softmax(EXTREME)),
        rtol=1e-6,
        atol=1e-30,
    )
    assert after(shift_exponential_sums, graph) == golden


def test_softmax_and_log_sum_exp_from_single_nodes(golden) -> None:
    def body(b, x):
        e = b.apply(exponential, (x,))
        total = b.apply(row_sum, (e,))
        return [b.apply(log_of, (b.apply(over_rows, (e, total)),)), b.apply(log_of, (total,))]

    graph = build(body, (BATCH, 3), dtype=DType.FLOAT32)
    stable = shift_exponential_sums(stabilise_composites(graph))
    verify(stable)
    with np.errstate(all="ignore"):
        logs, totals = interpret(stable, {"a": EXTREME}).outputs
    np.testing.assert_allclose(logs, log_softmax(EXTREME), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(totals, np.logaddexp.reduce(EXTREME.astype(np.float64), axis=1), rtol=1e-6)
    assert graph_text(stable, formulas=True) == golden


def test_a_sum_that_is_wanted_itself_is_not_shifted() -> None:
    def body(b, x):
        total = b.apply(row_sum, (b.apply(exponential, (x,)),))
        return [b.apply(add, (total, total))]

    graph = build(body, (BATCH, 3))
    assert shift_exponential_sums(graph) is graph


def test_a_shifted_sum_is_not_shifted_again() -> None:
    graph = build(lambda b, x: [b.apply(softmax, (x,))], (BATCH, 3))
    assert shift_exponential_sums(graph) is graph
