"""The trainer with a linear model in numpy for a program: what is fed, counted and averaged."""

from types import SimpleNamespace

import numpy as np
import pytest

from graphc import pipeline
from graphc.errors import DataError, GraphcError, InputError
from graphc.programs import Segment
from graphc.train.optimisers import SGD
from graphc.train.progress import Progress
from graphc.train.trainer import Model


class Linear:
    """Fits y = w·x by the mean of squares, in the place of a compiled program; records what it is given."""

    def __init__(self):
        self.w = 0.0
        self.compiled = []
        self.batches = []
        self.interrupt_at = None

    def compile_training(self, loss, *, optimizer, metrics, threads, seed):
        self.compiled.append(("train", loss, tuple(metrics), threads, seed))
        return SimpleNamespace(segments=self.segments, optimizer=optimizer)

    def compile_inference(self, outputs, *, threads):
        self.compiled.append(("infer", outputs, threads))
        if isinstance(outputs, dict):
            return lambda x, y: {"loss": np.mean((self.w * x - y) ** 2), "largest": np.max(x)}
        return lambda x: self.w * x

    def segments(self, data, batch_size, *, order):
        """As a program does, two steps at a time."""
        batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
        for pair in (batches[k : k + 2] for k in range(0, len(batches), 2)):
            results = [self.step(**{name: samples[rows] for name, samples in data.items()}) for rows in pair]
            values = {name: np.array([r[name] for r in results]) for name in results[0]}
            yield Segment(values, np.array([len(rows) for rows in pair]))

    def step(self, x, y):
        if len(self.batches) == self.interrupt_at:
            raise KeyboardInterrupt
        if not np.isfinite(x).all():
            raise InputError("x is not finite")
        self.batches.append(x.copy())
        error = self.w * x - y
        self.w -= 0.02 * float(np.mean(2 * error * x))
        return {"loss": float(np.mean(error**2)), "largest": float(np.max(x))}


X = np.arange(1.0, 8.0)
Y = 3 * X


@pytest.fixture
def linear(monkeypatch):
    linear = Linear()
    monkeypatch.setattr(pipeline, "compile_training", linear.compile_training)
    monkeypatch.setattr(pipeline, "compile_inference", linear.compile_inference)
    return linear


@pytest.fixture
def model(linear):
    return Model("prediction", loss="squares", metrics={"largest": "max"}, x="x", y="y")


def fit(model, **options):
    return model.fit(X, Y, **{"epochs": 2, "batch_size": 3, "progress": False} | options)


def test_every_epoch_sees_each_sample_once_in_batches_of_three_and_the_rest(model, linear):
    history = fit(model)
    assert [len(b) for b in linear.batches] == [3, 3, 1, 3, 3, 1]
    first, second = (np.concatenate(linear.batches[k : k + 3]) for k in (0, 3))
    assert sorted(first) == sorted(second) == X.tolist()
    assert first.tolist() not in (second.tolist(), X.tolist())
    assert history.steps == 6


def test_the_order_depends_on_the_seed_alone(model, linear):
    for seed in (5, 5, 6):
        fit(model, seed=seed, epochs=1)
    orders = [np.concatenate(linear.batches[k : k + 3]).tolist() for k in (0, 3, 6)]
    assert orders[0] == orders[1] != orders[2]


def test_metrics_are_means_over_samples_not_over_batches(model, linear):
    history = fit(model, epochs=1)
    largest = sum(len(b) * b.max() for b in linear.batches) / 7
    assert history["largest"] == [pytest.approx(largest)]
    assert largest != pytest.approx(np.mean([b.max() for b in linear.batches]))


def test_fitting_learns_and_prediction_uses_what_was_learnt(model, linear):
    history = fit(model, epochs=40)
    assert history["loss"][-1] < 1e-6 < history["loss"][0]
    np.testing.assert_allclose(model.predict(X, batch_size=2), Y, rtol=1e-4)
    assert model.evaluate(X, Y, batch_size=2)["loss"] < 1e-6


