"""Training programs: reproducible for any number of threads, equal to a known trajectory, free of interference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.train.data import load_digits
from tests.oracle.load import arrays

Arrays = dict[str, np.ndarray]


def draw(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


def holding(name: str, value: np.ndarray, *, trainable: bool = True) -> Parameter:
    """A parameter with a value."""
    parameter = Parameter(name, value.shape, dtype=value.dtype, trainable=trainable)
    parameter.value = value
    return parameter


def memory(program: Any) -> Arrays:
    """Copies of every parameter and every piece of optimiser state."""
    return {name: p.value.copy() for name, p in {**program.parameters, **program.state}.items()}


# ------------------------------------------------------------------------------------------------ reproducible

MODELS: dict[str, Callable[[], Any]] = {
    "lenet5": lambda: gc.models.lenet5((1, 8, 8), 10),
    "mlp": lambda: gc.models.mlp((1, 8, 8), (33, 17), 10),
}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "momentum": lambda: gc.SGD(0.02, momentum=0.9),
    "adam": lambda: gc.Adam(1e-3),
}


def train(model: Any, optimizer: Any, threads: int, steps: int = 100) -> tuple[list[dict[str, float]], Arrays]:
    program = gc.compile_training(
        model.loss, optimizer=optimizer, metrics={"accuracy": model.accuracy}, threads=threads, seed=3
    )
    x, y = draw(61, 1, 8, 8), np.random.default_rng(1).integers(0, 10, 61)
    results = []
    for step in range(steps):
        start, size = 20 * (step % 3), (20, 21, 7)[step % 3]
        results.append(program.step(images=x[start : start + size], labels=y[start : start + size]))
    return results, memory(program)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_one_two_and_three_threads_give_the_same_bits(model: str, optimizer: str) -> None:
    results, end = train(MODELS[model](), OPTIMIZERS[optimizer](), threads=1)
    assert results[-1]["loss"] < 0.8 * results[2]["loss"]
    assert all(0 <= r["accuracy"] <= 1 for r in results)
    for threads in (2, 3):
        others, other_end = train(MODELS[model](), OPTIMIZERS[optimizer](), threads)
        assert others == results
        assert [n for n in end if not np.array_equal(end[n], other_end[n])] == []


def test_another_seed_gives_other_weights() -> None:
    first, second = (MODELS["mlp"]() for _ in range(2))
    a = gc.compile_training(first.loss, seed=1)
    b = gc.compile_training(second.loss, seed=2)
    name = "hidden1.weight"
    assert not np.array_equal(a.parameters[name].value, b.parameters[name].value)


# --------------------------------------------------------------------------------------------- known trajectory


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-3)])
def test_a_hundred_steps_on_the_digits(dtype: str, tolerance: float) -> None:
    """Full batch, 64-tanh-32-10, cross-entropy, SGD with momentum: losses and parameters of another framework."""
    case = arrays("train_digits_mlp")
    data = load_digits()
    x, labels = data.images.reshape(-1, 64).astype(dtype), data.labels
    w1, b1, w2, b2 = (
        holding(n, case[f"p0.{k}"].astype(dtype))
        for n, k in (("w1", "0.weight"), ("b1", "0.bias"), ("w2", "2.weight"), ("b2", "2.bias"))
    )
    pixels, classes = gc.input("x", (gc.BATCH, 64), dtype), gc.input("y", (gc.BATCH,), "int64")
    logits = gc.dense(gc.tanh(gc.dense(pixels, w1, b1)), w2, b2)
    program = gc.compile_training(
        gc.cross_entropy(logits, classes), optimizer=gc.SGD(0.5, momentum=0.9),
        metrics={"accuracy": gc.accuracy(logits, classes)}, threads=2,
    )  # fmt: skip
    losses = [program.step(x=x, y=labels)["loss"] for _ in range(100)]
    np.testing.assert_allclose(losses, case["losses"], rtol=tolerance)
    for parameter, key in ((w1, "0.weight"), (b1, "0.bias"), (w2, "2.weight"), (b2, "2.bias")):
        np.testing.assert_allclose(parameter.value, case[f"pend.{key}"], rtol=tolerance, atol=tolerance)
    evaluate = gc.compile_inference(gc.accuracy(logits, classes))
    assert evaluate(x=x, y=labels) == pytest.approx(float(case["accuracy"]), abs=1e-3)


STEPPERS = {
    "sgd": lambda: gc.SGD(0.1),
    "sgd_mom": lambda: gc.SGD(0.1, momentum=0.9),
    "sgd_nesterov_wd": lambda: gc.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "sgd_dampening": lambda: gc.SGD(0.1, momentum=0.9, dampening=0.3),
    "adam": lambda: gc.Adam(0.01),
    "adamw": lambda: gc.AdamW(0.01, weight_decay=0.1),
    "rmsprop_centered_mom": lambda: gc.RMSprop(0.01, centered=True, momentum=0.9),
    "adagrad": lambda: gc.Adagrad(0.1),
    "adadelta": lambda: gc.Adadelta(1.0),
}


@pytest.mark.parametrize("name", STEPPERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-6)])
def test_optimisers_step_as_those_of_another_framework(name: str, dtype: str, tolerance: float) -> None:
    """The gradients are fed as the coefficients of a linear loss."""
    case = arrays(f"optim_{name}")
    w, b = holding("w", case["p0.w"].astype(dtype)), holding("b", case["p0.b"].astype(dtype))
    gw, gb = gc.input("gw", (3, 4), dtype), gc.input("gb", (4,), dtype)
    program = gc.compile_training((w * gw).sum() + (b * gb).sum(), optimizer=STEPPERS[name]())
    for t in range(1, 7):
        program.step(gw=case[f"g{t}.w"].astype(dtype), gb=case[f"g{t}.b"].astype(dtype))
        np.testing.assert_allclose(w.value, case[f"p{t}.w"], rtol=tolerance, atol=tolerance / 10)
        np.testing.assert_allclose(b.value, case[f"p{t}.b"], rtol=tolerance, atol=tolerance / 10)
    assert program.steps == 6


# ------------------------------------------------------------------------- a linear model that numpy can follow


class Line:
    """y = x·w + b fitted by squares: the graph, and the same step in numpy."""

    def __init__(self) -> None:
        self.x, self.y = gc.input("x", (gc.BATCH, 3), "float64"), gc.input("y", (gc.BATCH,), "float64")
        self.w = holding("w", np.array([0.5, -1.0, 2.0]))
        self.b = holding("b", np.array(0.25))
        self.prediction = (self.x * self.w).sum(1) + self.b
        self.loss = gc.mse_loss(self.prediction, self.y)
        self.batch = {"x": draw(6, 3, dtype="float64"), "y": draw(6, dtype="float64")}

    def expected(self, w: np.ndarray, b: np.ndarray, lr: float) -> tuple[float, np.ndarray, np.ndarray]:
        error = self.batch["x"] @ w + b - self.batch["y"]
        gradient = 2 * error @ self.batch["x"] / 6, 2 * error.mean()
        return float((error**2).mean()), w - lr * gradient[0], b - lr * gradient[1]


def test_the_reported_loss_belongs_to_the_parameters_before_the_step() -> None:
    line = Line()
    program = gc.compile_training(line.loss, optimizer=gc.SGD(0.1))
    w, b = line.w.value, line.b.value
    for _ in range(4):
        loss, w, b = line.expected(w, b, 0.1)
        assert program.step(**line.batch)["loss"] == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(line.w.value, w, rtol=1e-12)
        np.testing.assert_allclose(line.b.value, b, rtol=1e-12)


def test_a_parameter_that_is_assigned_between_steps_is_seen_by_the_next() -> None:
    line = Line()
    program = gc.compile_training(line.loss, optimizer=gc.SGD(0.1))
    program.step(**line.batch)
    line.w.value = np.array([1.0, 2.0, 3.0])
    loss, w, _ = line.expected(line.w.value, line.b.value, 0.1)
    assert program.step(**line.batch)["loss"] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(line.w.value, w, rtol=1e-12)
    kept = line.w.value.copy()
    program.step(**line.batch)
    np.testing.assert_allclose(kept, w, rtol=1e-12)


def test_the_learning_rate_may_change_between_steps_and_follow_a_schedule() -> None:
    line = Line()
    optimizer = gc.SGD(0.1)
    program = gc.compile_training(line.loss, optimizer=optimizer)
    for rate in (0.1, 0.01, 0.0):
        optimizer.lr = rate
        _, w, _ = line.expected(line.w.value, line.b.value, rate)
        program.step(**line.batch)
        np.testing.assert_allclose(line.w.value, w, rtol=1e-12)
    other = Line()
    program = gc.compile_training(other.loss, optimizer=gc.SGD(lambda step: 0.1 / step))
    for step in (1, 2, 3):
        _, w, _ = other.expected(other.w.value, other.b.value, 0.1 / step)
        program.step(**other.batch)
        np.testing.assert_allclose(other.w.value, w, rtol=1e-12)


def test_two_programs_take_turns_on_the_same_parameters() -> None:
    """The two lay the weight out differently, and a third only reads it."""
    w = holding("w", draw(9, 20, dtype="float64"))
    x, z = gc.input("x", (gc.BATCH, 20), "float64"), gc.input("z", (gc.BATCH, 9), "float64")
    forth = gc.compile_training((gc.dense(x, w) ** 2).mean(), optimizer=gc.SGD(0.1))
    back = gc.compile_training(((z @ w) ** 2).mean(), optimizer=gc.SGD(0.2, momentum=0.5))
    read = gc.compile_inference(w.sum(1))
    xs, zs = draw(4, 20, dtype="float64"), draw(5, 9, dtype="float64")
    expected, velocity = w.value.copy(), np.zeros((9, 20))
    for _ in range(3):
        forth.step(x=xs)
        expected = expected - 0.1 * 2 * (xs @ expected.T).T @ xs / (4 * 9)
        np.testing.assert_allclose(w.value, expected, rtol=1e-10)
        back.step(z=zs)
        velocity = 0.5 * velocity + 2 * zs.T @ (zs @ expected) / (5 * 20)
        expected = expected - 0.2 * velocity
        np.testing.assert_allclose(read(), expected.sum(1), rtol=1e-9)
    np.testing.assert_allclose(w.value, expected, rtol=1e-10)
    assert (forth.steps, back.steps) == (3, 3)


def test_parameters_that_are_not_trainable_stay() -> None:
    x = gc.input("x", (gc.BATCH, 3), "float64")
    moving = holding("moving", np.ones((4, 3)))
    frozen = holding("frozen", draw(2, 4, dtype="float64"), trainable=False)
    program = gc.compile_training(gc.dense(gc.tanh(gc.dense(x, moving)), frozen).sum(), optimizer=gc.Adam(0.1))
    kept = frozen.value.copy()
    for _ in range(3):
        program.step(x=draw(5, 3, dtype="float64"))
    np.testing.assert_array_equal(frozen.value, kept)
    assert not np.array_equal(moving.value, np.ones((4, 3)))
    assert set(program.state) == {"moving/mean", "moving/square"}
    frozen.value = 2 * kept
    sum_of = gc.compile_inference(gc.dense(gc.tanh(gc.dense(x, moving)), frozen).sum())
    given = draw(5, 3, dtype="float64")
    assert program.step(x=given)["loss"] != 0
    expected = (np.tanh(given @ moving.value.T) @ (2 * kept).T).sum()
    np.testing.assert_allclose(sum_of(x=given), expected, rtol=1e-12)


def test_one_weight_used_several_times() -> None:
    x = gc.input("x", (gc.BATCH, 3), "float64")
    w = holding("w", draw(3, 3, dtype="float64"))
    start = w.value.copy()
    program = gc.compile_training((gc.dense(gc.dense(x, w), w) * 0.5).sum() + (w * w).sum(), optimizer=gc.SGD(0.1))
    given = draw(4, 3, dtype="float64")
    program.step(x=given)
    ones = np.full((4, 3), 0.5)
    gradient = ones.T @ (given @ start.T) + (ones @ start).T @ given + 2 * start
    np.testing.assert_allclose(w.value, start - 0.1 * gradient, rtol=1e-11)


def test_a_layer_applied_twice_shares_its_parameters() -> None:
    a, b = gc.input("a", (gc.BATCH, 3), "float64"), gc.input("b", (gc.BATCH, 3), "float64")
    shared = gc.Dense(2, use_bias=False, name="shared")
    distance = ((shared(a) - shared(b)) ** 2).sum()
    program = gc.compile_training(distance, optimizer=gc.SGD(0.01), seed=1)
    assert list(program.parameters) == ["shared.weight"]
    w = program.parameters["shared.weight"]
    start, left, right = w.value.copy(), draw(4, 3, dtype="float64"), draw(4, 3, seed=1, dtype="float64")
    program.step(a=left, b=right)
    d = left - right
    np.testing.assert_allclose(w.value, start - 0.01 * 2 * (d @ start.T).T @ d, rtol=1e-11)


def test_a_weighted_sum_of_losses_of_several_outputs_with_metrics() -> None:
    x = gc.input("x", (gc.BATCH, 5), "float64")
    labels, target = gc.input("labels", (gc.BATCH,), "int64"), gc.input("target", (gc.BATCH, 2), "float64")
    body = gc.Dense(7, "tanh", name="body")(x)
    logits, value = gc.Dense(3, name="classes")(body), gc.Dense(2, name="value")(body)
    first, second = gc.cross_entropy(logits, labels), gc.mse_loss(value, target)
    program = gc.compile_training(
        0.3 * first + 2 * second, optimizer=gc.Adam(0.01), seed=0,
        metrics={"first": first, "second": second, "accuracy": gc.accuracy(logits, labels)},
    )  # fmt: skip
    batch = {"x": draw(8, 5, dtype="float64"), "labels": np.arange(8) % 3, "target": draw(8, 2, dtype="float64")}
    results = [program.step(**batch) for _ in range(60)]
    for r in results:
        assert r["loss"] == pytest.approx(0.3 * r["first"] + 2 * r["second"], rel=1e-12)
    assert results[-1]["loss"] < 0.3 * results[0]["loss"]
    assert results[-1]["first"] < results[0]["first"]
    assert list(results[0]) == ["loss", "first", "second", "accuracy"]
    predict = gc.compile_inference({"logits": logits, "first": first, "second": second})
    before = predict(**batch)
    after = program.step(**batch)
    assert after["first"] == pytest.approx(float(before["first"]), rel=1e-10)
    assert after["second"] == pytest.approx(float(before["second"]), rel=1e-10)


@pytest.mark.parametrize("names", [("lr", "t"), ("t", "lr"), ("t20", "t21"), ("N", "n"), ("w/velocity", "acc")])
def test_inputs_and_parameters_may_have_any_name(names: tuple[str, str]) -> None:
    x = gc.input(names[0], (gc.BATCH, 3), "float64")
    w = holding(names[1], np.array([1.0, 2.0, 3.0]))
    program = gc.compile_training((x * w).sum(), optimizer=gc.SGD(0.5, momentum=0.9, dampening=0.5))
    given = draw(4, 3, dtype="float64")
    program.step(**{names[0]: given})
    np.testing.assert_allclose(w.value, np.array([1.0, 2.0, 3.0]) - 0.5 * given.sum(0), rtol=1e-12)


def test_metrics_may_be_inputs_parameters_or_the_loss_itself() -> None:
    x, rate = gc.input("x", (gc.BATCH,), "float64"), gc.input("rate", (), "float64")
    w = holding("w", np.array(3.0))
    loss = (x * w * rate).sum()
    program = gc.compile_training(loss, optimizer=gc.SGD(0.1), metrics={"w": w, "rate": rate, "again": loss})
    result = program.step(x=np.array([1.0, 2.0]), rate=0.5)
    assert result == {"loss": 4.5, "w": 3.0, "rate": 0.5, "again": 4.5}
    assert w.value == pytest.approx(3.0 - 0.1 * 1.5, rel=1e-14)


def test_a_loss_without_inputs() -> None:
    w = holding("w", np.array([3.0, -4.0]))
    program = gc.compile_training((w * w).sum(), optimizer=gc.SGD(0.25))
    assert [program.step()["loss"] for _ in range(3)] == [25.0, 6.25, 1.5625]


def test_a_batch_of_one_and_large_batches_train_alike() -> None:
    """Sums over the batch are cut in a fixed number of parts, some of which are empty for small batches."""
    w = holding("w", draw(4, 5, dtype="float64"))
    x = gc.input("x", (gc.BATCH, 5), "float64")
    program = gc.compile_training((gc.tanh(gc.dense(x, w))).sum(), optimizer=gc.SGD(1.0), threads=2)
    for batch in (1, 3, 16, 17, 64, 100, 2):
        given, before = draw(batch, 5, seed=batch, dtype="float64"), w.value.copy()
        program.step(x=given)
        gradient = (1 - np.tanh(given @ before.T) ** 2).T @ given
        np.testing.assert_allclose(before - w.value, gradient, rtol=1e-9, atol=1e-12)


def test_fitting_evaluating_predicting() -> None:
    data = load_digits()
    x, y = data.images[:300], data.labels[:300]
    model = gc.models.lenet5((1, 8, 8), 10)
    trainer = gc.Model(model)
    history = trainer.fit(x, y, epochs=8, batch_size=32, optimizer=gc.Adam(3e-3), verbose=0, threads=2)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    scores = trainer.evaluate(x, y)
    assert scores["accuracy"] > 0.8
    logits = trainer.predict(x, batch_size=128)
    assert scores["accuracy"] == pytest.approx(float((logits.argmax(1) == y).mean()), abs=1e-6)
    np.testing.assert_allclose(trainer.predict(x, batch_size=7), logits, rtol=1e-3, atol=1e-4)
    shifted = logits - logits.max(1, keepdims=True)
    loss = float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(300), y]).mean())
    assert trainer.program.step(images=x, labels=y)["loss"] == pytest.approx(loss, rel=1e-4)


def test_tensors_are_never_changed_by_compiling() -> None:
    line = Line()
    before: Tensor = line.loss
    text = repr(before)
    first = gc.compile_training(line.loss, optimizer=gc.SGD(0.1))
    second = gc.compile_training(line.loss, optimizer=gc.SGD(0.1))
    assert repr(line.loss) == text
    w, b = line.w.value, line.b.value
    _, w, b = line.expected(w, b, 0.1)
    first.step(**line.batch)
    np.testing.assert_allclose(line.w.value, w, rtol=1e-12)
    _, w, b = line.expected(w, b, 0.1)
    second.step(**line.batch)
    np.testing.assert_allclose(line.w.value, w, rtol=1e-12)
