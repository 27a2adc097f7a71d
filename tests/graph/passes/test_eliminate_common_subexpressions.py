from __future__ import annotations

from graphc.graph.passes import eliminate_common_subexpressions
from graphc.types import BATCH
from tests.graph.passes.build import after, build
from tests.strategies import add, dense, hyperbolic, multiply, scaled, softmax


def test_equal_applications_are_one(golden) -> None:
    def body(b, x):
        return [b.apply(multiply, (b.apply(softmax, (x,)), b.apply(softmax, (x,))))]

    assert after(eliminate_common_subexpressions, build(body, (BATCH, 4))) == golden


def test_sums_commute() -> None:
    graph = build(lambda b, x, y: [b.apply(add, (x, y)), b.apply(add, (y, x))], (BATCH, 4), (BATCH, 4))
    merged = eliminate_common_subexpressions(graph)
    assert len(merged.nodes) == 1
    assert merged.outputs == (graph.outputs[0], graph.outputs[0])


def test_products_of_matrices_do_not() -> None:
    graph = build(lambda b, x, y: [b.apply(dense, (x, y)), b.apply(dense, (y, x))], (4, 4), (4, 4))
    assert eliminate_common_subexpressions(graph) is graph


def test_constants_and_operands_must_agree() -> None:
    def body(b, x, y):
        return [b.apply(scaled, (x,)), b.apply(scaled, (x,), {"factor": 3.0}), b.apply(scaled, (y,))]

    graph = build(body, (BATCH, 4), (BATCH, 4))
    assert eliminate_common_subexpressions(graph) is graph


def test_equality_is_found_through_operands() -> None:
    def body(b, x, y):
        left = b.apply(hyperbolic, (b.apply(add, (x, y)),))
        return [b.apply(add, (left, b.apply(hyperbolic, (b.apply(add, (y, x)),))))]

    merged = eliminate_common_subexpressions(build(body, (BATCH, 4), (BATCH, 4)))
    assert [n.operator for n in merged.nodes] == ["add", "hyperbolic", "add"]
    assert str(merged.nodes[-1].formula) == "out[n,i] = 2·A[n, i]"
