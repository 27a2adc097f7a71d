"""Small graphs for the tests of the schedule, as the stages before it leave them."""

from __future__ import annotations

from typing import Any

import graphc as gc
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.graph.ir import Graph
from graphc.passes import run
from graphc.pipeline import SIMPLE, STABLE, verify


def graph_of(*outputs: Tensor) -> Graph:
    """The simplified graph of some tensors."""
    return run((*STABLE, *SIMPLE), trace(outputs).graph, verify)


def small_network(classes: int = 3) -> tuple[Tensor, Tensor]:
    """(loss, logits) of conv, relu, pool, flatten, dense."""
    images, labels = gc.input("images", (gc.BATCH, 2, 6, 6)), gc.input("labels", (gc.BATCH,), "int64")
    logits = gc.Sequential(
        gc.Conv2d(4, 3, padding=1, activation="relu", name="conv"), gc.MaxPool2d(2), gc.Flatten(),
        gc.Dense(classes, name="output"),
    )(images)  # fmt: skip
    return gc.cross_entropy(logits, labels), logits


def training_stage(stage: str, **options: Any) -> Any:
    """The intermediate language of the small network's training after a stage."""
    loss, _ = small_network()
    return gc.compile_training(loss, optimizer=gc.SGD(0.1, momentum=0.9), stop_after=stage, **options)
