"""The perceptron: one linear map of the pixels."""

from __future__ import annotations

from graphc.dsl import nn
from graphc.models.classifier import Classifier, classifier


def perceptron(image_shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, *, dtype: str = "float32") -> Classifier:
    """logits = W·pixels + b, trained by cross-entropy (multinomial logistic regression)."""
    output = nn.Dense(classes, weight_init="xavier", name="output")
    return classifier("perceptron", nn.Sequential(nn.Flatten(), output), image_shape, dtype)
