"""One framework in a process of its own, answering one JSON line on stdout for each on stdin.

    {"do": "build", "task": "mlp64", "parameters": "file.npz"}   -> {"seconds": {...}, "version": "...", ...}
    {"do": "check", "results": "file.npz"}                       -> {}   numbers in the file
    {"do": "run", "what": "train", "seconds": 0.12}              -> {"median": ..., "own": ..., ...}

Started by compare.py, which sets the number of threads in the environment and pins the process.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tasks import CHECKED_STEPS, LEARNING_RATE, MOMENTUM, TASKS, Task, batches

WARM_UP = 0.04
"""Seconds of calls before a burst is timed."""


class Contender(Protocol):
    """A framework with a task built."""

    version: str
    seconds: dict[str, float]
    calls: dict[str, Callable[[], Any]]
    """What is timed, by name; each call takes the next batch."""

    def check(self) -> dict[str, np.ndarray]:
        """The logits of the first batch, the losses of the first steps, then the parameters."""
        ...


# --------------------------------------------------------------------------------------------------- graphc


class Graphc:
    """The compiled programs; writes its initial parameters for the others."""

    def __init__(self, task: Task, parameters: str, threads: int) -> None:
        import graphc

        self.version = f"graphc {graphc.__version__}"
        model = getattr(graphc.models, task.network)()
        optimizer = graphc.SGD(LEARNING_RATE, momentum=MOMENTUM)
        self.training = graphc.compile_training(model.loss, optimizer=optimizer, threads=threads)
        self.inference = graphc.compile_inference(model.logits, threads=threads)
        self.seconds = {
            "train": self.training.compile_seconds,
            "infer": self.inference.compile_seconds,
        }
        np.savez(parameters, **{name: p.value for name, p in self.training.parameters.items()})
        self.data = batches(task)
        turns = cycle(self.data)

        def train() -> None:
            x, y = next(turns)
            self.training.step(images=x, labels=y)

        def infer() -> None:
            x, _ = next(turns)
            self.inference(images=x)

        self.calls = {"train": train, "infer": infer}

    def check(self) -> dict[str, np.ndarray]:
        results = {"logits": self.inference(images=self.data[0][0])}
        turns = cycle(self.data)
        losses = [
            self.training.step(images=x, labels=y)["loss"] for x, y in (next(turns) for _ in range(CHECKED_STEPS))
        ]
        values = {f"parameter {name}": p.value for name, p in self.training.parameters.items()}
        return results | {"losses": np.array(losses)} | values


# ---------------------------------------------------------------------------------------------------- torch


def torch_network(task: Task) -> Any:
    """The twin of graphc's model: layers with the same names."""
    from collections import OrderedDict

    from torch import nn

    if task.network == "mlp":
        layers: dict[str, Any] = {
            "flatten": nn.Flatten(),
            "hidden1": nn.Linear(784, 512), "relu1": nn.ReLU(),
            "hidden2": nn.Linear(512, 256), "relu2": nn.ReLU(),
            "output": nn.Linear(256, 10),
        }  # fmt: skip
    else:
        layers = {
            "conv1": nn.Conv2d(1, 6, 5, padding=2), "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(6, 16, 5), "relu2": nn.ReLU(), "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "dense1": nn.Linear(400, 120), "relu3": nn.ReLU(),
            "dense2": nn.Linear(120, 84), "relu4": nn.ReLU(),
            "output": nn.Linear(84, 10),
        }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


class Torch:
    """Eager torch: modules, autograd and the fused optimiser, its fastest; images channels-last if asked for."""

    def __init__(self, task: Task, parameters: str, threads: int, channels_last: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self.version = f"torch {torch.__version__}"
        self.seconds = {}
        self.network = torch_network(task)
        values = np.load(parameters)
        own = dict(self.network.named_parameters())
        if own.keys() != set(values.files):
            raise ValueError(f"parameters are {sorted(values.files)}, expected {sorted(own)}")
        with torch.no_grad():
            for name, p in own.items():
                if tuple(p.shape) != values[name].shape:
                    raise ValueError(f"{name} has shape {values[name].shape}, expected {tuple(p.shape)}")
                p.copy_(torch.from_numpy(values[name]))
        self.data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(task)]
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
            self.data = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in self.data]
        optimizer = torch.optim.SGD(self.network.parameters(), LEARNING_RATE, momentum=MOMENTUM, fused=True)
        turns = cycle(self.data)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(self.network(x), y)
            loss.backward()
            optimizer.step()
            return loss

        def infer() -> None:
            with torch.inference_mode():
                self.network(next(turns)[0])

        self.step = step
        self.calls = {"train": lambda: step(*next(turns)), "infer": infer}

    def check(self) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            results = {"logits": self.network(self.data[0][0]).numpy()}
        turns = cycle(self.data)
        losses = [self.step(*next(turns)).item() for _ in range(CHECKED_STEPS)]
        values = {f"parameter {n}": p.detach().numpy() for n, p in self.network.named_parameters()}
        return results | {"losses": np.array(losses)} | values


# ----------------------------------------------------------------------------------------------- the worker


def burst(call: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Call after call for a while, each one timed; `own` are processor seconds of all threads and calls."""
    own, end = time.process_time(), time.perf_counter() + WARM_UP
    call()
    while time.perf_counter() < end:
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {
        "median": statistics.median(times),
        "fastest": min(times),
        "calls": len(times),
        "own": time.process_time() - own,
    }


def build(framework: str, task: Task, parameters: str, threads: int) -> Contender:
    """A task in a framework."""
    match framework:
        case "graphc":
            return Graphc(task, parameters, threads)
        case "torch" | "torch channels_last":
            return Torch(task, parameters, threads, framework != "torch")
        case _:
            raise ValueError(f"there is no framework {framework}")


def main() -> None:
    """Serve requests until stdin ends."""
    framework, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up between the answers
    contender: Contender | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if request["do"] == "build":
            contender = build(framework, TASKS[request["task"]], request["parameters"], threads)
            answer = {"seconds": contender.seconds, "version": contender.version}
        elif contender is None:
            raise RuntimeError("nothing is built yet")
        elif request["do"] == "check":
            np.savez(request["results"], **contender.check())
        else:
            answer = burst(contender.calls[request["what"]], request["seconds"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
