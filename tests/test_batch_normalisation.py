"""Batch normalisation in compiled programs: running averages, evaluation, the passes that make it cheap."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import NonFiniteError
from graphc.study.gradients import compile_gradients
from tests.oracle.load import arrays


def normalised(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    axes = (0, *range(2, x.ndim))
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def network(shape: tuple[int, ...], dtype: str = "float64", **options: float) -> tuple[gc.Tensor, gc.Tensor, gc.Layer]:
    """(loss, output, layer) of a normalisation behind a scale, which trains it."""
    x = gc.input("x", (gc.BATCH, *shape), dtype)
    layer = (gc.BatchNorm2d if len(shape) == 3 else gc.BatchNorm1d)(name="bn", **options)
    y = layer(x)
    return (gc.tanh(y) * gc.tanh(y)).mean(), y, layer


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 2)])
def test_running_averages_over_several_steps_and_evaluation(shape: tuple[int, ...]) -> None:
    loss, y, layer = network(shape, momentum=0.3)
    training = gc.compile_training(loss, optimizer=gc.SGD(0.0), threads=2)
    inference = gc.compile_inference(y)
    generator = np.random.default_rng(0)
    mean, variance, axes = np.zeros(3), np.ones(3), (0, *range(2, 1 + len(shape)))
    for batch in (4, 7, 2):
        x = generator.normal(2.0, 3.0, (batch, *shape))
        got = training.step(x=x)["loss"]
        np.testing.assert_allclose(got, (np.tanh(normalised(x)) ** 2).mean(), rtol=1e-12)
        mean = 0.7 * mean + 0.3 * x.mean(axes)
        variance = 0.7 * variance + 0.3 * x.var(axes, ddof=1)
        state = layer.state_dict()
        np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
        np.testing.assert_allclose(state["running_var"], variance, rtol=1e-12)
        wide = (1, 3) + (1,) * (len(shape) - 1)
        expected = (x - mean.reshape(wide)) / np.sqrt(variance.reshape(wide) + 1e-5)
        np.testing.assert_allclose(inference(x=x), expected, rtol=1e-11)


def test_running_averages_of_another_framework() -> None:
    case = arrays("batchnorm2d_train")
    loss, _, layer = network(case["in.x"].shape[1:])
    training = gc.compile_training(loss, optimizer=gc.SGD(0.0))
    layer.load_state_dict({k: case[f"buf.{k}"] for k in ("running_mean", "running_var")}, strict=False)
    training.step(x=case["in.x"])
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(layer.state_dict()[name], case[f"bufafter.{name}"], rtol=1e-9)


def test_a_single_value_leaves_the_running_variance_as_it_is() -> None:
    loss, _, layer = network((3,))
    training = gc.compile_training(loss, optimizer=gc.SGD(0.0))
    training.step(x=np.full((1, 3), 5.0))
    np.testing.assert_array_equal(layer.state_dict()["running_var"], 1.0)
    np.testing.assert_allclose(layer.state_dict()["running_mean"], 0.5)


def test_a_step_that_the_guard_stops_changes_no_running_average() -> None:
    loss, _, layer = network((3,))
    training = gc.compile_training(loss, optimizer=gc.SGD(0.1))
    training.step(x=np.random.default_rng(0).normal(size=(5, 3)))
    before = layer.state_dict()
    bad = np.ones((5, 3))
    bad[2, 1] = np.nan
    with pytest.raises(gc.GraphcError) as error:
        training.step(x=bad)
    assert "nan" in str(error.value) or isinstance(error.value, NonFiniteError)
    after = layer.state_dict()
    assert before.keys() == after.keys() == {"weight", "bias", "running_mean", "running_var"}
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_float32_keeps_its_digits_far_from_zero() -> None:
    """E[x²] - E[x]² would have none left: the mean is 4096 standard deviations."""
    loss, _y, _ = network((2, 8, 8), "float32")
    x = (4096 + np.random.default_rng(1).normal(size=(8, 2, 8, 8))).astype(np.float32)
    got = gc.compile_training(loss, optimizer=gc.SGD(0.0)).step(x=x)["loss"]
    np.testing.assert_allclose(got, (np.tanh(normalised(x.astype(np.float64))) ** 2).mean(), rtol=2e-4)


def test_gradients_change_no_running_average() -> None:
    loss, _, layer = network((3,))
    x = np.random.default_rng(0).normal(size=(6, 3))
    _, found = compile_gradients(loss)(x=x)
    assert set(found) == {"bn.weight", "bn.bias"}
    np.testing.assert_array_equal(layer.state_dict()["running_mean"], 0.0)


def test_threads_agree_bit_for_bit() -> None:
    x = np.random.default_rng(0).normal(size=(9, 20, 6, 6)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        loss, _, layer = network((20, 6, 6), "float32")
        training = gc.compile_training(loss, optimizer=gc.SGD(0.1), threads=threads)
        losses = [training.step(x=x)["loss"] for _ in range(3)]
        results.append((losses, layer.state_dict()))
    for losses, state in results[1:]:
        assert losses == results[0][0]
        for name, value in state.items():
            np.testing.assert_array_equal(value, results[0][1][name])


def test_the_adjoint_has_two_sums_in_one_pass_and_one_pointwise_pass() -> None:
    x = gc.input("x", (gc.BATCH, 3, 16, 16))
    h = gc.relu(gc.BatchNorm2d(name="bn")(gc.Conv2d(8, 3, padding=1, use_bias=False, name="conv")(x)))
    kernels = gc.compile_training((h * h).mean(), stop_after="stack_sums").kernels
    backward = [k for k in kernels if k.scope == "bn" and any("in one pass" in r for r in k.remarks)]
    assert len(backward) == 1
    (stage,) = backward[0].stages
    assert stage.formula.shape == (16, 2, 8)


def test_inference_normalises_in_the_epilogue_of_the_convolution() -> None:
    x = gc.input("x", (gc.BATCH, 3, 16, 16))
    h = gc.relu(gc.BatchNorm2d(name="bn")(gc.Conv2d(8, 3, padding=1, use_bias=False, name="conv")(x)))
    kernels = gc.compile_inference(h, stop_after="stack_sums").kernels
    large = [k for k in kernels if len(k.axes) == 4]
    assert len(large) <= 1 + len([k for k in large if k.chain])
    (last,) = [k for k in kernels if any(s.name == k.writes[0] for s in k.stages) and k is kernels[-1]]
    assert [s.formula.reduction for s in last.stages][1:] == [None, None]
