"""Training a model in one call: `Model(lenet5((1, 8, 8), 10)).fit(images, labels, epochs=10)`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Input, Tensor, input
from graphc.errors import DataError, GraphcError
from graphc.runtime.threads import default_threads
from graphc.train.callbacks.run import Callback, Run, in_turn
from graphc.train.feeding import (
    Since,
    arrays_of,
    batches,
    by_name,
    is_pair,
    limited,
    shaped,
    split,
    within,
    without_targets,
)
from graphc.train.fitting import Training, rate_over, updates_of
from graphc.train.guard import Guard
from graphc.train.history import History
from graphc.train.metrics.metric import Measured, Totals, statistics_of
from graphc.train.objective import flat, inputs_of, objective, of_classifier, weights_of_classes
from graphc.train.optimisers import Adam, Optimizer
from graphc.train.progress import progress_on
from graphc.train.ranges import count, seed_or_common
from graphc.train.sources import Arrays, Readable, Source, source_of
from graphc.train.userfile import is_classifier

Array = npt.NDArray[Any]
Names = str | Tensor | Sequence["str | Tensor"] | None

DEFAULT_BATCH_SIZE = 64
EVALUATION_BATCH_SIZE = 256
"""Evaluation keeps no activations for a backward pass, so it can take more samples at a time."""

CLASS_WEIGHT = "class_weight"
"""The input for the weights of the classes, in the programs of models that have been given any."""


class Model:
    """Outputs, a loss and metrics as one thing that can be fitted, evaluated and asked.

    `Model(classifier)` takes what `graphc.models` returns; `Model(outputs, loss=..., metrics=...)` any tensors. The
    loss is a tensor, a name such as "cross_entropy" or "mse", or a function of outputs and target, which is then
    declared; for outputs by name a dict of losses, summed with `loss_weights`. Metrics are names, or a dict of tensors
    (means over the batch) and Metrics. x and y are the inputs that hold the samples and their targets, or their names:
    unless given, those that the outputs read, and those that loss and metrics read besides.
    `history` is that of the last `fit`, whatever ended it. Raises GraphcError.
    """

    def __init__(
        self, outputs: Any, *, loss: Any = None, metrics: Any = None, loss_weights: Mapping[str, float] | None = None,
        x: Names = None, y: Names = None,
    ) -> None:  # fmt: skip
        if loss is None:
            if not is_classifier(outputs):
                raise GraphcError(
                    f"Model needs a classifier or a loss, got {type(outputs).__name__}",
                    hint='Model(lenet5((1, 8, 8), 10)) or Model(outputs, loss="cross_entropy")',
                )
            self.outputs, self.objective = outputs.logits, of_classifier(outputs)
            x, y = outputs.images.name, outputs.labels.name
        else:
            single = y if isinstance(y, str | Input) else None
            self.outputs, self.objective = outputs, objective(outputs, loss, metrics, single, loss_weights)
        self.loss, self.metrics = self.objective.loss, dict(self.objective.metrics)
        self.x = _names(x) if x is not None else tuple(t.name for t in inputs_of([self.outputs]))
        self.y = _names(y) if y is not None else self._targets()
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise GraphcError(f"two inputs are called {twice[0]}", hint="use one for both, or give them other names")
        self.history: History | None = None
        self.epochs = 0
        """How many epochs have been finished, in all fits."""
        self._training: Any = None
        self._compiled_for: tuple[Any, ...] = ()
        self._inference: dict[str, Any] = {}
        self.constants: dict[str, Array] = {}
        """What the training program is fed besides the data: weights of the classes."""

    @property
    def measured(self) -> dict[str, Measured]:
        """What is reported of every epoch: the loss, its parts, the metrics."""
        return {"loss": self.loss, **self.metrics}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all inputs for data."""
        return *self.x, *self.y

    def _targets(self) -> tuple[str, ...]:
        read = inputs_of(flat(self.outputs, self.loss, self.metrics))
        return tuple(t.name for t in read if t.name not in self.x)

    # ------------------------------------------------------------------------------------------- programs

    def compile(
        self,
        optimizer: Optimizer | None = None,
        *,
        threads: int | None = None,
        seed: int | None = None,
        guard: Guard = "loss",
    ) -> Any:
        """The training program: forward, backward and update as one native call.

        The same program as long as optimiser, guard and trainable parameters stay the same; otherwise the optimiser's
        state is new. Without an optimiser, that of before is used, or Adam. Parameters without a value are drawn from
        `seed`, or that of `graphc.seed`.
        """
        program = self._compile(optimizer, self.constants, threads, seed, guard)
        self._hold(program, self.constants, guard)
        return program

    def _compile(
        self, optimizer: Optimizer | None, constants: Mapping[str, Array], threads: int | None, seed: int | None,
        guard: Guard,
    ) -> Any:  # fmt: skip
        """The training program that is fed such constants besides the data: that of before, or a new one."""
        from graphc.pipeline import compile_training

        known = self._training
        if optimizer is None:
            optimizer = known.optimizer if known is not None else Adam()
        same = known is not None and known.optimizer is optimizer
        if same and self._compiled_for == (guard, tuple(constants), _trainable(known)):
            known.threads = threads or default_threads()
            return known
        return compile_training(
            self._trained(constants), optimizer=optimizer, outputs=self.outputs, metrics=self.metrics,
            threads=threads, seed=seed_or_common(seed), guard=guard,
        )  # fmt: skip

    def _hold(self, program: Any, constants: dict[str, Array], guard: Guard) -> None:
        """From now on this is the training program."""
        self._training, self.constants = program, constants
        self._compiled_for = guard, tuple(constants), _trainable(program)

    def _trained(self, constants: Mapping[str, Array]) -> Any:
        """The loss of the training program, with weights of the classes if there are any."""
        if not constants or self.objective.weighted is None:
            return self.loss
        return self.objective.weighted(input(CLASS_WEIGHT, (self.objective.classes,), self.objective.dtype))

    @property
    def program(self) -> Any:
        """The training program that was compiled last. Raises GraphcError before the first."""
        if self._training is None:
            raise GraphcError("the model has not been compiled for training yet", hint="call fit or compile")
        return self._training

    def _compiled(self, purpose: str, outputs: Any, threads: int | None) -> Any:
        """The inference program for a purpose, compiled when it is first needed."""
        from graphc.pipeline import compile_inference

        if purpose not in self._inference:
            self._inference[purpose] = compile_inference(outputs, threads=threads)
        self._inference[purpose].threads = threads or default_threads()
        return self._inference[purpose]

    # ------------------------------------------------------------------------------------------- training

    def fit(
        self, x: Any, y: Any = None, *, epochs: int = 10, batch_size: int = DEFAULT_BATCH_SIZE,
        optimizer: Optimizer | None = None, validation_data: Any = None, validation_split: float = 0.0,
        class_weight: Any = None, callbacks: Callback | Iterable[Callback] | None = (), shuffle: bool = True,
        seed: int | None = None, threads: int | None = None, verbose: int | str = 1, resume: str | Path | None = None,
        steps_per_epoch: int | None = None, drop_last: bool = False, guard: Guard = "loss",
    ) -> History:  # fmt: skip
        """Train on samples `x` with targets `y`, shuffled anew for each epoch, as seed and number of the epoch decide.

        x is an array (or a tuple or dict of them), or without y a dict that holds the targets too, a Dataset, a Source,
        an iterable or generator of batches (x, y) or a function that returns one; endless ones need `steps_per_epoch`.
        A last minibatch may be smaller, or with `drop_last` is left out. Another fit goes on: with the next epochs, and
        with the optimiser's state unless another optimiser is given.
        `validation_data` (x, y) is evaluated after each epoch; `validation_split` takes a share of the samples for it
        instead, the last ones. `class_weight` weighs the loss of each class in training, Σ w·loss / Σ w: a dict (1 for
        those that are left out), a list, or "balanced": samples / (classes · samples of the class). Only the first ones
        need another program.
        `verbose`: 0 silent, 1 a live line on a terminal, 2 a line for each epoch. `resume` is a checkpoint, or their
        directory, to go on from. Ctrl-C ends training between two steps, within a tenth of a second; whatever ends it,
        what was learnt is kept. With `guard="gradients"` a gradient that is not finite ends it before the update that
        it would spoil, and the error says which formula has made it; that takes some speed.
        Raises DataError for data that do not go together, InputError and NonFiniteError as the program, GraphcError.
        """
        epochs, batch_size = count("epochs", epochs), count("batch_size", batch_size)
        if steps_per_epoch is not None:
            steps_per_epoch = count("steps_per_epoch", steps_per_epoch)
        seed = seed_or_common(seed)
        listeners = in_turn(progress_on(verbose=verbose), callbacks)
        source, held_out = self._sources(x, y, validation_data, validation_split, epochs)
        weights = self._weights(class_weight, source)
        program = self._compile(optimizer, weights, threads, seed, guard)
        score = self._scorer(held_out, threads)
        if isinstance(source, Arrays):
            program.check({**source.arrays, **weights})
        if steps_per_epoch is not None:
            source = limited(source, x, self.names, steps_per_epoch, batch_size)
        if isinstance(x, Iterator):
            source = Since(source, self.epochs)
        seen = source.samples
        if drop_last and seen is not None:
            seen -= seen % batch_size
        names = "loss", *self.metrics
        run = Run(
            self, program, source, self.epochs + epochs, batch_size, seed, shuffle, seen,
            (*names, *(f"val_{name}" for name in names if held_out is not None)), listeners,
            first=self.epochs, epoch=self.epochs + 1, measured=self.measured,
        )  # fmt: skip
        self._hold(program, weights, guard)
        if resume is not None:
            self._resume(run, resume, verbose)
        with rate_over(program.optimizer, *updates_of(run, program.optimizer)):
            try:
                return Training(run, score, self.constants, drop_last)()
            finally:
                self.epochs = run.epoch - 1

    def step(self, **arrays: Any) -> dict[str, float]:
        """One update on one batch, every input by name; the loss and the metrics of the parameters before it.

        Raises InputError for arrays that do not fit, NonFiniteError; the parameters then are as they were.
        """
        program = self._training if self._training is not None else self.compile()
        return program.step(**arrays, **self.constants)

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = EVALUATION_BATCH_SIZE, threads: int | None = None
    ) -> dict[str, Any]:
        """Loss and metrics over all samples, by the inference program. Raises DataError, InputError."""
        return self._score(self.source(x, y), batch_size, threads)

    def predict(self, x: Any, *, batch_size: int = EVALUATION_BATCH_SIZE, threads: int | None = None) -> Any:
        """The outputs for samples `x`, with the parameters as they are now; targets that come with them do not matter.

        Raises DataError, InputError.
        """
        if (isinstance(x, list) and len(self.x) == 1) or (hasattr(x, "__len__") and not len(x)):
            x = np.asarray(x)
            if not len(x):
                raise DataError("there are no samples to predict")
        batch_size = count("batch_size", batch_size)
        program = self._compiled("predict", self.outputs, threads)
        names = self.names if isinstance(x, Readable | Source) else self.x
        samples = without_targets(by_name("x", x, self.x), len(self.x), len(self.names))
        parts = [
            program(**{name: batch[name] for name in self.x if name in batch})
            for batch in batches(source_of(samples, None, names), batch_size)
        ]
        match parts[0]:
            case Mapping():
                return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            case tuple():
                return tuple(map(np.concatenate, zip(*parts, strict=True)))
            case _:
                return np.concatenate(parts)

    def _score(self, source: Source, batch_size: int, threads: int | None) -> dict[str, Any]:
        batch_size = count("batch_size", batch_size)
        program, totals = self._evaluation(threads), Totals(self.measured)
        for batch in batches(source, batch_size):
            totals.add(program(**batch), len(next(iter(batch.values()))))
        return totals.value

    def _evaluation(self, threads: int | None) -> Any:
        return self._compiled("evaluate", statistics_of(self.measured), threads)

    def _scorer(self, source: Source | None, threads: int | None) -> Any:
        """What evaluates the model after each epoch."""
        if source is None:
            return dict
        if isinstance(source, Arrays):
            with within("validation_data"):
                self._evaluation(threads).check(source.arrays)

        def score() -> dict[str, Any]:
            with within("validation_data"):
                return self._score(source, EVALUATION_BATCH_SIZE, threads)

        return score

    def _resume(self, run: Run, where: str | Path, verbose: int | str) -> None:
        from graphc.train.checkpoints.running import load_run

        epochs = run.epochs - run.first
        for note in load_run(where, run):
            if verbose:
                print(note)
        run.first = run.epoch - 1 - len(run.history)
        run.epochs = run.first + epochs

    # ----------------------------------------------------------------------------------------------- data

    def source(self, x: Any, y: Any = None) -> Source:
        """What `fit` reads from. Raises DataError."""
        return source_of(*self._given(x, y), self.names)

    def _given(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Samples and targets by name where there are several of them, targets in the shape of their input."""
        if y is not None and not self.y:
            raise DataError(f"there is a y, but outputs and loss read {', '.join(self.x)} alone", hint="leave it out")
        xs, ys = by_name("x", x, self.x), by_name("y", y, self.y)
        if isinstance(xs, dict) and ys is not None and not isinstance(ys, dict):
            ys = {self.y[0]: ys}
        for target in self.objective.targets:
            if isinstance(ys, dict) and target.name in ys:
                ys[target.name] = shaped(ys[target.name], target)
            elif len(self.y) == 1:
                ys = shaped(ys, target)
        return xs, ys

    def _sources(
        self, x: Any, y: Any, validation_data: Any, validation_split: float, epochs: int
    ) -> tuple[Source, Source | None]:
        """What is trained on, and what is validated on."""
        if not validation_split:
            held_out = None
            if validation_data is not None:
                pair = validation_data if is_pair(validation_data) else (validation_data, None)
                if len(pair) != 2:
                    raise DataError(f"validation_data has {len(pair)} parts, expected (x, y)")
                with within("validation_data"):
                    if epochs > 1 and isinstance(validation_data, Iterator):
                        raise DataError(
                            f"a generator can be read once, but there are {epochs} epochs",
                            hint="give a function that returns a new one, or arrays",
                        )
                    held_out = self.source(*pair)
            return self.source(x, y), held_out
        if validation_data is not None:
            raise GraphcError("there are validation_data and validation_split", hint="give one of them")
        return split(self.source(x, y), validation_split)

    def _weights(self, given: Any, source: Source) -> dict[str, Array]:
        """The weights of the classes, by input. Raises GraphcError where there are no classes, or others."""
        if given is None:
            return {name: np.ones_like(value) for name, value in self.constants.items()}
        if self.objective.weighted is None:
            raise GraphcError(
                "class_weight needs a loss of class numbers that Model makes, by name or for a classifier of "
                "graphc.models; this one is made already", hint="gc.cross_entropy(logits, labels, weight=...)",
            )  # fmt: skip
        return {CLASS_WEIGHT: weights_of_classes(given, self.objective, arrays_of(source).get(self.y[0]))}

    # ----------------------------------------------------------------------------------------------- files

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by dotted name, running averages included."""
        from graphc.train.checkpoints.weights import weights_of

        return weights_of(flat(self.outputs, self.loss, self.metrics))

    def state_dict(self) -> dict[str, Array]:
        """Copies of the values of all parameters by dotted name."""
        from graphc.dsl.state import values_of

        return values_of(self.parameters)

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], strict: bool = True, **options: Any) -> Any:
        """Set the parameters, see `graphc.dsl.state.take`: `only=` patterns of names, `rename=`. Raises DataError."""
        from graphc.dsl.state import take

        return take(self.parameters, state, strict=strict, **options)

    def save(self, path: str | Path, **extras: npt.ArrayLike) -> None:
        """Write the parameters to .safetensors or .npz, with extra arrays if there are any. Raises DataError."""
        from graphc.train.checkpoints.weights import save

        save(path, self.parameters, **extras)

    def load(self, path: str | Path, strict: bool = True, **options: Any) -> Any:
        """Set the parameters to those of a file; options as in `load_state_dict`. Raises DataError."""
        from graphc.train.checkpoints.weights import load

        return load(path, self.parameters, strict=strict, **options)


def _trainable(program: Any) -> frozenset[str]:
    return frozenset(name for name, parameter in program.parameters.items() if parameter.trainable)


def _names(given: Any) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str | Tensor) else tuple(given)
    return tuple(name.name if isinstance(name, Input) else name for name in listed)
