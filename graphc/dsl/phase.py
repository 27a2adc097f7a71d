"""Values that differ between training and inference, and what training leaves behind in parameters."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError


class Phased(Tensor):
    """`training` where a training step is compiled, `inference` elsewhere; `updates` pair parameters with new values.

    The choice is made when a graph is traced, so that each path holds only its own formulas.
    """

    __slots__ = ("inference", "training", "updates")

    training: Tensor
    inference: Tensor
    updates: tuple[tuple[Parameter, Tensor], ...]

    def chosen(self, training: bool) -> Tensor:
        """The value of one phase."""
        return self.training if training else self.inference

    def needed(self, training: bool) -> tuple[Tensor, ...]:
        """What one phase computes: its value first, then the new values of parameters."""
        if not training:
            return (self.inference,)
        return (self.training, *(t for update in self.updates for t in update))


def phased(training: Tensor, inference: Tensor, updates: Iterable[tuple[Parameter, Tensor]] = ()) -> Phased:
    """A tensor with one value for training and another for inference.

    A training step also replaces each parameter of `updates` by its new value, unless its loss is not finite.
    Raises GraphError where types differ or a parameter is trained by gradients.
    """
    updates = tuple(updates)
    if training.type != inference.type:
        raise GraphError(f"training gives {training.type}, inference {inference.type}", location=caller())
    for parameter, new in updates:
        if parameter.type != new.type:
            raise GraphError(f"{parameter.name} is {parameter.type}, its new value {new.type}", location=caller())
        if parameter.trainable:
            raise GraphError(
                f"{parameter.name} is trained by gradients and cannot be updated as well", location=caller(),
                hint="make it with trainable=False",
            )  # fmt: skip
    tensor = Phased(training.type, operands=(training, inference), location=caller())
    tensor._set(training=training, inference=inference, updates=updates)
    return tensor
