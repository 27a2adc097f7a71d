from __future__ import annotations

from graphc.graph.passes import canonicalise
from graphc.types import BATCH
from tests.graph.passes.build import after, build
from tests.strategies import add, conv, dense, flatten, pad, relu, spread, swap_images, transpose, unflatten


def test_transposes_are_read_through(golden) -> None:
    def body(b, x, w):
        return [b.apply(dense, (x, b.apply(transpose, (w,)))), b.apply(relu, (b.apply(transpose, (w,)),))]

    assert after(canonicalise, build(body, (BATCH, 4), (4, 3))) == golden


def test_two_transposes_are_none() -> None:
    graph = build(lambda b, x: [b.apply(relu, (b.apply(transpose, (b.apply(transpose, (x,)),)),))], (2, 4))
    (node,) = canonicalise(graph).nodes
    assert node.inputs == graph.inputs
    assert str(node.formula) == "out[n,i] = (X[n, i] <= 0 ? 0 : X[n, i])"


def test_reshape_and_back_is_nothing() -> None:
    def body(b, x):
        back = b.apply(unflatten, (b.apply(flatten, (x,)),), {"channels": 3, "width": 4})
        return [b.apply(relu, (back,))]

    graph = build(body, (BATCH, 3, 2, 4))
    (node,) = canonicalise(graph).nodes
    assert node.inputs == graph.inputs


def test_reshapes_in_a_row_are_one(golden) -> None:
    def body(b, x):
        wide = b.apply(unflatten, (b.apply(flatten, (x,)),), {"channels": 2, "width": 3})
        return [b.apply(flatten, (wide,))]

    assert after(canonicalise, build(body, (BATCH, 3, 2, 4))) == golden


def test_a_reshape_before_a_contraction_stays() -> None:
    def body(b, x, w):
        return [b.apply(dense, (b.apply(flatten, (x,)), w))]

    graph = build(body, (BATCH, 3, 2, 4), (5, 24))
    assert canonicalise(graph) is graph


def test_a_reshape_that_would_show_its_edge_stays() -> None:
    graph = build(lambda b, x: [b.apply(pad, (b.apply(flatten, (x,)),))], (BATCH, 2, 2, 2))
    assert canonicalise(graph) is graph


def test_padding_after_a_transpose_keeps_its_zeros() -> None:
    graph = build(lambda b, x: [b.apply(pad, (b.apply(transpose, (x,)),))], (3, 4))
    (node,) = canonicalise(graph).nodes
    assert str(node.formula) == "out[n,i] = X[i - 1, n]"


def test_a_padded_repetition_is_not_composed() -> None:
    graph = build(lambda b, x: [b.apply(pad, (b.apply(spread, (x,)),))], (BATCH,))
    assert canonicalise(graph) is graph


def test_an_operand_given_twice_is_merged() -> None:
    (node,) = canonicalise(build(lambda b, x: [b.apply(add, (x, x))], (BATCH, 4))).nodes
    assert len(node.inputs) == 1
    assert str(node.formula) == "out[n,i] = 2·A[n, i]"


def test_a_convolution_reads_through_a_transpose_of_its_kernel() -> None:
    def body(b, x, w):
        return [b.apply(conv, (x, b.apply(swap_images, (w,))))]

    graph = build(body, (BATCH, 2, 5, 5), (3, 3, 2, 3))
    (node,) = canonicalise(graph).nodes
    assert set(node.inputs) == set(graph.inputs)
    assert str(node.formula).endswith("W[k, r, c, q]·X[n, c, r + y - 1, q + x - 1]")
