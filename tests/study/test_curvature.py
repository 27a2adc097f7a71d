"""Eigenvalues and trace of Hessians against dense ones."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DerivativeError, GraphcError, NonFiniteError
from graphc.study.curvature import eigenvalues, hutchinson


def test_all_eigenvalues_of_a_small_network_are_those_of_its_dense_hessian():
    random = np.random.default_rng(0)
    a, labels = random.normal(size=(20, 3)), random.integers(0, 3, 20)
    x, y = gc.input("x", (gc.BATCH, 3), "float64"), gc.input("y", (gc.BATCH,), "int64")
    w = gc.Parameter("w", (3, 2), lambda shape, generator: random.normal(size=shape), "float64")
    u = gc.Parameter("u", (2, 3), lambda shape, generator: random.normal(size=shape), "float64")
    loss = gc.cross_entropy(gc.tanh(x @ w) @ u, y)
    parts = gc.hessian(loss, (w, u))
    (ww, wu), (uw, uu) = (
        gc.compile_inference([*parts[0]], threads=1)(x=a, y=labels),
        gc.compile_inference([*parts[1]], threads=1)(x=a, y=labels),
    )
    dense = np.block([[ww.reshape(6, 6), wu.reshape(6, 6)], [uw.reshape(6, 6), uu.reshape(6, 6)]])
    truth = np.linalg.eigvalsh(dense)
    before = w.value
    report = gc.curvature(loss, {"x": a, "y": labels}, count=12, threads=1)
    np.testing.assert_allclose(report.smallest, truth, atol=1e-10)
    np.testing.assert_allclose(report.largest, truth[::-1], atol=1e-10)
    assert report.trace == pytest.approx(np.trace(dense), rel=1e-10)
    assert (report.size, report.trace_error) == (12, 0)
    assert report.stable_rate == pytest.approx(2 / truth[-1])
    assert w.value is before
    text = str(gc.curvature(loss, {"x": a, "y": labels}, parameters=[u], count=1, threads=1))
    assert f"{np.linalg.eigvalsh(uu.reshape(6, 6))[-1]:.4g}" in text
    assert "diverges for rates above" in text
    assert "6 elements" in text


def test_extreme_eigenvalues_of_a_large_matrix_and_their_residuals():
    random = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(random.normal(size=(300, 300)))
    truth = np.sort(np.concatenate([[-3, -2, 40, 50], random.uniform(-1, 10, 296)]))
    matrix = rotation @ np.diag(truth) @ rotation.T
    found, residuals = eigenvalues(lambda v: matrix @ v, 300, 2, 100, 1e-6, np.random.default_rng(2))
    assert len(found) < 100
    np.testing.assert_allclose(found[[0, 1, -2, -1]], truth[[0, 1, -2, -1]], atol=1e-6)
    assert residuals[[0, 1, -2, -1]].max() <= 50e-6
    total, error = hutchinson(lambda v: matrix @ v, 300, 64, np.random.default_rng(3))
    assert 0 < error < 40
    assert abs(total - truth.sum()) < 4 * error


def test_an_eigenvalue_that_occurs_several_times_is_found_as_often():
    truth = np.array([0.0, 0, 0, 5, 5, 7])
    found, _ = eigenvalues(lambda v: truth * v, 6, 6, 6, 1e-9, np.random.default_rng(0))
    np.testing.assert_allclose(found, truth, atol=1e-12)


def test_errors_say_what_is_wrong():
    w = gc.Parameter("w", (2,), -1.0, "float64")
    with pytest.raises(DerivativeError, match="scalar"):
        gc.curvature(w * w)
    with pytest.raises(GraphcError, match="count is 0"):
        gc.curvature((w * w).sum(), count=0)
    with pytest.raises(NonFiniteError, match="nan"):
        gc.curvature(gc.log(w).sum(), threads=1)
