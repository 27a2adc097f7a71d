"""Statistics of every layer on some samples: activations, gradients, weights; and what they say is wrong.

    report = gc.layer_statistics(model, {"images": x, "labels": y})
    report.warnings
    report.layers["conv1"].dead

One native run computes them all: the loss as a training step has it, the gradient with respect to the output of every
layer, and sums of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphc.autodiff.backward import dependents, gradients
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import Traced, trace
from graphc.errors import GraphError, NonFiniteError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.passes.stabilise_composites import stabilise_composites
from graphc.ops import reductions
from graphc.ops.counting import root_mean_square, share_up_to
from graphc.ops.operator import Operator
from graphc.programs import InferenceProgram
from graphc.study.gradients import compile_derivative
from graphc.study.layer_report import LayerReport, ParameterReport, StatisticsReport
from graphc.study.layers import Watched, layers_of
from graphc.types import Batch

Array = npt.NDArray[Any]

SATURATED = 0.05
"""A value is saturated where the slope of its activation is less than this share of the steepest."""


def layer_statistics(
    model: Any, arrays: Mapping[str, npt.ArrayLike], *, threads: int | None = None
) -> StatisticsReport:
    """Activations, gradients and weights of every layer on these samples, all inputs by name.

    `model` is a loss, a Model, or a training program; of the last two the report also says what the next update of
    every parameter would be. Layers compute as in a training step, and everything stays as it is. Raises GraphError
    for a loss that is not a scalar or without layers, InputError for arrays that do not fit.
    """
    return LayerStatisticsProgram(model, threads=threads)(arrays)


class LayerStatisticsProgram:
    """The compiled statistics of a model: a report for every call, of the parameters as they are then."""

    def __init__(self, model: Any, *, threads: int | None = None) -> None:
        self._model = model
        loss = _loss_of(model)
        if loss.shape:
            raise GraphError(
                f"the loss has shape {loss.shape}, expected a scalar", location=loss.location,
                hint="reduce it with .mean() or .sum()",
            )  # fmt: skip
        traced = trace({"loss": loss}, training=True).without_updates()
        graph = stabilise_composites(traced.graph)
        self._layers = layers_of(graph)
        if not self._layers:
            raise GraphError(
                "there are no layers to look at", location=loss.location,
                hint="formulas belong to a layer when they are built by one: gc.Dense(10), or a class of gc.Layer",
            )  # fmt: skip
        trainable = [v for v in graph.parameters if traced.parameters[v.name].trainable]
        extended, self._places = _with_statistics(graph, self._layers, trainable)
        self._program = _compiled(replace(traced, graph=extended), threads)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the order of computation."""
        return tuple(w.scope for w in self._layers)

    def __call__(self, arrays: Mapping[str, npt.ArrayLike]) -> StatisticsReport:
        """The report for samples, all inputs by name. Raises InputError."""
        results = dict(zip(self._places, self._program(**arrays), strict=True))
        updates = _updates(self._model, arrays)
        samples = _samples(self._program, arrays)
        layers = {w.scope: _report(w, results, updates, samples) for w in self._layers}
        return StatisticsReport(float(results[_Place("", "loss")]), samples, layers)


def _loss_of(model: Any) -> Tensor:
    loss = model if isinstance(model, Tensor) else getattr(model, "loss", None)
    if loss is None:
        loss = getattr(model, "metrics", {}).get("loss")
    if not isinstance(loss, Tensor):
        raise GraphError(f"layer_statistics needs a loss, a Model or a training program, got {type(model).__name__}")
    return loss


def _compiled(traced: Traced, threads: int | None) -> InferenceProgram:
    return compile_derivative(traced, lambda graph: graph, threads)


def _samples(program: InferenceProgram, arrays: Mapping[str, npt.ArrayLike]) -> int:
    inputs = program._traced.graph.inputs
    return max((np.shape(arrays[v.name])[0] for v in inputs if Batch() in v.type.shape), default=1)


