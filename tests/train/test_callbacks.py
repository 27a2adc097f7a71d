"""What callbacks decide and write, on runs of epochs that are made up."""

import csv
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from graphc.errors import DataError, GraphcError
from graphc.train.callbacks import (
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    LambdaCallback,
    ReduceLROnPlateau,
    Run,
    TensorBoard,
)
from graphc.train.history import Epoch

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


def run_of(lr=1.0, metrics=METRICS):
    optimizer = SimpleNamespace(lr=lr)
    parameters = {name: SimpleNamespace(value=np.zeros(2)) for name in ("w", "b")}
    program = SimpleNamespace(steps=0, optimizer=optimizer, parameters=parameters)
    return Run(None, program, None, epochs=99, batch_size=1, seed=0, metrics=metrics)


def epoch_of(number, value, name="val_loss", lr=None):
    validation = {name.removeprefix("val_"): value}
    return Epoch(number, {"loss": 2 * value, "accuracy": 0.5}, validation, 10, 0.25, 5, lr)


def hear(callback, values, run=None, name="val_loss", first=1):
    """Epochs with these values, as long as nobody asks for the end; returns the run."""
    run = run or run_of()
    for number, value in enumerate(values, first):
        run.program.parameters["w"].value = np.full(2, float(number))
        run.history.append(epoch_of(number, value, name))
        run.epoch = number + 1
        callback.epoch(run, run.history[-1])
        if run.reason:
            break
    return run


def started(callback, **options):
    run = run_of(**options)
    callback.start(run)
    return run


@pytest.mark.parametrize(
    ("options", "values", "last"),
    [
        ({}, [3, 2, 1, 1, 0], 4),  # the first epoch that is no better
        ({"patience": 2}, [3, 2, 2.5, 1.5, 1.6, 1.7, 0], 6),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.4, 2.3, 2.2, 0], 5),
        ({"mode": "max"}, [1, 2, 3, 2, 4], 4),
        ({"monitor": "val_accuracy"}, [0.5, 0.7, 0.6, 0.9], 3),
        ({"monitor": "loss", "patience": 1}, [3, float("nan"), 1], 2),
    ],
)
def test_training_is_stopped_when_a_metric_gets_no_better(options, values, last):
    stopping = EarlyStopping(**options)
    name = options.get("monitor", "val_loss")
    run = hear(stopping, values, started(stopping), name if name.startswith("val_") else "val_loss")
    assert len(run.history) == last
    assert f"{name} was best in epoch {stopping.best_epoch}" in run.reason


def test_the_best_parameters_are_put_back_bit_for_bit():
    stopping = EarlyStopping(patience=2, restore_best=True)
    run = hear(stopping, [3, 1, 2, 2.5], started(stopping))
    np.testing.assert_array_equal(run.program.parameters["w"].value, [4, 4])
    stopping.stop(run, "")
    np.testing.assert_array_equal(run.program.parameters["w"].value, [2, 2])
    assert run.reason == "val_loss was best in epoch 2 (1.0000), 2 epochs ago"


def test_without_restore_best_parameters_stay():
    stopping = EarlyStopping(patience=2)
    run = hear(stopping, [3, 1, 2, 2.5], started(stopping))
    stopping.stop(run, "")
    np.testing.assert_array_equal(run.program.parameters["w"].value, [4, 4])


def test_another_training_begins_anew():
    stopping = EarlyStopping(restore_best=True)
    hear(stopping, [1, 2], started(stopping))
    run = hear(stopping, [5, 4, 3], started(stopping))
    assert not run.reason
    assert stopping.best_epoch == 3


