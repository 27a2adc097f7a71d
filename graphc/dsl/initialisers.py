"""Initial values of parameters: functions of a shape and a random generator, always drawn in float64.

Fans are counted for weights [out, in, *kernel]: fan_in = in · Π kernel, fan_out = out · Π kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graphc.errors import GraphcError

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]


class Initialiser(Protocol):
    """Draws the initial value of a parameter."""

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array: ...


def fans(shape: Shape) -> tuple[int, int]:
    """(inputs, outputs) that one weight connects: [out, in, *kernel]; a vector has as many of both."""
    match shape:
        case ():
            return 1, 1
        case (size,):
            return size, size
        case (outputs, inputs, *kernel):
            return inputs * prod(kernel), outputs * prod(kernel)
    raise AssertionError(shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number everywhere."""

    value: float = 0.0

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        return np.full(shape, self.value, np.float64)


@dataclass(frozen=True, slots=True)
class Uniform:
    """U(low, high)"""

    low: float = -0.05
    high: float = 0.05

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        return generator.uniform(self.low, self.high, shape)


@dataclass(frozen=True, slots=True)
class Normal:
    """N(mean, deviation²)"""

    mean: float = 0.0
    deviation: float = 0.05

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        return generator.normal(self.mean, self.deviation, shape)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Variance `gain`² / fan, normal or uniform; the fan is "in", "out" or the "mean" of both."""

    gain: float
    fan: str
    normal: bool

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        inputs, outputs = fans(shape)
        fan = {"in": inputs, "out": outputs, "mean": (inputs + outputs) / 2}[self.fan]
        deviation = self.gain / sqrt(fan)
        if self.normal:
            return generator.normal(0.0, deviation, shape)
        bound = sqrt(3.0) * deviation
        return generator.uniform(-bound, bound, shape)


zeros, ones = Constant(0.0), Constant(1.0)
he_normal, he_uniform = Scaled(sqrt(2.0), "in", True), Scaled(sqrt(2.0), "in", False)
xavier_normal, xavier_uniform = Scaled(1.0, "mean", True), Scaled(1.0, "mean", False)
lecun_normal, lecun_uniform = Scaled(1.0, "in", True), Scaled(1.0, "in", False)

NAMED: dict[str, Initialiser] = {
    "zeros": zeros,
    "ones": ones,
    "he": he_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "kaiming": he_normal,
    "kaiming_normal": he_normal,
    "kaiming_uniform": he_uniform,
    "xavier": xavier_uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "glorot": xavier_uniform,
    "glorot_normal": xavier_normal,
    "glorot_uniform": xavier_uniform,
    "lecun": lecun_normal,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "uniform": Uniform(),
    "normal": Normal(),
}


def uniform(low: float, high: float) -> Initialiser:
    """U(low, high)"""
    return Uniform(low, high)


def normal(mean: float = 0.0, deviation: float = 1.0) -> Initialiser:
    """N(mean, deviation²)"""
    return Normal(mean, deviation)


def constant(value: float) -> Initialiser:
    """`value` everywhere."""
    return Constant(value)


def initialiser(spelling: str | float | Initialiser) -> Initialiser:
    """An initialiser by name ("he", "xavier_uniform", ...), or a constant by value. Raises GraphcError."""
    if isinstance(spelling, int | float):
        return Constant(float(spelling))
    if not isinstance(spelling, str):
        return spelling
    if spelling not in NAMED:
        raise GraphcError(f'there is no initialiser "{spelling}"', hint=f"choose one of {', '.join(NAMED)}")
    return NAMED[spelling]
