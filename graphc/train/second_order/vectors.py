"""All parameters as one vector of float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        ends = accumulate((p.value.size for p in self.parameters), initial=0)
        self._slices = [slice(*ends) for ends in pairwise(ends)]

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._slices[-1].stop

    @property
    def eps(self) -> float:
        """The relative spacing of the numbers in the coarsest parameter."""
        return max(float(np.finfo(p.dtype.numpy).eps) for p in self.parameters)

    def join(self, arrays: Sequence[npt.NDArray[Any]]) -> Vector:
        """One array for each parameter as a vector."""
        return np.concatenate([np.ravel(a) for a in arrays], dtype=np.float64)

    def split(self, vector: Vector) -> list[npt.NDArray[Any]]:
        """The parts of a vector, each with the shape and dtype of its parameter."""
        places = zip(self.parameters, self._slices, strict=True)
        with np.errstate(over="ignore"):  # a step that is far too long
            return [vector[part].reshape(p.value.shape).astype(p.dtype.numpy) for p, part in places]

    def read(self) -> Vector:
        """The values of the parameters."""
        return self.join([p.value for p in self.parameters])

    def rounded(self, vector: Vector) -> Vector:
        """The nearest values that the parameters can have."""
        return self.join(self.split(vector))

    def write(self, vector: Vector) -> None:
        """Give the parameters these values."""
        for parameter, part in zip(self.parameters, self.split(vector), strict=True):
            parameter.value = part
