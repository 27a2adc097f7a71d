"""Winograd in graphs: values stay, the error is as promised, and what does not pay is left alone with a reason."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from graphc.autodiff.backward import gradients
from graphc.errors import GraphcError
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Node
from graphc.graph.passes.apply_winograd import LIMIT, Decision, apply_winograd, decide, predicted_error
from graphc.graph.verifier import verify
from graphc.ops.correlation import Correlation, correlation
from graphc.ops.operator import OPERATORS
from graphc.target import AVX2, AVX512
from graphc.types import BATCH, DType, Extent, TensorType
from tests import convolutions
from tests.native import Native

NAMES = ["winograd.filter", "winograd.data", "winograd.product", "winograd.result"]


def training(
    batch: Extent, channels: int, size: int, features: int, taps: int = 3, padding: int = 1,
    dtype: DType = DType.FLOAT64,
) -> Graph:  # fmt: skip
    """A convolution, and the gradients of Σ y² by its input and its filter."""
    b = Builder()
    x = b.parameter("x", TensorType((batch, channels, size, size), dtype))
    w = b.parameter("w", TensorType((features, channels, taps, taps), dtype))
    y = b.apply(OPERATORS["conv2d"], (x, w), {"padding": padding}, scope="layer")
    loss = b.apply(OPERATORS["sum"], (b.apply(OPERATORS["multiply"], (y, y)),))
    graph, grads = gradients(b.graph((loss,)), loss, (x, w))
    return replace(graph, outputs=(y, *grads))


def convolution(*sizes: int, **options: object) -> Node:
    return training(BATCH, *sizes, **options).nodes[0]


def arrays(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {p.name: random.standard_normal(p.type.concrete(batch)) for p in graph.parameters}


@pytest.mark.parametrize(("size", "taps", "padding"), [(7, 3, 1), (14, 3, 1), (9, 5, 2), (8, 3, 0)])
def test_training_values_stay(size: int, taps: int, padding: int) -> None:
    graph = training(BATCH, 8, size, 16, taps, padding)
    tiled = apply_winograd(graph, AVX512, "fast")
    verify(tiled, "apply_winograd")
    assert [n.operator for n in tiled.nodes].count("winograd.product") == 3
    held = arrays(graph, 2)
    for a, b in zip(interpret(graph, {}, held).outputs, interpret(tiled, {}, held).outputs, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-10 * np.abs(a).max())


def test_the_nodes() -> None:
    graph = training(BATCH, 16, 14, 32)
    tiled = apply_winograd(graph, AVX512, "fast")
    four, forward = tiled.nodes[:4], graph.nodes[0]
    assert [n.operator for n in four] == NAMES
    assert {(n.scope, n.origin, n.location, n.call) for n in four} == {("layer", None, forward.location, forward.call)}
    assert four[-1].output == forward.output
    assert [str(n.output.type) for n in four] == [
        "f64[6,6,16,32]", "f64[6,6,N,4,4,16]", "f64[6,6,N,4,4,32]", "f64[N,32,14,14]",
    ]  # fmt: skip
    adjoints = [n for n in tiled.nodes if n.operator == "winograd.data" and n.origin is not None]
    assert {n.origin for n in adjoints} == {forward.output.id}


def test_native_code_has_the_values_of_the_interpreter() -> None:
    graph = training(3, 8, 6, 8)
    tiled = apply_winograd(graph, AVX512, "fast")
    held = arrays(graph, 3)
    assert len(tiled.nodes) > len(graph.nodes)
    for a, b in zip(interpret(graph, {}, held).outputs, Native(tiled)({}, held, 3), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())


def test_off_and_unknown() -> None:
    graph = training(BATCH, 16, 14, 16)
    assert apply_winograd(graph, AVX512, "off") is graph
    assert decide(graph.nodes[0], AVX512, "off") == Decision(False, "it is off")
    with pytest.raises(GraphcError, match='choose "off", "auto" or "fast"'):
        apply_winograd(graph, AVX512, "exact")


def test_a_graph_without_correlations_is_itself() -> None:
    b = Builder()
    x, w = (b.input(name, TensorType((32, 32))) for name in "xw")
    graph = b.graph((b.apply(OPERATORS["matmul"], (x, w)),))
    assert apply_winograd(graph, AVX512, "fast") is graph


REFUSED = {
    "three channels": (convolution(3, 32, 16, dtype=DType.FLOAT32), "3 channels are less than a vector of 16"),
    "six features": (convolution(16, 14, 6, dtype=DType.FLOAT32), "6 features are less than a vector of 16"),
    "one pixel": (convolution(32, 1, 32, dtype=DType.FLOAT32), "of its operations, less than the 1.2"),
    "one tap": (convolution(32, 8, 32, 1, 0), "no operand is read at the sum"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_pay(name: str) -> None:
    node, reason = REFUSED[name]
    decision = decide(node, AVX512, "fast")
    assert not decision.taken
    assert reason in decision.reason


def test_vectors_decide_what_is_thin() -> None:
    node = convolution(8, 14, 8, dtype=DType.FLOAT32)
    assert not decide(node, AVX512).taken
    assert decide(node, AVX2).taken


def test_integers_are_refused() -> None:
    node = convolution(16, 14, 16)
    node = replace(node, output=replace(node.output, type=TensorType(node.output.type.shape, DType.INT32)))
    assert decide(node, AVX512).reason == "int32 has no fractions"


def test_a_gradient_of_few_positions_has_an_error() -> None:
    """Fewer positions than a peer's sum has parts: one sample, one row of seven results."""
    nodes = convolutions.training(16, 16, (3, 11), (3, 5), padding=0, batch=1).nodes
    gradient = next(n for n in nodes if n.operator == "adjoint conv2d/W")
    shapes = {o: v.type.shape for o, v in zip(gradient.formula.operands, gradient.inputs, strict=True)}
    found = correlation(gradient.formula, shapes)
    assert isinstance(found, Correlation)
    assert [p.long.extent for p in found.pairs] == [7]
    assert 0.0 < predicted_error(found, (2,)) < predicted_error(found, (4,))


