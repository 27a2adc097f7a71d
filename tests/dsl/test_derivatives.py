"""Derivatives as tensors: against closed forms, another framework and differences; inside of a loss that is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.errors import DerivativeError, GraphError, ShapeError
from graphc.graph.interpreter import interpret
from graphc.graph.verifier import verify
from graphc.study.check import check_gradients, in_float64
from graphc.study.gradients import compile_gradients

Array = np.ndarray
RANDOM = np.random.default_rng(0)
X, V = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(3, 4))
W, U = RANDOM.normal(size=(5, 4)), RANDOM.normal(size=(5, 4))
C = RANDOM.normal(size=(3, 5))


def holding(name: str, value: Array, **options: Any) -> gc.Parameter:
    parameter = gc.Parameter(name, value.shape, dtype="float64", **options)
    parameter.value = value
    return parameter


def run(outputs: Any, **arrays: Array) -> list[Array]:
    """The outputs by the interpreter; arrays that the outputs do not need are left out."""
    traced = trace(outputs)
    verify(traced.graph)
    inputs = {name: arrays[name] for name in traced.inputs}
    parameters = {name: p.value for name, p in traced.parameters.items()}
    return list(interpret(traced.graph, inputs, parameters).outputs)


@pytest.fixture
def x() -> Tensor:
    return gc.input("x", (3, 4), "float64")


def test_all_derivatives_natively_against_another_framework(x: Tensor) -> None:
    torch = pytest.importorskip("torch")
    w, v, u, c = holding("w", W), gc.input("v", (3, 4), "float64"), holding("u", U), holding("c", C)
    hidden = gc.dense(x, w)
    y = gc.tanh(hidden)
    loss = (gc.log_softmax(y) ** 2).sum()
    outputs = {
        "gradient": gc.gradient(loss, x),
        "gradient by an intermediate value": gc.gradient(loss, hidden),
        "vjp": gc.vjp(y, [w], [c])[0],
        "jvp": gc.jvp(y, [x, w], [v, u]),
        "hvp": gc.hessian_vector_product(loss, x, v),
        "hvp, two": gc.hessian_vector_product(loss, (x, w), (v, u))[1],
        "jacobian": gc.jacobian(y, x),
        "jacobian, several": gc.jacobian([loss, y], [w, x])[1][0],
        "hessian": gc.hessian(loss, x),
        "hessian, several": gc.hessian(loss, [x, w])[0][1],
    }
    got = gc.compile_inference(outputs)(x=X, v=V)

    def f(x: Any, w: Any) -> Any:
        return torch.tanh(x @ w.T)

    def cost(x: Any, w: Any) -> Any:
        return decided(f(x, w))

    def decided(y: Any) -> Any:
        return (torch.log_softmax(y, 1) ** 2).sum()

    A = torch.autograd.functional
    X_, V_, W_, U_, C_ = map(torch.tensor, (X, V, W, U, C))
    both = X_, W_
    expected = {
        "gradient": A.jacobian(cost, both)[0],
        "gradient by an intermediate value": A.jacobian(lambda h: decided(torch.tanh(h)), X_ @ W_.T),
        "vjp": A.vjp(f, both, C_)[1][1],
        "jvp": A.jvp(f, both, (V_, U_))[1],
        "hvp": A.hvp(lambda x: cost(x, W_), X_, V_)[1],
        "hvp, two": A.hvp(cost, both, (V_, U_))[1][1],
        "jacobian": A.jacobian(f, both)[0],
        "jacobian, several": A.jacobian(f, both)[1],
        "hessian": A.hessian(cost, both)[0][0],
        "hessian, several": A.hessian(cost, both)[0][1],
    }
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-11, atol=1e-12, err_msg=name)


def test_closed_forms(x: Tensor) -> None:
    v = gc.input("v", (3, 4), "float64")
    cube = (x**3).sum()
    once = gc.gradient(cube, x)
    twice = gc.gradient(once.sum(), x)
    thrice = gc.gradient(twice.sum(), x)
    got = run([once, twice, thrice, gc.hessian_vector_product(cube, x, v)], x=X, v=V)
    for a, b in zip(got, [3 * X**2, 6 * X, np.full((3, 4), 6.0), 6 * X * V], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_where_nothing_depends_the_derivative_is_zero(x: Tensor) -> None:
    other = gc.input("other", (2,), "float64")
    v = gc.input("v", (2,), "float64")
    asked = [
        gc.gradient((x**2).sum(), other),
        gc.jacobian(x.sum(0), other),
        gc.jvp(x * 2.0, other, v),
        *gc.hessian(x.sum(), [x, other]),
    ]
    flat = [t for a in asked for t in (a if isinstance(a, tuple) else (a,))]
    got = run(flat, x=X, other=np.ones(2), v=np.ones(2))
    shapes = [(2,), (4, 2), (3, 4), (3, 4, 3, 4), (3, 4, 2), (2, 3, 4), (2, 2)]
    assert [a.shape for a in got] == shapes
    assert not any(a.any() for a in got)


def test_one_tensor_gives_one_several_give_a_tuple(x: Tensor) -> None:
    loss = (x**2).sum()
    assert gc.gradient(loss, x).shape == (3, 4)
    assert [t.shape for t in gc.gradient(loss, [x, loss])] == [(3, 4), ()]
    assert gc.jacobian([loss, x], x)[1].shape == (3, 4, 3, 4)
    (seed,) = run(gc.gradient(loss, [x, loss])[1], x=X)
    assert seed == 1


def test_a_tensor_that_is_named_twice_counts_twice(x: Tensor) -> None:
    """∂y/∂x·t + ∂y/∂x·t, as for two names of one value."""
    again = gc.input("x", (3, 4), "float64")
    v = gc.input("v", (3, 4), "float64")
    pushed = gc.jvp(x**2, [x, again], [v, v])
    pulled = gc.vjp([x**2, x], x, [v, v])
    got = run([pushed, pulled], x=X, v=V)
    np.testing.assert_allclose(got[0], 4 * X * V)
    np.testing.assert_allclose(got[1], 2 * X * V + V)


def test_the_batch_may_be_an_axis_of_what_is_derived_by() -> None:
    x = gc.input("x", (gc.BATCH, 4), "float64")
    mean = gc.jacobian((x**2).mean(0), x)
    assert mean.shape == (4, gc.BATCH, 4)
    (got,) = run(mean, x=X)
    np.testing.assert_allclose(got, np.einsum("nj,ij->inj", 2 * X / 3, np.eye(4)))


def test_jacobians_of_windows_and_of_what_is_selected() -> None:
    """Maxima, gathers and convolutions have formulas with conditions, floors and integer reads: they are lifted too."""
    x = gc.input("x", (1, 2, 5, 4), "float64")
    images = np.random.default_rng(3).normal(size=(1, 2, 5, 4))
    y = gc.max_pool2d(gc.conv2d(x, holding("k", np.random.default_rng(4).normal(size=(3, 2, 3, 3))), padding=1), 2)
    v = gc.input("v", (1, 2, 5, 4), "float64")
    got, pushed = run([gc.jacobian(y, x), gc.jvp(y, x, v)], x=images, v=images * 0.7)
    np.testing.assert_allclose(np.tensordot(got, images * 0.7, 4), pushed, rtol=1e-12)
    logits, labels = gc.input("x", (3, 4), "float64"), gc.input("labels", (3,), "int64")
    (got,) = run(
        gc.jacobian(gc.cross_entropy(logits, labels, reduction="none"), logits), x=X, labels=np.array([1, 1, 3])
    )
    probability = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    expected = np.einsum("nm,nk->nmk", np.eye(3), probability - np.eye(4)[[1, 1, 3]])
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


def test_a_gradient_is_derived_from_the_stable_form() -> None:
    x = gc.input("x", (2,), "float64")
    naive = [-gc.log(gc.sigmoid(x)), gc.log(1 + gc.exp(x)), gc.log(gc.softmax(x))]
    got = gc.compile_inference([gc.gradient(y.sum(), x) for y in naive])(x=np.array([1e4, -1e4]))
    np.testing.assert_allclose(got, [[0, -1], [1, 0], [-1, 1]], atol=1e-300)


# --------------------------------------------------------------------------------------------- in a loss


def critic(x: Tensor) -> Tensor:
    draws = np.random.default_rng(5).normal(size=(5, 6)) / 2
    return gc.dense(gc.tanh(gc.dense(x, holding("a", draws[:4].T))), holding("b", draws[4:]))


def penalty(x: Tensor) -> Tensor:
    """The critic's slope should have the length 1 (WGAN-GP)."""
    slope = gc.gradient(critic(x).sum(), x)
    return (((slope**2).sum(1) ** 0.5 - 1) ** 2).mean()


