"""What is said of a NaN: the layer, the formula, the first index, and the numbers that it was made of."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.trace import trace
from graphc.errors import NonFiniteError
from graphc.graph.interpreter import interpret
from graphc.study.diagnose import Element, find_non_finite, origin

X = gc.input("x", (gc.BATCH, 3))


def found(tensor: gc.Tensor, x: Any, **parameters: Any) -> Element:
    """Where the sum of a tensor stops being finite, by the interpreter alone."""
    traced = trace(tensor.sum(), training=True)
    values = {n: np.asarray(parameters.get(n, p.value), np.float32) for n, p in traced.parameters.items()}
    x = np.asarray(x, np.float32)
    with np.errstate(all="ignore"):
        result = interpret(traced.graph, {"x": x}, values, len(x))
    element = origin(traced.graph, result.values, traced.graph.outputs[0], len(x))
    assert element is not None
    return element


def text(element: Element) -> list[str]:
    return str(element).splitlines()


def test_an_element_names_its_formula_and_its_operands() -> None:
    element = found(gc.log(X - 1) * 2, [[2, 3, 4], [2, 0.5, -3]])
    assert text(element) == ["nan at [1, 1]", "  t2[n,i] = log(t1[n, i])", "  t1[1, 1] = -0.5"]


def test_a_sum_names_the_term_that_is_not_finite() -> None:
    weight = gc.Parameter("weight", (2, 3), 1.0)
    element = found(gc.dense(X, weight), [[1, 2, 3], [1e30, 2e30, 3]], weight=[[1, 1, 1], [1, 1e20, 1]])
    assert text(element) == [
        "inf at [1, 1]",
        "  t2[n,o] = Σ_{i<3} weight[o, i]·x[n, i]",
        "  3 terms, the first that is not finite at i = 1: weight[1, 1] = 1e+20, x[1, 1] = 2e+30",
    ]


def test_a_sum_that_overflows_names_the_largest_term() -> None:
    assert text(found(X.sum(1), [[1, 2, 3], [2e38, 3e38, 1]]))[-1] == "  3 terms, the largest at i = 1: x[1, 1] = 3e+38"


def test_only_the_branch_that_is_taken_counts() -> None:
    element = found(gc.where(X > 0, X * 1e38, gc.log(-X)), [[1, 2, 3], [-1, 5, 3]])
    assert (element.node.operator, element.place) == ("multiply_number", (1, 1))


def test_of_what_is_not_finite_only_what_the_loss_needs_is_blamed() -> None:
    overflown = gc.exp(X * 100)
    assert found(1 / overflown + gc.log(X), [[3, 2, 0.5], [1, 1, -1]]).node.operator == "log"
    element = found(overflown - overflown * 2, [[0.1, 0.1, 0.1], [0.1, 3, 0.1]])
    assert (text(element)[0], element.node.operator) == ("inf at [1, 1]", "exp")


def test_padding_is_read_as_zero_outside_of_the_box() -> None:
    images = gc.input("x", (gc.BATCH, 1, 2, 2))
    weight = gc.Parameter("weight", (1, 1, 3, 3), 1.0)
    element = found(gc.conv2d(images, weight, padding=1), np.full((1, 1, 2, 2), 3e38))
    assert element.place == (0, 0, 0, 0)
    assert "9 terms, the largest at" in str(element)
    assert "= 3e+38" in str(element)


def test_in_a_recurrence_it_is_the_first_step() -> None:
    steps = gc.input("x", (gc.BATCH, 4, 1))
    hidden, _ = gc.scan(lambda h, x: (h * x, h * x), 1.0, steps)
    element = found(hidden, np.array([[[1e20], [1e20], [3], [4]]]))
    assert element.place == (0, 1, 0)


def test_without_a_fault_there_is_no_origin() -> None:
    traced = trace((X * 2).sum(), training=True)
    result = interpret(traced.graph, {"x": np.ones((2, 3), np.float32)}, {}, 2)
    assert origin(traced.graph, result.values, traced.graph.outputs[0], 2) is None
    assert "in the compiled step" in str(find_non_finite(traced, {"x": np.ones((2, 3), np.float32)}, 2))


# ------------------------------------------------------------------------------------------------ gradients


def program(**options: Any) -> Any:
    first = gc.Dense(3, use_bias=False, weight_init=1.0, name="first")
    rest = gc.Sequential({"root": gc.nn.Function(gc.sqrt), "last": gc.Dense(2)}, name="rest")
    return gc.compile_training(rest(first(X)).mean(), optimizer=gc.Adam(0.01), threads=1, **options)


GOOD, BAD = np.ones((2, 3), np.float32), np.array([[1, 1, 1], [0, 0, 0]], np.float32)


def test_a_gradient_that_is_not_finite_shows_one_step_later() -> None:
    training = program()
    assert np.isfinite(training.step(x=BAD)["loss"])
    with pytest.raises(NonFiniteError, match=r"parameter first\.weight holds nan at \[0, 0\]") as caught:
        training.step(x=GOOD)
    assert 'guard="gradients"' in caught.value.hint


def test_with_a_guard_of_gradients_the_step_changes_nothing_and_the_formula_is_named() -> None:
    plain, training = program(), program(guard="gradients")
    assert plain.step(x=GOOD) == training.step(x=GOOD)
    before = training.state_dict()
    with pytest.raises(NonFiniteError) as caught:
        training.step(x=BAD)
    assert caught.value.layer == "rest/root"
    first, formula, operands = caught.value.message.splitlines()
    assert re.fullmatch(r"adjoint sqrt/a is the first output that is not finite: -?inf at \[1, 0\]", first)
    assert "/(2·" in formula
    assert "[1, 0] = 0" in operands
    assert all(a.tobytes() == before[n].tobytes() for n, a in training.state_dict().items())
    assert training.step(x=GOOD) == plain.step(x=GOOD)
