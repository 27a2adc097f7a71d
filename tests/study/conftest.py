"""Two compilations that all tests of this room read."""

import pytest

import graphc as gc
from graphc.models import lenet5
from graphc.pipeline import compile_inference, compile_training


@pytest.fixture(scope="session")
def lenet():
    """A training program with two convolutions, for small images."""
    model = lenet5((1, 8, 8), 4)
    return compile_training(model.loss, metrics={"accuracy": model.accuracy}, threads=1, seed=0)


@pytest.fixture(scope="session")
def line():
    """Training and inference of relu(W·x + b) with a squared error."""
    x, target = gc.input("x", (gc.BATCH, 3)), gc.input("target", (gc.BATCH, 2))
    y = gc.nn.Dense(2, "relu", name="layer")(x)
    training = compile_training(gc.mse_loss(y, target), threads=1, seed=0)
    return training, compile_inference(y, threads=1)
