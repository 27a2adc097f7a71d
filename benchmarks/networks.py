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
    """A bias of this shape is added: the inputs need a gradient, as they do inside of a larger network."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """relu(body(x) + shortcut(x)). The shortcut takes every `stride`-th pixel and appends channels of zeros."""

    name: str
    inputs: int
    channels: int
    stride: int
    body: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A transformer's encoder layer for [N, tokens, features], norm first, GELU, with torch's names of parameters."""

    name: str
    features: int
    heads: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Recurrent:
    """An LSTM for [N, steps, features], with torch's names of parameters; its result is the state at all steps."""

    name: str
    features: int
    hidden: int


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


Layer = Dense | Conv | BatchNorm | Offset | Residual | Encoder | Recurrent | MaxPool | ReLU | Flatten | GlobalAverage


@dataclass(frozen=True, slots=True)
class Network:
    """From inputs [N, *image] to logits, or without labels to features whose mean square is the loss."""

    image: tuple[int, ...]
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
            return {"bias": layer.shape}
        case Encoder(_, features, _, hidden):
            vectors = ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "self_attn.out_proj.bias")
            return {
                "self_attn.in_proj_weight": (3 * features, features),
                "self_attn.in_proj_bias": (3 * features,),
                "self_attn.out_proj.weight": (features, features),
                "linear1.weight": (hidden, features),
                "linear1.bias": (hidden,),
                "linear2.weight": (features, hidden),
                "linear2.bias": (features,),
            } | {name: (features,) for name in vectors}
        case Recurrent(_, features, hidden):
            weights = {"weight_ih_l0": (4 * hidden, features), "weight_hh_l0": (4 * hidden, hidden)}
            return weights | {"bias_ih_l0": (4 * hidden,), "bias_hh_l0": (4 * hidden,)}
        case _:
            return {}


def parameters(network: Network) -> dict[str, Array]:
    """Values by dotted name, always the same: weights after He, all others near zero or one but not there."""
    generator = np.random.default_rng(1)
    values = {}
    for path, layer in walk(network.layers):
        for name, shape in shapes(layer).items():
            noise = generator.standard_normal(shape)
            if name.endswith("weight") and len(shape) > 1:
                value = noise * sqrt(2 / prod(shape[1:]))
            elif name.endswith(("weight", "running_var")):
                value = 1 + 0.1 * np.abs(noise)
            else:
                value = 0.1 * noise
            values[f"{path}.{name}"] = value.astype(np.float32)
    return values


def multiply_adds(network: Network) -> list[int]:
    """Of one image, forward, for each layer that multiplies by a matrix or a filter."""
    return list(_multiply_adds(network.layers, network.image))


def _multiply_adds(layers: tuple[Layer, ...], image: tuple[int, ...]) -> Iterator[int]:
    *_, height, width = image
    for layer in layers:
        match layer:
            case Dense():
                yield layer.inputs * layer.units
            case Conv():
                height, width = ((n + 2 * layer.padding - layer.size) // layer.stride + 1 for n in (height, width))
                yield layer.channels * layer.inputs * layer.size**2 * height * width
            case Encoder(_, features, _, hidden):  # height and width are tokens and features
                yield height * (4 * features * features + 2 * features * hidden) + 2 * height * height * features
            case Recurrent(_, features, hidden):
                yield height * 4 * hidden * features
                yield height * 4 * hidden * hidden
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

_RESNET14 = Network(
    (1, 28, 28),
    (
        Conv("conv1", 1, 16, 3, padding=1, bias=False), BatchNorm("bn1", 16), ReLU("relu1"),
        _residual("stage1_1", 16, 16, 1), _residual("stage1_2", 16, 16, 1),
        _residual("stage2_1", 16, 32, 2), _residual("stage2_2", 32, 32, 1),
        _residual("stage3_1", 32, 64, 2), _residual("stage3_2", 64, 64, 1),
        GlobalAverage(),
        Dense("output", 64, 10),
    ),
)  # fmt: skip

_CONVBLOCK = Network(
    (64, 56, 56),
    (
        Offset("offset", (64, 1, 1)),
        Conv("conv1", 64, 64, 3, padding=1), ReLU("relu1"),
        Conv("conv2", 64, 64, 3, padding=1), ReLU("relu2"),
    ),
    labelled=False,
)  # fmt: skip

_TRANSFORMER = Network(
    (65, 192),
    (Offset("positions", (65, 192)), Encoder("block", 192, 3, 768)),
    labelled=False,
)  # fmt: skip

_LSTM = Network((64, 128), (Recurrent("lstm", 128, 128),), labelled=False)

NETWORKS = {
    "perceptron": _PERCEPTRON,
    "mlp": _MLP,
    "lenet5": _LENET5,
    "resnet20": _RESNET20,
    "resnet14": _RESNET14,
    "convblock": _CONVBLOCK,
    "transformer": _TRANSFORMER,
    "lstm": _LSTM,
}
