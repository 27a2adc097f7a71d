"""Trainings that stop and go on: the bits of one that never stopped, and what is said when they cannot go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DataError, GraphcError
from graphc.train.checkpoints.arrays import read_arrays
from graphc.train.checkpoints.running import load_run
from graphc.train.checkpoints.store import read_one

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(90, 1, 3, 3)).astype(np.float32)
Y = GENERATOR.integers(0, 3, 90)
Y[:60] = (X[:60].sum((1, 2, 3)) > 0) * 2


class StopHere(Exception):
    """What ends a training in a test."""


class Bomb(gc.Callback):
    """Ends the training at once when so many steps have been taken."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def batch(self, run: gc.Run, segment: Any) -> None:
        if run.steps >= self.steps:
            raise StopHere


def model(width: int = 6, activation: str = "relu", dropout: float = 0.3) -> gc.Model:
    x, y = gc.input("x", (gc.BATCH, 1, 3, 3)), gc.input("y", (gc.BATCH,), "int64")
    layers = gc.Flatten(), gc.Dense(width, activation), gc.BatchNorm1d(), gc.Dropout(dropout), gc.Dense(3)
    logits = gc.Sequential(*layers, name="net")(x)
    return gc.Model(logits, loss=gc.cross_entropy(logits, y), metrics=["accuracy", "f1"], x="x", y="y")


def fit(
    callbacks: Any = (), resume: Any = None, data: Any = (X[:60], Y[:60]), made: Callable[[], gc.Model] = model,
    optimizer: Any = None, **options: Any,
) -> gc.Model:  # fmt: skip
    """A training by a new model, as a new process has it."""
    defaults = {"epochs": 4, "batch_size": 8, "seed": 3, "threads": 1, "verbose": 0}
    found = made()
    found.fit(
        *data, validation_data=(X[60:], Y[60:]), callbacks=callbacks, resume=resume,
        optimizer=optimizer or gc.Adam(0.01), **defaults | options,
    )  # fmt: skip
    return found


def same(a: gc.Model, b: gc.Model) -> None:
    """Every bit of two trainings."""
    first, second = a.program.state_dict(), b.program.state_dict()
    assert first.keys() == second.keys()
    assert [n for n in first if first[n].tobytes() != second[n].tobytes()] == []
    for name in a.history.metrics:
        assert repr(a.history[name]) == repr(b.history[name])


def interrupted(directory: Path, at: tuple[int, ...], callbacks: Callable[[], list] = list, **options: Any) -> gc.Model:
    """A training that is ended at such steps, each time by an error, and goes on."""
    for steps in at:
        with pytest.raises(StopHere):
            fit([Bomb(steps), *callbacks(), gc.Checkpoint(directory, steps=1)], directory, **options)
    return fit([*callbacks(), gc.Checkpoint(directory)], directory, **options)


# ------------------------------------------------------------------------------------------------ bit for bit


def patient() -> list[gc.Callback]:
    return [
        gc.ReduceLROnPlateau("val_loss", patience=1, factor=0.5, min_delta=0.05),
        gc.EarlyStopping("val_loss", patience=4, restore_best=True),
    ]


def test_in_the_middle_of_epochs_with_dropout_averages_plateau_and_early_stopping(tmp_path):
    whole = fit(patient(), epochs=7)
    assert len(set(whole.history["lr"])) > 1
    same(whole, interrupted(tmp_path, (3, 21), patient, epochs=7))


def test_accumulation_averages_groups_and_a_schedule_as_long_as_the_training(tmp_path):
    def optimizer() -> gc.Optimizer:
        groups = [gc.Group("*.bias", weight_decay=0.0), gc.Group("net.4.*", lr_factor=0.5)]
        rate = gc.schedules.warmup(gc.schedules.cosine(0.02), 3)
        return gc.AdamW(rate, accumulate=3, ema=0.9, clip_norm=1.0, groups=groups)

    whole = fit(optimizer=optimizer())
    assert any(name.endswith("/average") for name in whole.program.state)
    with pytest.raises(StopHere):
        fit([Bomb(13), gc.Checkpoint(tmp_path, steps=1)], optimizer=optimizer())
    same(whole, fit(resume=tmp_path, optimizer=optimizer()))


