"""Initial values of parameters: functions of a shape and a random generator, always drawn in float64.

Fans are counted for weights [out, in, *kernel]: fan_in = in · Π kernel, fan_out = out · Π kernel. What a parameter
starts with depends on the seed and on its name alone. Layers with an activation choose by it, see `for_activation`.

    gc.Dense(64, "tanh")                                         Xavier, for the activation saturates
    gc.Dense(64, "relu", weight_init="orthogonal")               by name
    gc.Dense(64, weight_init=gc.initialisers.orthogonal(gain("tanh")))
    gc.Conv2d(64, 3, weight_init=gc.initialisers.variance_scaling(2.0, "fan_out", "truncated_normal"))
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, erfc, exp, pi, prod, sqrt
from statistics import NormalDist
from sys import float_info
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
class TruncatedNormal:
    """N(mean, deviation²) under the condition low <= value <= high, one uniform draw for each number.

    mean + deviation · Φ⁻¹(u) for u between Φ of both limits; Φ⁻¹ to the last digits by algorithm AS 241 (Wichura 1988).
    """

    mean: float = 0.0
    deviation: float = 0.05
    low: float = -0.1
    high: float = 0.1

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        low, high = ((limit - self.mean) / self.deviation for limit in (self.low, self.high))
        sign = -1.0 if low > 0 else 1.0  # Φ is exact to many digits in its lower tail only
        low, high = sorted((sign * low, sign * high))
        drawn = generator.uniform(_below(low), _below(high), prod(shape))
        quantile = NormalDist().inv_cdf
        deviates = [quantile(u) for u in np.clip(drawn, float_info.min, 1 - float_info.epsilon).tolist()]
        values = self.mean + self.deviation * sign * np.array(deviates, np.float64).reshape(shape)
        return np.clip(values, self.low, self.high)


def _below(x: float) -> float:
    """Φ(x), the share of normal numbers below x."""
    return erfc(-x / sqrt(2)) / 2


WITHIN_TWO = sqrt(1 - 4 * exp(-2) / sqrt(2 * pi) / (1 - 2 * _below(-2)))
"""The standard deviation of normal numbers within two standard deviations."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Variance `gain`² / fan; the fan is "in", "out" or the "mean" of both.

    The distribution is "normal", "uniform", or "truncated_normal" within two deviations of what was truncated.
    """

    gain: float
    fan: str
    distribution: str

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        inputs, outputs = fans(shape)
        deviation = self.gain / sqrt({"in": inputs, "out": outputs, "mean": (inputs + outputs) / 2}[self.fan])
        if self.distribution == "uniform":
            bound = sqrt(3.0) * deviation
            return generator.uniform(-bound, bound, shape)
        if self.distribution == "truncated_normal":
            wide = deviation / WITHIN_TWO
            return TruncatedNormal(0.0, wide, -2 * wide, 2 * wide)(shape, generator)
        return generator.normal(0.0, deviation, shape)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """gain · Q, uniform over matrices with orthonormal rows, or columns where there are fewer of them.

    A weight [out, in, *kernel] counts as a matrix of `out` rows. Q is the factor of a QR decomposition of normal
    numbers, with the signs that make R's diagonal positive (Mezzadri 2007, arXiv:math-ph/0609050). Source: Saxe,
    McClelland, Ganguli 2013, arXiv:1312.6120.
    """

    gain: float = 1.0

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        rows, columns = _matrix("orthogonal", shape)
        q, r = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True, slots=True)
class Identity:
    """gain in place of each output's own input, else 0: the identity matrix, or the convolution that keeps its input.

    A kernel has its one in the middle; in each of `groups`, output k takes input k, those beyond stay 0 (`dirac_`).
    """

    gain: float = 1.0
    groups: int = 1

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        _matrix("identity", shape)
        outputs, inputs, *kernel = shape
        if self.groups < 1 or outputs % self.groups:
            raise GraphcError(f"identity: {outputs} outputs cannot be divided into {self.groups} groups")
        value = np.zeros(shape)
        middle, each = tuple(size // 2 for size in kernel), outputs // self.groups
        for first in range(0, outputs, each):
            for k in range(min(each, inputs)):
                value[(first + k, k, *middle)] = self.gain
        return value


@dataclass(frozen=True, slots=True)
class Sparse:
    """N(0, deviation²), but zero in a share of each column's rows, rounded up (Martens 2010)."""

    sparsity: float
    deviation: float = 0.01

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        rows, columns = _matrix("sparse", shape)
        value = generator.normal(0.0, self.deviation, (rows, columns))
        rank = generator.random((rows, columns)).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        return np.where(rank < ceil(self.sparsity * rows), 0.0, value).reshape(shape)


def _matrix(name: str, shape: Shape) -> tuple[int, int]:
    """(out, in · Π kernel). Raises GraphcError for fewer than two axes."""
    if len(shape) < 2:
        raise GraphcError(
            f"{name}: expected a weight [out, in, *kernel], got shape {shape}", hint='use "zeros" for a bias'
        )
    return shape[0], prod(shape[1:])


