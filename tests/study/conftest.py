"""Two compilations that all tests of this room read."""

import pytest

import graphc as gc
from graphc.pipeline import compile_inference, compile_training


def convolutional():
    """Two convolutions and two dense layers for images of 8 by 8 pixels: (loss, accuracy)."""
    nn = gc.nn
    images, labels = gc.input("images", (gc.BATCH, 1, 8, 8)), gc.input("labels", (gc.BATCH,), "int64")
    network = nn.Sequential(
        nn.Conv2d(6, 3, padding=1, activation="relu", name="conv1"),
        nn.MaxPool2d(2, name="pool1"),
        nn.Conv2d(16, 3, activation="relu", name="conv2"),
        nn.Flatten(name="flatten"),
        nn.Dense(20, "relu", name="hidden"),
        nn.Dense(4, name="output"),
    )
    logits = network(images)
    return gc.cross_entropy(logits, labels), gc.accuracy(logits, labels)


def compiled():
    """The training program of the network."""
    loss, accuracy = convolutional()
    return compile_training(loss, metrics={"accuracy": accuracy}, threads=1, seed=0)


@pytest.fixture(scope="session")
def network():
    """A training program with the paths that matter: halos, copies, partial sums, reads at labels."""
    return compiled()


@pytest.fixture(scope="session")
def another():
    """The same, compiled once more."""
    return compiled()


@pytest.fixture(scope="session")
def line():
    """Training and inference of relu(W·x + b) with a squared error."""
    x, target = gc.input("x", (gc.BATCH, 3)), gc.input("target", (gc.BATCH, 2))
    y = gc.nn.Dense(2, "relu", name="layer")(x)
    training = compile_training(gc.mse_loss(y, target), threads=1, seed=0)
    return training, compile_inference(y, threads=1)
