"""What is measured: networks, batch sizes, data, targets. The same for every framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.networks import NETWORKS, Conv, Network, Offset, multiply_adds

BATCHES = 4
"""Distinct batches that take turns, so that no framework meets the same numbers twice in a row."""

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
CHECKED_STEPS = 5
MODES = ("train", "infer")


@dataclass(frozen=True, slots=True)
class Task:
    """A network of networks.py at a batch size; `targets` are the wanted ratios of the best peer's time to ours."""

    name: str
    network_name: str
    batch: int
    title: str
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        """Its layers."""
        return NETWORKS[self.network_name]

    @property
    def flops(self) -> dict[str, float]:
        """Floating-point operations of products and convolutions, two for each multiply-add.

        A training step needs two more products for each layer, but no gradient of images that nothing trains.
        """
        layers = multiply_adds(self.network)
        forward = 2.0 * self.batch * sum(layers)
        first = 0.0 if isinstance(self.network.layers[0], Offset) else 2.0 * self.batch * layers[0]
        return {"train": 3 * forward - first, "infer": forward}

    @property
    def has_images(self) -> bool:
        """Whether the axis order of images matters to the network."""
        return any(isinstance(layer, Conv) for layer in self.network.layers)


TASKS = {
    t.name: t
    for t in (
        Task("mlp64", "mlp", 64, "MLP 784-512-256-10, batch 64", {"train": 1.4, "infer": 1.1}),
        Task("mlp1", "mlp", 1, "the same, batch 1", {"train": 2.0, "infer": 1.0}),
        Task("lenet64", "lenet5", 64, "LeNet-5, batch 64", {"train": 2.5, "infer": 1.4}),
        Task("lenet1", "lenet5", 1, "LeNet-5, batch 1", {"train": 5.0, "infer": 1.5}),
        Task("resnet20_32", "resnet20", 32, "ResNet-20, 32×32, batch 32", {"train": 2.0, "infer": 2.0}),
        Task("convblock8", "convblock", 8, "two 3×3 convolutions, 64×56×56, batch 8", {"train": 2.0, "infer": 2.0}),
        Task(
            "transformer16",
            "transformer",
            16,
            "transformer block, 65 tokens of 192, batch 16",
            {"train": 1.3, "infer": 1.15},
        ),
        Task("lstm32", "lstm", 32, "LSTM of 128 units, 64 steps, batch 32", {"train": 1.15, "infer": 1.15}),
        Task("tiny1", "perceptron", 1, "4 inputs, 2 outputs, batch 1: the call itself"),
    )
}

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def batches(task: Task) -> list[Batch]:
    """Images [batch, *image] of normal noise and labels [batch], always the same."""
    generator = np.random.default_rng(0)
    network = task.network
    return [
        (
            generator.standard_normal((task.batch, *network.image), dtype=np.float32),
            generator.integers(network.classes, size=task.batch, dtype=np.int64),
        )
        for _ in range(BATCHES)
    ]
