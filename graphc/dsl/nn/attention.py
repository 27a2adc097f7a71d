"""Attention with several heads, and positions in a sequence."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.functional import attention_maps, regularisation
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import Initial, count, fixed
from graphc.dsl.nn.linear import Dense
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops.indexing import WHOLE, sliced

__all__ = [
    "ClassToken",
    "LearnedPositions",
    "MultiheadAttention",
    "RotaryPositions",
    "SinusoidalPositions",
]

WHOLE_SEQUENCES = (WHOLE, WHOLE)


class MultiheadAttention(Layer):
    """Attention of `num_heads` heads between projections of query, key and value (Vaswani et al. 2017).

    query [n, queries, embed_dim], key [n, keys, kdim], value [n, keys, vdim]; key and value are the query by default.
    Parameters have torch's names: in_proj_weight [3·embed_dim, embed_dim] for projections of query, key and value one
    below the other, or q_proj_weight, k_proj_weight, v_proj_weight where kdim or vdim differ; in_proj_bias;
    out_proj.weight and out_proj.bias. `rotary` turns queries and keys by their positions.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
        rotary: RotaryPositions | None = None,
        weight_init: Initial = "xavier_uniform",
        name: str | None = None,
    ) -> None:
        self.name, self.dropout, self.bias, self.weight_init = name, dropout, bias, weight_init
        self.embed_dim, self.num_heads = count(self, "embed_dim", embed_dim), count(self, "num_heads", num_heads)
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        if embed_dim % num_heads:
            raise ShapeError(
                f"MultiheadAttention: {num_heads} heads do not divide embed_dim={embed_dim}", location=caller(),
                hint=f"use embed_dim={-(-embed_dim // num_heads) * num_heads}, or a divisor of {embed_dim} heads",
            )  # fmt: skip
        if not batch_first:
            raise GraphError("MultiheadAttention: the batch comes first", hint="use batch_first=True and x [n, t, d]")
        self.rotary = rotary
        self.out_proj = Dense(embed_dim, use_bias=bias, weight_init="xavier_uniform")

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[n, queries, embed_dim], with `need_weights` also the mean over heads of the weights [n, queries, keys].

        As in torch's layers, an integer mask ignores keys where it is not 0: key_padding_mask [n, keys], attn_mask
        [queries, keys] or [n, 1, queries, keys]; a float attn_mask is added to the scores. `is_causal` needs no mask. A
        query that may look at no key gets the bias of out_proj. Raises ShapeError, DTypeError.
        """
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = (self._heads(x) for x in self._projections(query, key, value))
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        weights = attention_maps.attention_weights(
            q, k, attn_mask, key_padding_mask, is_causal=is_causal, ones_ignore=True
        )
        heads = functional.matmul(regularisation.dropout(weights, self.dropout), v).transpose(0, 2, 1, 3)
        result: Tensor = self.out_proj(heads.reshape(*heads.shape[:2], self.embed_dim))
        return (result, weights.mean(1)) if need_weights else result

    def _heads(self, x: Tensor) -> Tensor:
        """[n, length, embed_dim] as [n, heads, length, features of a head]"""
        split = x.reshape(*x.shape[:2], self.num_heads, self.embed_dim // self.num_heads)
        return split.transpose(0, 2, 1, 3)

    def _projections(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projected query, key and value; one product for those that are the same tensor."""
        dim = self.embed_dim
        for x, features, what in ((query, dim, "query"), (key, self.kdim, "key"), (value, self.vdim, "value")):
            if fixed(self, x, -1, f"features of the {what}") != features or x.ndim != 3:
                raise ShapeError(
                    f"the {what} must be [n, length, {features}], got {x.shape}", location=caller(),
                    layer=str(current.get()), hint="kdim and vdim tell the features of key and value",
                )  # fmt: skip
        dtype = query.dtype
        bias = self.parameter("in_proj_bias", (3 * dim,), "zeros", dtype) if self.bias else None

        def third(k: int) -> tuple[int, int, None]:
            return k * dim, (k + 1) * dim, None

        if self.kdim == self.vdim == dim:
            weight = self.parameter("in_proj_weight", (3 * dim, dim), self.weight_init, dtype)
            if query is key and key is value:
                together = functional.dense(query, weight, bias)
                q, k, v = (sliced(together, index=(*WHOLE_SEQUENCES, third(part))) for part in range(3))
                return q, k, v
            weights = [sliced(weight, index=(third(part),)) for part in range(3)]
        else:
            widths = {"q": dim, "k": self.kdim, "v": self.vdim}
            weights = [self.parameter(f"{n}_proj_weight", (dim, w), self.weight_init, dtype) for n, w in widths.items()]
        q, k, v = (
            functional.dense(x, w, None if bias is None else sliced(bias, index=(third(part),)))
            for part, (x, w) in enumerate(zip((query, key, value), weights, strict=True))
        )
        return q, k, v


class SinusoidalPositions(Layer):
    """x [n, length, features] plus sines and cosines of the position (Vaswani et al. 2017); nothing is learnt."""

    def __init__(self, base: float = 10000.0, name: str | None = None) -> None:
        self.name, self.base = name, base

    def forward(self, x: Tensor) -> Tensor:
        return attention_maps.sinusoidal_positions(x, base=self.base)


class RotaryPositions(Layer):
    """Pairs of features of x [..., length, features] turned by angles that grow with the position (Su et al. 2021)."""

    def __init__(self, base: float = 10000.0, interleaved: bool = False, name: str | None = None) -> None:
        self.name, self.base, self.interleaved = name, base, interleaved

    def forward(self, x: Tensor) -> Tensor:
        return attention_maps.rotary_positions(x, base=self.base, interleaved=self.interleaved)


class LearnedPositions(Layer):
    """x [n, length, features] plus a learnt vector for each position, the weight [max_length, features].

    The table is as long as the first sequence unless `max_length` is given.
    """

    def __init__(self, max_length: int | None = None, weight_init: Initial = "normal", name: str | None = None) -> None:
        self.name, self.max_length, self.weight_init = name, max_length, weight_init

    def forward(self, x: Tensor) -> Tensor:
        length, features = fixed(self, x, -2, "positions"), fixed(self, x, -1, "features")
        if self.max_length is None:
            self.max_length = length
        if length > self.max_length:
            raise ShapeError(
                f"there are {self.max_length} positions, but the input {x.shape} is {length} long", location=caller(),
                layer=str(current.get()), hint=f"use max_length={length} or sequences of at most {self.max_length}",
            )  # fmt: skip
        weight = self.parameter("weight", (self.max_length, features), self.weight_init, x.dtype)
        return x + sliced(weight, index=((0, length, None),))


class ClassToken(Layer):
    """One learnt token in front of x [n, length, features], the weight [features]."""

    def __init__(self, weight_init: Initial = "normal", name: str | None = None) -> None:
        self.name, self.weight_init = name, weight_init

    def forward(self, x: Tensor) -> Tensor:
        weight = self.parameter("weight", (fixed(self, x, -1, "features"),), self.weight_init, x.dtype)
        return attention_maps.prepend_token(x, weight)
