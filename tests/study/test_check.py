"""Compiled gradients against analysis by hand, and the checker against gradients that are right and wrong."""

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.errors import DerivativeError, DTypeError, GraphError
from graphc.models import mlp
from graphc.study import check
from graphc.study.check import DotProduct, check_dot_product, check_gradients, compile_gradients, in_float64

RANDOM = np.random.default_rng(3)
X, C = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 2))
W = RANDOM.normal(size=(3, 2))


def parameter(name, value, **options):
    p = Parameter(name, np.shape(value), "zeros", "float64", **options)
    p.value = np.asarray(value, dtype=np.float64)
    return p


@pytest.fixture
def leaves():
    x, c = gc.input("x", (gc.BATCH, 3), "float64"), gc.input("c", (gc.BATCH, 2), "float64")
    return x, c, parameter("w", W)


def test_gradients_of_a_layer_pulled_back_by_a_cotangent(leaves):
    x, c, w = leaves
    program = compile_gradients(gc.tanh(x @ w), cotangents=[c], wrt=[w, x])
    y, grads = program(x=X, c=C)
    expected = np.tanh(X @ W)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert list(grads) == ["w", "x"]
    np.testing.assert_allclose(grads["w"], X.T @ (C * (1 - expected**2)), rtol=1e-12)
    np.testing.assert_allclose(grads["x"], (C * (1 - expected**2)) @ W.T, rtol=1e-12)


def test_several_outputs_by_name_are_summed(leaves):
    x, _, w = leaves
    program = compile_gradients({"a": (x @ w).sum(), "b": (x * x).sum()}, wrt=[x])
    y, grads = program(x=X)
    assert list(y) == ["a", "b"]
    np.testing.assert_allclose([y["a"], y["b"]], [(X @ W).sum(), (X * X).sum()], rtol=1e-12)
    np.testing.assert_allclose(grads["x"], W.sum(axis=1) + 2 * X, rtol=1e-12)


def test_trainable_parameters_are_the_default(leaves):
    x, _, w = leaves
    frozen = parameter("frozen", W, trainable=False)
    program = compile_gradients([(x @ (w * frozen)).sum()])
    (y,), grads = program(x=X)
    np.testing.assert_allclose(y, (X @ (W * W)).sum(), rtol=1e-12)
    assert list(grads) == ["w"]
    np.testing.assert_allclose(grads["w"], X.sum(axis=0)[:, None] * W, rtol=1e-12)


def test_a_gradient_can_be_the_cotangent_itself(leaves):
    _, c, _ = leaves
    z = gc.input("z", (gc.BATCH, 2), "float64")
    b = parameter("b", np.ones(2))
    y, grads = compile_gradients(z + b, cotangents={"0": c}, wrt=[z, b])(z=X[:, :2], c=C)
    np.testing.assert_array_equal(y, X[:, :2] + 1)
    np.testing.assert_array_equal(grads["z"], C)
    np.testing.assert_allclose(grads["b"], C.sum(axis=0), rtol=1e-12)


def test_what_cannot_be_differentiated(leaves):
    x, c, w = leaves
    labels = gc.input("labels", (gc.BATCH,), "int64")
    with pytest.raises(DerivativeError, match="no cotangent"):
        compile_gradients(x @ w)
    with pytest.raises(DerivativeError, match=r"cotangent of output 0 is f64\[N,2\], expected f64\[N,3\]"):
        compile_gradients(x * x, cotangents=[c])
    with pytest.raises(GraphError, match="cotangent q without an output"):
        compile_gradients(x.sum(), cotangents={"q": c})
    with pytest.raises(GraphError, match="is not an input or parameter of the outputs") as error:
        compile_gradients((x @ w).sum(), wrt=[c])
    assert error.value.hint.endswith("x, w")
    with pytest.raises(DerivativeError, match="integers have no derivative"):
        compile_gradients(gc.cross_entropy(x @ w, labels), wrt=[labels])
    with pytest.raises(GraphError, match="no outputs"):
        compile_gradients([])


@pytest.fixture(scope="module")
def classifier():
    model = mlp((1, 3, 3), (5,), 4, dtype="float64")
    generator = np.random.default_rng(0)
    return model, {"images": generator.normal(size=(6, 1, 3, 3)), "labels": generator.integers(4, size=6)}


def test_right_gradients_agree(classifier):
    model, arrays = classifier
    report = check_gradients(model.loss, arrays, samples=6)
    assert report.ok, report
    assert set(report.errors) == {"hidden1.weight", "hidden1.bias", "output.weight", "output.bias"}
    assert max(report.errors.values()) < 1e-7
    assert [row.checked for row in report.rows] == [6, 5, 6, 4]
    assert "gradients agree with central differences" in str(report)


