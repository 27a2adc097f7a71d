"""What the statistics of layers say: a table, and warnings with what to do.

The gradient that arrives at layers is compared as a norm over all elements of a layer's output, for that is what stays
the same from layer to layer in a network whose weights are scaled well (Glorot and Bengio 2010, He et al. 2015).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.study.tables import table

VANISHING, EXPLODING = 1e-3, 1e3
"""A gradient vanishes or explodes where its norm is that many times the one at the last layer."""

LARGE = 1e3
"""Activations explode from this root mean square on."""

MOSTLY = 0.5
"""The share of a layer's values that may be saturated, and of its units that may be dead, before it is a warning."""

SLOW, FAST = 1e-6, 0.1
"""Limits of update / weight, both as root mean squares; about 1e-3 is usual."""

LISTED = 8
"""How many indices of dead units a sentence names."""


@dataclass(frozen=True, slots=True)
class ParameterReport:
    """Root mean squares of a parameter, of its gradient, and of its next update if an optimiser is known."""

    weight: float
    gradient: float
    update: float | None = None

    @property
    def ratio(self) -> float | None:
        """update / weight; None without an optimiser and where all weights are 0."""
        return None if self.update is None or not self.weight else self.update / self.weight


@dataclass(frozen=True, slots=True, eq=False)
class LayerReport:
    """Statistics of a layer's output (of `shape` for each sample) and of its parameters.

    `gradient` is the root mean square of ∂loss/∂output, `gradient_norm` its norm. Of a layer with an activation that is
    flat on one side, `dead` are the units, out of `units`, whose slope is 0 for all samples; of one that is flat on
    both, `saturated` is the share of values whose slope is small. Of a recurrent layer `gradient_by_time` is the root
    mean square of ∂loss/∂state at every time.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    rms: float
    largest: float
    zeros: float
    gradient: float
    gradient_norm: float
    parameters: Mapping[str, ParameterReport]
    dead: tuple[int, ...] = ()
    units: int = 0
    saturated: float | None = None
    gradient_by_time: npt.NDArray[Any] | None = None

    @property
    def ratio(self) -> float | None:
        """The largest update / weight of its parameters."""
        return max((p.ratio for p in self.parameters.values() if p.ratio is not None), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class StatisticsReport:
    """The layers by name in the order of computation; prints as a table with warnings."""

    loss: float
    samples: int
    layers: Mapping[str, LayerReport]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong, each as a sentence with the likely fix; see the limits in this module."""
        return tuple(w for find in _FINDINGS for w in find(self))

    @property
    def flow(self) -> dict[str, float]:
        """The norm of the gradient at each layer, as a multiple of the one at the last layer."""
        norms = {name: layer.gradient_norm for name, layer in self.layers.items()}
        last = next((norm for norm in reversed(norms.values()) if norm), 1.0)
        return {name: norm / last for name, norm in norms.items()}

    def __getitem__(self, name: str) -> LayerReport:
        return self.layers[name]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        layers = {name: {**asdict(layer), "ratio": layer.ratio} for name, layer in self.layers.items()}
        for layer in layers.values():
            times = layer["gradient_by_time"]
            layer["gradient_by_time"] = None if times is None else times.tolist()
        return {"loss": self.loss, "samples": self.samples, "layers": layers, "warnings": list(self.warnings)}

    def __repr__(self) -> str:
        lines = [f"loss {self.loss:.4g} on {self.samples} samples", table(self._rows(), "l" + "r" * 9)]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def _rows(self) -> Iterator[list[str]]:
        yield ["layer", "mean", "std", "max", "zeros", "dead", "saturated", "gradient", "flow", "update/weight"]
        for (name, layer), flow in zip(self.layers.items(), self.flow.values(), strict=True):
            numbers = (f"{x:.2e}" for x in (layer.mean, layer.std, layer.largest))
            yield [
                name, *numbers, f"{layer.zeros:.0%}", f"{len(layer.dead)}/{layer.units}" if layer.units else "",
                "" if layer.saturated is None else f"{layer.saturated:.0%}", f"{layer.gradient:.2e}", f"{flow:.1e}",
                "" if layer.ratio is None else f"{layer.ratio:.1e}",
            ]  # fmt: skip

    def _repr_html_(self) -> str:
        head, *rows = [[escape(cell) for cell in row] for row in self._rows()]
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        notes = "".join(f"<li>{escape(w)}</li>" for w in self.warnings)
        return (
            f"<p>loss {self.loss:.4g} on {self.samples} samples</p><table><thead><tr>"
            f"{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>{body}</tbody></table><ul>{notes}</ul>"
        )


