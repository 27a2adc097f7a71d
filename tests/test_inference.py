"""Inference programs: what goes in and comes out, and that they see what training does to the parameters."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.errors import InputError, LoweringError


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def holding(name: str, value: np.ndarray, **options: bool) -> Parameter:
    """A parameter with a value."""
    parameter = Parameter(name, value.shape, dtype=value.dtype, **options)
    parameter.value = value
    return parameter


def test_the_result_has_the_form_of_the_request() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    given = draw(2, 3)
    one = gc.compile_inference(x * 2.0)(x=given)
    assert isinstance(one, np.ndarray)
    np.testing.assert_array_equal(one, 2 * given)
    pair = gc.compile_inference([x * 2.0, x.sum()])(x=given)
    assert isinstance(pair, tuple)
    np.testing.assert_array_equal(pair[0], 2 * given)
    np.testing.assert_allclose(pair[1], given.sum(), rtol=1e-6)
    named = gc.compile_inference({"double": x * 2.0, "half": x / 2.0})(x=given)
    assert list(named) == ["double", "half"]
    np.testing.assert_array_equal(named["half"], given / 2)


def test_results_belong_to_the_caller() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    double = gc.compile_inference(x * 2.0)
    first = double(x=draw(2, 3))
    kept = first.copy()
    double(x=draw(2, 3, seed=1))
    np.testing.assert_array_equal(first, kept)
    first[...] = 7
    np.testing.assert_array_equal(double(x=draw(2, 3)), kept)


def test_inputs_and_parameters_themselves_can_be_asked_for() -> None:
    x, w = gc.input("x", (gc.BATCH, 3)), holding("w", draw(3, 4))
    program = gc.compile_inference({"x": x, "w": w, "product": x @ w, "again": x})
    for batch in (2, 5):
        given = draw(batch, 3)
        got = program(x=given)
        np.testing.assert_array_equal(got["x"], given)
        np.testing.assert_array_equal(got["again"], given)
        np.testing.assert_array_equal(got["w"], w.value)
        np.testing.assert_allclose(got["product"], given @ w.value, rtol=1e-6)
        got["x"][...] = 0
        assert given.any()


def test_one_tensor_under_two_names() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    y = gc.tanh(x)
    got = gc.compile_inference({"a": y, "b": y})(x=draw(2, 3))
    np.testing.assert_array_equal(got["a"], got["b"])
    np.testing.assert_allclose(got["a"], np.tanh(draw(2, 3)), rtol=1e-6)


def test_constants_and_programs_without_inputs() -> None:
    w = holding("w", draw(4, 3))
    x = gc.input("x", (gc.BATCH, 3))
    assert gc.compile_inference((w * w).sum())() == pytest.approx(float((w.value**2).sum()), rel=1e-6)
    zeros = gc.compile_inference(x * 0.0 + 2.5)(x=draw(2, 3))
    np.testing.assert_array_equal(zeros, np.full((2, 3), 2.5, np.float32))


def test_a_fixed_number_of_samples() -> None:
    x = gc.input("x", (4, 3))
    total = gc.compile_inference(x.sum(0))
    np.testing.assert_allclose(total(x=draw(4, 3)), draw(4, 3).sum(0), rtol=1e-6)
    with pytest.raises(InputError, match=r"input x has shape \(5, 3\), expected \(4, 3\): axis 0 is 5"):
        total(x=draw(5, 3))


def test_scalars_and_vectors_go_in() -> None:
    x, s, v = gc.input("x", (gc.BATCH, 3)), gc.input("s", ()), gc.input("v", (3,))
    program = gc.compile_inference(x * s + v)
    given = draw(4, 3)
    np.testing.assert_allclose(program(x=given, s=2.0, v=given[0]), given * 2 + given[0], rtol=1e-6)


@pytest.mark.parametrize("names", ["t11 t12 t13 t14 t15 t16", "lr t", "N n i", "acc tile once", "b0 b1 b2", "x.halo x"])
def test_users_may_choose_any_names(names: str) -> None:
    """The compiler makes names of its own; those of users are never mistaken for them."""
    inputs = [gc.input(n, (gc.BATCH, 6, 6)) for n in names.split()]
    parameters = [holding(f"{n}{k}", draw(6, 6, seed=k)) for n in ("t", "n", "b") for k in (5, 6)]
    total = inputs[0] * 1.0
    expected_total = draw(3, 6, 6, seed=0) * 1.0
    for k, tensor in enumerate(inputs):
        total = gc.tanh(total) + tensor
        expected_total = np.tanh(expected_total) + draw(3, 6, 6, seed=k)
    for p in parameters:
        total = total @ p
        expected_total = expected_total @ p.value
    got = gc.compile_inference(total)(**{t.name: draw(3, 6, 6, seed=k) for k, t in enumerate(inputs)})
    np.testing.assert_allclose(got, expected_total, rtol=1e-4, atol=1e-4)


def test_one_program_serves_growing_and_shrinking_batches() -> None:
    """Padded convolutions and pooling keep borders of zeros in working memory: they survive every batch size."""
    images = gc.input("images", (gc.BATCH, 3, 9, 7))
    features = gc.Sequential(
        gc.Conv2d(5, 3, padding=2, activation="relu"), gc.Conv2d(4, (5, 3), padding=(2, 1)), gc.MaxPool2d(3, 2, 1),
        gc.Conv2d(6, 3, stride=2, padding=1), gc.AvgPool2d(2, 1, 1), gc.Flatten(), gc.Dense(10),
    )(images)  # fmt: skip
    program = gc.compile_inference(features)
    all_images = draw(100, 3, 9, 7)
    whole = program(images=all_images)
    for batch in (1, 3, 64, 5, 100, 2, 1):
        for threads in (1, 2):
            program.threads = threads
            # the same bits up to a rounding of tiles of another height
            np.testing.assert_allclose(program(images=all_images[:batch]), whole[:batch], rtol=1e-5, atol=1e-6)
    fresh = gc.compile_inference(features)
    np.testing.assert_array_equal(fresh(images=all_images[:3]), program(images=all_images[:3]))


def test_inference_follows_training() -> None:
    model = gc.models.mlp((1, 4, 4), (9,), 3)
    program = gc.compile_training(
        model.loss, optimizer=gc.SGD(0.1, momentum=0.9), metrics={"logits": model.logits.sum()}, seed=0
    )
    predict = gc.compile_inference({"logits": model.logits, "loss": model.loss, "sum": model.logits.sum()})
    batch = {"images": draw(7, 1, 4, 4), "labels": np.arange(7) % 3}
    seen = []
    for _ in range(5):
        before = predict(**batch)
        step = program.step(**batch)
        np.testing.assert_allclose(step["loss"], before["loss"], rtol=1e-5)
        np.testing.assert_allclose(step["logits"], before["sum"], rtol=1e-4, atol=1e-5)
        seen.append(float(before["loss"]))
    assert sorted(seen, reverse=True) == seen
    hidden, output = model.network[1], model.network[2]
    weights = {n: p.value for n, p in program.parameters.items()}
    assert set(weights) == {"hidden1.weight", "hidden1.bias", "output.weight", "output.bias"}
    assert len({id(hidden), id(output)}) == 2
    h = np.maximum(batch["images"].reshape(7, -1) @ weights["hidden1.weight"].T + weights["hidden1.bias"], 0)
    expected = h @ weights["output.weight"].T + weights["output.bias"]
    np.testing.assert_allclose(predict(**batch)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_a_large_matrix_product_in_every_layout() -> None:
    """Weights of several blocks, read along either of their axes."""
    x, w = gc.input("x", (gc.BATCH, 70)), holding("w", draw(70, 90))
    got = gc.compile_inference({"forth": x @ w, "back": (x @ w) @ w.T, "weight": w * 2.0, "rows": w.sum(1)})
    for batch in (1, 9, 33):
        given = draw(batch, 70)
        r = got(x=given)
        np.testing.assert_allclose(r["forth"], given @ w.value, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(r["back"], given @ w.value @ w.value.T, rtol=1e-3, atol=1e-2)
        np.testing.assert_array_equal(r["weight"], w.value * 2)
        np.testing.assert_allclose(r["rows"], w.value.sum(1), rtol=1e-4, atol=1e-4)


def test_the_batch_may_lie_on_any_axis_of_a_value() -> None:
    x = gc.input("x", (gc.BATCH, 5))
    w = holding("w", draw(4, 5))
    got = gc.compile_inference({"t": x.T, "wx": w @ x.T, "back": (w @ x.T).T * 1.5, "moved": gc.tanh(x.T)})
    for batch in (1, 4, 11):
        given = draw(batch, 5)
        r = got(x=given)
        np.testing.assert_array_equal(r["t"], given.T)
        np.testing.assert_allclose(r["wx"], w.value @ given.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(r["back"], 1.5 * given @ w.value.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(r["moved"], np.tanh(given.T), rtol=1e-5)


def test_a_value_with_the_batch_on_two_axes_is_refused_with_its_line() -> None:
    x = gc.input("x", (gc.BATCH, 5))
    similarity = gc.softmax(x @ x.T)
    with pytest.raises(LoweringError, match=r"f32\[N,N\]: memory holds the batch on one axis only") as caught:
        gc.compile_inference(similarity @ x)
    assert caught.value.location.file == __file__
    x = gc.input("x", (4, 5))
    program = gc.compile_inference(gc.softmax(x @ x.T) @ x)
    given = draw(4, 5)
    scores = np.exp(given @ given.T)
    expected = scores / scores.sum(1, keepdims=True) @ given
    np.testing.assert_allclose(program(x=given), expected, rtol=1e-4, atol=1e-5)


def test_functions_of_constants_are_computed_where_they_stand():
    x = gc.input("x", (gc.BATCH, 2))
    program = gc.compile_inference(x + gc.maximum(gc.full((2,), 0.5), gc.full((2,), -0.5)))
    np.testing.assert_array_equal(program(x=np.zeros((3, 2), np.float32)), np.full((3, 2), 0.5))
