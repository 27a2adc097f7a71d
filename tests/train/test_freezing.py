"""Frozen parameters stay as they are and cost nothing: there is no backward code for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphError


class Body(gc.Layer):
    """Two layers, the second of which is made by the call."""

    def __init__(self) -> None:
        self.first = gc.Dense(6, "tanh")

    def forward(self, x: Any) -> Any:
        return gc.Dense(6, "tanh", name="second")(self.first(x))


class Network:
    """A body and a head."""

    def __init__(self) -> None:
        self.body, self.head = Body(), gc.Dense(3, name="head")
        self.body.name = "body"
        self.x, self.y = gc.input("x", (gc.BATCH, 5)), gc.input("y", (gc.BATCH,), "int64")

    @property
    def loss(self) -> Any:
        return gc.cross_entropy(self.head(self.body(self.x)), self.y)


def adjoints(loss: Any, **options: Any) -> int:
    """How many nodes the backward part has."""
    graph = gc.compile_training(loss, stop_after="update", **options)
    return sum(node.origin is not None for node in graph.nodes)


BATCH = {"x": np.ones((4, 5), "float32"), "y": np.arange(4) % 3}


def test_what_is_frozen_stays_and_has_no_backward_code() -> None:
    network = Network()
    everything = adjoints(network.loss)
    network.body.freeze()
    assert 0 < adjoints(network.loss) < everything / 3
    program = gc.compile_training(network.loss, optimizer=gc.Adam(0.1), threads=1, seed=0)
    before = {name: p.value.copy() for name, p in program.parameters.items()}
    program.step(**BATCH)
    changed = [name for name, p in program.parameters.items() if not np.array_equal(p.value, before[name])]
    assert changed == ["head.weight", "head.bias"] == list(program.trained)
    assert {name.rpartition("/")[0] for name in program.state} == set(changed)
    assert "not trained: body.first.weight, body.first.bias, body.second" in program.explain()
    network.body.unfreeze()
    assert adjoints(network.loss) == everything


def test_a_layer_may_be_frozen_before_its_parameters_are_made() -> None:
    network = Network()
    network.body.freeze()
    loss = network.loss
    trained = [name for name, p in gc.trace(loss).parameters.items() if p.trainable]
    assert trained == ["head.weight", "head.bias"]
    network.body.first.unfreeze()
    assert len([p for p in gc.trace(loss).parameters.values() if p.trainable]) == 4


def test_patterns_choose_what_is_trained() -> None:
    network = Network()
    loss = network.loss
    head = gc.compile_training(loss, trainable="head.*", stop_after="update")
    assert [old.name for old, _ in head.updates] == ["head.weight", "head.bias"]
    both = gc.compile_training(loss, trainable=["*.bias", "head.*"], stop_after="update")
    assert {old.name for old, _ in both.updates} == {
        "body.first.bias", "body.second.bias", "head.weight", "head.bias",
    }  # fmt: skip
    network.head.freeze()
    with pytest.raises(GraphError, match=r"trainable='head\.\*' fits no trainable parameter.*\n.*body\.first\.weight"):
        gc.compile_training(loss, trainable=["head.*"])


def test_one_parameter_may_be_switched_off() -> None:
    w, b = gc.Parameter("w", (3,), 1.0), gc.Parameter("b", (), 0.5)
    loss = ((gc.input("x", (3,)) * w).sum() + b) ** 2
    w.trainable = False
    assert w.is_frozen
    graph = gc.compile_training(loss, stop_after="update")
    assert [old.name for old, _ in graph.updates] == ["b"]
    b.freeze()
    with pytest.raises(GraphError, match=r"no trainable parameter\n.*w, b: frozen"):
        gc.compile_training(loss)


def test_running_averages_are_no_weights() -> None:
    """They go on while their layer is frozen, are not trained when it is not, and cannot be made to be."""
    norm = gc.BatchNorm1d(5, name="norm")
    head = gc.Dense(3, name="head")
    x, y = gc.input("x", (gc.BATCH, 5)), gc.input("y", (gc.BATCH,), "int64")
    loss = gc.cross_entropy(head(norm(x)), y)
    norm.freeze()
    program = gc.compile_training(loss, threads=1, seed=0)
    program.step(x=BATCH["x"] * np.arange(4, dtype="float32")[:, None], y=BATCH["y"])
    assert program.trained == ("head.weight", "head.bias")
    assert program.parameters["norm.running_mean"].value.any()
    norm.unfreeze()
    assert set(gc.compile_training(loss, threads=1).trained) == {
        "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip
    program.parameters["norm.running_mean"].trainable = True
    with pytest.raises(GraphError, match=r"norm\.running_mean is updated by its layer"):
        gc.compile_training(loss)