@pytest.mark.parametrize("cut", range(1, 7))
@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(patience=3, restore_best=True),
        lambda: ReduceLROnPlateau(patience=1, factor=0.5, cooldown=1),
    ],
)
def test_a_callback_that_is_restored_decides_as_the_one_that_went_on(make, cut):
    values = [3, 2, 2.5, 2.6, 1, 1.5, 1.6, 1.7, 1.8]
    whole = make()
    expected = hear(whole, values, started(whole))
    first = make()
    before = hear(first, values[:cut], started(first))
    state, arrays = json.loads(json.dumps(first.state())), {n: a.copy() for n, a in first.arrays().items()}
    second, run = make(), run_of()
    run.history += before.history
    run.optimizer.lr = before.optimizer.lr
    second.restore(state, arrays)
    second.start(run)
    hear(second, values[cut:], run, first=cut + 1)
    assert (len(run.history), run.reason, run.optimizer.lr) == (
        len(expected.history), expected.reason, expected.optimizer.lr,
    )  # fmt: skip
    assert second.state() == whole.state()
    for r, c in ((run, second), (expected, whole)):
        c.stop(r, "")
    np.testing.assert_array_equal(run.program.parameters["w"].value, expected.program.parameters["w"].value)


def test_a_training_that_had_stopped_does_not_go_on_when_it_is_resumed():
    first = EarlyStopping(patience=1)
    before = hear(first, [1, 2], started(first))
    second, run = EarlyStopping(patience=1), run_of()
    run.history += before.history
    second.restore(first.state(), {})
    second.start(run)
    assert run.reason == before.reason != ""


def rates(values, **options):
    callback = ReduceLROnPlateau(**options)
    run, found = started(callback), []
    for number, value in enumerate(values, 1):
        callback.epoch(run, epoch_of(number, value))
        found.append(run.optimizer.lr)
    return found


def test_the_rate_falls_by_a_factor_on_a_plateau():
    assert rates([3, 3, 3, 3, 3], patience=2, factor=0.5) == [1, 1, 0.5, 0.5, 0.25]
    assert rates([3, 3, 2, 2, 2], patience=2, factor=0.5) == [1, 1, 1, 1, 0.5]
    assert rates([3, 2.95, 2.9, 2.85], patience=1, factor=0.5, min_delta=0.2) == [1, 0.5, 0.25, 0.125]


def test_the_rate_rests_after_it_fell_and_has_a_least_value():
    assert rates([3] * 6, patience=1, factor=0.5, cooldown=2) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates([3] * 5, patience=1, factor=0.5, min_lr=0.2) == [1, 0.5, 0.25, 0.2, 0.2]


def test_the_plateau_is_that_of_torch():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).choice([3.0, 2.9, 2.5, 2.0, 1.99], 40).tolist()
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, factor=0.5, patience=2, threshold=0.01, threshold_mode="abs", cooldown=3, eps=0.0
    )
    expected = []
    for value in values:
        plateau.step(value)
        expected.append(theirs.param_groups[0]["lr"])
    # torch waits for one epoch more than its patience
    assert rates(values, factor=0.5, patience=3, min_delta=0.01, cooldown=3) == expected
    assert expected[-1] < 0.1


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda: EarlyStopping("f1"), "EarlyStopping watches 'f1', but epochs give loss, accuracy", "validation_data"),
        (lambda: ReduceLROnPlateau(), "ReduceLROnPlateau watches 'val_loss', but epochs give", 'or watch "loss"'),
    ],
)
def test_a_metric_that_is_not_there_is_noticed_before_training(make, message, hint):
    with pytest.raises(GraphcError, match=message) as caught:
        make().start(run_of(metrics=("loss", "accuracy")))
    assert hint in caught.value.hint


def test_senseless_settings_are_refused():
    for make in (
        lambda: EarlyStopping(mode="least"),
        lambda: EarlyStopping(patience=-1),
        lambda: ReduceLROnPlateau(factor=1.0),
    ):
        with pytest.raises(GraphcError, match=r"EarlyStopping|ReduceLROnPlateau"):
            make()
    with pytest.raises(GraphcError, match="the optimiser's is a schedule"):
        started(ReduceLROnPlateau(), lr=lambda step: 0.1)


