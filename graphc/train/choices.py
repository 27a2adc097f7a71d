"""What the command line offers by name: optimisers, schedules, files for logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphc.train import optimisers, schedules
from graphc.train.callbacks import Callback, CSVLogger, JSONLogger
from graphc.train.optimisers import Optimizer

MAKERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": optimisers.SGD, "momentum": optimisers.Momentum, "nesterov": optimisers.Nesterov,
    "adagrad": optimisers.Adagrad, "adadelta": optimisers.Adadelta, "rmsprop": optimisers.RMSprop,
    "adam": optimisers.Adam, "adamw": optimisers.AdamW, "nadam": optimisers.NAdam, "radam": optimisers.RAdam,
    "adamax": optimisers.Adamax, "rprop": optimisers.Rprop, "lion": optimisers.Lion,
}  # fmt: skip

SCHEDULES: dict[str, Callable[[float], Any]] = {
    "constant": float, "cosine": schedules.cosine, "one-cycle": schedules.one_cycle,
}  # fmt: skip
"""Rates over a whole training, however long it is."""

LOGS: dict[str, Callable[[Path], Callback]] = {".csv": CSVLogger, ".json": JSONLogger, ".jsonl": JSONLogger}
"""What writes the epochs into a file, by the ending of its name."""


def optimiser(name: str, rate: float, schedule: str = "constant") -> Optimizer:
    """The optimiser of a name with a rate, at the top of a schedule."""
    return MAKERS[name](SCHEDULES[schedule](rate))
