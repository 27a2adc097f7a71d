"""LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998)."""

from __future__ import annotations

from graphc.dsl import nn
from graphc.models.classifier import Classifier, classifier


def lenet5(
    image_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    activation: str = "relu",
    *,
    dtype: str = "float32",
) -> Classifier:
    """conv 6@5×5, pool, conv 16@5×5, pool, 120, 84, classes; with max pooling, and relu unless told otherwise.

    Images smaller than 12 pixels, which the second convolution does not fit, get 3×3 kernels that keep the size, more
    of them, and are pooled once.
    """
    if min(image_shape[1:]) < 12:
        features = [
            nn.Conv2d(16, 3, padding=1, activation=activation, name="conv1"),
            nn.Conv2d(32, 3, padding=1, activation=activation, name="conv2"),
            nn.MaxPool2d(2, name="pool"),
        ]
    else:
        features = [
            nn.Conv2d(6, 5, padding=2, activation=activation, name="conv1"),
            nn.MaxPool2d(2, name="pool1"),
            nn.Conv2d(16, 5, activation=activation, name="conv2"),
            nn.MaxPool2d(2, name="pool2"),
        ]
    network = nn.Sequential(
        *features,
        nn.Flatten(name="flatten"),
        nn.Dense(120, activation, name="dense1"),
        nn.Dense(84, activation, name="dense2"),
        nn.Dense(classes, weight_init="xavier", name="output"),
    )
    return classifier("lenet5", network, image_shape, dtype)
