"""The wall time of training, `Model.fit` against torch: `python benchmarks/training.py --threads 2`.

The same model, parameters, batches and optimiser (SGD, Nesterov momentum, weight decay) on Fashion-MNIST. First a few
steps on the same samples must give the same losses. Then both train in turns in one process, many steps at a time, data
handling and metrics included; medians over the rounds. torch gets its best case: the images are one tensor, a shuffled
minibatch is `index_select`, its fused optimiser is used, loss and accuracy are added up without waiting for them, and
both orders of axes are tried.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import graphc as gc
from benchmarks.compare import KEEP_MEMORY
from benchmarks.frameworks.with_graphc import paired
from benchmarks.frameworks.with_torch import module
from benchmarks.machine import description
from benchmarks.networks import NETWORKS, Array, Network, parameters
from graphc.train.data import load, normalise

BATCH, RATE, MOMENTUM, DECAY = 128, 0.01, 0.9, 5e-4
CHECKED_STEPS, TOLERANCE = 5, 1e-3
ORDERS = {"torch": torch.contiguous_format, "torch channels_last": torch.channels_last}


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and how many minibatches a turn takes."""

    title: str
    network: Network
    model: Callable[[], Any]
    batches: int


CASES = {
    "lenet5": Case("LeNet-5", NETWORKS["lenet5"], gc.models.lenet5, 469),
    "resnet14": Case(
        "ResNet-14 of examples/fashion_mnist.py", NETWORKS["resnet14"], lambda: gc.models.resnet(2, (1, 28, 28)), 20
    ),
}


class WithGraphc:
    """Model.fit for one epoch on the samples."""

    def __init__(self, case: Case, threads: int) -> None:
        classifier, given = case.model(), parameters(case.network)
        self.model, self.threads = gc.Model(classifier), threads
        self.optimizer = gc.SGD(RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
        for name, parameter in paired(dict(classifier.network.named_parameters()), given).items():
            parameter.value = given[name]

    def losses(self, x: Array, y: Array) -> list[float]:
        """Those of the first steps, on consecutive minibatches."""
        program = self.model.compile(self.optimizer, threads=self.threads)
        return list(program.epoch({"images": x, "labels": y}, BATCH)["loss"])

    def train(self, x: Array, y: Array) -> None:
        """All samples once, shuffled."""
        self.model.fit(
            x, y, epochs=1, batch_size=BATCH, optimizer=self.optimizer, threads=self.threads, verbose=0
        )  # fmt: skip


class WithTorch:
    """The usual loop over minibatches of tensors in memory."""

    def __init__(self, case: Case, threads: int, order: torch.memory_format) -> None:
        torch.set_num_threads(threads)
        self.network, self.order = torch.nn.Sequential(), order
        for layer in case.network.layers:
            self.network.add_module(layer.name, module(layer))
        given = parameters(case.network)
        with torch.no_grad():
            for name, value in [*self.network.named_parameters(), *self.network.named_buffers()]:
                if name in given:
                    value.copy_(torch.from_numpy(given[name]))
        self.network = self.network.to(memory_format=order).train()
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True, fused=True
        )

    def step(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One update; the loss and how many were right, before it."""
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.network(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(1) == y).sum()

    def losses(self, x: Array, y: Array) -> list[float]:
        """Those of the first steps, on consecutive minibatches."""
        images = torch.from_numpy(x).contiguous(memory_format=self.order).split(BATCH)
        labels = torch.from_numpy(y).split(BATCH)
        return [float(self.step(a, b)[0]) for a, b in zip(images, labels, strict=True)]

    def train(self, x: Array, y: Array) -> None:
        """All samples once, shuffled."""
        images = torch.from_numpy(x).contiguous(memory_format=self.order)
        labels = torch.from_numpy(y)
        loss, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(len(x)).split(BATCH):
            step_loss, step_right = self.step(images.index_select(0, rows), labels.index_select(0, rows))
            loss += step_loss * len(rows)
            right += step_right
        float(loss), int(right)


def measure(case: Case, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each turn by framework; one turn before does not count. Raises SystemExit for other numbers."""
    training, _ = normalise(*load("fashion-mnist"))
    x, y = training.images[: BATCH * case.batches], training.labels.astype(np.int64)[: BATCH * case.batches]
    trainers: dict[str, Any] = {"graphc": WithGraphc(case, threads)}
    trainers |= {name: WithTorch(case, threads, order) for name, order in ORDERS.items()}
    first = BATCH * CHECKED_STEPS
    ours, *theirs = (trainer.losses(x[:first], y[:first]) for trainer in trainers.values())
    for losses in theirs:
        if not np.allclose(ours, losses, rtol=TOLERANCE):
            raise SystemExit(f"{case.title}: not the same losses: {ours} and {losses}")
    found: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(rounds + 1):
        for name, trainer in trainers.items():
            began = perf_counter()
            trainer.train(x, y)
            found[name].append(perf_counter() - began)
    return {name: seconds[1:] for name, seconds in found.items()}


def row(case: Case, threads: int, found: Mapping[str, list[float]]) -> str:
    """One line of the table: seconds of an epoch of 60,000 samples, and torch / graphc."""
    epoch = 60_000 / (BATCH * case.batches)
    each = " | ".join(f"{epoch * statistics.median(seconds):.2f}" for seconds in found.values())
    best = min(ORDERS, key=lambda name: statistics.median(found[name]))
    ratio = statistics.median(a / b for a, b in zip(found[best], found["graphc"], strict=True))
    return f"| {case.title}, threads {threads} | {case.batches} | {each} | {ratio:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cases", nargs="*", default=[*CASES], help=f"of {', '.join(CASES)}; all unless given")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"there is no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if not KEEP_MEMORY.keys() <= os.environ.keys():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    print(f"{description()}; graphc {gc.__version__}, torch {torch.__version__}; medians of {options.rounds} turns\n")
    columns = " | ".join(["steps a turn", "graphc", *ORDERS, "ratio"])
    print(f"| seconds for an epoch of 60,000 images, batch {BATCH} | {columns} |")
    print("|---|---|---|---|---|---|")
    for case in (CASES[name] for name in options.cases):
        for threads in options.threads:
            print(row(case, threads, measure(case, threads, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