# ------------------------------------------------------------------------------------------------ findings


def _not_finite(report: StatisticsReport) -> Iterator[str]:
    for name, layer in report.layers.items():
        if not (isfinite(layer.largest) and isfinite(layer.gradient)):
            what = "activations" if not isfinite(layer.largest) else "gradients"
            yield f"{name}: its {what} are not finite: scale the data, lower the learning rate or clip the gradient"
            return


def _gradients(report: StatisticsReport) -> Iterator[str]:
    flow = report.flow
    vanishing = {name: f for name, f in flow.items() if f < VANISHING}
    exploding = {name: f for name, f in flow.items() if f > EXPLODING}
    if vanishing:
        bent = any(layer.saturated is not None for layer in report.layers.values())
        yield (
            f"gradients vanish at {_names(vanishing)}: {_span(vanishing)} times that of the last layer; use "
            f'{"relu instead of sigmoid or tanh, " if bent else ""}larger first weights ("he", "xavier"), '
            "normalisation or residual connections"
        )
    if exploding:
        yield (
            f"gradients explode at {_names(exploding)}: {_span(exploding)} times that of the last layer; use smaller "
            'first weights ("he", "xavier"), normalisation, or clip the gradient'
        )


def _through_time(report: StatisticsReport) -> Iterator[str]:
    for name, layer in report.layers.items():
        times = layer.gradient_by_time
        if times is None or not times.any():
            continue
        # where time runs backwards, the last to be computed is the first time
        ends = sorted((float(times[0]), float(times[-1])))
        late = float(times.max())
        if ends[0] < VANISHING * late:
            yield (
                f"{name}: gradients vanish through time, to {ends[0] / late:.1e} times after {len(times)} steps; use "
                'an LSTM or GRU, an "orthogonal" recurrent weight, or shorter sequences'
            )
        elif times[-1] and times[0] > EXPLODING * times[-1]:
            yield (
                f"{name}: gradients explode through time, {times[0] / times[-1]:.1e} times in {len(times)} steps; clip "
                'the gradient, or start with an "orthogonal" recurrent weight'
            )


def _activations(report: StatisticsReport) -> Iterator[str]:
    large = {name: layer.rms for name, layer in report.layers.items() if LARGE < layer.rms < float("inf")}
    if large:
        yield (
            f"activations explode at {_names(large)}: up to {max(large.values()):.1e}; use smaller first weights "
            '("he", "xavier"), normalise the inputs, or add normalisation layers'
        )


def _dead(report: StatisticsReport) -> Iterator[str]:
    for name, layer in report.layers.items():
        if len(layer.dead) > MOSTLY * layer.units:
            listed = ", ".join(map(str, layer.dead[:LISTED])) + (", ..." if len(layer.dead) > LISTED else "")
            yield (
                f"{name}: {len(layer.dead)} of {layer.units} units are dead, 0 for all {report.samples} samples "
                f"({listed}); start with a bias of 0, lower the learning rate, or use leaky_relu"
            )


def _saturated(report: StatisticsReport) -> Iterator[str]:
    for name, layer in report.layers.items():
        if layer.saturated is not None and layer.saturated > MOSTLY:
            yield (
                f"{name}: {layer.saturated:.0%} of its values are saturated; use smaller first weights "
                '("xavier"), normalise the inputs, or lower the learning rate'
            )


def _updates(report: StatisticsReport) -> Iterator[str]:
    ratios = {
        n: p.ratio for layer in report.layers.values() for n, p in layer.parameters.items() if p.ratio is not None
    }
    fast, slow = ({n: r for n, r in ratios.items() if r > FAST}, {n: r for n, r in ratios.items() if 0 < r < SLOW})
    if fast:
        yield f"updates of {_names(fast)} are {_span(fast)} times the weights: lower the learning rate"
    if slow:
        yield f"updates of {_names(slow)} are {_span(slow)} times the weights: raise the learning rate"


_FINDINGS = (_not_finite, _activations, _gradients, _through_time, _dead, _saturated, _updates)


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    return (
        ", ".join(listed) if len(listed) <= 3 else f"{listed[0]}, {listed[1]}, ... {listed[-1]} ({len(listed)} in all)"
    )


def _span(values: Mapping[str, float]) -> str:
    low, high = min(values.values()), max(values.values())
    return f"{low:.1e}" if np.isclose(low, high) else f"{low:.1e} to {high:.1e}"