def test_fast_takes_larger_tiles_than_auto() -> None:
    node = convolution(256, 14, 256, dtype=DType.FLOAT32)
    auto, fast = decide(node, AVX512, "auto"), decide(node, AVX512, "fast")
    assert auto.taken
    assert fast.taken
    assert auto.error < LIMIT < fast.error
    assert prod(auto.tiles) < prod(fast.tiles) == 16
    assert auto.gain < fast.gain
    assert "F(4x4, 3x3)" in fast.reason


def test_shorter_sums_allow_larger_tiles() -> None:
    node = convolution(64, 56, 64, dtype=DType.FLOAT32)
    assert decide(node, AVX512).tiles == (2, 4)
    assert decide(node, AVX512, chain=16).tiles == (4, 4)


# ------------------------------------------------------------------------------- accuracy, in single precision


def totalled(terms: np.ndarray, chain: int) -> np.ndarray:
    """Σ over the first axis in single precision, one term after the other, each `chain` of them totalled."""
    total = np.zeros(terms.shape[1:], np.float32)
    for start in range(0, len(terms), chain):
        part = np.zeros_like(total)
        for term in terms[start : start + chain]:
            part += term
        total += part
    return total


def matrix(constants) -> np.ndarray:
    return np.array(constants.rows, np.float32)


def along(table: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """A transform of one axis, one term after the other."""
    moved = np.moveaxis(x, axis, 0)
    rows = [totalled(np.stack([c * v for c, v in zip(row, moved, strict=True)]), len(row)) for row in table]
    return np.moveaxis(np.stack(rows), 0, axis)


def single(node: Node, found: Correlation, tiles: tuple[int, int], x: np.ndarray, w: np.ndarray, chain: int):
    """The four formulas in single precision; x is padded and as large as the tiles need."""
    (m, q), (first, second) = tiles, found.transforms(tiles)
    u = along(matrix(second.G), along(matrix(first.G), w, 2), 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, (first.size, second.size), axis=(2, 3))[:, :, ::m, ::q]
    v = along(matrix(second.B), along(matrix(first.B), windows, 4), 5)
    products = np.einsum("nctuab,kcab->cabntuk", v, u)
    summed = totalled(products, chain)
    y = along(matrix(second.A), along(matrix(first.A), summed, 0), 1)
    n, t, s, k = y.shape[2:]
    return y.transpose(2, 5, 3, 0, 4, 1).reshape(n, k, t * m, s * q)


def direct(x: np.ndarray, w: np.ndarray, chain: int) -> np.ndarray:
    """A direct convolution in single precision that totals blocks of channels."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    terms = np.einsum("ncyxrq,kcrq->crqnkyx", windows, w)
    return totalled(terms.reshape(-1, *terms.shape[3:]), chain * w.shape[2] * w.shape[3])


@pytest.mark.parametrize(("channels", "chain"), [(16, None), (64, None), (64, 16)])
@pytest.mark.parametrize("taps", [3, 5])
def test_the_error_is_within_the_promise(channels: int, chain: int | None, taps: int) -> None:
    node = convolution(channels, 24, 16, taps, taps // 2, dtype=DType.FLOAT32)
    decision = decide(node, AVX512, "auto", chain)
    found = correlation(node.formula, {o: v.type.shape for o, v in zip("XW", node.inputs, strict=True)})
    assert decision.taken
    assert decision.error == predicted_error(found, decision.tiles, chain)
    random = np.random.default_rng(channels)
    x = np.maximum(random.standard_normal((1, channels, 23 + taps, 23 + taps)), 0).astype(np.float32)
    w = (random.standard_normal((4, channels, taps, taps)) / taps).astype(np.float32)
    exact = direct_exact(x, w)

    def errors(y: np.ndarray) -> np.ndarray:
        off = y - exact
        return np.array([np.abs(off).max(), np.sqrt(np.mean(off**2))])

    got, peer = errors(single(node, found, decision.tiles, x, w, chain or channels)), errors(direct(x, w, 16))
    assert (got <= LIMIT * peer).all(), got / peer
    assert (got >= peer * decision.error / 4).all(), got / peer


def direct_exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), w.shape[2:], axis=(2, 3))
    return np.einsum("ncyxrq,kcrq->nkyx", windows, w.astype(np.float64), optimize=True)