def test_inputs_are_checked_too_and_nothing_is_changed(classifier):
    model, arrays = classifier
    before = {k: a.copy() for k, a in arrays.items()}
    parameters = compile_gradients(model.loss).program.parameters
    values = {name: p.value.copy() for name, p in parameters.items()}
    report = check_gradients(model.loss, arrays, parameters=[model.images, parameters["output.bias"]], samples=4)
    assert report.ok, report
    assert list(report.errors) == ["images", "output.bias"]
    for name, a in before.items():
        np.testing.assert_array_equal(arrays[name], a)
    for name, value in values.items():
        np.testing.assert_array_equal(parameters[name].value, value)


def test_a_wrong_gradient_is_found(classifier, monkeypatch):
    model, arrays = classifier

    class Wrong:
        def __init__(self, *given, **options):
            self.right = compile_gradients(*given, **options)
            self.wrt, self.program = self.right.wrt, self.right.program

        def __call__(self, **fed):
            y, grads = self.right(**fed)
            return y, {**grads, "hidden1.bias": grads["hidden1.bias"] * (1 + 1e-4)}

    monkeypatch.setattr(check, "compile_gradients", Wrong)
    report = check_gradients(model.loss, arrays, samples=5)
    assert not report.ok
    assert {n for n, e in report.errors.items() if e > 1e-6} == {"hidden1.bias"}
    assert report.errors["hidden1.bias"] == pytest.approx(1e-4, rel=1e-2)
    assert "WRONG at [" in str(report)
    assert "DISAGREE" in str(report)


def test_kinks_are_counted_and_left_out():
    w = parameter("w", [0.5, 0.0, -1.0, 2e-5, 3.0])
    report = check_gradients(gc.relu(w).sum(), {}, parameters=[w])
    (row,) = report.rows
    assert (row.checked, row.kinks) == (3, 2)
    assert report.ok, report
    alone = parameter("alone", [0.0])
    report = check_gradients(gc.abs(alone).sum(), {})
    assert not report.ok
    assert "NOT CHECKED" in str(report)


def test_a_curved_loss_is_no_kink():
    w = parameter("w", [1.0, -2.0, 30.0])
    report = check_gradients(gc.exp(w * w * 0.01).sum(), {})
    assert [(row.checked, row.kinks) for row in report.rows] == [(3, 0)]
    assert report.ok, report


def test_float32_is_refused_and_has_a_way_out():
    model = mlp((1, 2, 2), (3,), 2)
    arrays = {"images": RANDOM.normal(size=(4, 1, 2, 2)), "labels": np.array([0, 1, 1, 0])}
    with pytest.raises(DTypeError, match="the loss is float32") as error:
        check_gradients(model.loss, arrays)
    assert 'dtype="float64"' in error.value.hint
    wide = in_float64(model.loss)
    report = check_gradients(wide, arrays, samples=3)
    assert report.ok, report
    single, _ = compile_gradients(model.loss)(**arrays)
    assert single.dtype == np.float32
    np.testing.assert_allclose(report.loss, single, rtol=1e-5)


def test_a_loss_that_is_not_finite_is_not_checked():
    w = parameter("w", [-1.0])
    with pytest.raises(GraphError, match="there is no gradient to check"), np.errstate(all="ignore"):
        check_gradients(gc.log(w).sum(), {})


def test_dot_products_agree(classifier):
    model, arrays = classifier
    product = check_dot_product(model.logits, {"images": arrays["images"]}, seed=1)
    assert product.ok, product
    assert abs(product.forward) > 1e-3
    by_input = check_dot_product(model.logits, {"images": arrays["images"]}, wrt=[model.images])
    assert by_input.ok, by_input
    assert not DotProduct(1.0, 1.0 + 1e-6).ok
    assert "DISAGREE" in str(DotProduct(1.0, 2.0))
    with pytest.raises(DTypeError, match="needs float64"):
        check_dot_product(mlp((1, 2, 2), (3,), 2).logits, {})


def test_the_pushed_forward_direction_is_the_matrix_of_a_linear_map(leaves):
    x, _, w = leaves
    product = check_dot_product(x @ w, {"x": X}, wrt=[x], seed=7)
    generator = np.random.default_rng(7)
    v, cotangent = generator.standard_normal((5, 3)), generator.standard_normal((5, 2))
    assert product.forward == pytest.approx(float(np.vdot(v @ W, cotangent)), rel=1e-12)
    assert product.backward == pytest.approx(float(np.vdot(v @ W, cotangent)), rel=1e-12)
