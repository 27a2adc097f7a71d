"""A loss as native programs: its value and gradient, and products with its Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import count
from operator import add
from typing import Any

import numpy.typing as npt

from graphc.autodiff.backward import gradients
from graphc.dsl import derivatives
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Input, Tensor, input
from graphc.dsl.trace import Traced, ordered, trace
from graphc.graph.ir import Graph
from graphc.study.gradients import compile_derivative
from graphc.train.second_order.minimiser import Objective, Point
from graphc.train.second_order.vectors import Space, Vector

Arrays = Mapping[str, npt.NDArray[Any]]


def derive(graph: Graph, names: Sequence[str]) -> Graph:
    """The gradients of the first output as further outputs, then the new values of what a training step updates."""
    leaves = {p.name: p for p in graph.parameters}
    extended, found = gradients(graph, graph.outputs[0], tuple(leaves[n] for n in names))
    return replace(extended, outputs=(*graph.outputs, *found, *(new for _, new in graph.updates)), updates=())


class Evaluation:
    """loss, ∂loss/∂W and further results at W, by one native program, for a training step's phase.

    What the step would update besides W (running averages, the step of random numbers) is computed and kept apart, so
    that the loss may be evaluated as often as somebody likes.
    """

    def __init__(self, traced: Traced, space: Space, threads: int | None) -> None:
        names = [p.name for p in space.parameters]
        self.program = compile_derivative(traced, partial(derive, names=names), threads)
        self.space, self.names = space, tuple(traced.outputs)
        self.updated = [parameter.name for parameter, _ in traced.graph.updates]

    def __call__(self, x: Vector, arrays: Arrays) -> Point:
        """The results with the parameters as they are now, which is x."""
        found = iter(self.program(**arrays))
        results = {name: next(found) for name in self.names}
        gradient = self.space.join([next(found) for _ in self.space.parameters])
        updates = {name: next(found) for name in self.updated}
        return Point(x, float(results["loss"]), gradient, results | updates)


class Product:
    """Jᵀ·H·J·v and vᵀ·Jᵀ·H·J·v by one native program: J of the outputs by W, H the Hessian of the loss by the outputs.

    For residuals H is I. Inputs are those of the outputs and the loss, and a part of v for each parameter.
    """

    def __init__(self, objective: Objective, space: Space, threads: int | None) -> None:
        loss, outputs, wrt = objective.loss, objective.outputs, space.parameters
        tangents = tangents_of(wrt, [loss, *outputs])
        moved = derivatives.jvp(outputs, wrt, tangents)
        turned = moved if objective.residuals else derivatives.hessian_vector_product(loss, outputs, moved)
        square = reduce(add, ((m * t).sum() for m, t in zip(moved, turned, strict=True)))
        products = [*derivatives.vjp(outputs, wrt, turned), square]
        traced = trace(products, training=True).without_updates()
        self.program = compile_derivative(traced, as_it_is, threads)
        self.space, self._tangents = space, [t.name for t in tangents]
        self._inputs = traced.inputs.keys() - set(self._tangents)

    def __call__(self, v: Vector, arrays: Arrays) -> tuple[Vector, float]:
        """The product with the parameters as they are now."""
        given = {name: array for name, array in arrays.items() if name in self._inputs}
        given |= zip(self._tangents, self.space.split(v), strict=True)
        *found, square = self.program(**given)
        return self.space.join(found), float(square)


def as_it_is(graph: Graph) -> Graph:
    """A graph whose outputs are derivatives already."""
    return graph


def tangents_of(parameters: Iterable[Parameter], users: Iterable[Tensor]) -> list[Input]:
    """An input for a tangent of each parameter, with a name that nothing else has among what the users need."""
    taken = {t.name for t in ordered(users) if isinstance(t, Input | Parameter)}

    def free(name: str) -> str:
        return next(n for n in (name + "'" * k for k in count()) if n not in taken)

    return [input(free(f"tangent of {p.name}"), p.shape, p.dtype.value) for p in parameters]
