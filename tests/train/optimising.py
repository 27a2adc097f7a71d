"""Optimisers on gradients that are given: their graphs by the interpreter, and as native code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.train.optimisers.updating import slot, update
from graphc.types import DType, TensorType

Arrays = dict[str, np.ndarray]


def updating(optimizer: Any, start: Arrays, dtype: str = "float64") -> Graph:
    """The updates alone, for gradients that are inputs: "d w" for w."""
    builder, kind = Builder(), DType.of(dtype)
    loss = builder.input("loss", TensorType((), kind))
    for name, value in start.items():
        builder.parameter(name, TensorType(value.shape, kind))
    gradients = [builder.input(f"d {p.name}", p.type) for p in builder.parameters]
    return update(builder.graph([loss, *gradients]), optimizer, tuple(start))


def interpreted(optimizer: Any, start: Arrays, gradients: Sequence[Arrays], dtype: str = "float64") -> Iterator[Arrays]:
    """All parameters and their state after each step."""
    graph, held = updating(optimizer, start, dtype), {n: v.astype(dtype) for n, v in start.items()}
    holders = {}
    for name, value in start.items():
        holders[name] = Parameter(name, value.shape, dtype=dtype)
        holders[name].value = value.astype(dtype)
    for p in graph.parameters:
        if p.name not in held:
            held[p.name] = slot(optimizer, p.name, p.type, holders).value
    for step, gradient in enumerate(gradients, 1):
        given = {"loss": 0.0, **optimizer.fed(step), **{f"d {n}": g for n, g in gradient.items()}}
        inputs = {v.name: np.asarray(given[v.name], dtype) for v in graph.inputs}
        held = held | interpret(graph, inputs, held).updates
        yield held


class Fed:
    """A program whose gradients are fed, as the coefficients of a linear loss."""

    def __init__(self, optimizer: Any, start: Arrays, dtype: str = "float64", threads: int = 1) -> None:
        loss: Any = 0.0
        self.parameters = {}
        for name, value in start.items():
            self.parameters[name] = Parameter(name, value.shape, dtype=dtype)
            self.parameters[name].value = value.astype(dtype)
            loss = (self.parameters[name] * gc.input(f"d {name}", value.shape, dtype)).sum() + loss
        self.program = gc.compile_training(loss, optimizer=optimizer, threads=threads)

    def step(self, gradient: Arrays) -> None:
        self.program.step(**{f"d {name}": g for name, g in gradient.items()})

    @property
    def memory(self) -> Arrays:
        """Copies of every parameter and every piece of state."""
        return {n: p.value.copy() for n, p in {**self.program.parameters, **self.program.state}.items()}


def some(steps: int, seed: int = 0, dtype: str = "float64") -> tuple[Arrays, list[Arrays]]:
    """A start of two parameters, and gradients for them; one element has none at every third step."""
    r = np.random.default_rng(seed)
    gradients = [{"w": r.normal(size=(3, 4)), "bias": r.normal(size=4)} for _ in range(steps)]
    for k, gradient in enumerate(gradients):
        gradient["w"][1, 2] *= k % 3 != 1
    start = {"w": r.normal(size=(3, 4)), "bias": r.normal(size=4)}
    return {n: v.astype(dtype) for n, v in start.items()}, gradients
