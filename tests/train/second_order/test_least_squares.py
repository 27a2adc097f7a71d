"""Gauss-Newton and Levenberg-Marquardt against certified optima, published optima, scipy and dense formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError, GraphError, NonFiniteError
from graphc.train.second_order import GaussNewton, LevenbergMarquardt, Minimiser
from tests.curves import BOXBOD, CURVES, MGH10, RAT42, Curve

ONE_START = (BOXBOD, MGH10)
"""The first start of these leads into a plateau (as it leads scipy) and along a valley of thousands of iterations."""


def fitting(curve: Curve, optimizer: Minimiser) -> tuple[gc.Parameter, Any]:
    b = gc.Parameter("b", (len(curve.certified),), "zeros", "float64")
    x, y = (gc.input(name, (gc.BATCH,), "float64") for name in "xy")
    prediction = curve.model([b[k] for k in range(len(curve.certified))], x, gc.exp)
    return b, gc.compile_training(prediction - y, optimizer=optimizer, threads=1)


def check_certified(curve: Curve, b: gc.Parameter, program: Any) -> None:
    assert program.converged
    squares = 2 * program.step(x=curve.x, y=curve.y)["loss"]
    assert squares == pytest.approx(curve.squares, rel=1e-10)
    np.testing.assert_allclose(b.value, curve.certified, rtol=1e-6)


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_levenberg_marquardt_reaches_the_certified_optimum(curve):
    b, program = fitting(curve, LevenbergMarquardt(iterations=200))
    fresh = program.state_dict()
    for start in curve.starts[1:] if curve in ONE_START else curve.starts:
        program.load_state_dict({**fresh, "b": np.array(start, float)})
        first = program.step(x=curve.x, y=curve.y)["loss"]
        residuals = curve.model(np.array(start, float), curve.x, np.exp) - curve.y
        assert first == pytest.approx((residuals**2).sum() / 2, rel=1e-12)
        check_certified(curve, b, program)


def test_gauss_newton_reaches_the_certified_optimum():
    b, program = fitting(RAT42, GaussNewton(iterations=100))
    for start in RAT42.starts:
        b.value = np.array(start, float)
        program.step(x=RAT42.x, y=RAT42.y)
        check_certified(RAT42, b, program)


# ------------------------------------------------------------------ Moré, Garbow and Hillstrom 1981

TIMES = np.arange(1, 21) / 5
TENTHS = np.arange(1, 11) / 10


def stack(m: Any, parts: Sequence[Any]) -> Any:
    return gc.stack(list(parts), axis=0) if m is gc else np.stack(parts)


Residuals = Callable[[Any, Any, Any], Any]
"""Of the module gc or numpy, the parameters, and the constants."""

PROBLEMS: dict[str, tuple[Residuals, Any, tuple[float, ...], float]] = {
    "Rosenbrock": (lambda m, x, t: stack(m, [10 * (x[1] - x[0] ** 2), 1 - x[0]]), None, (-1.2, 1), 0.0),
    "Freudenstein and Roth": (
        lambda m, x, t: stack(
            m, [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]]
        ),
        None,
        (0.5, -2),
        48.98425368,
    ),
    "Powell singular": (
        lambda m, x, t: stack(
            m,
            [
                x[0] + 10 * x[1],
                5**0.5 * (x[2] - x[3]),
                (x[1] - 2 * x[2]) ** 2,
                10**0.5 * (x[0] - x[3]) ** 2,
            ],
        ),
        None,
        (3, -1, 0, 1),
        0.0,
    ),
    "Box three-dimensional": (
        lambda m, x, t: m.exp(-x[0] * t) - m.exp(-x[1] * t) - x[2] * (m.exp(-t) - m.exp(-10 * t)),
        TENTHS,
        (0, 10, 20),
        0.0,
    ),
    "Brown and Dennis": (
        lambda m, x, t: (x[0] + t * x[1] - m.exp(t)) ** 2 + (x[2] + x[3] * m.sin(t) - m.cos(t)) ** 2,
        TIMES,
        (25, 5, -5, -1),
        85822.20162635,
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_levenberg_marquardt_reaches_the_optimum_of_scipy(name):
    optimize = pytest.importorskip("scipy.optimize")
    residuals, constants, start, published = PROBLEMS[name]
    x = gc.Parameter("x", (len(start),), lambda shape, generator: np.array(start, float), "float64")
    t = None if constants is None else gc.input("t", (gc.BATCH,), "float64")
    found = residuals(gc, [x[k] for k in range(len(start))], t)
    program = gc.compile_training(found, optimizer=LevenbergMarquardt(iterations=300, tolerance_grad=0), threads=1)
    given = {} if t is None else {"t": constants}
    program.step(**given)
    cost = program.step(**given)["loss"]
    peer = optimize.least_squares(
        lambda z: residuals(np, z, constants), np.array(start, float), method="lm", xtol=1e-13, ftol=1e-13, gtol=1e-13
    )
    assert 2 * cost == pytest.approx(published, rel=1e-9, abs=1e-18)
    assert cost == pytest.approx(peer.cost, rel=1e-10, abs=1e-18)
    # at a singular minimum, and where the sum of squares is flat, parameters are not as exact as the cost
    np.testing.assert_allclose(x.value, peer.x, rtol=1e-4, atol=1e-4)


# ----------------------------------------------------------------------------------------- the method


def test_a_linear_problem_takes_two_steps_in_float32_and_single_products_are_those_of_the_jacobian():
    random = np.random.default_rng(3)
    a, y = random.normal(size=(30, 4)).astype("f4"), random.normal(size=(30, 2)).astype("f4")
    x, target = gc.input("x", (gc.BATCH, 4)), gc.input("y", (gc.BATCH, 2))
    w = gc.Parameter("w", (4, 2), 0.5)
    program = gc.compile_training(x @ w - target, optimizer=LevenbergMarquardt(damping=1e-8), threads=1)
    program.step(x=a, y=y)
    program.step(x=a, y=y)
    best = np.linalg.lstsq(a.astype(float), y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(w.value, best, atol=2e-6)
    v = random.normal(size=(4, 2))
    product, square = program._product(v.ravel(), {"x": a, "y": y})
    np.testing.assert_allclose(product, (a.T.astype(float) @ a @ v).ravel(), rtol=1e-4, atol=1e-4)
    assert square == pytest.approx(((a @ v) ** 2).sum(), rel=1e-4)


def test_a_trial_without_a_value_is_rejected_and_a_start_without_one_is_an_error():
    b = gc.Parameter("b", (1,), 10.0, "float64")
    x = gc.input("x", (gc.BATCH,), "float64")
    program = gc.compile_training(gc.log(b * x), optimizer=LevenbergMarquardt(damping=1e-9, iterations=50), threads=1)
    data = np.linspace(1, 2, 7)
    program.step(x=data)  # the first trial is near -13
    assert program.evaluations > program.iterations + 1
    assert b.value[0] == pytest.approx(np.exp(-np.log(data).mean()), rel=1e-9)
    with pytest.raises(NonFiniteError, match="log"):
        program.step(x=-data)


def test_outputs_make_the_generalised_matrix_of_a_cross_entropy():
    random = np.random.default_rng(5)
    a, labels = random.normal(size=(60, 3)), random.integers(0, 3, 60)
    x, y = gc.input("x", (gc.BATCH, 3), "float64"), gc.input("y", (gc.BATCH,), "int64")
    w = gc.Parameter("w", (3, 3), lambda shape, generator: random.normal(size=shape), "float64")
    logits = x @ w
    optimizer = LevenbergMarquardt(iterations=30)
    program = gc.compile_training(gc.cross_entropy(logits, y), optimizer=optimizer, outputs=logits, threads=1)
    odds = np.exp(a @ w.value)
    p = odds / odds.sum(axis=1, keepdims=True)
    blocks = np.einsum("na,ac->nac", p, np.eye(3)) - np.einsum("na,nc->nac", p, p)
    dense = np.einsum("ni,nac,nj->iajc", a, blocks, a).reshape(9, 9) / 60
    v = random.normal(size=9)
    product, square = program._product(v, {"x": a, "y": labels})
    np.testing.assert_allclose(product, dense @ v, rtol=1e-10, atol=1e-12)
    assert square == pytest.approx(v @ dense @ v, rel=1e-10)
    program.step(x=a, y=labels)
    odds = np.exp(a @ w.value)
    gradient = a.T @ (odds / odds.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / 60
    assert program.converged
    assert np.abs(gradient).max() < 1e-7
    assert program.iterations < 15


def test_fit_takes_a_model_with_a_loss_by_name():
    random = np.random.default_rng(6)
    a = random.uniform(-2, 2, (80, 1)).astype("f4")
    target = np.sin(2 * a)
    x = gc.input("x", (gc.BATCH, 1))
    prediction = gc.Sequential(gc.Dense(8, "tanh"), gc.Dense(1))(x)
    model = gc.Model(prediction, loss="mse")
    history = model.fit(a, target, optimizer=LevenbergMarquardt(), epochs=40, batch_size=80, threads=1, verbose=0)
    assert history["loss"][-1] < 1e-4
    assert model.evaluate(a, target)["loss"] == pytest.approx(((model.predict(a) - target) ** 2).mean(), rel=1e-3)


def test_errors_say_what_to_do():
    w = gc.Parameter("w", (2,), 1.0)
    with pytest.raises(GraphError, match=r"needs residuals, got a scalar(.|\n)*outputs=prediction"):
        gc.compile_training((w**2).sum(), optimizer=LevenbergMarquardt())
    with pytest.raises(GraphError, match=r"does not depend on(.|\n)*logits rather than probabilities"):
        gc.compile_training((w**2).sum(), optimizer=GaussNewton(), outputs=gc.softmax(w, axis=0))
    for wrong in ({"damping": 0}, {"cg_iterations": 0}, {"tolerance_change": float("nan")}, {"iterations": -1}):
        with pytest.raises(GraphcError, match=next(iter(wrong))):
            LevenbergMarquardt(**wrong)
