"""Callbacks that act when a metric gets no better: end the training, or lower the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.train.callbacks.run import Array, Callback, Run
from graphc.train.history import Epoch, falls


@dataclass(eq=False)
class _Patience(Callback):
    """Counts the epochs in which a metric has not become better, by more than min_delta, than its best so far."""

    monitor: str = "val_loss"
    patience: int = 0
    min_delta: float = 0.0
    mode: str = "auto"
    """"min" or "max": which is better; "auto" decides by the metric's name."""
    best: float = field(default=math.nan, init=False)
    best_epoch: int = field(default=0, init=False)
    waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "min", "max"):
            raise GraphcError(f'{self._name}: mode is {self.mode!r}, expected "auto", "min" or "max"')
        if self.patience < 0 or self.min_delta < 0:
            raise GraphcError(f"{self._name}: patience and min_delta must not be negative")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def start(self, run: Run) -> None:
        if self.monitor not in run.metrics:
            validated = any(name.startswith("val_") for name in run.metrics)
            near = get_close_matches(self.monitor, run.metrics, 1) if validated else []
            raise GraphcError(
                f"{self._name} watches {self.monitor!r}, but epochs give {', '.join(run.metrics)}",
                hint=(f"did you mean {near[0]!r}?" if near else "")
                if validated
                else 'pass validation_data or validation_split, or watch "loss"',
            )
        if not run.resumed:
            self.best, self.best_epoch, self.waited = math.nan, 0, 0

    def improved(self, epoch: Epoch) -> bool:
        """Whether this epoch is the best so far."""
        value = epoch.values[self.monitor]
        if np.ndim(value):
            raise GraphcError(f"{self._name} watches {self.monitor!r}, which is an array, not a number")
        smaller = self.mode == "min" or (self.mode == "auto" and falls(self.monitor))
        gain = float(self.best - value) if smaller else float(value - self.best)
        # the first number is better than none; a NaN is better than nothing
        better = not math.isnan(value) and (math.isnan(self.best) or gain > self.min_delta)
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best, self.best_epoch = float(value), epoch.number
        return better

    def state(self) -> dict[str, Any]:
        best = None if math.isnan(self.best) else self.best
        return {"best": best, "best_epoch": self.best_epoch, "waited": self.waited}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self.best = math.nan if state["best"] is None else state["best"]
        self.best_epoch, self.waited = state["best_epoch"], state["waited"]


@dataclass(eq=False)
class EarlyStopping(_Patience):
    """Ends training once a metric has not become better for `patience` epochs.

    With `restore_best` the parameters are in the end those of the best epoch. Raises GraphcError for a metric that
    is not recorded. Source: Prechelt 1998, "Early stopping - but when?".
    """

    restore_best: bool = False
    _kept: dict[str, Array] = field(default_factory=dict, init=False)

    def start(self, run: Run) -> None:
        super().start(run)
        if not run.resumed:
            self._kept = {}
        self._judge(run)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if self.improved(epoch) and self.restore_best:
            self._kept = {name: parameter.value for name, parameter in run.program.parameters.items()}
        self._judge(run)

    def _judge(self, run: Run) -> None:
        if self.waited and self.waited >= self.patience:
            epochs = "epoch" if self.waited == 1 else "epochs"
            run.stop(
                f"{self.monitor} was best in epoch {self.best_epoch} ({self.best:.4f}), {self.waited} {epochs} ago"
            )

    def stop(self, run: Run, message: str) -> None:
        for name, value in self._kept.items():
            run.program.parameters[name].value = value

    def arrays(self) -> dict[str, Array]:
        return self._kept

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        super().restore(state, arrays)
        self._kept = dict(arrays)


@dataclass(eq=False)
class ReduceLROnPlateau(_Patience):
    """lr ← max(factor·lr, min_lr) each time that a metric has not become better for `patience` epochs.

    After that, `cooldown` epochs are not counted. The rate stays what it is when training ends, and groups with a rate
    of their own keep it. Raises GraphcError for a learning rate that is a schedule.
    """

    patience: int = 10
    min_delta: float = 1e-4
    factor: float = 0.1
    cooldown: int = 0
    min_lr: float = 0.0
    _resting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.factor < 1:
            raise GraphcError(f"ReduceLROnPlateau: factor must be between 0 and 1, got {self.factor}")

    def start(self, run: Run) -> None:
        super().start(run)
        if callable(run.optimizer.lr):
            raise GraphcError(
                "ReduceLROnPlateau needs a learning rate that is a number, but the optimiser's is a schedule",
                hint="either a schedule or this callback",
            )
        if not run.resumed:
            self._resting = 0

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if not self.improved(epoch) and self._resting:
            self.waited = 0
        self._resting = max(0, self._resting - 1)
        if self.waited and self.waited >= self.patience:
            run.optimizer.lr = max(self.factor * run.optimizer.lr, self.min_lr)
            self.waited, self._resting = 0, self.cooldown

    def state(self) -> dict[str, Any]:
        return {**super().state(), "resting": self._resting}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        super().restore(state, arrays)
        self._resting = state["resting"]
