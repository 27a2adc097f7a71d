"""The compiled programs, timed as a user calls them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import graphc as gc
from benchmarks.networks import Array
from benchmarks.tasks import LEARNING_RATE, MODES, MOMENTUM, Task, batches

VERSION = f"graphc {gc.__version__}"


class Measured(NamedTuple):
    """What both programs are compiled from."""

    logits: gc.Tensor
    loss: gc.Tensor
    network: gc.Layer


class Offset(gc.Layer):
    """x + bias"""

    def __init__(self, shape: tuple[int, ...], name: str) -> None:
        self.shape, self.name = shape, name

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return x + self.parameter("bias", self.shape, "zeros")


def of_features(network: gc.Layer, shape: tuple[int, ...]) -> Measured:
    """A network whose loss is the mean square of its result."""
    features = network(gc.input("images", (gc.BATCH, *shape)))
    return Measured(features, (features * features).mean(), network)


def convblock() -> Measured:
    """Two convolutions in the middle of a network."""
    network = gc.Sequential(
        Offset((64, 1, 1), "offset"),
        gc.Conv2d(64, 3, padding=1, activation="relu", name="conv1"),
        gc.Conv2d(64, 3, padding=1, activation="relu", name="conv2"),
    )
    return of_features(network, (64, 56, 56))


def transformer() -> Measured:
    """One encoder layer in the middle of a network."""
    block = gc.TransformerEncoderLayer(192, 3, 768, 0.0, "gelu", norm_first=True, name="block")
    return of_features(gc.Sequential(Offset((65, 192), "positions"), block), (65, 192))


class States(gc.LSTM):
    """The states at all steps, without the last ones."""

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return super().forward(x)[0]


def model_of(task: Task) -> Any:
    """The model of graphc.models, or one of the blocks above."""
    match task.network_name:
        case "convblock":
            return convblock()
        case "transformer":
            return transformer()
        case "lstm":
            return of_features(gc.Sequential(States(128, 128, name="lstm")), task.network.image)
        case "perceptron":
            return gc.models.perceptron(task.network.image, task.network.classes)
        case name:
            return getattr(gc.models, name)()


def paired(ours: Mapping[str, gc.Parameter], theirs: Mapping[str, Array]) -> dict[str, gc.Parameter]:
    """Our parameter for each of their names: that of the same name, else the k-th weight for the k-th weight and so on.

    Raises ValueError where counts or shapes differ.
    """
    if ours.keys() == theirs.keys():
        return dict(ours)
    by_kind: dict[str, list[gc.Parameter]] = defaultdict(list)
    for name, parameter in ours.items():
        by_kind[name.rpartition(".")[2]].append(parameter)
    pairs = {}
    for name, value in theirs.items():
        candidates = by_kind[name.rpartition(".")[2]]
        if not candidates or candidates[0].shape != value.shape:
            raise ValueError(f"no parameter for {name} {value.shape}, but {list(ours)}")
        pairs[name] = candidates.pop(0)
    return pairs


class Contender:
    """Training and inference programs of one task."""

    modes = MODES

    def __init__(self, task: Task, parameters: Mapping[str, Array], threads: int) -> None:
        self.threads, self.model = threads, model_of(task)
        self.training: Any = None
        self.inference: Any = None
        self.paired = paired(dict(self.model.network.named_parameters()), parameters)
        for name, parameter in self.paired.items():
            parameter.value = parameters[name]
        labelled = task.network.labelled
        self.batches = [{"images": x, "labels": y} if labelled else {"images": x} for x, y in batches(task)]
        self.images = [{"images": x["images"]} for x in self.batches]

    def prepare(self, mode: str) -> None:
        if mode == "train" and self.training is None:
            optimizer = gc.SGD(LEARNING_RATE, momentum=MOMENTUM)
            self.training = gc.compile_training(self.model.loss, optimizer=optimizer, threads=self.threads)
        if mode == "infer" and self.inference is None:
            self.inference = gc.compile_inference(self.model.logits, threads=self.threads)

    def train(self, k: int) -> Any:
        return self.training.step(**self.batches[k])["loss"]

    def infer(self, k: int) -> Any:
        return self.inference(**self.images[k])

    def logits(self, k: int) -> Array:
        return self.infer(k)

    def parameters(self) -> dict[str, Array]:
        return {name: p.value for name, p in self.paired.items()}


def warm_up() -> None:
    """Nothing: what the first compilation loads or derives counts as its time."""