def images() -> Any:
    steps = gc.augment.RandomCrop(1), gc.augment.Noise(0.1)
    return (gc.data.augmented((X[:60], Y[:60]), *steps),)


def batches() -> Any:
    def pass_through():
        return ((X[k : k + 8], Y[k : k + 8]) for k in range(0, 60, 8))

    return (pass_through,)


@pytest.mark.parametrize("data", [images, batches])
def test_augmented_data_and_generators_go_on_where_they_were(tmp_path, data):
    whole = fit(data=data(), epochs=3)
    with pytest.raises(StopHere):
        fit([Bomb(12), gc.Checkpoint(tmp_path, steps=1)], data=data(), epochs=3)
    same(whole, fit(resume=tmp_path, data=data(), epochs=3))


# ------------------------------------------------------------------------------------------ what users do with it


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    return directory, fit([gc.Checkpoint(directory, best="val_loss")], epochs=2)


def test_the_same_script_begins_goes_on_and_finds_that_all_is_done(tmp_path, capsys):
    runs = [fit([gc.Checkpoint(tmp_path / "run")], tmp_path / "run", epochs=2, verbose=2) for _ in range(2)]
    same(*runs)
    out = capsys.readouterr().out
    assert "run holds no checkpoint: training begins" in out
    assert "checkpoint-000002.json: goes on after 2 epochs" in out
    more = fit([gc.Checkpoint(tmp_path / "run")], tmp_path / "run", epochs=3, verbose=2)
    assert "epochs=3, was 2" in capsys.readouterr().out
    same(more, fit(epochs=3))
    newest = max((tmp_path / "run").glob("*.json"))
    same(more, fit(resume=newest.with_suffix(".safetensors"), epochs=3))


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(tmp_path):
    class Finger(Bomb):
        def batch(self, run: gc.Run, segment: Any) -> None:
            if run.steps >= self.steps:
                raise KeyboardInterrupt

    first = fit([Finger(11), gc.Checkpoint(tmp_path, every=None, seconds=1000)])
    assert first.history.interrupted
    assert len(list(tmp_path.glob("*.json"))) == 1
    same(fit(), fit(resume=tmp_path))


def test_the_best_weights_and_those_of_a_checkpoint_can_be_loaded(two_epochs):
    directory, trained = two_epochs
    best = read_arrays(directory / "best.safetensors")
    assert set(best) == set(trained.state_dict())
    other = model()
    other.load(max(directory.glob("checkpoint*.safetensors")))
    assert all((a == other.state_dict()[n]).all() for n, a in trained.state_dict().items())
    other.load(directory / "best.safetensors")
    scores = other.evaluate(X[60:], Y[60:])
    assert scores["loss"] == pytest.approx(min(trained.history["val_loss"]), rel=1e-6)


def test_a_lower_rate_is_taken_and_said_but_a_lowered_one_is_kept(two_epochs, tmp_path):
    directory, _ = two_epochs
    run = begun(optimizer=gc.Adam(0.002))
    assert "lr is 0.002, was 0.01" in load_run(directory, run)
    assert run.optimizer.lr == 0.002
    with pytest.raises(StopHere):
        fit([Lower(), Bomb(10), gc.Checkpoint(tmp_path)], epochs=3)
    run = begun(optimizer=gc.Adam(0.01))
    notes = load_run(tmp_path, run)
    assert run.optimizer.lr == 0.005
    assert not [note for note in notes if note.startswith("lr")]


class Lower(gc.Callback):
    """Half of the learning rate after the first epoch; remembers something."""

    def epoch(self, run: gc.Run, epoch: Any) -> None:
        run.optimizer.lr = 0.005

    def state(self) -> dict[str, Any]:
        return {"lowered": True}


class Caught(Exception):
    """Carries a run out of its training."""


def begun(**options: Any) -> gc.Run:
    """A training that is about to begin."""

    class Catch(gc.Callback):
        def start(self, run: gc.Run) -> None:
            raise Caught(run)

    with pytest.raises(Caught) as caught:
        fit([Catch()], **options)
    return caught.value.args[0]


