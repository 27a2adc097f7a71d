"""L-BFGS: Rosenbrock's valley against scipy, logistic regression, state, threads, fit."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DataError, GraphcError, GraphError, InputError, NonFiniteError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 5))
Y = (X @ [1, -2, 0.5, 0, 3] + RANDOM.normal(size=200) > 0).astype(np.int64)


def rosenbrock(n: int) -> tuple[gc.Parameter, gc.Tensor]:
    w = gc.Parameter("w", (n,), lambda shape, generator: np.tile([-1.2, 1.0], n // 2), "float64")
    return w, (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()


@pytest.mark.parametrize("n", [2, 100])
def test_rosenbrock_with_about_as_many_evaluations_as_scipy(n):
    optimize = pytest.importorskip("scipy.optimize")
    w, loss = rosenbrock(n)
    program = gc.compile_training(loss, optimizer=gc.LBFGS(iterations=5000, tolerance_change=0.0), threads=1)
    assert program.step()["loss"] == pytest.approx(optimize.rosen(np.tile([-1.2, 1.0], n // 2)))
    options = {"ftol": 1e-15, "gtol": 1e-7, "maxiter": 5000, "maxfun": 10000}
    peer = optimize.minimize(
        optimize.rosen, np.tile([-1.2, 1.0], n // 2), jac=optimize.rosen_der, method="L-BFGS-B", options=options
    )
    assert "gradient" in program.converged
    np.testing.assert_allclose(w.value, 1, rtol=1e-6)
    assert program.evaluations <= 1.5 * peer.nfev


def logistic() -> gc.Tensor:
    x, y = gc.input("x", (gc.BATCH, 5), "float64"), gc.input("y", (gc.BATCH,), "int64")
    scores = gc.Dense(2, name="scores")(x)
    return gc.cross_entropy(scores, y)


def test_logistic_regression_finds_the_optimum_whatever_the_threads_and_the_interruptions():
    loss = logistic()
    runs = []
    for threads, stop in ((1, 0), (2, 3)):
        program = gc.compile_training(loss, optimizer=gc.LBFGS(history=4, tolerance_change=0.0), threads=threads)
        if runs:
            program.load_state_dict(runs[0][0])
        before, losses = program.state_dict(), []
        while not program.converged and program.steps < 60:
            losses.append(program.step(x=X, y=Y)["loss"])
            if program.steps == stop:  # goes on from a state in another program
                state = program.state_dict()
                program.step(x=X[:50], y=Y[:50])
                program.load_state_dict(state)
        runs.append((before, losses, program.state_dict()))
    assert runs[0][1] == runs[1][1]
    for name, value in runs[0][2].items():
        assert value.tobytes() == runs[1][2][name].tobytes(), name
    assert np.all(np.diff(runs[0][1]) < 0)
    weight, bias = (runs[0][2][f"scores.{name}"] for name in ("weight", "bias"))
    scores = X @ weight + bias if weight.shape == (5, 2) else X @ weight.T + bias
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[Y]
    assert np.abs(X.T @ error).max() / len(X) < 1e-7
    with pytest.raises(DataError, match="missing: /steps"):
        program.load_state_dict({k: v for k, v in state.items() if k != "/steps"})


def test_float32_ends_where_rounding_hides_the_progress_and_fit_ends_there():
    x, y = gc.input("x", (gc.BATCH, 5)), gc.input("y", (gc.BATCH,), "int64")
    scores = gc.Dense(2, name="scores")(x)
    model = gc.Model(scores, loss=gc.cross_entropy(scores, y), x="x", y="y")
    optimizer = gc.LBFGS(iterations=5, tolerance_grad=0.0)
    history = model.fit(X.astype("f4"), Y, optimizer=optimizer, epochs=50, batch_size=200, threads=1, verbose=0)
    program = model.program
    assert program.converged in history.message
    assert len(history["loss"]) == program.steps < 50
    assert history["loss"][-1] < history["loss"][0] / 4
    exact = gc.compile_training(logistic(), optimizer=gc.LBFGS(iterations=100), threads=1)
    exact.step(x=X, y=Y)
    assert history["loss"][-1] == pytest.approx(exact.step(x=X, y=Y)["loss"], rel=1e-5)
    parts = list(program.segments({"x": X.astype("f4"), "y": Y}, 80, order=np.arange(200)[::-1]))
    assert [part.samples.tolist() for part in parts] == [[80], [80], [40]]


def test_running_averages_follow_each_step_once_and_random_numbers_move_on():
    x = gc.input("x", (gc.BATCH, 3), "float64")
    norm = gc.BatchNorm1d(name="norm")
    loss = (gc.Dropout(0.5)(norm(x)) ** 2).mean() + (gc.Dense(1)(x) ** 2).mean()
    data = RANDOM.normal([1, 2, 3], size=(40, 3))
    program = gc.compile_training(loss, optimizer=gc.LBFGS(iterations=2), threads=1)
    for step in (1, 2):
        program.step(x=data)
        means = {n: p.value for n, p in program.parameters.items() if n.endswith("mean")}
        np.testing.assert_allclose(*means.values(), data.mean(0) * (1 - 0.9**step), rtol=1e-12)
        assert program.state_dict()["step"] == step


def test_errors_say_what_to_do():
    w, loss = rosenbrock(2)
    with pytest.raises(GraphError, match=r"scalar, got shape \(2,\)(.|\n)*LevenbergMarquardt"):
        gc.compile_training(w * 2, optimizer=gc.LBFGS())
    with pytest.raises(GraphError, match="no trainable parameter"):
        gc.compile_training(gc.input("x", (3,)).sum(), optimizer=gc.LBFGS())
    with pytest.raises(GraphError, match=r'program.text\("fuse"\)'):
        gc.compile_training(loss, optimizer=gc.LBFGS(), stop_after="fuse")
    for wrong in ({"history": 0}, {"iterations": 1.5}, {"tolerance_grad": -1}, {"c1": 0.95}, {"max_eval": 0}):
        with pytest.raises(GraphcError, match=next(iter(wrong))):
            gc.LBFGS(**wrong)


def test_a_loss_that_is_no_number_names_the_layer_and_changes_nothing():
    w = gc.Parameter("w", (2,), 1.0, "float64")
    x = gc.input("x", (gc.BATCH, 2), "float64")
    program = gc.compile_training(gc.log(x * w).mean() + (w**2).sum(), optimizer=gc.LBFGS(), threads=1)
    with pytest.raises(NonFiniteError, match="log"):
        program.step(x=-np.ones((3, 2)))
    with pytest.raises(InputError, match="rank"):
        program.step(x=np.ones(3))
    assert w.value.tolist() == [1, 1]
    program.step(x=np.ones((3, 2)))
    assert np.isfinite(w.value).all()
    assert (w.value > 0).all()
