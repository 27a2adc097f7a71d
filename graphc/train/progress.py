"""Reporting on training: a live line on a terminal or in a notebook, one line an epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from graphc.errors import GraphcError
from graphc.train.callbacks.run import Callback, Run
from graphc.train.history import Epoch


def metrics_text(metrics: dict[str, Any]) -> str:
    """`loss 0.1234  accuracy 0.9876`: those that are numbers."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if np.ndim(value) == 0)


def epoch_text(epoch: Epoch, epochs: int) -> str:
    """`epoch 3/10  loss 0.1234  accuracy 0.9876  | val_loss ...  | 0.21 s, 98,765 samples/s`"""
    parts = [f"epoch {epoch.number:>{len(str(epochs))}}/{epochs}", metrics_text(epoch.training)]
    if epoch.validation:
        parts.append(f"| {metrics_text({f'val_{name}': value for name, value in epoch.validation.items()})}")
    parts.append(f"| {epoch.seconds:.2f} s, {epoch.samples_per_second:,.0f} samples/s")
    return "  ".join(parts)


@dataclass(slots=True, eq=False)
class Lines(Callback):
    """One line an epoch."""

    stream: TextIO

    def epoch(self, run: Run, epoch: Epoch) -> None:
        print(epoch_text(epoch, run.epochs), file=self.stream, flush=True)

    def stop(self, run: Run, message: str) -> None:
        if message:
            print(message, file=self.stream, flush=True)


REFRESH_SECONDS = 0.1
"""How often a live line is brought up to date: oftener would cost more than the steps that it reports on."""


@dataclass(slots=True, eq=False)
class Live(Callback):
    """A line with metrics, samples a second and the time left; above it one line for each finished epoch."""

    stream: TextIO
    _bar: Any = None
    _task: Any = None
    _began: float = 0.0
    _before: int = 0
    _reported: float = 0.0

    def start(self, run: Run) -> None:
        from rich import progress
        from rich.console import Console

        self._began, self._before, self._reported = perf_counter(), run.done, 0.0
        columns = (
            progress.TextColumn("{task.fields[state]}"),
            progress.BarColumn(20),
            progress.TextColumn("{task.fields[left]}"),
        )
        self._bar = progress.Progress(*columns, console=Console(file=self.stream), auto_refresh=False)
        self._task = self._bar.add_task("", total=run.total, completed=run.done, state="", left="")
        self._bar.start()

    def batch(self, run: Run, segment: Any) -> None:
        now = perf_counter()
        if now - self._reported < REFRESH_SECONDS:
            return
        self._reported = now
        speed = (run.done - self._before) / (now - self._began)
        number = f"epoch {run.epoch:>{len(str(run.epochs))}}/{run.epochs}"
        state = f"{number}  {metrics_text(run.totals.value)}  {speed:,.0f} samples/s"
        left = "" if run.total is None else left_text(run.done / run.total, (run.total - run.done) / speed)
        self._bar.update(self._task, total=run.total, completed=run.done, state=state, left=left, refresh=True)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        self._say(epoch_text(epoch, run.epochs))

    def stop(self, run: Run, message: str) -> None:
        self._bar.update(self._task, visible=False, refresh=True)
        self._bar.stop()
        if message:
            self._say(message)

    def _say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def left_text(share: float, seconds: float) -> str:
    """` 43 %  1:05 left`"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    time = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{share:4.0%}  {time} left".replace("%", " %")


def in_notebook() -> bool:
    """Whether a line can move in the notebook that runs this: rich needs ipywidgets for it."""
    shell = sys.modules.get("IPython")
    current = shell.get_ipython() if shell is not None else None
    return type(current).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


def progress_on(stream: TextIO | None = None, verbose: int | str = 1) -> Callback:
    """What reports on training: 0 nothing, 1 Live on a terminal and Lines elsewhere, 2 Lines.

    On standard output unless a stream is given. Raises GraphcError for another number.
    """
    stream = stream or sys.stdout
    match verbose if isinstance(verbose, str) else int(verbose):
        case 0:
            return Callback()
        case 1 | "auto":
            return Live(stream) if stream.isatty() or in_notebook() else Lines(stream)
        case 2:
            return Lines(stream)
        case _:
            raise GraphcError(
                f"verbose is {verbose!r}, expected 0 (silent), 1 (a live line) or 2 (one line an epoch)",
            )
