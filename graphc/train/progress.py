"""Reporting on training: a live line on a terminal, one line an epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training set gave: means over its samples, and over the validation set."""

    number: int
    training: dict[str, float]
    validation: dict[str, float]
    samples: int
    seconds: float

    @property
    def samples_per_second(self) -> float:
        """Speed of training, validation not counted."""
        return self.samples / self.seconds if self.seconds else 0.0


def metrics_text(metrics: dict[str, float]) -> str:
    """`loss 0.1234  accuracy 0.9876`"""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def epoch_text(epoch: Epoch, epochs: int) -> str:
    """`epoch 3/10  loss 0.1234  accuracy 0.9876  | held out: ...  | 0.21 s  98,765 samples/s`"""
    parts = [f"epoch {epoch.number:>{len(str(epochs))}}/{epochs}", metrics_text(epoch.training)]
    if epoch.validation:
        parts.append(f"| held out: {metrics_text(epoch.validation)}")
    parts.append(f"| {epoch.seconds:.2f} s, {epoch.samples_per_second:,.0f} samples/s")
    return "  ".join(parts)


class Progress:
    """Listens to a training run; this one says nothing."""

    __slots__ = ()

    def start(self, epochs: int, samples: int) -> None:
        """Training begins: so many epochs of so many samples."""

    def batch(self, samples: int, metrics: dict[str, float]) -> None:
        """One or more batches are done, of so many samples; `metrics` are the means of the epoch so far."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""

    def stop(self, message: str = "") -> None:
        """Training is over, early if there is a message."""


@dataclass(slots=True)
class Lines(Progress):
    """One line an epoch."""

    stream: TextIO
    epochs: int = 0

    def start(self, epochs: int, samples: int) -> None:
        self.epochs = epochs

    def epoch(self, epoch: Epoch) -> None:
        print(epoch_text(epoch, self.epochs), file=self.stream, flush=True)

    def stop(self, message: str = "") -> None:
        if message:
            print(message, file=self.stream, flush=True)


REFRESH_SECONDS = 0.1
"""How often a live line is brought up to date: oftener would cost more than the steps that it reports on."""


@dataclass(slots=True)
class Live(Progress):
    """A line with metrics, samples a second and the time left; above it one line for each finished epoch."""

    stream: TextIO
    epochs: int = 0
    _bar: Any = None
    _task: Any = None
    _done: int = 0
    _reported: float = field(default=0.0)
    _began: float = 0.0

    def start(self, epochs: int, samples: int) -> None:
        from rich import progress
        from rich.console import Console

        self.epochs, self._done, self._began, self._reported = epochs, 0, perf_counter(), 0.0
        columns = (
            progress.TextColumn("{task.fields[state]}"), progress.BarColumn(20),
            progress.TextColumn("{task.percentage:3.0f} %"), progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("left"),
        )  # fmt: skip
        self._bar = progress.Progress(*columns, console=Console(file=self.stream), auto_refresh=False)
        self._task = self._bar.add_task("", total=epochs * samples, state="")
        self._bar.start()

    def batch(self, samples: int, metrics: dict[str, float]) -> None:
        self._done += samples
        now = perf_counter()
        if now - self._reported < REFRESH_SECONDS:
            return
        self._reported = now
        state = f"{metrics_text(metrics)}  {self._done / (now - self._began):,.0f} samples/s"
        self._bar.update(self._task, completed=self._done, state=state, refresh=True)

    def epoch(self, epoch: Epoch) -> None:
        self._bar.console.print(epoch_text(epoch, self.epochs), highlight=False, markup=False, soft_wrap=True)

    def stop(self, message: str = "") -> None:
        self._bar.update(self._task, completed=self._done, visible=False, refresh=True)
        self._bar.stop()
        if message:
            self._bar.console.print(message, highlight=False, markup=False, soft_wrap=True)


def progress_on(stream: TextIO | None = None) -> Progress:
    """Live on a terminal, otherwise Lines; on standard output unless a stream is given."""
    stream = stream or sys.stdout
    return Live(stream) if stream.isatty() else Lines(stream)
