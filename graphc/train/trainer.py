"""Training a model in one call: `Model(lenet5((1, 8, 8), 10)).fit(images, labels, epochs=10)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError, GraphcError
from graphc.train.interrupt import Interruptible
from graphc.train.optimisers import Adam, Optimizer
from graphc.train.progress import Epoch, Progress, progress_on
from graphc.train.userfile import is_classifier

Array = npt.NDArray[Any]

DEFAULT_BATCH_SIZE = 64
EVALUATION_BATCH_SIZE = 256
"""Evaluation keeps no activations for a backward pass, so it can take more samples at a time."""


class Classifier(Protocol):
    """The tensors of a classifying network, as `graphc.models` makes them."""

    @property
    def images(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def logits(self) -> Any: ...
    @property
    def loss(self) -> Any: ...
    @property
    def accuracy(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class History:
    """The epochs of a `fit`, in order; `history["loss"]` and `history["held out loss"]` list one metric.

    `interrupted` says that Ctrl-C ended it; `steps` counts all updates, those of an unfinished epoch too.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    seconds: float
    interrupted: bool = False

    def __getitem__(self, metric: str) -> list[float]:
        name = metric.removeprefix("held out ")
        rows = [e.training if name == metric else e.validation for e in self.epochs]
        if rows and name not in rows[0]:
            raise KeyError(f"{metric!r} was not recorded; recorded were {', '.join(rows[0]) or 'none'}")
        return [row[name] for row in rows]


