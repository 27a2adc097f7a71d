"""Random recurrences, and the same without one: the step written out once for each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.ops.indexing import WHOLE, concat, sliced, stack
from graphc.types import DType, TensorType

SIZE, SAMPLES = 3, 2
"""Features of every value of a step, and samples."""

POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": gc.tanh,
    "sigmoid": gc.sigmoid,
    "softplus": gc.softplus,
    "double": lambda v: v * 2.0,
    "softmax": gc.softmax,
    "centred": lambda v: v - v.mean(1, keepdims=True),
    "turned": lambda v: sliced(concat([v, v], axis=-1), index=(WHOLE, (1, SIZE + 1, None))),
}


@dataclass(frozen=True)
class Recurrent:
    """What a step computes, one value after another from those before: carries, x, and what follows."""

    carries: int
    operations: tuple[tuple[Any, ...], ...]
    returned: tuple[int, ...]
    """Numbers of the values that become carries and result."""
    steps: int
    reverse: bool
    starts: tuple[str, ...]
    axis: int = 1

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Values for the inputs and parameters."""
        random = np.random.default_rng((self.steps, len(self.operations)))
        shape = (SAMPLES, self.steps, SIZE) if self.axis == 1 else (self.steps, SAMPLES, SIZE)
        found = {"x": random.normal(size=shape)}
        found |= {f"start{k}": random.normal(size=(SAMPLES, SIZE)) for k in range(self.carries)}
        return found | {f"w{k}": random.normal(size=(SIZE, SIZE)) / 2 for k in range(len(self.operations))}

    def leaves(self) -> dict[str, Tensor]:
        """Inputs and weights by name."""
        arrays = self.arrays
        return {
            name: Parameter(name, a.shape, dtype="float64") if name[0] == "w" else gc.input(name, a.shape, "float64")
            for name, a in arrays.items()
        }

    def step(self, leaves: Mapping[str, Tensor]) -> Callable[[Any, Tensor], tuple[Any, Tensor]]:
        """The step over these leaves."""

        def step(carry: tuple[Tensor, ...], x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            values = [*carry, x]
            for number, (kind, *operands) in enumerate(self.operations):
                given = [values[k] for k in operands]
                if kind == "dense":
                    values.append(gc.dense(given[0], leaves[f"w{number}"]))
                elif kind == "add":
                    values.append(given[0] + given[1])
                elif kind == "multiply":
                    values.append(gc.tanh(given[0]) * gc.tanh(given[1]))
                else:
                    values.append(POINTWISE[kind](given[0]))
            *news, y = (values[k] for k in self.returned)
            return tuple(gc.tanh(v) for v in news), y

        return step

    def start(self, leaves: Mapping[str, Tensor], k: int) -> Any:
        """A first carry: a tensor, zeros, or zeros of a type."""
        match self.starts[k]:
            case "tensor":
                return leaves[f"start{k}"]
            case "zeros":
                return gc.zeros((SAMPLES, SIZE), "float64")
        return TensorType((SAMPLES, SIZE), DType.FLOAT64)

    def scanned(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """ys and last carries as a recurrence."""
        starts = tuple(self.start(leaves, k) for k in range(self.carries))
        ys, last = gc.scan(self.step(leaves), starts, leaves["x"], reverse=self.reverse, axis=self.axis)
        return (ys, *last)

    def written_out(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The same with as many copies of the step as there are times."""
        step = self.step(leaves)
        carry = tuple(
            leaves[f"start{k}"] if kind == "tensor" else gc.zeros((SAMPLES, SIZE), "float64")
            for k, kind in enumerate(self.starts)
        )
        ys: dict[int, Tensor] = {}
        for t in reversed(range(self.steps)) if self.reverse else range(self.steps):
            carry, ys[t] = step(carry, sliced(leaves["x"], index=(*[WHOLE] * self.axis, t)))
        return (stack([ys[t] for t in range(self.steps)], axis=self.axis), *carry)


def evaluated(graph: Graph, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs of a graph, by the reference interpreter."""
    inputs, parameters = ({v.name: arrays[v.name] for v in some} for some in (graph.inputs, graph.parameters))
    return interpret(graph, inputs, parameters).outputs


@st.composite
def recurrences(draw: st.DrawFn, most: int = 5) -> Recurrent:
    """A random recurrence of one or two carries."""
    carries = draw(st.integers(1, 2))
    operations: list[tuple[Any, ...]] = []
    for k in range(draw(st.integers(1, most))):
        operand = st.integers(max(0, carries + k - 3), carries + k)  # late values more often, so that chains come about
        kind = draw(st.sampled_from(("dense", "dense", "add", "add", "multiply", *POINTWISE)))
        operations.append((kind, draw(operand), *([draw(operand)] if kind in ("add", "multiply") else [])))
    count = carries + 1 + len(operations)
    returned = [draw(st.integers(max(0, count - 4), count - 1)) for _ in range(carries)]
    return Recurrent(
        carries, tuple(operations), (*returned, draw(st.integers(0, count - 1))),
        steps=draw(st.sampled_from((1, 2, 3, 5))), reverse=draw(st.booleans()),
        starts=tuple(draw(st.sampled_from(("tensor", "zeros", "type"))) for _ in range(carries)),
        axis=draw(st.sampled_from((1, 1, 0))),
    )  # fmt: skip
