"""When checkpoints are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Literal

import numpy as np

from graphc.errors import DataError, GraphcError
from graphc.train.callbacks.run import Array, Callback, Run
from graphc.train.checkpoints.arrays import write_arrays
from graphc.train.checkpoints.atomic import made
from graphc.train.checkpoints.running import save_run
from graphc.train.checkpoints.store import checkpoints
from graphc.train.history import Epoch, falls

BEST = "best.safetensors"


@dataclass(slots=True, eq=False)
class Checkpoint(Callback):
    """Writes into a directory all that a training needs to go on bit for bit: `fit(..., resume=directory)`.

    A checkpoint is made after every epoch (not with `every=None`), and within one when so many `seconds` have passed or
    `steps` have been taken since the last, at the end of the segment that is under way (about a twentieth of a second).
    Ctrl-C makes one too, and so does an error, unless the parameters are not finite by then. The last `keep` are kept,
    so that one is intact whatever happens to the other. `best` names a metric such as "val_loss": the weights of the
    epoch in which it was best are in best.safetensors.
    Raises DataError if the directory holds another training's checkpoints or cannot be written, GraphcError for
    senseless settings and a metric that epochs do not give.
    """

    directory: str | Path
    every: Literal["epoch"] | None = "epoch"
    _: KW_ONLY
    seconds: float | None = None
    steps: int | None = None
    keep: int = 2
    best: str | None = None
    record: float = field(default=math.nan, init=False)
    """The best value so far."""
    _steps: int = field(default=0, init=False)
    _time: float = field(default=0.0, init=False)

    last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.every not in ("epoch", None):
            raise GraphcError(f'Checkpoint: every is {self.every!r}, expected "epoch" or None', hint="seconds=600")
        if (self.every, self.seconds, self.steps) == (None, None, None):
            raise GraphcError("Checkpoint: it would never write", hint='every="epoch", or seconds=600, or steps=1000')
        for name in ("seconds", "steps", "keep"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise GraphcError(f"Checkpoint: {name} must be above 0, got {value}")

    def start(self, run: Run) -> None:
        directory = made(Path(self.directory))
        if run.origin is None and (found := checkpoints(directory)):
            raise DataError(
                f"{directory} holds the checkpoints of another training, up to {found[-1].name}",
                hint=f"resume={str(directory)!r} continues it; for a new one choose another directory, or remove this",
            )
        if self.best is not None and self.best not in run.metrics:
            raise GraphcError(
                f"Checkpoint: best is {self.best!r}, but epochs give {', '.join(run.metrics)}",
                hint="" if not self.best.startswith("val_") else "pass validation_data or validation_split",
            )
        if not run.resumed:
            self.record = math.nan
        self._steps, self._time = run.steps, monotonic()

    def batch(self, run: Run, segment: Any) -> None:
        late = self.seconds is not None and monotonic() - self._time >= self.seconds
        if late or (self.steps is not None and run.steps - self._steps >= self.steps):
            self._save(run)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if self.best is not None and self._improved(epoch.numbers[self.best]):
            write_arrays(Path(self.directory) / BEST, run.model.state_dict())
        if self.every == "epoch":
            self._save(run)

    def stop(self, run: Run, message: str) -> None:
        if run.steps > self._steps and all(np.isfinite(p.value).all() for p in run.program.parameters.values()):
            self._save(run)

    def _save(self, run: Run) -> None:
        save_run(Path(self.directory), run, keep=self.keep)
        self._steps, self._time = run.steps, monotonic()

    def _improved(self, value: float) -> bool:
        """Whether a value is the best so far; a number is better than none."""
        gain = self.record - value if falls(self.best or "") else value - self.record
        better = not math.isnan(value) and not gain <= 0
        if better:
            self.record = value
        return better

    def state(self) -> dict[str, Any]:
        return {"record": self.record}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.record = state["record"]
