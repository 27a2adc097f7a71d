"""Derived gradients against central differences in float64, with and without the normaliser."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.autodiff.backward import gradients, hessian_vector_product, jvp, vjp
from graphc.errors import DerivativeError, GraphError
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.verifier import verify
from graphc.types import BATCH, TensorType
from tests.autodiff import formulas as f

N = 3


def spread(shape, rng):
    """Values well apart from each other and from zero, so that no kink lies between differences."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size / 2 + 0.25) / max(size / 4, 1)


CASES = {
    "dense": (f.dense, [(BATCH, 5), (4, 5)], {}),
    "conv2d": (f.conv2d, [(BATCH, 2, 5, 6), (3, 2, 3, 2)], {"padding": 1}),
    "conv2d stride 2": (f.conv2d, [(BATCH, 2, 7, 6), (3, 2, 3, 3)], {"stride": 2, "padding": 1}),
    "conv2d dilation 2": (f.conv2d, [(BATCH, 1, 7, 7), (2, 1, 3, 3)], {"dilation": 2, "padding": 2}),
    "conv2d stride 3 kernel 2": (f.conv2d, [(BATCH, 1, 8, 7), (2, 1, 2, 2)], {"stride": 3}),
    "max_pool": (f.max_pool, [(BATCH, 2, 6, 4)], {}),
    "max_pool overlapping": (f.max_pool, [(BATCH, 2, 7, 6)], {"kernel": 3, "stride": 2, "padding": 1}),
    "avg_pool": (f.avg_pool, [(BATCH, 2, 6, 4)], {}),
    "avg_pool overlapping": (f.avg_pool, [(BATCH, 2, 5, 6)], {"kernel": 3, "stride": 1, "padding": 1}),
    "softmax": (f.softmax, [(BATCH, 5)], {}),
    "log_softmax": (f.log_softmax, [(BATCH, 5)], {}),
    "sparse_cross_entropy": (f.sparse_cross_entropy, [(BATCH, 5), ("int", 5, (BATCH,))], {}),
    "cross_entropy": (f.cross_entropy, [(BATCH, 5), (BATCH, 5)], {}),
    "batch_norm": (f.batch_norm, [(BATCH, 4), (4,), (4,)], {}),
    "layer_norm": (f.layer_norm, [(BATCH, 4), (4,), (4,)], {}),
    "attention": (f.attention, [(BATCH, 4, 3), (BATCH, 5, 3), (BATCH, 5, 2)], {}),
    "broadcast add": (f.add, [(BATCH, 4), (4,)], {}),
    "broadcast multiply": (f.multiply, [(BATCH, 1, 4), (3, 1)], {}),
    "sigmoid": (f.logistic, [(BATCH, 4)], {}),
    "tanh": (f.hyperbolic, [(BATCH, 4)], {}),
    "silu": (f.silu, [(BATCH, 4)], {}),
    "softplus": (f.soft_plus, [(BATCH, 4)], {}),
    "relu": (f.relu, [(BATCH, 4)], {}),
    "flatten": (f.flatten, [(BATCH, 2, 3, 4)], {}),
    "transpose": (f.transpose, [(4, BATCH)], {}),
    "gather": (f.gather, [(6, 3), ("int", 6, (BATCH, 2))], {}),
    "concatenate": (f.concatenate, [(BATCH, 3), (BATCH, 2)], {}),
    "upsample": (f.upsample, [(BATCH, 2, 2, 3)], {}),
    "squared_norm": (f.squared_norm, [(BATCH, 4)], {}),
}


