"""An operator that a user declares: its derivative is found, shown and compiled like those of the catalogue."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import ShapeError
from graphc.study.check import check_dot_product, check_gradients
from graphc.study.latex import formula_latex
from graphc.types import BATCH, DType, TensorType


@gc.op
def swish(X, b):
    """x·σ(βx)"""
    return X[...] * gc.sigmoid(b[()] * X[...])


@gc.op
def distances(X, C):
    """The squared distance of every sample from every centre."""
    n, k, i = gc.axes("n k i")
    return gc.Sum((X[n, i] - C[k, i]) ** 2, over=i)


def parameter(name: str, value: object) -> gc.Parameter:
    array = np.asarray(value, np.float64)
    held = gc.Parameter(name, array.shape, dtype="float64")
    held.value = array
    return held


def network() -> tuple[gc.Tensor, gc.Parameter, dict[str, np.ndarray]]:
    """A regression whose target is swish with β = 3 of a known linear map."""
    x, y = gc.input("x", (gc.BATCH, 2), "float64"), gc.input("y", (gc.BATCH, 3), "float64")
    weight, beta = parameter("weight", [[1, 0], [0, 1], [1, -1]]), parameter("beta", 1.0)
    loss = gc.mse_loss(swish(gc.dense(x, weight), beta), y)
    given = np.random.default_rng(0).uniform(-2, 2, (40, 2))
    z = given @ weight.value.T
    return loss, beta, {"x": given, "y": z / (1 + np.exp(-3 * z))}


def test_it_trains_natively_and_learns_its_own_parameter() -> None:
    loss, beta, batch = network()
    program = gc.compile_training(loss, optimizer=gc.Adam(0.05), threads=2)
    first = program.step(**batch)["loss"]
    z = batch["x"] @ np.array([[1, 0], [0, 1], [1, -1]]).T
    assert first == pytest.approx(float(((z / (1 + np.exp(-z)) - batch["y"]) ** 2).mean()), rel=1e-12)
    for _ in range(300):
        last = program.step(**batch)["loss"]
    assert last < 1e-3 * first
    assert float(beta.value) == pytest.approx(3.0, abs=0.15)


def test_its_gradients_are_right() -> None:
    loss, _, batch = network()
    report = check_gradients(loss, batch)
    assert report.ok, report
    assert set(report.errors) == {"weight", "beta"}
    product = check_dot_product(loss, batch)
    assert product.ok, product


def test_its_derivative_can_be_read() -> None:
    loss, _, _ = network()
    text = gc.compile_training(loss).text("derivatives")
    operand = next(line.split()[0].split("[")[0] for line in text.splitlines() if "= Σ_{i<2} weight[o, i]" in line)
    assert f"{operand}[n, i]" in text
    z, s = f"{operand}[n, i]", f"sigmoid(beta·{operand}[n, i])"
    sums = [line for line in text.splitlines() if "normalised" in line and "d_beta = " in line]
    assert len(sums) == 1
    assert "Σ_{n<N, i<3}" in sums[0]
    assert f"(1 - {s})·{s}·" in sums[0]
    assert f"{z}**2" in sums[0]
    rule = [line for line in text.splitlines() if "normalised" in line and f"d_{operand}[n,i] = " in line]
    assert len(rule) == 1
    assert f"((1 - {s})·beta·{z} + 1)·{s}·" in rule[0]


def test_its_formula_is_mathematics() -> None:
    types = (TensorType((BATCH, 3), DType.FLOAT64), TensorType((), DType.FLOAT64))
    (statement,) = swish.define(types).statements
    assert str(statement.formula) == "out[n,i] = sigmoid(b·X[n, i])·X[n, i]"
    assert formula_latex(statement.formula) == r"Y_{n,i} = \sigma\left(b X_{n,i}\right) X_{n,i}"
    centres = (TensorType((BATCH, 3)), TensorType((5, 3)))
    (statement,) = distances.define(centres).statements
    assert str(statement.formula) == "out[n,k] = Σ_{i<3} (-C[k, i] + X[n, i])**2"
    latex = formula_latex(statement.formula)
    assert r"\sum_{" in latex
    assert "X_{n,i}" in latex
    assert "C_{k,i}" in latex


def test_a_reduction_of_ones_own_finds_centres() -> None:
    x = gc.input("x", (gc.BATCH, 2))
    centres = gc.Parameter("centres", (2, 2))
    centres.value = np.array([[1, 1], [-1, -1]], np.float32)
    loss = distances(x, centres).min(1).mean()
    program = gc.compile_training(loss, optimizer=gc.SGD(0.5))
    random = np.random.default_rng(1)
    clouds = np.concatenate([random.normal((3, 2), 0.1, (20, 2)), random.normal((-2, -4), 0.1, (20, 2))])
    clouds = clouds.astype(np.float32)
    for _ in range(40):
        last = program.step(x=clouds)["loss"]
    np.testing.assert_allclose(centres.value, [clouds[:20].mean(0), clouds[20:].mean(0)], atol=1e-4)
    spread = (((clouds[:20] - clouds[:20].mean(0)) ** 2).sum() + ((clouds[20:] - clouds[20:].mean(0)) ** 2).sum()) / 40
    assert last == pytest.approx(float(spread), rel=1e-3)


def test_operands_that_do_not_fit_are_told_by_the_axis() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    with pytest.raises(ShapeError, match="distances: axis i is 3 in X but 4 in C") as caught:
        distances(x, gc.Parameter("C", (5, 4)))
    assert caught.value.location is not None
    assert caught.value.location.file == __file__
