"""A training under way, and what listens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from graphc.errors import GraphcError
from graphc.train.history import Epoch
from graphc.train.metrics.metric import Measured, Totals
from graphc.train.sources import Source

Array = npt.NDArray[Any]


@dataclass(slots=True, eq=False)
class Run:
    """A training under way, as callbacks see it.

    `epoch`, `samples_done`, `totals` and `history` always say where to go on: when `Callback.epoch` is heard, the
    finished epoch is in the history and `epoch` is the next one.
    """

    model: Any
    program: Any
    source: Source
    epochs: int
    """The number of the last epoch."""
    batch_size: int
    seed: int
    shuffle: bool = True
    samples: int | None = None
    """How many of an epoch are seen; None if nobody knows before its end."""
    metrics: tuple[str, ...] = ()
    """The names of what each epoch gives: "loss", "accuracy", "val_loss", ..."""
    callbacks: tuple[Callback, ...] = ()
    first: int = 0
    """How many epochs there were before this training."""
    epoch: int = 1
    """The number of the current one."""
    samples_done: int = 0
    """In this epoch."""
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """The loss and the metrics of the program."""
    totals: Totals = field(init=False)
    """The sums of this epoch."""
    history: list[Epoch] = field(default_factory=list)
    """The finished epochs."""
    reason: str = ""
    """Why it is to end early."""
    origin: Path | None = None
    """The checkpoint from which it goes on, or went on last."""
    given_lr: Any = field(init=False)
    """The learning rate or the schedule that the optimiser came with, before it was told how long the training is."""

    def __post_init__(self) -> None:
        self.given_lr = getattr(self.optimizer, "lr", None)
        self.begin()

    def begin(self) -> None:
        """The current epoch begins anew."""
        self.samples_done, self.totals = 0, Totals(self.measured)

    @property
    def optimizer(self) -> Any:
        """The optimiser, whose rate may be changed."""
        return self.program.optimizer

    @property
    def rate(self) -> float | None:
        """The learning rate of the last step; None for an optimiser without any."""
        if not hasattr(self.optimizer, "rate"):
            return None
        updates = -(-self.steps // getattr(self.optimizer, "accumulate", 1))
        return float(self.optimizer.rate(max(updates, 1)))

    @property
    def steps(self) -> int:
        """How many steps the program has taken, those of earlier trainings too."""
        return int(self.program.steps)

    @property
    def resumed(self) -> bool:
        """Whether a part of this training is done already."""
        return bool(self.history or self.samples_done)

    @property
    def total(self) -> int | None:
        """The samples of all epochs of this training; None if nobody knows."""
        return None if self.samples is None else self.samples * (self.epochs - self.first)

    @property
    def done(self) -> int:
        """How many of them have been seen."""
        return sum(epoch.samples for epoch in self.history) + self.samples_done

    def stop(self, reason: str) -> None:
        """End after the current epoch, or after the current segment if this is called from `batch`."""
        self.reason = self.reason or reason


class Callback:
    """Listens to a training; this one does nothing.

    An error in a callback ends the training, with parameters and history as they are.
    """

    last: ClassVar[bool] = False
    """Whether it is heard after those that decide, so that it finds what they have decided."""

    def start(self, run: Run) -> None:
        """Training begins, or goes on after `restore` if `run.resumed`."""

    def batch(self, run: Run, segment: Any) -> None:
        """Some steps are done (about a twentieth of a second)."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """An epoch is done and evaluated."""

    def stop(self, run: Run, message: str) -> None:
        """Training is over, early if there is a message."""

    def state(self) -> dict[str, Any]:
        """What decides about the rest of the training, as JSON can hold it."""
        return {}

    def arrays(self) -> dict[str, Array]:
        """The arrays that belong to the state."""
        return {}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Go on from a state; `start` comes after it."""


def in_turn(first: Callback, others: Callback | Iterable[Callback] | None) -> tuple[Callback, ...]:
    """The order in which callbacks are heard: as they are given, but the `last` ones last. Raises GraphcError."""
    callbacks = [first, *([others] if isinstance(others, Callback | type) else others or ())]
    for callback in callbacks:
        if isinstance(callback, type):
            raise GraphcError(f"{callback.__name__} is a class, expected a callback", hint=f"{callback.__name__}(...)")
        if not isinstance(callback, Callback):
            raise GraphcError(
                f"{type(callback).__name__} is no callback", hint="derive it from gc.Callback, or use gc.LambdaCallback"
            )
    return tuple(sorted(callbacks, key=lambda callback: callback.last))


@dataclass(eq=False)
class LambdaCallback(Callback):
    """Functions in the place of methods: `LambdaCallback(on_epoch=lambda run, epoch: print(epoch.number))`."""

    on_start: Callable[[Run], Any] | None = None
    on_batch: Callable[[Run, Any], Any] | None = None
    on_epoch: Callable[[Run, Epoch], Any] | None = None
    on_stop: Callable[[Run, str], Any] | None = None

    def start(self, run: Run) -> None:
        if self.on_start:
            self.on_start(run)

    def batch(self, run: Run, segment: Any) -> None:
        if self.on_batch:
            self.on_batch(run, segment)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if self.on_epoch:
            self.on_epoch(run, epoch)

    def stop(self, run: Run, message: str) -> None:
        if self.on_stop:
            self.on_stop(run, message)
