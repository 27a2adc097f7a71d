"""What is measured: networks, batch sizes, data. The same for every framework."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BATCHES = 4
"""Distinct batches that take turns, so that no framework meets the same numbers twice in a row."""

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
CHECKED_STEPS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """A network at a batch size. `network` is a model of graphc.models; worker.py has its twin in torch."""

    name: str
    network: str
    batch: int
    multiply_adds: int
    """Of one image, forward."""

    @property
    def flops(self) -> dict[str, float]:
        """Nominal floating-point operations: two for each multiply-add, thrice that for a training step."""
        forward = 2.0 * self.multiply_adds * self.batch
        return {"train": 3 * forward, "infer": forward}

    @property
    def has_images(self) -> bool:
        """Whether the axis order of images matters to the network."""
        return self.network == "lenet5"


_MLP = 784 * 512 + 512 * 256 + 256 * 10
_LENET = 6 * 25 * 28 * 28 + 16 * 150 * 10 * 10 + 400 * 120 + 120 * 84 + 84 * 10

TASKS = {
    t.name: t
    for t in (
        Task("mlp64", "mlp", 64, _MLP),
        Task("lenet64", "lenet5", 64, _LENET),
        Task("mlp1", "mlp", 1, _MLP),
        Task("lenet1", "lenet5", 1, _LENET),
    )
}
MODES = ("train", "infer")

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def batches(task: Task) -> list[Batch]:
    """Images [batch, 1, 28, 28] of normal noise and labels [batch], always the same."""
    generator = np.random.default_rng(0)
    return [
        (
            generator.standard_normal((task.batch, 1, 28, 28), dtype=np.float32),
            generator.integers(10, size=task.batch, dtype=np.int64),
        )
        for _ in range(BATCHES)
    ]