def test_a_gradient_penalty_trains() -> None:
    x = gc.input("x", (gc.BATCH, 4), "float64")
    training = gc.compile_training(penalty(x), optimizer=gc.SGD(0.5), threads=2)
    losses = [training.step(x=X)["loss"] for _ in range(60)]
    assert losses[-1] < 0.02 * losses[0]
    # the weights that were found give slopes of length 1 by differences of the critic
    a, b = (training.parameters[n].value for n in ("a", "b"))
    slopes = (b * (1 - np.tanh(X @ a.T) ** 2)) @ a
    np.testing.assert_allclose(np.linalg.norm(slopes, axis=1), 1, atol=0.1)


def test_a_gradient_penalty_has_the_gradient_of_another_framework() -> None:
    torch = pytest.importorskip("torch")
    x = gc.input("x", (gc.BATCH, 4), "float64")
    program = compile_gradients(penalty(x))
    value, found = program(x=X)
    points = torch.tensor(X, requires_grad=True)
    a, b = (torch.tensor(program.program.parameters[n].value, requires_grad=True) for n in ("a", "b"))
    score = torch.tanh(points @ a.T) @ b.T
    (slope,) = torch.autograd.grad(score.sum(), points, create_graph=True)
    expected = ((slope.norm(dim=1) - 1) ** 2).mean()
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(found["a"], a.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(found["b"], b.grad.numpy(), rtol=1e-10)


def test_a_loss_with_a_gradient_can_be_checked_in_float64() -> None:
    x = gc.input("x", (3, 4))
    weight = gc.Parameter("w", (2, 4))
    weight.value = W[:2].astype(np.float32)
    loss = (gc.gradient((gc.dense(x, weight) ** 3).sum(), x) ** 2).mean()
    wide = in_float64(loss)
    assert wide.dtype is gc.DType.FLOAT64
    report = check_gradients(wide, {"x": X})
    assert report.ok, report


def test_derivatives_go_through_recurrences() -> None:
    """A Hessian-vector product and a Jacobian of an LSTM."""
    torch = pytest.importorskip("torch")
    x, v = gc.input("x", (2, 3, 4), "float64"), gc.input("v", (2, 3, 4), "float64")
    y, (h, _) = gc.LSTM(3, name="lstm")(x)
    traced = trace([gc.hessian_vector_product((y**3).sum(), x, v), gc.jacobian(h, x)])
    weights = {n: np.random.default_rng(len(n)).normal(size=p.shape) for n, p in traced.parameters.items()}
    arrays = {n: np.random.default_rng(k).normal(size=(2, 3, 4)) for k, n in enumerate("xv")}
    product, rows = interpret(traced.graph, arrays, weights).outputs
    lstm = torch.nn.LSTM(4, 3, batch_first=True).double()
    lstm.load_state_dict({n.removeprefix("lstm."): torch.tensor(w) for n, w in weights.items()})
    at, along = (torch.tensor(arrays[n]) for n in "xv")
    expected = torch.autograd.functional.hvp(lambda t: (lstm(t)[0] ** 3).sum(), at, along)[1]
    np.testing.assert_allclose(product, expected, rtol=1e-9, atol=1e-12)
    expected = torch.autograd.functional.jacobian(lambda t: lstm(t)[1][0], at)
    np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-12)


