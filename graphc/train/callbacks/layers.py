"""What happens to every layer in the course of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphc.errors import GraphcError
from graphc.train.callbacks.run import Callback, Run
from graphc.train.history import Epoch

if TYPE_CHECKING:
    from graphc.study.layer_report import StatisticsReport

Array = npt.NDArray[Any]


@dataclass(eq=False)
class LayerStatistics(Callback):
    """Statistics of every layer after every so-manyth epoch, see `graphc.layer_statistics`.

    They are of `data`, all inputs by name, or of the first `samples` samples of the training. The reports are in
    `reports` by epoch; the history has "layer_rms" of activations and "layer_gradient", norms, as arrays over `layers`,
    NaN after other epochs. Raises GraphcError for a source that has no first samples.
    """

    every: int = 1
    data: Mapping[str, npt.ArrayLike] | None = None
    samples: int = 64
    reports: dict[int, StatisticsReport] = field(default_factory=dict, init=False)
    layers: tuple[str, ...] = field(default=(), init=False)
    _look: Any = field(default=None, init=False, repr=False)
    _rows: Mapping[str, npt.ArrayLike] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.every < 1 or self.samples < 1:
            raise GraphcError(f"every and samples must be at least 1, got {self.every} and {self.samples}")

    def start(self, run: Run) -> None:
        from graphc.study.statistics import LayerStatisticsProgram

        self._look = LayerStatisticsProgram(run.model)
        self.layers = self._look.layers
        self._rows = self.data if self.data is not None else _first(run, self.samples)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        rms, gradient = np.full((2, len(self.layers)), np.nan)
        if epoch.number % self.every == 0:
            report = self.reports[epoch.number] = self._look(self._rows)
            rms, gradient = np.array([[layer.rms, layer.gradient_norm] for layer in report.layers.values()]).T
        epoch.training.update(layer_rms=rms, layer_gradient=gradient)


def _first(run: Run, samples: int) -> dict[str, Array]:
    if run.source.samples is None:
        raise GraphcError(
            "LayerStatistics needs samples to look at, and those of a generator can be read only once",
            hint="LayerStatistics(data={...}), all inputs by name",
        )
    block = next(iter(run.source.blocks(samples, seed=run.seed, epoch=1, shuffle=False)))
    rows = slice(samples) if block.order is None else block.order[:samples]
    return {name: np.asarray(array[rows]) for name, array in block.arrays.items()}
