"""Layers that turn integers into vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.dsl import functional
from graphc.dsl.initialisers import Array, Initialiser, Shape, initialiser, normal
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import Initial, count
from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import GraphcError, ShapeError

__all__ = ["Embedding", "EmbeddingBag"]

STANDARD = normal()
"""N(0, 1)"""


@dataclass(frozen=True, slots=True)
class _WithoutRow:
    """Drawn as usual, but for one row of zeros."""

    drawn: Initialiser
    row: int

    def __call__(self, shape: Shape, generator: np.random.Generator) -> Array:
        values = self.drawn(shape, generator)
        values[self.row] = 0
        return values


class Embedding(Layer):
    """weight[index[...], :]; weight [num_embeddings, embedding_dim], from the standard normal distribution as torch's.

    The row `padding_idx` starts as zeros and is never trained. An input that is fed is checked to be below
    `num_embeddings`; computed indices outside of the table give zeros.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        weight_init: Initial = STANDARD,
        dtype: str = "float32",
        name: str | None = None,
    ) -> None:
        self.name, self.dtype = name, as_dtype(dtype, "Embedding")
        self.num_embeddings = count(self, "num_embeddings", num_embeddings)
        self.embedding_dim = count(self, "embedding_dim", embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ShapeError(
                f"Embedding: padding_idx {padding_idx} is no row of a table with {num_embeddings}", location=caller(),
                hint=f"use 0 to {num_embeddings - 1}",
            )  # fmt: skip
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        drawn = initialiser(weight_init)
        self.weight_init = drawn if self.padding_idx is None else _WithoutRow(drawn, self.padding_idx)

    def forward(self, index: Tensor) -> Tensor:
        shape = (self.num_embeddings, self.embedding_dim)
        weight = self.parameter("weight", shape, self.weight_init, self.dtype)
        return functional.embedding(index, weight, self.padding_idx)


class EmbeddingBag(Embedding):
    """The sum or the mean of weight[index[..., t], :] over t, for bags of indices [..., L] of one length.

    Entries that are `padding_idx` do not count; a bag of nothing else gives zeros. Raises GraphcError for another mode.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mode: str = "mean",
        padding_idx: int | None = None,
        weight_init: Initial = STANDARD,
        dtype: str = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, weight_init, dtype, name)
        if mode not in ("sum", "mean"):
            raise GraphcError(f'EmbeddingBag: mode must be "sum" or "mean", got {mode!r}', location=caller())
        self.mode = mode

    def forward(self, index: Tensor) -> Tensor:
        rows = super().forward(index)
        if self.padding_idx is None:
            return rows.sum(-2) if self.mode == "sum" else rows.mean(-2)
        counts = (index != self.padding_idx)[..., None].astype(self.dtype)
        total = (rows * counts).sum(-2)
        return total if self.mode == "sum" else total / functional.maximum(counts.sum(-2), 1)
