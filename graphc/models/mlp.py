"""The multi-layer perceptron."""

from __future__ import annotations

from graphc.dsl import nn
from graphc.models.classifier import Classifier, classifier


def mlp(
    image_shape: tuple[int, ...] = (1, 28, 28),
    hidden: tuple[int, ...] = (512, 256),
    classes: int = 10,
    activation: str = "relu",
    *,
    dtype: str = "float32",
) -> Classifier:
    """Dense layers with an activation between them: 784-512-256-10 unless told otherwise."""
    layers = [nn.Dense(units, activation, name=f"hidden{k}") for k, units in enumerate(hidden, start=1)]
    output = nn.Dense(classes, weight_init="xavier", name="output")
    return classifier("mlp", nn.Sequential(nn.Flatten(), *layers, output), image_shape, dtype)