class Case:
    """A graph of one application, weighted by a random tensor and summed to a loss."""

    def __init__(self, name: str) -> None:
        operator, shapes, attributes = CASES[name]
        rng = np.random.default_rng(sum(map(ord, name)))
        builder = Builder()
        self.inputs, self.wrt, operands = {}, [], []
        for tensor, shape in zip(operator.tensors, shapes, strict=True):
            if shape[0] == "int":
                value = builder.input(tensor, TensorType(shape[2], f.I32))
                self.inputs[tensor] = rng.integers(0, shape[1], value.type.concrete(N))
            else:
                value = builder.input(tensor, f.tensor(*shape))
                self.inputs[tensor] = spread(value.type.concrete(N), rng)
                self.wrt.append(value)
            operands.append(value)
        self.output = builder.apply(operator, operands, attributes)
        self.weights = builder.input("weights", self.output.type)
        self.inputs["weights"] = rng.standard_normal(self.output.type.concrete(N))
        self.weighted = builder.apply(f.multiply, (self.output, self.weights))
        self.loss = builder.apply(f.total, (self.weighted,)) if self.output.type.rank else self.weighted
        self.wrt = tuple(self.wrt)
        self.graph = builder.graph((self.loss,))
        self.rng = rng

    def value(self, value, inputs=None):
        return interpret(self.graph, inputs or self.inputs, batch=N).values[value]

    def difference(self, value, direction, step=1e-5):
        """(loss(x + step·direction) - loss(x - step·direction)) / (2·step)"""

        def at(sign):
            moved = dict(self.inputs)
            moved[value.name] = moved[value.name] + sign * step * direction
            return float(self.value(self.loss, moved))

        return (at(1) - at(-1)) / (2 * step)


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_central_differences(name: str) -> None:
    case = Case(name)
    graph, found = gradients(case.graph, case.loss, case.wrt)
    verify(graph)
    values = interpret(graph, case.inputs, batch=N).values
    for w, g in zip(case.wrt, found, strict=True):
        assert values[g].shape == case.inputs[w.name].shape
        for _ in range(3):
            direction = case.rng.standard_normal(case.inputs[w.name].shape)
            expected = case.difference(w, direction)
            scale = np.linalg.norm(values[g]) * np.linalg.norm(direction)
            assert abs(float(np.sum(values[g] * direction)) - expected) <= 1e-6 * max(scale, 1e-3), w.name


@pytest.mark.parametrize("name", CASES)
def test_normalised_equals_raw(name: str) -> None:
    case = Case(name)
    short, a = gradients(case.graph, case.loss, case.wrt)
    raw, b = gradients(case.graph, case.loss, case.wrt, normalise=False)
    assert len(short.nodes) <= len(raw.nodes)
    left, right = (interpret(g, case.inputs, batch=N).values for g in (short, raw))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(left[x], right[y], rtol=1e-10, atol=1e-12)


SECOND = ["dense", "conv2d", "conv2d stride 2", "sigmoid", "softmax", "sparse_cross_entropy", "tanh",
          "layer_norm", "max_pool", "attention", "batch_norm"]  # fmt: skip