def test_validation_is_reported_beside_training(model):
    history = fit(model, validation=(X[:2], Y[:2]))
    assert len(history["held out loss"]) == 2
    assert history["held out loss"][-1] == pytest.approx(model.evaluate(X[:2], Y[:2])["loss"])
    with pytest.raises(KeyError, match=r"'f1' was not recorded; recorded were loss, largest"):
        history["f1"]


def test_programs_are_compiled_when_they_are_first_needed_and_once(model, linear):
    optimizer = SGD(0.1)
    assert linear.compiled == []
    fit(model, optimizer=optimizer)
    fit(model)
    assert linear.compiled == [("train", "squares", ("largest",), None, 0)]
    assert model.program.optimizer is optimizer
    for _ in range(2):
        model.predict(X)
        model.evaluate(X, Y)
    assert [c[0] for c in linear.compiled] == ["train", "infer", "infer"]


def test_another_optimiser_means_another_program(model, linear):
    fit(model, optimizer=SGD(0.1))
    fit(model, optimizer=SGD(0.1))
    assert len(linear.compiled) == 2


def test_before_compiling_there_is_no_program(model):
    with pytest.raises(GraphcError, match="not been compiled"):
        _ = model.program


class Recorder(Progress):
    """Keeps what it hears."""

    def __init__(self):
        self.heard = []

    def start(self, epochs, samples):
        self.heard.append(("start", epochs, samples))

    def batch(self, samples, metrics):
        self.heard.append(("batch", samples, tuple(metrics)))

    def epoch(self, epoch):
        self.heard.append(("epoch", epoch.number, epoch.samples))

    def stop(self, message=""):
        self.heard.append(("stop", message))


def test_a_listener_hears_every_event(model):
    listener = Recorder()
    fit(model, epochs=1, progress=listener)
    batches = [("batch", n, ("loss", "largest")) for n in (6, 1)]
    assert listener.heard == [("start", 1, 7), *batches, ("epoch", 1, 7), ("stop", "")]


def test_an_interrupt_keeps_what_was_learnt_and_says_so(model, linear):
    linear.interrupt_at = 5  # in the second part of the second epoch
    listener = Recorder()
    history = fit(model, progress=listener)
    assert history.interrupted
    assert (len(history.epochs), history.steps) == (1, 5)
    assert listener.heard[-1] == (
        "stop",
        "stopped after 5 steps, in epoch 2; what was learnt is kept",
    )
    assert linear.w != 0


def test_an_error_of_the_program_passes_and_ends_the_report(model):
    listener = Recorder()
    with pytest.raises(InputError, match="x is not finite"):
        model.fit(np.array([1.0, np.nan]), np.zeros(2), progress=listener)
    assert listener.heard == [("start", 10, 2), ("stop", "")]


def test_arrays_that_do_not_go_together_are_refused_before_anything_is_compiled(model, linear):
    for x, y, message in ((X, Y[:3], "got 7 samples and 3 targets"), (X[:0], Y[:0], "is empty")):
        with pytest.raises(DataError, match=message):
            model.fit(x, y)
        with pytest.raises(DataError, match=message):
            model.evaluate(x, y)
    with pytest.raises(DataError, match="no samples"):
        model.predict(X[:0])
    assert linear.compiled == []


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 0}, {"batch_size": -1}])
def test_counts_must_be_positive(model, options):
    with pytest.raises(GraphcError, match="must be at least 1"):
        fit(model, **options)


def test_a_classifier_brings_its_own_names(linear):
    tensors = {name: SimpleNamespace(name=name) for name in ("images", "labels", "logits", "loss", "accuracy")}
    model = Model(SimpleNamespace(**tensors))
    assert (model.x, model.y) == ("images", "labels")
    assert model.outputs is tensors["logits"]
    assert model.loss is tensors["loss"]
    assert model.metrics == {"accuracy": tensors["accuracy"]}


def test_something_else_is_refused_with_a_hint():
    with pytest.raises(GraphcError, match="Model needs a classifier or a loss, got str"):
        Model("logits")
