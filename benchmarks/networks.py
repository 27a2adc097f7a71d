"""The measured networks as data: every framework builds its own twin from the same layers and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dense:
    """weight [units, inputs], bias [units]"""

    name: str
    inputs: int
    units: int


@dataclass(frozen=True, slots=True)
class Conv:
    """weight [channels, inputs, size, size], bias [channels]"""

    name: str
    inputs: int
    channels: int
    size: int
    stride: int = 1
    padding: int = 0
    bias: bool = True


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """weight, bias, running_mean and running_var, each [channels]; epsilon 1e-5, momentum 0.1"""

    name: str
    channels: int


@dataclass(frozen=True, slots=True)
class Offset:
    """bias [channels, 1, 1] is added: the images need a gradient, as they do inside of a larger network."""

    name: str
    channels: int


@dataclass(frozen=True, slots=True)
class Residual:
    """relu(body(x) + shortcut(x)). The shortcut takes every `stride`-th pixel and appends channels of zeros."""

    name: str
    inputs: int
    channels: int
    stride: int
    body: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Windows that do not overlap."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class ReLU:
    name: str


@dataclass(frozen=True, slots=True)
class Flatten:
    name: str = "flatten"


@dataclass(frozen=True, slots=True)
class GlobalAverage:
    """The mean of each channel, [N, channels]."""

    name: str = "average"


Layer = Dense | Conv | BatchNorm | Offset | Residual | MaxPool | ReLU | Flatten | GlobalAverage


@dataclass(frozen=True, slots=True)
class Network:
    """From images [N, *image] to logits, or without labels to features whose mean square is the loss."""

    image: tuple[int, int, int]
    layers: tuple[Layer, ...]
    classes: int = 10
    labelled: bool = True


EPSILON = 1e-5
AVERAGING = 0.1
"""Weight of the newest batch in the running averages of a batch normalisation."""

BUFFERS = ("running_mean", "running_var")
"""Parameters that no gradient trains."""


def walk(layers: tuple[Layer, ...], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer in order with its dotted path, those inside of residual blocks included."""
    for layer in layers:
        yield f"{path}{layer.name}", layer
        if isinstance(layer, Residual):
            yield from walk(layer.body, f"{path}{layer.name}.")


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The parameters of one layer."""
    match layer:
        case Dense():
            return {"weight": (layer.units, layer.inputs), "bias": (layer.units,)}
        case Conv():
            weight = {"weight": (layer.channels, layer.inputs, layer.size, layer.size)}
            return weight | ({"bias": (layer.channels,)} if layer.bias else {})
        case BatchNorm():
            return {name: (layer.channels,) for name in ("weight", "bias", *BUFFERS)}
        case Offset():
            return {"bias": (layer.channels, 1, 1)}
        case _:
            return {}


def parameters(network: Network) -> dict[str, Array]:
    """Values by dotted name, always the same: weights after He, all others near zero or one but not there."""
    generator = np.random.default_rng(1)
    values = {}
    for path, layer in walk(network.layers):
        for name, shape in shapes(layer).items():
            noise = generator.standard_normal(shape)
            if name == "weight" and len(shape) > 1:
                value = noise * sqrt(2 / prod(shape[1:]))
            elif name in ("weight", "running_var"):
                value = 1 + 0.1 * np.abs(noise)
            else:
                value = 0.1 * noise
            values[f"{path}.{name}"] = value.astype(np.float32)
    return values


def multiply_adds(network: Network) -> list[int]:
    """Of one image, forward, for each layer that multiplies by a matrix or a filter."""
    return list(_multiply_adds(network.layers, network.image))


def _multiply_adds(layers: tuple[Layer, ...], image: tuple[int, int, int]) -> Iterator[int]:
    _, height, width = image
    for layer in layers:
        match layer:
            case Dense():
                yield layer.inputs * layer.units
            case Conv():
                height, width = ((n + 2 * layer.padding - layer.size) // layer.stride + 1 for n in (height, width))
                yield layer.channels * layer.inputs * layer.size**2 * height * width
            case MaxPool():
                height, width = height // layer.size, width // layer.size
            case Residual():
                yield from _multiply_adds(layer.body, (layer.inputs, height, width))
                height, width = -(-height // layer.stride), -(-width // layer.stride)


# ------------------------------------------------------------------------------------------------ networks


def _residual(name: str, inputs: int, channels: int, stride: int) -> Residual:
    body = (
        Conv("conv1", inputs, channels, 3, stride, 1, bias=False), BatchNorm("bn1", channels), ReLU("relu"),
        Conv("conv2", channels, channels, 3, 1, 1, bias=False), BatchNorm("bn2", channels),
    )  # fmt: skip
    return Residual(name, inputs, channels, stride, body)


_PERCEPTRON = Network((1, 2, 2), (Flatten(), Dense("output", 4, 2)), classes=2)

_MLP = Network(
    (1, 28, 28),
    (
        Flatten(),
        Dense("hidden1", 784, 512), ReLU("relu1"),
        Dense("hidden2", 512, 256), ReLU("relu2"),
        Dense("output", 256, 10),
    ),
)  # fmt: skip

_LENET5 = Network(
    (1, 28, 28),
    (
        Conv("conv1", 1, 6, 5, padding=2), ReLU("relu1"), MaxPool("pool1", 2),
        Conv("conv2", 6, 16, 5), ReLU("relu2"), MaxPool("pool2", 2),
        Flatten(),
        Dense("dense1", 400, 120), ReLU("relu3"),
        Dense("dense2", 120, 84), ReLU("relu4"),
        Dense("output", 84, 10),
    ),
)  # fmt: skip

_RESNET20 = Network(
    (3, 32, 32),
    (
        Conv("conv1", 3, 16, 3, padding=1, bias=False), BatchNorm("bn1", 16), ReLU("relu1"),
        _residual("stage1_1", 16, 16, 1), _residual("stage1_2", 16, 16, 1), _residual("stage1_3", 16, 16, 1),
        _residual("stage2_1", 16, 32, 2), _residual("stage2_2", 32, 32, 1), _residual("stage2_3", 32, 32, 1),
        _residual("stage3_1", 32, 64, 2), _residual("stage3_2", 64, 64, 1), _residual("stage3_3", 64, 64, 1),
        GlobalAverage(),
        Dense("output", 64, 10),
    ),
)  # fmt: skip

_CONVBLOCK = Network(
    (64, 56, 56),
    (
        Offset("offset", 64),
        Conv("conv1", 64, 64, 3, padding=1), ReLU("relu1"),
        Conv("conv2", 64, 64, 3, padding=1), ReLU("relu2"),
    ),
    labelled=False,
)  # fmt: skip

NETWORKS = {
    "perceptron": _PERCEPTRON,
    "mlp": _MLP,
    "lenet5": _LENET5,
    "resnet20": _RESNET20,
    "convblock": _CONVBLOCK,
}
