"""torch: eager in both axis orders of images, and compiled. Its fused optimiser is its fastest."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.networks import (
    AVERAGING,
    BUFFERS,
    EPSILON,
    Array,
    BatchNorm,
    Conv,
    Dense,
    Encoder,
    Flatten,
    GlobalAverage,
    Layer,
    MaxPool,
    Offset,
    Recurrent,
    ReLU,
    Residual,
)
from benchmarks.tasks import LEARNING_RATE, MODES, MOMENTUM, Task, batches

VERSION = f"torch {torch.__version__}"


class AddOffset(nn.Module):
    """x + bias"""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias


class Block(nn.Module):
    """relu(body(x) + shortcut(x))"""

    def __init__(self, layer: Residual) -> None:
        super().__init__()
        for part in layer.body:
            self.add_module(part.name, module(part))
        self.stride, self.appended = layer.stride, layer.channels - layer.inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for part in self.children():
            y = part(y)
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.appended:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.appended))
        return functional.relu(y + x)


class States(nn.LSTM):
    """The states at all steps, without the last ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[0]


def module(layer: Layer) -> nn.Module:
    """The module of one layer."""
    match layer:
        case Dense():
            return nn.Linear(layer.inputs, layer.units)
        case Conv(_, inputs, channels, size, stride, padding, bias):
            return nn.Conv2d(inputs, channels, size, stride, padding, bias=bias)
        case BatchNorm():
            return nn.BatchNorm2d(layer.channels, EPSILON, AVERAGING)
        case Offset():
            return AddOffset(layer.shape)
        case Encoder(_, features, heads, hidden):
            return nn.TransformerEncoderLayer(
                features, heads, hidden, 0.0, "gelu", EPSILON, batch_first=True, norm_first=True
            )
        case Recurrent(_, features, hidden):
            return States(features, hidden, batch_first=True)
        case Residual():
            return Block(layer)
        case MaxPool():
            return nn.MaxPool2d(layer.size)
        case ReLU():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()
        case GlobalAverage():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Contender:
    """Modules, autograd, fused SGD; with `compiled` the loss and the network through torch.compile."""

    modes = MODES

    def __init__(
        self, task: Task, parameters: Mapping[str, Array], threads: int,
        channels_last: bool = False, compiled: bool = False,
    ) -> None:  # fmt: skip
        torch.set_num_threads(threads)
        self.network = nn.Sequential()
        for layer in task.network.layers:
            self.network.add_module(layer.name, module(layer))
        with torch.no_grad():
            for name, value in self.values().items():
                value.copy_(torch.from_numpy(parameters[name]))
        order = torch.channels_last if channels_last and task.has_images else torch.contiguous_format
        if task.has_images:
            self.network = self.network.to(memory_format=order)
        self.images = [torch.from_numpy(x).contiguous(memory_format=order) for x, _ in batches(task)]
        self.labels = [torch.from_numpy(y) for _, y in batches(task)]
        self.optimizer = torch.optim.SGD(self.network.parameters(), LEARNING_RATE, momentum=MOMENTUM, fused=True)

        def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            result = self.network(x)
            return functional.cross_entropy(result, y) if task.network.labelled else (result * result).mean()

        self.loss = torch.compile(loss) if compiled else loss
        self.forward = torch.compile(self.network) if compiled else self.network

    def values(self) -> dict[str, torch.Tensor]:
        """Parameters and running averages."""
        buffers = ((n, b) for n, b in self.network.named_buffers() if n.rpartition(".")[2] in BUFFERS)
        return dict(itertools.chain(self.network.named_parameters(), buffers))

    def prepare(self, mode: str) -> None:
        self.network.train(mode == "train")

    def train(self, k: int) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.images[k], self.labels[k])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def infer(self, k: int) -> Any:
        with torch.inference_mode():
            return self.forward(self.images[k])

    def logits(self, k: int) -> Array:
        return self.infer(k).numpy()

    def parameters(self) -> dict[str, Array]:
        return {name: value.detach().numpy() for name, value in self.values().items()}


def warm_up(channels_last: bool = False, compiled: bool = False) -> None:
    """What the first use of the compiler costs once: its modules, and the compiler of C++."""
    if compiled:
        torch.compile(lambda x: x + 1)(torch.zeros(4))
