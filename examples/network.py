"""A network for the command line: `graphc train examples/network.py`, `graphc explain examples/network.py`."""

import graphc as gc
from graphc.models.classifier import Classifier, classifier


def model(image_shape: tuple[int, ...], classes: int) -> Classifier:
    """Three dense layers with leaky rectifiers."""
    network = gc.Sequential(
        gc.Flatten(),
        gc.Dense(128, gc.leaky_relu, name="hidden1"),
        gc.Dense(64, gc.leaky_relu, name="hidden2"),
        gc.Dense(classes, name="output"),
    )
    return classifier("network", network, image_shape)