@pytest.mark.parametrize("name", SECOND)
def test_second_order_equals_differences_of_the_gradient(name: str) -> None:
    case = Case(name)
    builder = Builder(case.graph)
    vectors = tuple(builder.input(f"v_{w.name}", w.type) for w in case.wrt)
    base = builder.graph(case.graph.outputs)
    graph, products = hessian_vector_product(base, case.loss, case.wrt, vectors)
    verify(graph)
    v = {u.name: case.rng.standard_normal(u.type.concrete(N)) for u in vectors}
    values = interpret(graph, case.inputs | v, batch=N).values
    plain, first = gradients(case.graph, case.loss, case.wrt)
    step = 1e-5

    def gradient(sign):
        moved = dict(case.inputs)
        for w in case.wrt:
            moved[w.name] = moved[w.name] + sign * step * v[f"v_{w.name}"]
        result = interpret(plain, moved, batch=N).values
        return [result[g] for g in first]

    for up, down, got in zip(gradient(1), gradient(-1), products, strict=True):
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(values[got], expected, rtol=1e-5, atol=1e-7 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", CASES)
def test_dot_product_of_forward_and_reverse_mode(name: str) -> None:
    """<J t, w> = <t, Jᵀ w>"""
    case = Case(name)
    builder = Builder(case.graph)
    tangents = {w: builder.input(f"t_{w.name}", w.type) for w in case.wrt}
    base = builder.graph(case.graph.outputs)
    pushed_graph, (pushed,) = jvp(base, (case.output,), tangents)
    verify(pushed_graph)
    pulled_graph, pulled = vjp(base, {case.output: case.weights}, case.wrt)
    t = {u.name: case.rng.standard_normal(u.type.concrete(N)) for u in tangents.values()}
    forward = interpret(pushed_graph, case.inputs | t, batch=N).values[pushed]
    reverse = interpret(pulled_graph, case.inputs | t, batch=N).values
    left = float(np.sum(forward * case.inputs["weights"]))
    right = sum(float(np.sum(reverse[p] * t[f"t_{w.name}"])) for w, p in zip(case.wrt, pulled, strict=True))
    assert left == pytest.approx(right, rel=1e-10, abs=1e-12)


def test_ties_of_a_maximum_go_to_the_first() -> None:
    builder = Builder()
    x = builder.input("X", f.tensor(BATCH, 1, 3, 3))
    y = builder.apply(f.max_pool, (x,), {"kernel": 2, "stride": 1})
    loss = builder.apply(f.total, (y,))
    graph, (g,) = gradients(builder.graph((loss,)), loss, (x,))
    got = interpret(graph, {"X": np.ones((1, 1, 3, 3))}).values[g]
    np.testing.assert_array_equal(got[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_cross_entropy_gradient_is_finite_for_large_logits() -> None:
    builder = Builder()
    x = builder.input("X", TensorType((BATCH, 3)))
    labels = builder.input("L", TensorType((BATCH,), f.I32))
    loss = builder.apply(f.sparse_cross_entropy, (x, labels))
    graph, (g,) = gradients(builder.graph((loss,)), loss, (x,))
    logits = np.array([[1000, -1000, 0], [500, 500, -500]], np.float32)
    got = interpret(graph, {"X": logits, "L": np.array([1, 0])}).values[g]
    np.testing.assert_allclose(got, [[0.5, -0.5, 0], [-0.25, 0.25, 0]], atol=1e-7)


# ----------------------------------------------------------------------------------------------- whole graphs


def test_contributions_of_several_readers_are_added() -> None:
    builder = Builder()
    x = builder.input("X", f.tensor(BATCH, 2))
    loss = builder.apply(f.total, (builder.apply(f.add, (builder.apply(f.multiply, (x, x)), x)),))
    graph, (g,) = gradients(builder.graph((loss,)), loss, (x,))
    got = interpret(graph, {"X": np.array([[1.0, -2.0]])}).values[g]
    np.testing.assert_allclose(got, [[3, -3]])


def test_second_order_of_values_that_share_one_gradient() -> None:
    builder = Builder()
    a, b = builder.input("A", f.tensor(BATCH, 2)), builder.input("B", f.tensor(BATCH, 2))
    v, w = builder.input("v", a.type), builder.input("w", b.type)
    loss = builder.apply(f.squared_norm, (builder.apply(f.add, (a, b)),))
    graph, (ha, hb) = hessian_vector_product(builder.graph((loss,)), loss, (a, b), (v, w))
    verify(graph)
    data = {"A": np.ones((1, 2)), "B": np.ones((1, 2)), "v": np.array([[1.0, 2]]), "w": np.array([[3.0, 5]])}
    values = interpret(graph, data).values
    np.testing.assert_allclose(values[ha], [[8, 14]])
    np.testing.assert_allclose(values[hb], [[8, 14]])


def test_gradient_of_an_inner_value_and_of_the_loss_itself() -> None:
    builder = Builder()
    x = builder.input("X", f.tensor(BATCH, 2))
    y = builder.apply(f.logistic, (x,))
    loss = builder.apply(f.squared_norm, (y,))
    graph, (dy, dl, dx) = gradients(builder.graph((loss,)), loss, (y, loss, x))
    verify(graph)
    data = np.array([[0.5, -1.0]])
    values = interpret(graph, {"X": data}).values
    s = 1 / (1 + np.exp(-data))
    np.testing.assert_allclose(values[dy], 2 * s)
    np.testing.assert_allclose(values[dl], 1)
    np.testing.assert_allclose(values[dx], 2 * s * s * (1 - s))


def test_value_inside_an_application_can_be_asked_for() -> None:
    builder = Builder()
    x = builder.input("X", f.tensor(BATCH, 2))
    loss = builder.apply(f.total, (builder.apply(f.softmax, (x,)),))
    graph = builder.graph((loss,))
    denominator = graph.nodes[1].output
    graph, (g,) = gradients(graph, loss, (denominator,))
    verify(graph)
    data = np.array([[0.0, 1.0], [2.0, 2.0]])
    z = np.exp(data - data.max(1, keepdims=True)).sum(1)
    np.testing.assert_allclose(interpret(graph, {"X": data}).values[g], -1 / z)


def test_independent_value_has_gradient_zero() -> None:
    builder = Builder()
    x, other = builder.input("X", f.tensor(BATCH, 2)), builder.input("other", f.tensor(3))
    loss = builder.apply(f.squared_norm, (x,))
    graph, (g,) = gradients(builder.graph((loss,)), loss, (other,))
    verify(graph)
    got = interpret(graph, {"X": np.ones((1, 2)), "other": np.ones(3)}).values[g]
    np.testing.assert_array_equal(got, np.zeros(3))


def test_adjoint_nodes_name_where_they_come_from() -> None:
    builder = Builder()
    x, w = builder.input("X", f.tensor(BATCH, 3)), builder.parameter("W", f.tensor(2, 3))
    y = builder.apply(f.dense, (x, w), scope="layer1")
    loss = builder.apply(f.squared_norm, (y,))
    graph, _ = gradients(builder.graph((loss,)), loss, (x, w))
    made = [n for n in graph.nodes if n.origin == y.id]
    assert sorted(n.operator for n in made) == ["adjoint dense/W", "adjoint dense/X"]
    assert {n.scope for n in made} == {"layer1"}
    assert len({n.call for n in made}) == 1


def test_second_layer_of_one_shape_costs_no_derivation() -> None:
    from graphc.autodiff.adjoint import adjoint

    builder = Builder()
    x = builder.input("X", f.tensor(BATCH, 7))
    h = x
    for k in range(4):
        h = builder.apply(f.dense, (h, builder.parameter(f"W{k}", f.tensor(7, 7))))
    loss = builder.apply(f.squared_norm, (h,))
    adjoint.cache_clear()
    gradients(builder.graph((loss,)), loss, tuple(builder.parameters))
    # the loss, the three upper layers (both operands wanted), and the first (its weight alone)
    assert adjoint.cache_info().misses == 3


def test_errors_say_what_was_expected() -> None:
    builder = Builder()
    table, rows = builder.input("E", f.tensor(4, 2)), builder.input("L", TensorType((BATCH, 1), f.I32))
    y = builder.apply(f.gather, (table, rows))
    loss = builder.apply(f.total, (y,))
    graph = builder.graph((loss,))
    with pytest.raises(DerivativeError, match=r"%L is i32\[N,1\]; integers have no derivative"):
        gradients(graph, loss, (rows,))
    with pytest.raises(DerivativeError, match=r"expected a scalar"):
        gradients(graph, y, (table,))
    with pytest.raises(DerivativeError, match=r"cotangent of .* expected"):
        gradients(graph, y, (table,), table)
    with pytest.raises(GraphError, match="not a value of this graph"):
        gradients(graph, loss, (Builder().input("stranger", f.tensor(2)),))
