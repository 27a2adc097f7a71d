"""Every sample of every registered operator as a graph, with its derivatives up to the second order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import sympy as sp

from graphc.autodiff.backward import jvp, vjp
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Node, Value
from graphc.graph.verifier import verify
from graphc.ops import OPERATORS
from graphc.ops.formula import walk
from graphc.ops.operator import Statement
from graphc.ops.scalars import ScalarFunction
from graphc.types import DType
from tests.native import application

Array = np.ndarray
Arrays = dict[str, Array]

STEP = 2e-4
"""How far differences go."""

LONG = 400
"""Different subexpressions of an operator and its adjoints."""

SAMPLES = [(name, k) for name, operator in OPERATORS.items() for k in range(len(operator.samples))]
IDS = [f"{name}-{k}" for name, k in SAMPLES]


@cache
def case(name: str, k: int, dtype: DType = DType.FLOAT64) -> Case:
    """One sample."""
    graph, arrays = application(OPERATORS[name], OPERATORS[name].samples[k], dtype)
    return Case(f"{name}-{k}", graph, arrays)


@dataclass(frozen=True)
class Case:
    """y = f(w) with random arrays; c is a cotangent of y, and t are tangents of all floating-point operands w."""

    name: str
    graph: Graph
    arrays: Arrays

    @property
    def wrt(self) -> tuple[Value, ...]:
        """The operands by which the result can be differentiated; none where the result holds integers."""
        is_float = self.graph.outputs[0].type.dtype.is_float
        return tuple(v for v in self.graph.inputs if is_float and v.type.dtype.is_float)

    @property
    def is_long(self) -> bool:
        """Whether the formulas are so long that compiling them takes seconds."""
        return sum(len(list(walk(n.formula.body))) for n in self.first.nodes) > LONG

    @property
    def holds_constants(self) -> bool:
        """Whether something that varies counts as a constant in derivatives: differences do not see that."""
        return any(map(varies_as_constant, self.graph.nodes))

    @cached_property
    def directions(self) -> Arrays:
        """c and t by name."""
        random = np.random.default_rng(sum(map(ord, self.name)))
        shapes = {"c": self.graph.outputs[0].type.shape, **{f"t.{v.name}": v.type.shape for v in self.wrt}}
        return {name: random.normal(size=shape) for name, shape in shapes.items()}

    @cached_property
    def tangents(self) -> Arrays:
        """t by the names of the operands."""
        return {v.name: self.directions[f"t.{v.name}"] for v in self.wrt}

    @cached_property
    def first(self) -> Graph:
        """y and, for each w, Σ c·∂y/∂w."""
        if not self.wrt:
            return self.graph
        (y,) = self.graph.outputs
        builder = Builder(self.graph)
        cotangent = builder.input("c", y.type)
        graph, slopes = vjp(builder.graph((y,)), {y: cotangent}, self.wrt)
        graph = Builder(graph).graph((y, *slopes))
        verify(graph, "first derivatives")
        return graph

    @cached_property
    def pushed(self) -> Graph:
        """Σ ∂y/∂w·t."""
        (y,) = self.graph.outputs
        builder = Builder(self.graph)
        tangents = [builder.input(f"t.{v.name}", v.type) for v in self.wrt]
        graph, pushed = jvp(builder.graph(()), (y,), zip(self.wrt, tangents, strict=True))
        return _checked(graph, pushed, "forward derivative")

    @cached_property
    def second(self) -> Graph:
        """For each w, Σ c·∂²y/∂w∂u·t_u."""
        _, *slopes = self.first.outputs
        builder = Builder(self.first)
        tangents = [builder.input(f"t.{v.name}", v.type) for v in self.wrt]
        graph, bends = vjp(builder.graph(()), zip(slopes, tangents, strict=True), self.wrt)
        return _checked(graph, bends, "second derivatives")

    def run(self, graph: Graph, moved: float = 0.0) -> list[Array]:
        """The outputs of one of the graphs, by the interpreter, at w + moved·t."""
        return list(interpret(graph, self.feed(graph, moved)).outputs)

    def feed(self, graph: Graph, moved: float = 0.0) -> Arrays:
        """The arrays that a graph needs."""
        at = {name: a + moved * self.tangents[name] if name in self.tangents else a for name, a in self.arrays.items()}
        given = at | self.directions
        return {v.name: given[v.name] for v in graph.inputs}

    def slopes(self) -> list[Array]:
        """∂(outputs of `first`)/∂t by Richardson's extrapolation, NaN where there is a kink within a step."""
        return [_slope(*values) for values in zip(*self._along, strict=True)]

    @cached_property
    def _along(self) -> list[list[Array]]:
        steps = (-STEP, -STEP / 2, 0.0, STEP / 2, STEP)
        return [self.run(self.first, s) for s in steps]


def varies_as_constant(node: Node | Statement) -> bool:
    """Whether a formula has a function that is not flat but counts as a constant."""
    functions = {type(e) for e in walk(node.formula.body) if isinstance(e, ScalarFunction) and e.constant}
    return any(f.expansion(sp.Rational(1, 3)) != f.expansion(sp.Rational(2, 5)) for f in functions)


def _checked(graph: Graph, outputs: tuple[Value, ...], stage: str) -> Graph:
    graph = Builder(graph).graph(outputs)
    verify(graph, stage)
    return graph


def _slope(far_down: Array, down: Array, middle: Array, up: Array, far_up: Array) -> Array:
    """The derivative of smooth elements, NaN for others: there second differences do not shrink like h²."""
    slope = (8 * (up - down) - (far_up - far_down)) / (6 * STEP)
    bend, half = far_up - 2 * middle + far_down, up - 2 * middle + down
    off = np.abs(bend - 4 * half) / (2 * STEP)
    return np.where(off <= 1e-6 * np.maximum(np.abs(slope), 1), slope, np.nan)
