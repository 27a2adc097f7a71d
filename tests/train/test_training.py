"""Training for real: compiled steps on the digits, against known results and against themselves."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.errors import InputError, NonFiniteError
from graphc.train.callbacks import Callback
from graphc.train.data import load, load_digits, normalise

ORACLE = Path(__file__).parent.parent / "oracle"


@pytest.fixture(scope="module")
def digits():
    return normalise(*load("digits"))


def perceptron():
    return gc.models.perceptron((1, 8, 8), 10)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-4)])
def test_a_hundred_steps_of_a_perceptron_with_a_hidden_layer_are_those_of_torch(dtype, tolerance):
    """64-tanh-32-10 on all digits at once, momentum 0.9."""
    data = load_digits()
    images, labels = data.images.reshape(-1, 64).astype(dtype), data.labels
    network = gc.Sequential(gc.Dense(32, "tanh", name="hidden"), gc.Dense(10, name="output"))
    logits = network(gc.input("images", (gc.BATCH, 64), dtype))
    target = gc.input("labels", (gc.BATCH,), "int32")
    program = gc.compile_training(
        gc.functional.cross_entropy(logits, target), optimizer=gc.SGD(0.5, 0.9),
        metrics={"accuracy": gc.functional.accuracy(logits, target)},
    )  # fmt: skip
    names = {
        "hidden.weight": "0.weight",
        "hidden.bias": "0.bias",
        "output.weight": "2.weight",
        "output.bias": "2.bias",
    }

    with np.load(ORACLE / "train_digits_mlp.npz") as expected:
        for name, theirs in names.items():
            shape = program.parameters[name].shape
            start = expected[f"p0.{theirs}"]
            program.parameters[name].value = (start if start.shape == shape else start.T).astype(dtype)
        steps = [program.step(images=images, labels=labels) for _ in range(100)]
        np.testing.assert_allclose([s["loss"] for s in steps], expected["losses"], rtol=tolerance)
        for name, theirs in names.items():
            got, end = program.parameters[name].value, expected[f"pend.{theirs}"]
            np.testing.assert_allclose(
                got, end if end.shape == got.shape else end.T, rtol=10 * tolerance, atol=tolerance
            )
        last = program.step(images=images, labels=labels)
        assert last["accuracy"] == pytest.approx(float(expected["accuracy"]), abs=1e-6)


def test_lenet_learns_the_digits_and_knows_those_that_it_has_not_seen(digits):
    training, test = digits
    model = gc.Model(gc.models.lenet5((1, 8, 8), 10))
    history = model.fit(
        training.images, training.labels, epochs=15, batch_size=32, optimizer=gc.Momentum(0.02),
        validation_data=(test.images, test.labels), verbose=0,
    )  # fmt: skip
    assert history["accuracy"][-1] > 0.97
    assert history["val_accuracy"][-1] > 0.94
    predicted = model.predict(test.images).argmax(axis=1)
    assert np.mean(predicted == test.labels) == pytest.approx(history["val_accuracy"][-1])
    assert history.steps == 15 * -(-len(training) // 32)


def test_training_is_repeatable(digits):
    training, _ = digits
    weights = []
    for seed in (3, 3, 4):
        model = gc.Model(perceptron())
        model.fit(training.images, training.labels, epochs=2, seed=seed, verbose=0)
        weights.append(model.program.parameters["output.weight"].value.copy())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_one_batch_in_small_parts_is_evaluated_as_in_one(digits):
    model = gc.Model(perceptron())
    test = digits[1]
    whole = model.evaluate(test.images, test.labels, batch_size=len(test))
    parts = model.evaluate(test.images, test.labels, batch_size=100)
    assert parts == pytest.approx(whole, rel=1e-5)
    # tiles of other heights add in another order
    parts, whole = model.predict(test.images[:7], batch_size=3), model.predict(test.images[:7])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_rate_can_be_changed_without_compiling_again(digits):
    images, labels = digits[0].images[:50], digits[0].labels[:50]
    program = gc.Model(perceptron()).compile(gc.SGD(0.1))
    weight = program.parameters["output.weight"]
    moves = []
    for rate in (0.1, 0.0, 0.2):
        program.optimizer.lr = rate
        before = weight.value.copy()
        program.step(images=images, labels=labels)
        moves.append(np.abs(weight.value - before).max())
    assert moves[1] == 0
    assert moves[2] > moves[0] > 0


def test_a_step_that_is_refused_changes_nothing(digits):
    images, labels = digits[0].images[:8], digits[0].labels[:8].copy()
    program = gc.Model(perceptron()).compile(gc.SGD(0.1))
    before = program.parameters["output.weight"].value.copy()
    labels[3] = 10
    with pytest.raises(InputError, match=r"input labels is 10 at \[3\], expected 0\.\.9"):
        program.step(images=images, labels=labels)
    labels[3] = 9
    broken = images.copy()
    broken[2, 0, 4, 4] = np.nan
    with pytest.raises((InputError, NonFiniteError)):
        program.step(images=broken, labels=labels)
    np.testing.assert_array_equal(program.parameters["output.weight"].value, before)
    assert np.isfinite(program.step(images=images, labels=labels)["loss"])


def test_a_saved_model_answers_as_before(tmp_path, digits):
    training, test = digits
    model = gc.Model(perceptron())
    model.fit(training.images, training.labels, epochs=1, verbose=0)
    model.save(tmp_path / "weights.safetensors")
    other = gc.Model(perceptron())
    assert not np.allclose(other.predict(test.images), model.predict(test.images))
    other.load(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(other.predict(test.images), model.predict(test.images))


def test_early_stopping_puts_back_the_very_bits_of_the_best_epoch(digits):
    training, test = digits
    model, kept = gc.Model(perceptron()), {}

    def keep(run, epoch):
        kept[epoch.number] = run.model.state_dict()

    stopping = gc.EarlyStopping("val_accuracy", patience=2, restore_best=True)
    history = model.fit(
        training.images[:200], training.labels[:200], epochs=60, batch_size=20, optimizer=gc.SGD(0.5), verbose=0,
        validation_data=(test.images, test.labels), callbacks=[stopping, gc.LambdaCallback(on_epoch=keep)], threads=1,
    )  # fmt: skip
    best = int(np.argmax(history["val_accuracy"])) + 1
    assert best == stopping.best_epoch == len(history) - 2 < 58
    assert history.message.endswith(f"val_accuracy was best in epoch {best} ({stopping.best:.4f}), 2 epochs ago")
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, kept[best][name])
    assert not np.array_equal(kept[best]["output.weight"], kept[len(history)]["output.weight"])
    assert model.evaluate(test.images, test.labels)["accuracy"] == stopping.best


def test_a_second_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, digits):
    data, _ = digits
    options = {"batch_size": 100, "threads": 1, "verbose": 0}

    def fitted_twice(**more):
        model = gc.Model(perceptron())
        model.fit(data, epochs=1, optimizer=gc.SGD(gc.schedules.cosine(0.5)), **options)
        model.fit(data, epochs=3, **options, **more)
        return model

    whole = fitted_twice()
    stop = gc.LambdaCallback(on_epoch=lambda run, epoch: run.stop("here"))
    stopped = fitted_twice(callbacks=[gc.Checkpoint(tmp_path), stop])
    resumed = gc.Model(perceptron())
    history = resumed.fit(data, epochs=3, optimizer=gc.SGD(gc.schedules.cosine(0.5)), resume=tmp_path, **options)
    assert (stopped.epochs, resumed.epochs, [epoch.number for epoch in history.epochs]) == (2, 4, [2, 3, 4])
    assert history["lr"] == whole.history["lr"]
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], value)


class PressCtrlC(Callback):
    """Sends an interrupt to this process when so many samples have been seen; counts all."""

    def __init__(self, samples):
        self.left, self.seen = samples, 0

    def batch(self, run, segment):
        samples = int(segment.samples.sum())
        self.seen += samples
        before, self.left = self.left, self.left - samples
        if self.left <= 0 < before:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
def test_ctrl_c_leaves_a_model_that_can_be_used_and_trained_on(digits):
    training, test = digits
    model = gc.Model(perceptron())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        press = PressCtrlC(len(training) + 1)
        history = model.fit(training.images, training.labels, epochs=50, callbacks=[press], verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.interrupted
    epoch = -(-len(training) // 64)
    assert epoch < history.steps <= 2 * epoch
    assert len(history.epochs) == history.steps // epoch
    assert history.steps == model.program.steps
    whole, rest = divmod(press.seen, len(training))
    assert history.steps == whole * epoch + rest // 64
    learnt = model.evaluate(test.images, test.labels)["loss"]
    model.fit(training.images, training.labels, epochs=10, verbose=0)
    assert model.evaluate(test.images, test.labels)["loss"] < learnt


def test_the_command_trains_and_reports():
    command = "from graphc.cli import main; main(['train', 'perceptron', '--epochs', '10'])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 10
    accuracy = float(lines[-1].removeprefix("held-out accuracy ").split("%")[0])
    assert accuracy > 80