def test_an_array_cannot_be_watched():
    stopping = EarlyStopping("val_loss")
    run = started(stopping)
    with pytest.raises(GraphcError, match="which is an array, not a number"):
        stopping.epoch(run, epoch_of(1, np.eye(2)))


EPOCHS = [epoch_of(1, 1.25, lr=0.1), epoch_of(2, 0.75, lr=0.05)]


def log(callback, epochs=EPOCHS, run=None):
    run = run or run_of()
    callback.start(run)
    for epoch in epochs:
        callback.epoch(run, epoch)
    callback.stop(run, "")


def test_a_table_of_the_epochs(tmp_path):
    path = tmp_path / "log.csv"
    log(CSVLogger(path))
    text = path.read_text()
    assert text.splitlines()[0] == "epoch,loss,accuracy,val_loss,lr,seconds"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == [
        {"epoch": 1, "loss": 2.5, "accuracy": 0.5, "val_loss": 1.25, "lr": 0.1, "seconds": 0.25},
        {"epoch": 2, "loss": 1.5, "accuracy": 0.5, "val_loss": 0.75, "lr": 0.05, "seconds": 0.25},
    ]
    log(CSVLogger(path, append=True, separator=";"), EPOCHS[:1])
    assert path.read_text() == f"{text}1;2.5;0.5;1.25;0.1;0.25\n"
    log(CSVLogger(path), EPOCHS[:1])
    assert len(path.read_text().splitlines()) == 2


def test_json_lines_hold_arrays_and_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "log.jsonl"
    epoch = Epoch(1, {"loss": 0.5, "table": np.eye(2)}, {"loss": float("inf")}, 10, 0.25)
    log(JSONLogger(path), [epoch, *EPOCHS[1:]])
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"epoch": 1, "loss": 0.5, "table": [[1, 0], [0, 1]], "val_loss": None, "seconds": 0.25}
    assert second["val_loss"] == 0.75


def test_a_resumed_training_leaves_the_log_of_one_that_was_never_stopped(tmp_path):
    path = tmp_path / "log.csv"
    log(CSVLogger(path), [*EPOCHS, epoch_of(3, 9.0)])  # the third was not saved
    run = run_of()
    run.history, run.epoch = EPOCHS[:], 3
    log(CSVLogger(path), [epoch_of(3, 0.5)], run)
    values = [float(row["val_loss"]) for row in csv.DictReader(path.read_text().splitlines())]
    assert values == [1.25, 0.75, 0.5]


def test_a_log_that_cannot_be_written_is_noticed_before_training(tmp_path):
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        CSVLogger(tmp_path / "absent" / "log.csv").start(run_of())


def test_event_files_hold_every_number(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    log(TensorBoard(tmp_path))
    (path,) = tmp_path.glob("events.out.tfevents.*")
    content, points, place = path.read_bytes(), {}, 0
    while place < len(content):  # length, its checksum, event, its checksum
        size = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + size])
        points |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        place += size + 16
    assert {tag for tag, _ in points} == {"loss/training", "accuracy/training", "loss/validation", "lr", "seconds"}
    assert [points["loss/validation", step] for step in (1, 2)] == [1.25, 0.75]
    assert [points["loss/training", step] for step in (1, 2)] == [2.5, 1.5]
    assert points["lr", 2] == pytest.approx(0.05)


def test_tensorboard_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(GraphcError, match="TensorBoard needs tensorboardX") as caught:
        TensorBoard(tmp_path).start(run_of())
    assert caught.value.hint == "pip install graphc[tensorboard]"


def test_functions_in_the_place_of_a_class():
    heard = []
    callback = LambdaCallback(on_epoch=lambda run, epoch: heard.append(epoch.number))
    log(callback)
    callback.batch(run_of(), None)
    assert heard == [1, 2]
