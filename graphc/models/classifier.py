"""What the classic networks return: a classifier of images with its loss and accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor, input
from graphc.types import BATCH


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """images [N, *shape] and labels [N] in; logits [N, classes], mean cross-entropy and accuracy out."""

    name: str
    images: Tensor
    labels: Tensor
    logits: Tensor
    loss: Tensor
    accuracy: Tensor
    network: Layer


def classifier(name: str, network: Layer, image_shape: tuple[int, ...], dtype: str = "float32") -> Classifier:
    """A network from images to logits, with its inputs "images" and "labels", loss and accuracy."""
    images = input("images", (BATCH, *image_shape), dtype)
    labels = input("labels", (BATCH,), "int64")
    logits = network(images)
    loss, accuracy = functional.cross_entropy(logits, labels), functional.accuracy(logits, labels)
    return Classifier(name, images, labels, logits, loss, accuracy, network)
