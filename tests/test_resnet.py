"""Residual networks: shapes and names, gradients, what a step learns."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError
from graphc.models import resnet, resnet20
from graphc.study.check import check_gradients


def test_resnet20_is_that_of_the_paper() -> None:
    model = resnet20()
    trainable = [p for p in model.network.parameters() if p.trainable]
    assert sum(prod(p.shape) for p in trainable) == 269_722
    convolutions = [p for p in trainable if len(p.shape) == 4]
    assert len(convolutions) + 1 == 20
    names = {n for n, _ in model.network.named_parameters()}
    assert {"conv1.weight", "layer1.0.bn2.running_var", "layer3.2.conv2.weight", "fc.bias"} <= names
    assert model.logits.shape == (gc.BATCH, 10)


def test_projections_have_parameters_where_the_shape_changes() -> None:
    names = {n for n, _ in resnet(1, (1, 8, 8), 3, projection=True).network.named_parameters()}
    assert {n.rsplit(".", 3)[0] for n in names if "downsample" in n} == {"layer2.0", "layer3.0"}
    assert "layer2.0.downsample.0.weight" in names


@pytest.mark.parametrize("projection", [False, True])
def test_gradients_are_those_of_the_numbers(projection: bool) -> None:
    model = resnet(1, (1, 8, 8), 3, projection=projection, dtype="float64")
    generator = np.random.default_rng(0)
    batch = {"images": generator.normal(size=(3, 1, 8, 8)), "labels": np.array([0, 2, 1])}
    gc.seed(0)
    rows = check_gradients(model.loss, batch).rows
    # elements at a rectifier's kink cannot be compared with differences
    assert sum(row.checked for row in rows) > 200
    assert max(row.error for row in rows if row.checked) < 1e-6


def test_shortcut_and_its_gradient_by_numpy() -> None:
    x = gc.Parameter("x", (2, 3, 5, 4), "he", "float64")
    y = gc.subsample(x, 2, 5)
    weight = np.random.default_rng(0).normal(size=(2, 5, 3, 2))
    cotangent = gc.Parameter("cot", weight.shape, 0.0, "float64", trainable=False)
    cotangent.value = weight
    value, found = gc.compile_gradients(y, cotangents=cotangent, wrt=[x])()
    expected = np.zeros((2, 5, 3, 2))
    expected[:, :3] = x.value[:, :, ::2, ::2]
    np.testing.assert_array_equal(value, expected)
    gradient = np.zeros((2, 3, 5, 4))
    gradient[:, :, ::2, ::2] = weight[:, :3]
    np.testing.assert_array_equal(found["x"], gradient)


def test_a_small_residual_network_learns() -> None:
    gc.seed(0)
    model = resnet(1, (1, 8, 8), 2)
    generator = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = generator.normal(size=(64, 1, 8, 8)).astype(np.float32)
    images[labels == 1, :, 2:5, 2:5] += 1.5
    training = gc.compile_training(
        model.loss, optimizer=gc.SGD(0.1, momentum=0.9), metrics={"accuracy": model.accuracy}
    )
    for _ in range(20):
        last = training.step(images=images, labels=labels)
    assert last["accuracy"] > 0.95
    evaluated = gc.compile_inference({"accuracy": model.accuracy})(images=images, labels=labels)
    assert float(evaluated["accuracy"]) > 0.9


def test_stages_follow_widths_and_strides() -> None:
    model = resnet(2, (1, 28, 28), widths=(24, 40), strides=(2, 2), stem=8, projection=True)
    assert model.name == "resnet10"
    shapes = {n: p.shape for n, p in model.network.named_parameters()}
    assert shapes["conv1.weight"] == (8, 1, 3, 3)
    assert shapes["layer1.0.conv1.weight"] == (24, 8, 3, 3)
    assert shapes["layer1.0.downsample.0.weight"] == (24, 8, 1, 1)
    assert shapes["layer2.1.conv2.weight"] == (40, 40, 3, 3)
    assert shapes["fc.weight"] == (10, 40)
    assert not any(n.startswith("layer3") for n in shapes)
    h = model.network.layer2(model.network.layer1(gc.input("h", (gc.BATCH, 8, 28, 28))))
    assert h.shape == (gc.BATCH, 40, 7, 7)


def test_widths_and_strides_go_together() -> None:
    with pytest.raises(GraphcError, match=r"strides of as many stages, got \(8, 16\) and \(2,\)\n.*strides=\(1, 2\)"):
        resnet(1, (1, 8, 8), widths=(8, 16), strides=(2,))
