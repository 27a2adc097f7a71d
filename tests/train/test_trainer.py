"""The trainer with a linear model in numpy for a program: what is fed, counted, averaged, reported and kept."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gc
from graphc import pipeline
from graphc.errors import DataError, GraphcError, InputError
from graphc.programs import Segment
from graphc.train.callbacks import Callback, LambdaCallback
from graphc.train.optimisers import SGD
from graphc.train.schedules import Schedule
from graphc.train.sources import shuffled
from graphc.train.trainer import Model

PREDICTION, SQUARES, LARGEST = (SimpleNamespace(name=name) for name in ("prediction", "squares", "largest"))


class Linear:
    """Fits y = w·x by the mean of squares, in the place of a compiled program; records what it is given."""

    def __init__(self):
        self.w = 0.0
        self.compiled = []
        self.batches = []
        self.interrupt_at = None
        self.weight = SimpleNamespace(trainable=True)

    def compile_training(self, loss, *, outputs, optimizer, metrics, threads, seed, guard):
        assert outputs is PREDICTION
        self.compiled.append(("train", loss, tuple(metrics), threads, seed))
        program = Program(self, optimizer)
        program.parameters = {"w": self.weight}
        return program

    def compile_inference(self, outputs, *, threads):
        self.compiled.append(("infer", outputs, threads))

        def run(x, y=None):
            if isinstance(outputs, dict):
                return {"loss": np.mean((self.w * x - y) ** 2), "largest": np.max(x)}
            return self.w * x

        return Callable(run)


class Callable:
    def __init__(self, function):
        self.function = function

    def check(self, arrays):
        pass

    def __call__(self, **arrays):
        return self.function(**arrays)


class Program:
    def __init__(self, linear, optimizer):
        self.linear, self.optimizer, self.steps = linear, optimizer, 0

    def check(self, arrays):
        if "wrong" in arrays:
            raise InputError("there is no input named wrong")

    def segments(self, data, batch_size, *, order):
        """As a program does, two steps at a time."""
        order = np.arange(len(data["x"])) if order is None else order
        batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
        for pair in (batches[k : k + 2] for k in range(0, len(batches), 2)):
            results = [self.step(**{name: samples[rows] for name, samples in data.items()}) for rows in pair]
            values = {name: np.array([r[name] for r in results]) for name in results[0]}
            yield Segment(values, np.array([len(rows) for rows in pair]))

    def step(self, x, y):
        linear = self.linear
        if len(linear.batches) == linear.interrupt_at:
            raise KeyboardInterrupt
        linear.batches.append(x.copy())
        error = linear.w * x - y
        linear.w -= 0.02 * float(np.mean(2 * error * x))
        self.steps += 1
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
    return Model(PREDICTION, loss=SQUARES, metrics={"largest": LARGEST}, x="x", y="y")


def fit(model, **options):
    return model.fit(X, Y, **{"epochs": 2, "batch_size": 3, "verbose": 0} | options)


def seen(linear, first, count=3):
    return np.concatenate(linear.batches[first : first + count]).tolist()


def test_every_epoch_sees_each_sample_once_in_batches_of_three_and_the_rest(model, linear):
    history = fit(model)
    assert [len(b) for b in linear.batches] == [3, 3, 1, 3, 3, 1]
    first, second = seen(linear, 0), seen(linear, 3)
    assert sorted(first) == sorted(second) == X.tolist()
    assert first not in (second, X.tolist())
    assert history.steps == 6
    assert [(epoch.samples, epoch.steps) for epoch in history.epochs] == [(7, 3), (7, 3)]


def test_the_order_depends_on_seed_and_epoch_alone_and_another_fit_goes_on_with_the_next_epoch(model, linear):
    fit(model, seed=5)
    fit(model, seed=5, epochs=1)
    assert model.epochs == 3
    for epoch in (1, 2, 3):
        assert seen(linear, 3 * epoch - 3) == X[shuffled(7, 5, epoch)].tolist()
    other = Model(PREDICTION, loss=SQUARES, x="x", y="y")
    fit(other, seed=6, epochs=1)
    assert seen(linear, 9) == X[shuffled(7, 6, 1)].tolist() != seen(linear, 0)


def test_without_shuffling_samples_come_as_they_are(model, linear):
    fit(model, shuffle=False, epochs=1)
    assert seen(linear, 0) == X.tolist()


def test_the_last_minibatch_can_be_left_out(model, linear):
    history = fit(model, drop_last=True)
    assert [len(b) for b in linear.batches] == [3, 3, 3, 3]
    assert [epoch.samples for epoch in history.epochs] == [6, 6]
    with pytest.raises(DataError, match="no minibatch of 8 samples"):
        fit(model, drop_last=True, batch_size=8)


def test_an_epoch_can_be_a_part_of_the_samples(model, linear):
    fit(model, steps_per_epoch=2)
    assert [len(b) for b in linear.batches] == [3, 3, 3, 3]
    fit(model, steps_per_epoch=3, epochs=1)
    assert [len(b) for b in linear.batches[4:]] == [3, 3, 1]
    with pytest.raises(DataError, match="steps_per_epoch is 4, but 7 samples are 3 minibatches of 3") as caught:
        fit(model, steps_per_epoch=4)
    assert caught.value.hint == "leave it out, or use at most 3"


def test_batches_come_from_functions_and_endless_generators(model, linear):
    def endless():
        while True:
            yield X[:3], Y[:3]
            yield X[3:6], Y[3:6]

    model.fit(endless, epochs=1, batch_size=3, steps_per_epoch=3, verbose=0)
    assert seen(linear, 0) == [*X[:6], *X[:3]]
    generator = endless()
    model.fit(generator, epochs=2, batch_size=3, steps_per_epoch=1, verbose=0)
    assert seen(linear, 3, 2) == X[:6].tolist()  # the second epoch goes on where the first one ended


def test_what_a_generator_raises_arrives_and_what_was_learnt_stays(model, linear):
    def broken():
        yield X[:3], Y[:3]
        yield X[3:6], Y[3:6]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        model.fit(broken, batch_size=3, epochs=2, verbose=0)
    assert "OSError after 2 steps, in epoch 1; what was learnt is kept" in caught.value.__notes__[0]
    assert (len(linear.batches), model.history.steps, len(model.history)) == (2, 2, 0)
    assert linear.w != 0


def test_metrics_are_means_over_samples_not_over_batches(model, linear):
    history = fit(model, epochs=1)
    largest = sum(len(b) * b.max() for b in linear.batches) / 7
    assert history["largest"] == [pytest.approx(largest)]
    assert largest != pytest.approx(np.mean([b.max() for b in linear.batches]))


def test_fitting_learns_and_prediction_uses_what_was_learnt(model, linear):
    history = fit(model, epochs=40)
    assert history["loss"][-1] < 1e-6 < history["loss"][0]
    np.testing.assert_allclose(model.predict(X, batch_size=2), Y, rtol=1e-4)
    np.testing.assert_allclose(model.predict(X.tolist()), Y, rtol=1e-4)
    assert model.evaluate(X, Y, batch_size=2)["loss"] < 1e-6


def test_validation_is_reported_beside_training(model):
    history = fit(model, validation_data=(X[:2], Y[:2]))
    assert len(history["val_loss"]) == 2
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X[:2], Y[:2])["loss"])
    names = "loss, largest, val_loss, val_largest, lr, seconds"
    with pytest.raises(KeyError, match=rf"'f1' was not recorded; recorded were {names}"):
        history["f1"]


@pytest.mark.parametrize(("share", "count"), [(0.3, 4), (0.5, 3), (1 / 7, 6), (0.01, 6)])
def test_the_last_samples_are_split_off_for_validation(model, linear, share, count):
    history = fit(model, epochs=1, validation_split=share)
    assert sorted(np.concatenate(linear.batches)) == X[:count].tolist()
    assert history["val_largest"] == [7.0]
    assert history["val_loss"] == [pytest.approx(np.mean((linear.w * X[count:] - Y[count:]) ** 2))]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"validation_split": 0.9}, DataError, "of 7 samples leaves 0 for training and 7 for validation"),
        ({"validation_split": 1.0}, GraphcError, "must be between 0 and 1, got 1.0"),
        ({"validation_split": 0.1, "validation_data": (X, Y)}, GraphcError, "validation_data and validation_split"),
        ({"validation_data": (X[:0], Y[:0])}, DataError, "empty"),
        ({"validation_data": (X, Y[:3])}, DataError, "y has 3"),
        ({"validation_data": (X, Y, X)}, DataError, "3 parts"),
        ({"epochs": 0}, GraphcError, "must be at least 1"),
        ({"batch_size": 0}, GraphcError, "must be at least 1"),
        ({"steps_per_epoch": 0}, GraphcError, "must be at least 1"),
        ({"verbose": 3}, GraphcError, "verbose is 3"),
        ({"callbacks": [print]}, GraphcError, "builtin_function_or_method is no callback"),
        ({"class_weight": {0: 1.0}}, GraphcError, "class_weight needs a loss of class numbers that Model makes"),
    ],
)
def test_senseless_requests_are_refused_before_anything_is_changed(model, linear, options, error, message):
    with pytest.raises(error, match=message):
        fit(model, **options)
    assert linear.batches == []


def test_validation_split_needs_arrays(model):
    with pytest.raises(DataError, match="validation_split needs arrays, in memory or in mapped files"):
        model.fit(lambda: iter([(X, Y)]), validation_split=0.5, verbose=0)


def test_programs_are_compiled_when_they_are_first_needed_and_once(model, linear):
    optimizer = SGD(0.1)
    assert linear.compiled == []
    fit(model, optimizer=optimizer)
    fit(model, seed=3, threads=1)
    assert linear.compiled == [("train", SQUARES, ("largest",), None, 0)]
    assert model.program.optimizer is optimizer
    assert model.program.threads == 1
    for _ in range(2):
        model.predict(X)
        model.evaluate(X, Y)
    assert [c[0] for c in linear.compiled] == ["train", "infer", "infer"]


def test_another_optimiser_or_another_trainable_part_means_another_program(model, linear):
    optimizer = SGD(0.1)
    fit(model, optimizer=optimizer)
    fit(model, optimizer=SGD(0.1))
    assert len(linear.compiled) == 2
    linear.weight.trainable = False
    fit(model)
    assert len(linear.compiled) == 3


def test_before_compiling_there_is_no_program(model):
    with pytest.raises(GraphcError, match="not been compiled"):
        _ = model.program


def test_a_step_of_ones_own_loop(model, linear):
    assert model.step(x=X, y=Y) == {"loss": np.mean(Y**2), "largest": 7.0}
    assert len(linear.batches) == 1


class Recorder(Callback):
    """Keeps what it hears."""

    def __init__(self, heard=None):
        self.heard = [] if heard is None else heard

    def start(self, run):
        self.heard.append(("start", run.epochs, run.samples))

    def batch(self, run, segment):
        self.heard.append(("batch", int(segment.samples.sum()), run.samples_done, tuple(run.totals.value)))

    def epoch(self, run, epoch):
        self.heard.append(("epoch", epoch.number, epoch.samples))

    def stop(self, run, message):
        self.heard.append(("stop", message))


def test_a_listener_hears_every_event(model):
    listener = Recorder()
    fit(model, epochs=1, callbacks=listener)
    names = "loss", "largest"
    batches = [("batch", 6, 6, names), ("batch", 1, 7, names)]
    assert listener.heard == [("start", 1, 7), *batches, ("epoch", 1, 7), ("stop", "")]


def test_those_that_are_last_hear_what_the_others_have_decided_and_are_stopped_first(model):
    order = []

    def noting(name):
        return LambdaCallback(
            on_start=lambda run: order.append(f"start {name}"),
            on_epoch=lambda run, epoch: order.append(f"epoch {name}"),
            on_stop=lambda run, message: order.append(f"stop {name}"),
        )

    class Last(LambdaCallback):
        last = True

    last = noting("z")
    last.__class__ = Last
    fit(model, epochs=1, callbacks=[last, noting("a"), noting("b")])
    assert order == [
        f"{event} {name}" for event, names in (("start", "abz"), ("epoch", "abz"), ("stop", "zba")) for name in names
    ]


def test_the_run_says_where_to_go_on(model):
    places = []

    def note(run, _):
        places.append((run.epoch, run.samples_done, run.totals.samples, len(run.history), run.steps, run.done))

    fit(model, callbacks=[LambdaCallback(on_batch=note, on_epoch=note)])
    first = [(1, 6, 6, 0, 2, 6), (1, 7, 7, 0, 3, 7), (2, 0, 0, 1, 3, 7)]
    second = [(2, 6, 6, 1, 5, 13), (2, 7, 7, 1, 6, 14), (3, 0, 0, 2, 6, 14)]
    assert places == first + second


def test_a_callback_ends_training_after_the_epoch_or_after_the_segment(model, linear):
    listener = Recorder()
    history = fit(model, epochs=9, callbacks=[listener, LambdaCallback(on_epoch=lambda run, e: run.stop("enough"))])
    assert (len(history), history.steps, history.message) == (1, 3, "stopped after 3 steps: enough")
    assert listener.heard[-1] == ("stop", "stopped after 3 steps: enough")
    assert not history.interrupted
    history = fit(model, epochs=9, callbacks=[LambdaCallback(on_batch=lambda run, part: run.stop("at once"))])
    assert (len(history), history.steps) == (0, 2)
    assert model.epochs == 1


def test_an_interrupt_keeps_what_was_learnt_and_says_so(model, linear):
    linear.interrupt_at = 5  # in the second part of the second epoch
    listener = Recorder()
    history = fit(model, callbacks=[listener])
    assert history.interrupted
    assert history is model.history
    assert (len(history.epochs), history.steps) == (1, 5)
    assert listener.heard[-1] == ("stop", "stopped after 5 steps, in epoch 2; what was learnt is kept")
    assert linear.w != 0


def test_an_error_in_a_callback_loses_nothing(model, linear):
    def fail(run, epoch):
        raise ZeroDivisionError("nothing to divide")

    listener = Recorder()
    with pytest.raises(ZeroDivisionError) as caught:
        fit(model, callbacks=[listener, LambdaCallback(on_epoch=fail)])
    message = "ZeroDivisionError after 3 steps, in epoch 2; what was learnt is kept"
    assert listener.heard[-1] == ("stop", message)
    assert caught.value.__notes__ == [f"{message}, and what was done is in model.history"]
    assert (len(model.history), model.history.steps, model.epochs) == (1, 3, 1)
    fit(model)
    assert seen(linear, 3) == X[shuffled(7, 0, 2)].tolist()


def test_whoever_was_started_is_stopped_even_if_another_fails_to_start(model, linear):
    def fail(run):
        raise OSError("no place")

    listener = Recorder()
    with pytest.raises(OSError, match="no place"):
        fit(model, callbacks=[listener, LambdaCallback(on_start=fail), Recorder(listener.heard)])
    assert listener.heard == [("start", 2, 7), ("stop", "OSError before the first step")]
    assert linear.batches == []


def test_arrays_that_do_not_go_together_are_refused_before_anything_is_compiled(model, linear):
    for x, y, message in ((X, Y[:3], "y has 3"), (X[:0], Y[:0], "is empty"), (np.array([1.0, np.nan]), Y[:2], "nan")):
        with pytest.raises(DataError, match=message):
            model.fit(x, y)
        with pytest.raises(DataError, match=message):
            model.evaluate(x, y)
    with pytest.raises(DataError, match="no samples"):
        model.predict(X[:0])
    assert linear.compiled == []


def test_a_classifier_brings_its_own_names(linear):
    tensors = {name: SimpleNamespace(name=name) for name in ("images", "labels", "logits", "loss", "accuracy")}
    model = Model(SimpleNamespace(**tensors))
    assert (model.x, model.y) == (("images",), ("labels",))
    assert model.outputs is tensors["logits"]
    assert model.loss is tensors["loss"]
    assert model.metrics == {"accuracy": tensors["accuracy"]}


def test_something_else_is_refused_with_a_hint():
    with pytest.raises(GraphcError, match="Model needs a classifier or a loss, got str"):
        Model("logits")


@dataclass(frozen=True)
class Share(Schedule):
    """The share of the updates that are done when this one is."""

    steps: int | None = None

    def at(self, t):
        return t / self.steps


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_without_length_lasts_as_long_as_the_training(model, accumulate):
    schedule, rates = Share(), []
    optimizer = SimpleNamespace(lr=schedule, accumulate=accumulate, rate=lambda step: optimizer.lr(step))
    for _ in range(2):  # another training begins the schedule anew
        fit(model, optimizer=optimizer, callbacks=[LambdaCallback(on_batch=lambda run, part: rates.append(run.rate))])
        assert optimizer.lr is schedule
    updates = [1, 2, 3, 3] if accumulate == 2 else [2, 3, 5, 6]
    assert rates == [update * accumulate / 6 for update in updates] * 2


def test_a_schedule_without_length_needs_data_with_one(model, linear):
    optimizer = SGD(Share())
    with pytest.raises(GraphcError, match="nobody knows how many steps this data has") as caught:
        model.fit(lambda: iter([(X, Y)]), optimizer=optimizer, verbose=0)
    assert "steps_per_epoch" in caught.value.hint
    assert linear.batches == []


def test_names_of_inputs_are_found_where_they_are_not_given():
    images, labels = gc.input("pixels", (gc.BATCH, 4)), gc.input("digits", (gc.BATCH,), "int64")
    logits = gc.Dense(3)(images)
    model = Model(logits, loss=gc.cross_entropy(logits, labels), metrics=["accuracy"])
    assert (model.x, model.y, list(model.metrics)) == (("pixels",), ("digits",), ["accuracy"])
    assert Model(logits, loss="cross_entropy").y == ("labels",)
    assert Model(logits, loss="cross_entropy", y="digits").y == ("digits",)
    assert Model(logits, loss="cross_entropy", x=images, y=labels).y == ("digits",)