zeros, ones = Constant(0.0), Constant(1.0)
he_normal, he_uniform = Scaled(sqrt(2.0), "in", "normal"), Scaled(sqrt(2.0), "in", "uniform")
xavier_normal, xavier_uniform = Scaled(1.0, "mean", "normal"), Scaled(1.0, "mean", "uniform")
lecun_normal, lecun_uniform = Scaled(1.0, "in", "normal"), Scaled(1.0, "in", "uniform")

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
    "truncated_normal": TruncatedNormal(),
    "orthogonal": Orthogonal(),
    "identity": Identity(),
    "eye": Identity(),
    "dirac": Identity(),
}

GAINS = {"linear": 1.0, "identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2.0), "selu": 3 / 4}

UNRECTIFIED = {
    *("linear", "identity", "tanh", "hardtanh", "softsign"),
    *("sigmoid", "hardsigmoid", "logsigmoid", "softmax", "logsoftmax", "softmin"),
}
"""Activations that are linear, or saturate on both sides."""


def uniform(low: float, high: float) -> Initialiser:
    """U(low, high)"""
    return Uniform(low, high)


def normal(mean: float = 0.0, deviation: float = 1.0) -> Initialiser:
    """N(mean, deviation²)"""
    return Normal(mean, deviation)


def truncated_normal(mean: float = 0.0, deviation: float = 1.0, low: float = -2.0, high: float = 2.0) -> Initialiser:
    """N(mean, deviation²) within [low, high]: torch's `trunc_normal_`. Raises GraphcError unless low < high."""
    if not (deviation > 0 and low < high):
        raise GraphcError(
            f"truncated_normal: expected deviation > 0 and low < high, got {deviation:g}, {low:g} and {high:g}",
            hint=f"use low={min(low, high):g}, high={max(low, high):g}" if low > high else "",
        )
    return TruncatedNormal(mean, deviation, low, high)


def orthogonal(gain: float = 1.0) -> Initialiser:
    """gain · Q with orthonormal rows or columns, see `Orthogonal`."""
    return Orthogonal(gain)


def identity(gain: float = 1.0) -> Initialiser:
    """The identity matrix, or the convolution that keeps its input, times `gain`; other names: eye, dirac."""
    return Identity(gain)


def dirac(groups: int = 1) -> Initialiser:
    """Convolutions that keep their input, in each group of output channels: torch's `dirac_`."""
    return Identity(groups=groups)


def sparse(sparsity: float, deviation: float = 0.01) -> Initialiser:
    """N(0, deviation²) with a share `sparsity` of zeros in each column. Raises GraphcError for a share not in 0..1."""
    if not 0 <= sparsity <= 1:
        raise GraphcError(f"sparse: expected a sparsity between 0 and 1, got {sparsity:g}")
    return Sparse(sparsity, deviation)


def variance_scaling(scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal") -> Initialiser:
    """Variance scale / fan, with the arguments of Keras; the first of them is a variance, not a gain.

    mode: "fan_in", "fan_out" or "fan_avg"; distribution: "truncated_normal", "untruncated_normal" or "uniform".
    He is (2, "fan_in"), Xavier (1, "fan_avg"), LeCun (1, "fan_in"). Raises GraphcError.
    """
    modes = {"fan_in": "in", "fan_out": "out", "fan_avg": "mean"}
    distributions = {"truncated_normal": "truncated_normal", "untruncated_normal": "normal", "uniform": "uniform"}
    for what, given, known in (("mode", mode, modes), ("distribution", distribution, distributions)):
        if given not in known:
            raise GraphcError(f'variance_scaling: no {what} is called "{given}"', hint=f"use {' or '.join(known)}")
    if not scale > 0:
        raise GraphcError(f"variance_scaling: expected a positive scale, got {scale:g}")
    return Scaled(sqrt(scale), modes[mode], distributions[distribution])


def gain(activation: str, slope: float = 0.01) -> float:
    """The factor for weights in front of an activation: torch's `calculate_gain`, with its values.

    1 for linear and sigmoid, 5/3 for tanh, √2 for relu, √(2 / (1 + slope²)) for leaky_relu, 3/4 for selu.
    Raises GraphcError for others.
    """
    if activation == "leaky_relu":
        return sqrt(2 / (1 + slope * slope))
    if activation not in GAINS:
        raise GraphcError(
            f'there is no gain for "{activation}"', hint=f"choose one of {', '.join([*GAINS, 'leaky_relu'])}"
        )
    return GAINS[activation]


def for_activation(activation: str) -> Initialiser:
    """What layers draw their weights from unless told otherwise, by the name of their activation.

    Xavier (uniform) for those that saturate or are linear: it keeps the variance of values and gradients where the
    slope is one (Glorot, Bengio 2010). LeCun (normal) for selu, which is made for it (Klambauer et al. 2017). He
    (normal) for all others, which pass half of their input (He et al. 2015), and without an activation (""), as a
    rectifier or a normalisation follows more often than not.
    """
    name = activation.lower().replace("_", "")
    if name == "selu":
        return lecun_normal
    return xavier_uniform if name in UNRECTIFIED else he_normal


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
