"""What a minimiser is: options, and one iteration as a pure function of a point and of what it remembers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError, GraphError
from graphc.train.second_order.vectors import State, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Parameters as a vector, the loss there, its gradient, and whatever else was computed with them."""

    x: Vector
    loss: float
    gradient: Vector
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.loss) and bool(np.isfinite(self.gradient).all())


class Function(Protocol):
    """A loss on one batch."""

    @property
    def eps(self) -> float:
        """The relative accuracy of its numbers."""
        ...

    def __call__(self, x: Vector) -> Point:
        """The loss at x, or at the nearest values that the parameters can have."""
        ...

    def product(self, x: Vector, v: Vector) -> tuple[Vector, float]:
        """G·v and vᵀ·G·v for the Gauss-Newton matrix G at x."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Iteration:
    """Where an iteration has arrived, what it remembers, and why no further one is needed, if so."""

    point: Point
    state: State
    converged: str = ""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: a scalar; for Gauss-Newton also the outputs that it is a function of.

    With `residuals` the loss is ½·Σ outputs², otherwise any function of the outputs.
    """

    loss: Tensor
    outputs: tuple[Tensor, ...] = ()
    residuals: bool = False


class Minimiser(ABC):
    """An optimiser that decides about the length of its steps, by evaluating the loss as often as it has to.

    `gc.compile_training` makes a program of it whose step is `iterations` iterations on one batch.
    """

    __slots__ = ()
    iterations: int
    lr: ClassVar[None] = None
    """There is no rate that could be changed."""

    @abstractmethod
    def objective(self, loss: Tensor, outputs: tuple[Tensor, ...]) -> Objective:
        """What to minimise for what the user has given. Raises GraphError."""

    @abstractmethod
    def start(self, size: int) -> State:
        """What is remembered before the first iteration, for so many numbers."""

    @abstractmethod
    def iterate(self, function: Function, point: Point, state: State) -> Iteration:
        """One iteration from a point."""

    def compile(self, loss: Tensor, **options: Any) -> Any:
        """The program that `gc.compile_training` returns for this optimiser."""
        from graphc.train.second_order.program import compile_minimisation

        return compile_minimisation(loss, self, **options)


def scalar(loss: Tensor, hint: str) -> Tensor:
    """A loss that is a number. Raises GraphError."""
    if loss.shape:
        raise GraphError(
            f"loss must be a scalar, got shape {loss.shape}", location=loss.location, layer=loss.scope, hint=hint
        )
    return loss


def at_least(name: str, value: float, least: float) -> None:
    """Raises GraphcError for an option that is less, or no number."""
    if not value >= least or math.isinf(value):
        raise GraphcError(f"{name} is {value}, expected a number of at least {least:g}", hint=f"use {name}={least:g}")


def whole(name: str, value: Any) -> None:
    """Raises GraphcError for an option that is no whole number from 1 on."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise GraphcError(f"{name} is {value!r}, expected a whole number of at least 1", hint=f"use {name}=1")


def number(value: float) -> npt.NDArray[np.float64]:
    """A number as a part of a state."""
    return np.array(value, np.float64)
