"""Transformer blocks (Vaswani et al. 2017; norm first: Xiong et al. 2020), with torch's names of parameters."""

from __future__ import annotations

from collections.abc import Callable

from graphc.dsl.functional import regularisation
from graphc.dsl.layers import Layer
from graphc.dsl.nn.activation import activation_function
from graphc.dsl.nn.arguments import Activation, count
from graphc.dsl.nn.attention import MultiheadAttention
from graphc.dsl.nn.convolution import Conv2d
from graphc.dsl.nn.linear import Dense
from graphc.dsl.nn.normalisation import LayerNorm
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.types import Extent

__all__ = [
    "PatchEmbedding",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]


class _Block(Layer):
    """What encoder and decoder layers share: residual sublayers, each normalised, the last one feed-forward."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        self.name, self.norm_first, self.dropout = name, norm_first, dropout
        self.activation = activation_function(activation)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Dense(count(self, "dim_feedforward", dim_feedforward), use_bias=bias)
        self.linear2 = Dense(count(self, "d_model", d_model), use_bias=bias)
        self.norm1, self.norm2 = (LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(2))

    def _residual(self, x: Tensor, norm: LayerNorm, part: Callable[[Tensor], Tensor]) -> Tensor:
        """x + part(norm(x)) where the norm comes first, else norm(x + part(x))."""
        if self.norm_first:
            return x + regularisation.dropout(part(norm(x)), self.dropout)
        return norm(x + regularisation.dropout(part(x), self.dropout))

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.linear1(x)
        if self.activation:
            hidden = self.activation(hidden)
        return self.linear2(regularisation.dropout(hidden, self.dropout))


class TransformerEncoderLayer(_Block):
    """Self-attention and a feed-forward network, each with a residual and a normalisation, for x [n, length, d_model].

    Masks as for `MultiheadAttention`: src_mask [length, length], src_key_padding_mask [n, length].
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attention(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal)

        x = self._residual(src, self.norm1, attention)
        return self._residual(x, self.norm2, self._feed_forward)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to `memory` [n, memory length, d_model] and a feed-forward network."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, name
        )
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def own(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, tgt_is_causal)

        def cross(x: Tensor) -> Tensor:
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask, memory_is_causal)

        x = self._residual(tgt, self.norm1, own)
        x = self._residual(x, self.norm2, cross)
        return self._residual(x, self.norm3, self._feed_forward)


class _Stack(Layer):
    """Layers one after the other, then perhaps a norm."""

    def __init__(
        self,
        layer: Callable[[], Layer],
        num_layers: int,
        norm: Layer | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(layer, Layer):
            raise GraphError(
                f"{type(self).__name__} makes {num_layers} layers that share nothing, so it takes what makes one",
                location=caller(), hint="write lambda: TransformerEncoderLayer(...)",
            )  # fmt: skip
        self.name, self.norm = name, norm
        self.layers = [layer() for _ in range(count(self, "num_layers", num_layers))]


class TransformerEncoder(_Stack):
    """`num_layers` encoder layers and perhaps a norm: TransformerEncoder(lambda: TransformerEncoderLayer(64, 4), 6).

    torch copies one layer; here `layer` makes each of them, so that every one draws its own values.
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """`num_layers` decoder layers and perhaps a norm; `layer` makes each of them."""

    def forward(self, tgt: Tensor, memory: Tensor, *masks: Tensor | None, **options: Tensor | bool | None) -> Tensor:
        """Masks and options are those of `TransformerDecoderLayer`."""
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, **options)
        return tgt if self.norm is None else self.norm(tgt)


class PatchEmbedding(Layer):
    """Images [n, channels, height, width] as tokens [n, patches, embed_dim], one linear map of each square patch.

    The parameters are those of a convolution with stride `patch`: proj.weight, proj.bias (Dosovitskiy et al. 2020).
    """

    def __init__(self, embed_dim: int, patch: int, name: str | None = None) -> None:
        self.name, self.patch = name, count(self, "patch", patch)
        self.proj = Conv2d(embed_dim, patch, stride=patch, weight_init="xavier_uniform")

    def forward(self, x: Tensor) -> Tensor:
        sides: tuple[Extent, ...] = x.shape[2:]
        if len(sides) != 2 or any(not isinstance(s, int) or s % self.patch for s in sides):
            raise ShapeError(
                f"PatchEmbedding: patches of {self.patch} do not divide images {x.shape}", location=caller(),
                hint=f"use [n, channels, height, width] with sides that are multiples of {self.patch}",
            )  # fmt: skip
        grid = self.proj(x)
        return grid.reshape(*grid.shape[:2], -1).transpose(0, 2, 1)