def _updates(model: Any, arrays: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """By how much a step on these samples would change each parameter; the state is as before afterwards."""
    program = getattr(model, "_training", model)
    if not (hasattr(program, "step") and hasattr(program, "load_state_dict")):
        return {}
    state = program.state_dict()
    try:
        program.step(**arrays, **getattr(model, "constants", {}))
        return {name: p.value - state[name] for name, p in program.parameters.items() if p.trainable}
    except NonFiniteError:
        return {}
    finally:
        program.load_state_dict(state)


# -------------------------------------------------------------------------------------- what is computed


class _Place(NamedTuple):
    """Where a number of the report belongs: a layer or a parameter, and what it is."""

    of: str
    what: str


def _with_statistics(
    graph: Graph, layers: tuple[Watched, ...], trainable: list[Value]
) -> tuple[Graph, tuple[_Place, ...]]:
    """The graph with all statistics as its outputs, and what each of them is."""
    loss = graph.outputs[0]
    watched = dict.fromkeys(v for w in layers for v in (w.output, *(state for state, _ in w.states)))
    wanted = tuple(v for v in (*watched, *trainable) if loss in dependents(graph, (v,)))
    extended, found = gradients(graph, loss, wanted)
    builder, slopes = Builder(extended), dict(zip(wanted, found, strict=True))
    places: dict[_Place, Value] = {_Place("", "loss"): loss}

    def put(of: str, what: str, operator: Operator, value: Value, **options: Any) -> None:
        places[_Place(of, what)] = builder.apply(operator, [value], options)

    for w in layers:
        for what, operator, options in _OF_ACTIVATIONS:
            put(w.scope, what, operator, w.output, **options)
        if w.output in slopes:
            put(w.scope, "gradient", root_mean_square, slopes[w.output])
        for k, (state, time) in enumerate(w.states):
            if state in slopes:
                put(w.scope, f"time {k}", root_mean_square, slopes[state], keep=time)
        for k, (node, bend) in enumerate(w.bends):
            slope = builder.node("slope", bend.slope, node.inputs, node.output.type, scope=w.scope)
            if bend.bounded:
                put(w.scope, f"saturated {k}", share_up_to, slope, limit=SATURATED * bend.steepest)
            elif w.unit is not None and node.output.type == w.output.type:
                others = tuple(axis for axis in range(slope.type.rank) if axis != w.unit)
                put(w.scope, f"alive {k}", reductions.norm, slope, p=float("inf"), axis=others)
    for p in trainable:
        put(p.name, "weight", root_mean_square, p)
        if p in slopes:
            put(p.name, "gradient", root_mean_square, slopes[p])
    return builder.graph(places.values()), tuple(places)


def _report(w: Watched, results: Mapping[_Place, Array], updates: Mapping[str, Array], samples: int) -> LayerReport:
    own = {place.what: value for place, value in results.items() if place.of == w.scope}
    shape = w.output.type.concrete(samples)
    parameters = {}
    for p in w.parameters:
        of = {place.what: float(value) for place, value in results.items() if place.of == p.name}
        if of:
            change = updates.get(p.name)
            update = None if change is None else float(np.sqrt(np.mean(np.square(change, dtype=np.float64))))
            parameters[p.name] = ParameterReport(of["weight"], of.get("gradient", 0.0), update)
    dead = [own[what] == 0 for what in own if what.startswith("alive")]
    saturated = [float(own[what]) for what in own if what.startswith("saturated")]
    times = [own[what] for what in own if what.startswith("time")]
    gradient = float(own.get("gradient", 0.0))
    mean, std, rms, most, zeros = (float(own[what]) for what, _, _ in _OF_ACTIVATIONS)
    return LayerReport(
        shape=shape[1:],
        mean=mean,
        std=std,
        rms=rms,
        largest=most,
        zeros=zeros,
        gradient=gradient,
        gradient_norm=gradient * prod(shape) ** 0.5,
        parameters=parameters,
        dead=tuple(map(int, np.flatnonzero(np.any(dead, axis=0)))) if dead else (),
        units=shape[w.unit] if dead and w.unit is not None else 0,
        saturated=max(saturated, default=None),
        gradient_by_time=np.max(times, axis=0) if times else None,
    )


_OF_ACTIVATIONS: tuple[tuple[str, Operator, dict[str, Any]], ...] = (
    ("mean", reductions.mean, {}),
    ("std", reductions.std, {"correction": 0}),
    ("rms", root_mean_square, {}),
    ("largest", reductions.norm, {"p": float("inf")}),
    ("zeros", share_up_to, {}),
)
"""What is reported of the output of every layer, in the order of the fields of LayerReport."""
