"""Tensors that are made together by a piece of graph rather than by one operator: gradients, recurrences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy

from graphc.dsl.tensor import Tensor, caller
from graphc.graph.builder import Builder
from graphc.graph.ir import Value
from graphc.types import TensorType


class Expansion(ABC):
    """What appends its own nodes to a graph when it is traced. Subclasses define `expand`."""

    def __init__(self, operands: Iterable[Tensor], types: Iterable[TensorType]) -> None:
        self.operands = tuple(operands)
        location = caller()
        self.parts: tuple[Tensor, ...] = tuple(Part(self, k, type, location) for k, type in enumerate(types))
        """The results, in order."""

    @abstractmethod
    def expand(self, builder: Builder, values: Mapping[Tensor, Value]) -> tuple[Value, ...]:
        """Append the nodes; `values` holds all operands. Returns one value for each part."""

    def of(self, operands: Iterable[Tensor], types: Iterable[TensorType]) -> Expansion:
        """The same expansion of other operands."""
        other = copy(self)
        Expansion.__init__(other, operands, types)
        return other


class Part(Tensor):
    """One result of an expansion."""

    __slots__ = ("expansion", "index")

    expansion: Expansion
    index: int

    def __init__(self, expansion: Expansion, index: int, type: TensorType, location: object = None) -> None:
        super().__init__(type, operands=expansion.operands)
        self._set(expansion=expansion, index=index, location=location)
