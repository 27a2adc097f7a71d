"""Callbacks that write what an epoch gave: a table in CSV, JSON objects, TensorBoard's event files."""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from graphc.errors import DataError, GraphcError
from graphc.train.callbacks.run import Callback, Run
from graphc.train.history import Epoch, listed


@dataclass(eq=False)
class _Lines(Callback, ABC):
    """A file with a line for each epoch. A training that is resumed writes those that it has behind it once more."""

    path: str | Path
    append: bool = False
    """Whether what is in the file stays."""
    _file: IO[str] | None = field(default=None, init=False)

    def start(self, run: Run) -> None:
        try:
            mode = "a" if self.append and not run.resumed else "w"
            self._file = open(self.path, mode, encoding="utf-8", newline="")  # noqa: SIM115 - closed by stop
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror}") from None
        for epoch in run.history:
            self.epoch(run, epoch)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        assert self._file is not None
        self._write(self._file, epoch)
        self._file.flush()

    def stop(self, run: Run, message: str) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    @abstractmethod
    def _write(self, file: IO[str], epoch: Epoch) -> None:
        """The line of an epoch."""


@dataclass(eq=False)
class CSVLogger(_Lines):
    """A row for each epoch: its number, metrics that are numbers, the learning rate, seconds; names in the first row.

    Raises DataError if the file cannot be written, before training.
    """

    separator: str = ","

    def _write(self, file: IO[str], epoch: Epoch) -> None:
        row = {"epoch": epoch.number, **epoch.numbers}
        writer = csv.DictWriter(file, row, delimiter=self.separator, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


@dataclass(eq=False)
class JSONLogger(_Lines):
    """A JSON object for each epoch on a line of its own, arrays as lists; what is not finite is null.

    Raises DataError if the file cannot be written, before training.
    """

    def _write(self, file: IO[str], epoch: Epoch) -> None:
        file.write(json.dumps(_finite(listed({"epoch": epoch.number, **epoch.values})), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not have."""
    match value:
        case dict():
            return {name: _finite(inner) for name, inner in value.items()}
        case list():
            return [_finite(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


@dataclass(eq=False)
class TensorBoard(Callback):
    """Event files for TensorBoard: "loss/training", "loss/validation", ..., "lr", a point for each epoch.

    Needs tensorboardX. Raises GraphcError if it is not installed, before training.
    """

    directory: str | Path
    _writer: Any = field(default=None, init=False)

    def start(self, run: Run) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise GraphcError("TensorBoard needs tensorboardX", hint="pip install graphc[tensorboard]") from error
        # points that a resumed training makes once more are hidden
        self._writer = SummaryWriter(str(self.directory), purge_step=run.epoch if run.resumed else None)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        for name, value in epoch.numbers.items():
            if name in ("lr", "seconds"):
                tag = name
            elif name in epoch.training:
                tag = f"{name}/training"
            else:
                tag = f"{name.removeprefix('val_')}/validation"
            self._writer.add_scalar(tag, value, epoch.number)
        self._writer.flush()

    def stop(self, run: Run, message: str) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
