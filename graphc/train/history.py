"""What a training gave, epoch by epoch: as lists, as a table, as learning curves, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.errors import GraphcError

Value: TypeAlias = "float | npt.NDArray[Any]"
"""A metric: a number, or an array such as a confusion matrix."""

FALLS = ("loss", "error", "mae", "mse", "perplexity", "deviance")
"""Words in the names of metrics that are better when smaller."""


def falls(metric: str) -> bool:
    """Whether a metric is better when it is smaller, as its name says."""
    return any(word in metric.lower() for word in FALLS)


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """What one pass over the training set gave: means over its samples, and over the validation set."""

    number: int
    training: dict[str, Any]
    validation: dict[str, Any]
    samples: int
    seconds: float
    """Those of training, validation not counted."""
    steps: int = 0
    lr: float | None = None
    """The learning rate of the last step."""

    @property
    def samples_per_second(self) -> float:
        """Speed of training."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def values(self) -> dict[str, Value]:
        """Everything by the names of the history: "loss", "val_loss", ..., "lr", "seconds"."""
        validation = {f"val_{name}": value for name, value in self.validation.items()}
        lr = {} if self.lr is None else {"lr": self.lr}
        return {**self.training, **validation, **lr, "seconds": self.seconds}

    @property
    def numbers(self) -> dict[str, float]:
        """Those of the values that are numbers."""
        return {name: float(value) for name, value in self.values.items() if np.ndim(value) == 0}

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return listed(asdict(self))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Epoch:
        """The epoch of such fields."""
        means = {part: {n: _unlisted(v) for n, v in fields[part].items()} for part in ("training", "validation")}
        return cls(**{**fields, **means})


def listed(value: Any) -> Any:
    """Arrays as lists, in dictionaries too."""
    match value:
        case dict():
            return {name: listed(inner) for name, inner in value.items()}
        case np.ndarray() | np.generic():
            return value.tolist()
        case _:
            return value