class Model:
    """Outputs, a loss and metrics as one thing that can be fitted, evaluated and asked.

    `Model(classifier)` takes what `graphc.models` returns,
    `Model(outputs, loss=..., metrics={...}, x=..., y=...)` any tensors, x and y being the names of the inputs
    that hold the samples and their targets. Loss and metrics must be means over the batch, for that is how
    the batches of an epoch are averaged.
    """

    def __init__(
        self, outputs: Any, *, loss: Any = None, metrics: Mapping[str, Any] | None = None,
        x: str = "images", y: str = "labels",
    ) -> None:  # fmt: skip
        if loss is None:
            if not is_classifier(outputs):
                raise GraphcError(
                    f"Model needs a classifier or a loss, got {type(outputs).__name__}",
                    hint="Model(lenet5((1, 8, 8), 10)) or Model(outputs, loss=..., x=..., y=...)",
                )
            classifier: Classifier = outputs
            x, y = classifier.images.name, classifier.labels.name
            outputs, loss, metrics = classifier.logits, classifier.loss, {"accuracy": classifier.accuracy}
        self.outputs, self.loss, self.metrics = outputs, loss, dict(metrics or {})
        self.x, self.y = x, y
        self._training: Any = None
        self._compiled_for: tuple[Any, ...] = ()
        self._inference: dict[tuple[str, int | None], Any] = {}

    def compile(self, optimizer: Optimizer | None = None, *, threads: int | None = None, seed: int = 0) -> Any:
        """The training program: forward, backward and update as one native call.

        The same program as long as the arguments stay the same; another optimiser starts with new state.
        Without one, that of before is used, or Adam.
        """
        from graphc.pipeline import compile_training

        if optimizer is None:
            optimizer = self._training.optimizer if self._training is not None else Adam()
        wanted = (id(optimizer), threads, seed)
        if wanted != self._compiled_for:
            self._training = compile_training(
                self.loss, optimizer=optimizer, metrics=self.metrics, threads=threads, seed=seed
            )
            self._compiled_for = wanted
        return self._training

    @property
    def program(self) -> Any:
        """The training program that was compiled last. Raises GraphcError before the first."""
        if self._training is None:
            raise GraphcError("the model has not been compiled for training yet", hint="call fit or compile")
        return self._training

    def fit(
        self, x: Array, y: Array, *, epochs: int = 10, batch_size: int = DEFAULT_BATCH_SIZE,
        optimizer: Optimizer | None = None, validation: tuple[Array, Array] | None = None, seed: int = 0,
        threads: int | None = None, progress: bool | Progress = True,
    ) -> History:  # fmt: skip
        """Train on samples `x` with targets `y`, shuffled anew for each epoch, as `seed` decides.

        The last batch of an epoch may be smaller. Ctrl-C ends training within a tenth of a second, between two
        steps, and keeps what was learnt.
        Raises DataError for arrays that do not go together, InputError and NonFiniteError as the program.
        """
        _check_lengths(x, y)
        if validation is not None:
            _check_lengths(*validation)
        if batch_size < 1 or epochs < 1:
            raise GraphcError(f"batch_size and epochs must be at least 1, got {batch_size} and {epochs}")
        program = self.compile(optimizer, threads=threads, seed=seed)
        if progress is True:
            progress = progress_on()
        listener = progress or Progress()
        generator = np.random.default_rng(seed)
        done: list[Epoch] = []
        steps, began, message = 0, perf_counter(), ""
        listener.start(epochs, len(x))
        try:
            with Interruptible() as interruptible:
                for number in range(1, epochs + 1):
                    mean, started = _Mean(), perf_counter()
                    interruptible.point()
                    order = generator.permutation(len(x))
                    for part in program.segments({self.x: x, self.y: y}, batch_size, order=order):
                        steps += len(part)
                        mean.add(part.values, part.samples)
                        listener.batch(int(part.samples.sum()), mean.value)
                        if mean.samples < len(x):
                            interruptible.point()
                    seconds = perf_counter() - started
                    held_out = self.evaluate(*validation, threads=threads) if validation is not None else {}
                    done.append(Epoch(number, mean.value, held_out, len(x), seconds))
                    listener.epoch(done[-1])
        except KeyboardInterrupt:
            message = f"stopped after {steps} steps, in epoch {min(len(done) + 1, epochs)}; what was learnt is kept"
        finally:
            listener.stop(message)
        return History(tuple(done), steps, perf_counter() - began, bool(message))

    def evaluate(
        self, x: Array, y: Array, *, batch_size: int = EVALUATION_BATCH_SIZE, threads: int | None = None
    ) -> dict[str, float]:
        """Loss and metrics, averaged over all samples, by the inference program."""
        _check_lengths(x, y)
        program = self._compiled("evaluate", {"loss": self.loss, **self.metrics}, threads)
        mean = _Mean()
        for rows in _batches(len(x), batch_size):
            batch = {self.x: x[rows], self.y: y[rows]}
            mean.add(program(**batch), np.array([len(batch[self.x])]))
        return mean.value

    def predict(self, x: Array, *, batch_size: int = EVALUATION_BATCH_SIZE, threads: int | None = None) -> Array:
        """The outputs for samples `x`, with the parameters as they are now."""
        if not len(x):
            raise DataError("there are no samples to predict")
        program = self._compiled("predict", self.outputs, threads)
        parts = [program(**{self.x: x[rows]}) for rows in _batches(len(x), batch_size)]
        return np.concatenate(parts)

    def _compiled(self, purpose: str, outputs: Any, threads: int | None) -> Any:
        """The inference program for a purpose, compiled when it is first needed."""
        from graphc.pipeline import compile_inference

        key = purpose, threads
        if key not in self._inference:
            self._inference[key] = compile_inference(outputs, threads=threads)
        return self._inference[key]


class _Mean:
    """Running means of named numbers, weighted by the samples that they stand for."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self.samples = 0

    def add(self, values: Mapping[str, Any], samples: npt.NDArray[np.int64]) -> None:
        """The values of several batches, and how many samples each of them had."""
        for name, value in values.items():
            # one after the other, whatever parts they come in: the same sums for any number of parts
            total = np.append(self._sums.get(name, 0.0), np.asarray(value, np.float64) * samples)
            self._sums[name] = float(np.cumsum(total)[-1])
        self.samples += int(samples.sum())

    @property
    def value(self) -> dict[str, float]:
        return {name: total / self.samples for name, total in self._sums.items()}


def _batches(count: int, size: int) -> list[slice]:
    """Consecutive samples, the last batch possibly smaller."""
    return [slice(start, start + size) for start in range(0, count, size)]


def _check_lengths(x: Array, y: Array) -> None:
    """Raises DataError unless there are as many targets as samples, and at least one."""
    if len(x) != len(y):
        raise DataError(f"expected one target for each sample, got {len(x)} samples and {len(y)} targets")
    if not len(x):
        raise DataError("the data set is empty")
