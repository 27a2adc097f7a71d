"""What random numbers depend on besides their place: a key for each application of an operator, and the step.

A key is drawn from the seed and from its name, like the first value of any parameter, so it does not change when other
layers are added, and different layers are independent. The step belongs to a program: it counts from 0, a training
step adds 1 in native code, and only when its loss is finite. Both are among the parameters of a program, so whoever
saves these goes on with the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.dsl.parameter import Parameter
from graphc.dsl.scope import current
from graphc.dsl.tensor import Input, Tensor
from graphc.ops.operator import Operator


def _any_bits(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return generator.integers(-(2**63), 2**63, shape, np.int64)


def _nothing(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return np.zeros(shape, np.int64)


class Key(Parameter):
    """The key of one application: "dropout.key"."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("key", (), _any_bits, "int64", trainable=False, place=current.get())

    def settle(self, taken: set[str]) -> None:
        """Take a name that is not taken."""
        k = 0
        while self.name in taken:
            k += 1
            self._set(label=f"key_{k}")
        taken.add(self.name)


class Step(Parameter):
    """The number of steps that a program has taken."""

    __slots__ = ()

    def __init__(self, name: str = "step") -> None:
        super().__init__(name, (), _nothing, "int64", trainable=False)


STEP = Step()
"""Stands for the step of whatever program a tensor becomes part of."""


def drawing(operator: Operator, *operands: Tensor, **options: Any) -> Tensor:
    """The operator applied to these operands, to a new key and to the step."""
    result: Tensor = operator(*operands, Key(), STEP, **options)
    return result


def own_chances(tensors: Iterable[Tensor]) -> dict[Tensor, Parameter]:
    """For a graph that holds random numbers its own step, in the place of the one that stands for any. Keys get names
    that no other parameter of the graph has."""
    leaves = [t for t in tensors if isinstance(t, Parameter | Input)]
    taken = {t.name for t in leaves if not isinstance(t, Key | Step)}
    for leaf in leaves:
        if isinstance(leaf, Key):
            leaf.settle(taken)
    if not any(isinstance(leaf, Step) for leaf in leaves):
        return {}
    name = STEP.name
    while name in taken:
        name += "'"
    return {STEP: Step(name)}