def _unlisted(value: Any) -> Value:
    return np.asarray(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The epochs of a `fit`, in order; `history["loss"]` and `history["val_loss"]` list one metric.

    `interrupted` says that Ctrl-C ended it; `steps` counts all updates, those of an unfinished epoch too; `message`
    is why it ended early.
    """

    epochs: tuple[Epoch, ...]
    steps: int
    seconds: float
    interrupted: bool = False
    message: str = ""

    def __getitem__(self, metric: str) -> list[Any]:
        rows = self._rows
        if rows and metric not in rows[0]:
            raise KeyError(f"{metric!r} was not recorded; recorded were {', '.join(rows[0])}")
        return [row[metric] for row in rows]

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def _rows(self) -> list[dict[str, Value]]:
        return [epoch.values for epoch in self.epochs]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that are numbers, without "lr" and "seconds"."""
        names = self.epochs[0].numbers if self.epochs else {}
        return tuple(name for name in names if name not in ("lr", "seconds"))

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the smallest val_loss, or loss if there was no validation."""
        if not self.epochs:
            raise GraphcError("no epoch was finished, so none is the best")
        losses = self["val_loss" if self.epochs[0].validation else "loss"]
        return self.epochs[int(np.argmin(losses))].number

    def to_dict(self) -> dict[str, list[Any]]:
        """A list for each metric, as JSON can hold it."""
        return {name: [listed(v) for v in self[name]] for name in (self._rows[0] if self.epochs else ())}

    def plot(self, metrics: Sequence[str] | None = None) -> Any:
        """Learning curves, a panel for each metric with training and validation in it; a matplotlib figure.

        Raises GraphcError if matplotlib is not installed or no epoch was finished, KeyError for unknown metrics.
        """
        plt = pyplot()
        if not self.epochs:
            raise GraphcError("no epoch was finished, so there is nothing to plot")
        names = metrics or [name for name in self.metrics if not name.startswith("val_")]
        numbers = [epoch.number for epoch in self.epochs]
        figure, panels = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3.2), squeeze=False)
        for panel, name in zip(panels[0], names, strict=True):
            panel.plot(numbers, self[name], label="training")
            if f"val_{name}" in self.metrics:
                panel.plot(numbers, self[f"val_{name}"], label="validation")
                panel.legend()
            panel.set(xlabel="epoch", title=name)
            panel.locator_params(axis="x", integer=True)
        figure.tight_layout()
        return figure

    def summary(self) -> str:
        """In words: what fell, the gap between training and validation, what they say about bias and variance."""
        return "\n".join(_summary(self))

    def __repr__(self) -> str:
        table = _table(self)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join("  ".join(map(str.rjust, row, widths)) for row in table)

    def _repr_html_(self) -> str:
        head, *rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in _table(self))
        lines = [head.replace("td>", "th>"), *rows]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def pyplot() -> Any:
    """matplotlib.pyplot. Raises GraphcError if it is not installed."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise GraphcError("plots need matplotlib", hint="pip install graphc[plots]") from error
    return plt


# --------------------------------------------------------------------------------------------------- tables

ROWS = 20
"""More rows than these are shortened to the first and the last ones."""


def _table(history: History) -> list[list[str]]:
    """Rows of cells, the head first."""
    rows = [{"epoch": epoch.number, **epoch.numbers} for epoch in history.epochs]
    head = list(rows[0]) if rows else ["epoch", "loss"]
    cells = [head, *([_cell(name, row[name]) for name in head] for row in rows)]
    if len(rows) > ROWS:
        cells[1 + ROWS // 2 : -(ROWS // 2)] = [["..."] * len(head)]
    return cells


def _cell(name: str, value: float) -> str:
    match name:
        case "epoch":
            return str(value)
        case "lr":
            return f"{value:.3g}"
        case "seconds":
            return f"{value:.2f}"
        case _:
            return f"{value:.4f}"


# ---------------------------------------------------------------------------------------------------- words

RISEN, GAP, FALLING, LEARNT = 0.05, 0.1, 0.02, 0.2
"""Shares of what training has brought (the range of the losses): validation has risen, is far from training;
training is still falling. And of the first loss: less than that learnt is hardly anything."""

HARDLY = "underfitting (bias): hardly anything was learnt; try another learning rate or a larger model"


def _summary(history: History) -> list[str]:
    if not history.epochs:
        return ["no epoch was finished"]
    count, loss = len(history), np.array(history["loss"])
    validated = bool(history.epochs[0].validation)
    lines = [f"{_counted(count, 'epoch')}, {_counted(history.steps, 'step')} in {history.seconds:.1f} s"]
    if history.message:
        lines[0] += f"; {history.message}"
    lines += [_course(history, name) for name in history.metrics]
    if count < 2:
        return [*lines, "one epoch says nothing about the course of training"]
    brought = max(float(np.ptp(loss)), float(np.ptp(history["val_loss"])) if validated else 0.0, 1e-12)
    recent = max(1, count // 5)
    fell = float(loss[-1 - recent] - loss[-1])
    falling = fell > FALLING * brought
    words = f"loss {'fell' if fell >= 0 else 'rose'} by {abs(fell):.4f} over the last {_counted(recent, 'epoch')}: "
    lines.append(words + ("it is still falling" if falling else "it has settled"))
    return [*lines, *_verdict(history, loss, brought, falling, validated)]


def _course(history: History, name: str) -> str:
    values, numbers = history[name], [epoch.number for epoch in history.epochs]
    best = int(np.argmin(values) if falls(name) else np.argmax(values))
    return (
        f"{name}: {values[0]:.4f} at first, {values[-1]:.4f} at last, best {values[best]:.4f} in epoch {numbers[best]}"
    )


def _verdict(history: History, loss: npt.NDArray[Any], brought: float, falling: bool, validated: bool) -> list[str]:
    if not validated:
        learnt = brought > LEARNT * abs(float(loss[0]))
        words = "more epochs would lower it" if falling else "it is as low as this model, rate and data make it"
        if not learnt:
            words = HARDLY
        return [words, "no validation data: nothing can be said about overfitting"]
    held = np.array(history["val_loss"])
    gap, risen = float(held[-1] - loss[-1]), float(held[-1] - held.min())
    lines = [f"val_loss is {abs(gap):.4f} {'above' if gap > 0 else 'below'} loss at the end"]
    if gap > 0 and risen > RISEN * brought:
        lines.append(
            f"overfitting (variance): val_loss has risen by {risen:.4f} since epoch {history.best_epoch}; "
            "stop there (EarlyStopping with restore_best), or use more data, augmentation, dropout, weight decay"
        )
    elif gap > GAP * brought and held[-1] == held.min() and falling:
        lines.append("training is ahead, but val_loss is still falling: train longer")
    elif gap > GAP * brought:
        lines.append(
            "overfitting (variance): much better on what it was trained on; "
            "more data, augmentation, dropout or weight decay would narrow the gap"
        )
    elif falling:
        lines.append("underfitting (bias) so far: training and validation are close and still falling; train longer")
    elif np.ptp(loss) < LEARNT * abs(float(loss[0])):
        lines.append(HARDLY)
    else:
        lines.append("a good fit: training and validation are close and have settled")
    return lines


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