# ----------------------------------------------------------------------------------------------- refusals


def test_what_has_no_derivative_is_refused_with_the_users_line(x: Tensor) -> None:
    labels = gc.input("labels", (3,), "int64")
    batched = gc.input("batched", (gc.BATCH, 4), "float64")
    wrong = gc.input("v", (4, 3), "float64")
    for call, error, message in (
        (lambda: gc.gradient(x, x), DerivativeError, r"the loss has shape \(3, 4\), expected a scalar"),
        (lambda: gc.gradient(x.sum(), labels), DerivativeError, "holds integers, which have no derivative"),
        (lambda: gc.jacobian(labels, x), DerivativeError, "holds integers"),
        (lambda: gc.jacobian(batched, x), DerivativeError, r"an output of shape \(N, 4\) would have the batch twice"),
        (lambda: gc.hessian((batched**2).sum(), batched), DerivativeError, "would have the batch twice"),
        (lambda: gc.vjp(x, x, wrong), ShapeError, r"cotangent 0 is f64\[4,3\], expected f64\[3,4\] like its output"),
        (lambda: gc.jvp(x, x, [x, x]), ShapeError, "got 2 tangents for 1 wrt"),
        (lambda: gc.gradient(x.sum(), []), GraphError, "wrt is empty"),
        (lambda: gc.gradient(x.sum(), [X]), GraphError, "wrt must be tensors, got ndarray"),
    ):
        with pytest.raises(error, match=message) as caught:
            call()
        assert str(caught.value).startswith(__file__)