# ----------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seed": 4}, "seed is 4, was 3"),
        ({"batch_size": 16}, "batch_size is 16, was 8"),
        ({"shuffle": False}, "shuffle is False, was True"),
        ({"data": (X[:59], Y[:59])}, "samples is 59, was 60; samples of an epoch is 59, was 60"),
        ({"optimizer": gc.Adam(0.01, betas=(0.8, 0.999))}, "optimizer.betas is [0.8, 0.999], was [0.9, 0.999]"),
        ({"optimizer": gc.SGD(0.01)}, "optimizer is 'SGD', was 'Adam'"),
        ({"made": lambda: model(activation="tanh")}, "the formulas of net/1 differ"),
        ({"made": lambda: model(dropout=0.4)}, "the formulas of net/3 differ"),
    ],
    ids=lambda v: str(v)[:30] if isinstance(v, str) else "",
)
def test_another_training_is_refused_and_the_difference_named(two_epochs, options, difference):
    directory, _ = two_epochs
    run = begun(**options)
    before = run.program.state_dict()
    with pytest.raises(DataError, match=re.escape(f"belongs to another training: {difference}")) as caught:
        load_run(directory, run)
    assert caught.value.hint.startswith("to begin a new training with its weights: model.load('")
    assert all((a == before[n]).all() for n, a in run.program.state_dict().items())
    assert (run.epoch, run.history) == (1, [])


def test_other_shapes_are_listed(two_epochs):
    directory, _ = two_epochs
    with pytest.raises(DataError, match="the formulas of net/1 differ"):
        load_run(directory, begun(made=lambda: model(width=7)))
    run = begun(made=lambda: model(width=7))
    with pytest.raises(DataError, match=r"net\.1\.weight: expected \(7, 9\), got \(6, 9\); net\.1\.bias: "):
        run.program.load_state_dict(read_arrays(max(directory.glob("checkpoint*.safetensors"))))


def test_callbacks_that_came_and_went_are_said(two_epochs):
    directory, _ = two_epochs
    run = begun()
    run.callbacks = (Lower(),)
    assert load_run(directory, run)[1:] == ("epochs=4, was 2", "Lower is new", "Checkpoint is there no longer")


def test_checkpoints_of_another_training_are_not_overwritten(two_epochs):
    directory, _ = two_epochs
    with pytest.raises(DataError, match=r"holds the checkpoints of another training, up to checkpoint-000002\.json"):
        fit([gc.Checkpoint(directory)])
    assert len(list(directory.glob("checkpoint*"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "step"}, "every is 'step', expected \"epoch\" or None"),
        ({"every": None}, "it would never write"),
        ({"seconds": 0}, "seconds must be above 0, got 0"),
        ({"keep": -1}, "keep must be above 0, got -1"),
        ({"best": "val_auc"}, "best is 'val_auc', but epochs give loss, accuracy, f1, val_loss"),
    ],
)
def test_senseless_settings_are_refused(tmp_path, options, message):
    with pytest.raises(GraphcError, match=re.escape(message)):
        fit([gc.Checkpoint(tmp_path, **options)])


def test_a_fit_that_went_wrong_is_repeated_from_its_checkpoint_with_a_guard_of_gradients(tmp_path):
    def rooted() -> gc.Model:
        x = gc.input("x", (gc.BATCH, 2))
        h = gc.Dense(1, use_bias=False, weight_init=1.0, name="first")(x)
        return gc.Model(gc.sqrt(h * h)[:, 0], loss="mae")

    x, y = np.ones((16, 2), np.float32), np.full(16, 5, np.float32)
    x[9] = 0
    options = {"epochs": 1, "batch_size": 1, "shuffle": False, "optimizer": gc.SGD(0.01), "threads": 1, "verbose": 0}
    with pytest.raises(gc.errors.NonFiniteError, match=r"parameter first\.weight holds nan"):
        rooted().fit(x, y, callbacks=[Bomb(1000), gc.Checkpoint(tmp_path, steps=1, keep=99)], **options)
    intact = [p for p in sorted(tmp_path.glob("*.json")) if np.isfinite(read_one(p).arrays["first.weight"]).all()]
    guarded = rooted()
    with pytest.raises(gc.errors.NonFiniteError, match=r"adjoint sqrt/.* is the first output that is not finite"):
        guarded.fit(x, y, guard="gradients", resume=intact[-1], **options)
    assert guarded.program.steps == 9
    assert np.isfinite(guarded.program.state_dict()["first.weight"]).all()
