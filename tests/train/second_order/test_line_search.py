"""The strong Wolfe line search and conjugate gradients, on functions whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphc.train.second_order.conjugate_gradients import conjugate_gradients
from graphc.train.second_order.lbfgs import direction
from graphc.train.second_order.line_search import Trial, Wolfe

FUNCTIONS = {
    "quadratic": (lambda a: (a - 3) ** 2, lambda a: 2 * (a - 3)),
    "far away": (lambda a: (a / 1e4 - 1) ** 2, lambda a: 2e-4 * (a / 1e4 - 1)),
    "close by": (lambda a: (1e5 * a - 1) ** 2, lambda a: 2e5 * (1e5 * a - 1)),
    "quartic": (lambda a: (a - 1) ** 4 + 0.1 * a**2, lambda a: 4 * (a - 1) ** 3 + 0.2 * a),
    # Moré and Thuente 1994, functions 5.1 and 5.2
    "concave at first": (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2),
    "steep": (
        lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
        lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
    ),
    "no value beyond 2": (
        lambda a: a - 2 * math.log(a + 0.1) if a < 2 else math.nan,
        lambda a: 1 - 2 / (a + 0.1) if a < 2 else math.nan,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("first", [1e-3, 1.0, 100.0])
def test_the_strong_wolfe_conditions_hold(name, first):
    f, slope = FUNCTIONS[name]
    found = Wolfe(curvature=0.1).search(lambda a: Trial(a, f(a), slope(a)), Trial(0.0, f(0.0), slope(0.0)), first)
    assert found.value <= f(0) + 1e-4 * found.length * slope(0)
    assert abs(slope(found.length)) <= 0.1 * abs(slope(0))


def test_where_nothing_lowers_the_function_there_is_no_step():
    assert Wolfe(trials=10).search(lambda a: Trial(a, 1 + a, -1.0), Trial(0.0, 1.0, -1.0), 1.0) is None


def test_two_loops_are_the_inverse_hessian_of_the_update_formula():
    random = np.random.default_rng(0)
    root = random.normal(size=(6, 6))
    moves = random.normal(size=(3, 6))
    turns = moves @ (root @ root.T + np.eye(6))
    gradient = random.normal(size=6)
    inverse = np.eye(6) * (moves[-1] @ turns[-1]) / (turns[-1] @ turns[-1])
    for s, y in zip(moves, turns, strict=True):  # Nocedal and Wright (7.16)
        v = np.eye(6) - np.outer(y, s) / (y @ s)
        inverse = v.T @ inverse @ v + np.outer(s, s) / (y @ s)
    rows = np.zeros((5, 6)), np.zeros((5, 6))
    rows[0][2:], rows[1][2:] = moves, turns
    np.testing.assert_allclose(direction(gradient, *rows), -inverse @ gradient, rtol=1e-10)


def test_conjugate_gradients_solve_a_badly_scaled_system():
    random = np.random.default_rng(1)
    root = random.normal(size=(8, 8)) * 10.0 ** np.arange(-4, 4)
    matrix, b = root.T @ root, random.normal(size=8)
    x, image = conjugate_gradients(lambda v: (matrix @ v, v @ matrix @ v), b, np.diag(matrix), 1e-14, 100)
    np.testing.assert_allclose(image, b, rtol=1e-6)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-6)


def test_conjugate_gradients_end_where_there_is_no_curvature():
    matrix = np.diag([2.0, 0.0])
    x, _ = conjugate_gradients(lambda v: (matrix @ v, v @ matrix @ v), np.array([1.0, 0.0]), np.ones(2), 1e-9, 9)
    assert x.tolist() == [0.5, 0]
    x, _ = conjugate_gradients(lambda v: (v * np.nan, np.nan), np.ones(2), np.ones(2), 1e-9, 9)
    assert x.tolist() == [0, 0]
