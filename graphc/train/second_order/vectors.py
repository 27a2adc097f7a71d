"""All parameters as one vector of float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.dsl.parameter import Parameter

Vector = npt.NDArray[np.float64]
State = Mapping[str, npt.NDArray[np.float64]]
"""What a minimiser remembers between its iterations, by name, in arrays of fixed shapes."""


def dot(a: Vector, b: Vector) -> float:
    """Σ_i a_i·b_i, always in the same order: that of a library depends on its threads."""
    return float(np.einsum("i,i->", a, b))


def largest(a: Vector) -> float:
    """max_i |a_i|, NaN if there is one."""
    return float(np.max(np.abs(a), initial=0.0))


class Space:
    """Vectors that hold one number for each element of some parameters, in their order."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        sizes = [p.value.size for p in self.parameters]
        self.size = sum(sizes)
        """The number of elements."""
        places = [slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]
        kinds = [np.dtype(p.dtype.numpy) for p in self.parameters]
        self._parts = [(place, p.value.shape, kind) for place, p, kind in zip(places, parameters, kinds, strict=True)]
        self.eps = max(float(np.finfo(kind).eps) for kind in kinds)
        """The relative spacing of the numbers in the coarsest parameter."""

    def join(self, arrays: Iterable[npt.NDArray[Any]]) -> Vector:
        """One array for each parameter as a vector."""
        return np.concatenate([a.reshape(-1) for a in arrays], dtype=np.float64)

    def split(self, vector: Vector) -> list[npt.NDArray[Any]]:
        """The parts of a vector, each with the shape and dtype of its parameter."""
        with np.errstate(over="ignore"):  # a step that is far too long
            return [vector[place].reshape(shape).astype(kind) for place, shape, kind in self._parts]

    def read(self) -> Vector:
        """The values of the parameters."""
        return self.join(p.value for p in self.parameters)

    def write(self, vector: Vector) -> Vector:
        """Give the parameters the nearest values that they can have; returns these."""
        parts = self.split(vector)
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.value = part
        return self.join(parts)
