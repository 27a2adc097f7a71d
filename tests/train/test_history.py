"""What a training says afterwards: lists, tables, curves, words."""

import json
import re
import sys

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.train.history import Epoch, History, falls


def history_of(loss, val_loss=(), **others):
    epochs = []
    for k, value in enumerate(loss):
        training = {"loss": value} | {name: values[k] for name, values in others.items()}
        epochs.append(Epoch(k + 1, training, {"loss": val_loss[k]} if val_loss else {}, 10, 0.5, 5, 0.1))
    return History(tuple(epochs), 5 * len(epochs), 1.5)


def test_metrics_are_lists_by_their_names():
    history = history_of([3.0, 2.0], [4.0, 5.0], accuracy=[0.25, 0.5])
    assert history["val_loss"] == [4.0, 5.0]
    assert history.metrics == ("loss", "accuracy", "val_loss")
    assert (len(history), history.best_epoch) == (2, 1)
    assert history.to_dict() == {
        "loss": [3.0, 2.0], "accuracy": [0.25, 0.5], "val_loss": [4.0, 5.0], "lr": [0.1, 0.1], "seconds": [0.5, 0.5],
    }  # fmt: skip
    with pytest.raises(KeyError, match="'f1' was not recorded; recorded were loss, accuracy, val_loss, lr, seconds"):
        history["f1"]


def test_an_epoch_comes_back_from_json_as_it_was():
    epoch = Epoch(3, {"loss": 0.1, "table": np.eye(2)}, {"loss": 1 / 3}, 10, 0.5, 5, 0.1)
    back = Epoch.of(json.loads(json.dumps(epoch.to_dict())))
    assert back.to_dict() == epoch.to_dict()
    np.testing.assert_array_equal(back.training["table"], np.eye(2))
    assert back.validation == {"loss": 1 / 3}
    assert history_of([1.0], table=[np.eye(2)]).to_dict()["table"] == [[[1, 0], [0, 1]]]


def test_the_table_has_a_row_for_each_epoch_and_is_shortened():
    lines = repr(history_of([3.0, 2.5], [4.0, 5.0])).splitlines()
    assert [line.split() for line in lines] == [
        ["epoch", "loss", "val_loss", "lr", "seconds"],
        ["1", "3.0000", "4.0000", "0.1", "0.50"],
        ["2", "2.5000", "5.0000", "0.1", "0.50"],
    ]
    assert len({len(line) for line in lines}) == 1
    numbers = [line.split()[0] for line in repr(history_of(np.arange(50.0).tolist())).splitlines()]
    assert numbers == ["epoch", *map(str, range(1, 11)), "...", *map(str, range(41, 51))]


def test_a_notebook_gets_a_table():
    html = history_of([3.0])._repr_html_()
    assert html.startswith("<table><tr><th>epoch</th><th>loss</th>")
    assert "<td>3.0000</td>" in html


@pytest.mark.parametrize(
    ("loss", "val_loss", "verdict"),
    [
        ([2, 1, 0.5, 0.2, 0.1], [2, 1.2, 1, 1.3, 1.6], r"overfitting .* risen by 0\.6000 since epoch 3"),
        ([2, 0.5, 0.1, 0.05, 0.05], [2, 0.8, 0.6, 0.6, 0.6], "overfitting .* much better on what it was trained on"),
        ([2, 1.5, 1.2, 1.0, 0.8], [2, 1.6, 1.2, 1.05, 0.85], "underfitting .* so far: .* still falling"),
        ([2, 1.99, 1.98, 1.98, 1.98], [2, 1.98, 1.98, 1.98, 1.98], "underfitting .* hardly anything was learnt"),
        ([2, 0.5, 0.2, 0.11, 0.1], [2, 0.5, 0.2, 0.12, 0.11], "a good fit"),
        ([2, 1, 0.5, 0.2], [2, 1.2, 0.9, 0.8], "ahead, but val_loss is still falling"),
        ([-1, -3, -5, -6, -6], [-1, -3, -4, -3, -2.5], "overfitting .* since epoch 3"),  # a likelihood below zero
        ([2, 0.5, 0.2, 0.1, 0.1], (), "as low as this model.*\n.*nothing can be said about overfitting"),
        ([2, 1.5, 1, 0.7, 0.5], (), "more epochs would lower it"),
        ([2.0], [2.0], "one epoch says nothing"),
    ],
)
def test_the_course_in_words(loss, val_loss, verdict):
    text = history_of([float(v) for v in loss], [float(v) for v in val_loss]).summary()
    assert re.search(verdict, text), text


def test_the_words_have_the_numbers():
    history = history_of([2.0, 1.0, 0.5], [2.5, 1.25, 1.5], accuracy=[0.1, 0.9, 0.8])
    lines = history.summary().splitlines()
    assert lines[:5] == [
        "3 epochs, 15 steps in 1.5 s",
        "loss: 2.0000 at first, 0.5000 at last, best 0.5000 in epoch 3",
        "accuracy: 0.1000 at first, 0.8000 at last, best 0.9000 in epoch 2",
        "val_loss: 2.5000 at first, 1.5000 at last, best 1.2500 in epoch 2",
        "loss fell by 0.5000 over the last 1 epoch: it is still falling",
    ]
    assert "val_loss is 1.0000 above loss at the end" in lines


def test_nothing_was_finished():
    history = History((), 3, 0.5, True, "stopped after 3 steps")
    assert history.summary() == "no epoch was finished"
    assert history.to_dict() == {}
    assert history["loss"] == []
    assert repr(history).split() == ["epoch", "loss"]
    with pytest.raises(GraphcError, match="no epoch was finished"):
        _ = history.best_epoch


def test_the_direction_is_in_the_name():
    assert all(map(falls, ("loss", "val_loss", "mae", "rmse", "val_perplexity", "box_loss")))
    assert not any(map(falls, ("accuracy", "val_f1", "r2", "mean_iou", "roc_auc")))


def test_learning_curves_are_drawn_without_a_display():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = history_of([3.0, 2.0], [4.0, 5.0], accuracy=[0.25, 0.5], table=[np.eye(2)] * 2).plot()
    assert [panel.get_title() for panel in figure.axes] == ["loss", "accuracy"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines == {"training": [[1, 3], [2, 2]], "validation": [[1, 4], [2, 5]]}
    assert len(figure.axes[1].get_lines()) == 1
    matplotlib.pyplot.close(figure)
    with pytest.raises(GraphcError, match="nothing to plot"):
        History((), 0, 0.0).plot()


def test_plots_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(GraphcError, match="plots need matplotlib") as caught:
        history_of([1.0]).plot()
    assert caught.value.hint == "pip install graphc[plots]"
