"""Attention and positions in a sequence."""

from __future__ import annotations

from graphc.dsl.functional.activation import softmax
from graphc.dsl.functional.linear_maps import matmul
from graphc.dsl.functional.regularisation import dropout
from graphc.dsl.tensor import Tensor
from graphc.ops.attention import attended, attention_scores
from graphc.ops.positions import prepend_token, rotary_positions, sinusoidal_positions

__all__ = [
    "attention_weights",
    "prepend_token",
    "rotary_positions",
    "scaled_dot_product_attention",
    "sinusoidal_positions",
]


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    ones_ignore: bool = False,
) -> Tensor:
    """softmax(scale · query · keyᵀ + mask) over the keys [..., queries, keys]; masks as for the attention below.

    A query without any key weighs none: its row is zero. key_padding_mask [n, keys] is an integer tensor or a
    comparison, not 0 where a key is padding. With `ones_ignore` such an attn_mask keeps its zeros, as torch's layers
    have it. Raises ShapeError, DTypeError.
    """
    attn_mask, key_padding_mask = _truth(attn_mask), _truth(key_padding_mask)
    added = attn_mask if attn_mask is not None and attn_mask.dtype.is_float else None
    keep = attn_mask if added is None else None
    scores = attention_scores(
        query, key, added, keep, key_padding_mask, scale=scale, is_causal=is_causal, zero_keeps=ones_ignore
    )
    weights = softmax(scores, -1)
    return weights if attn_mask is None and key_padding_mask is None else attended(weights, scores)


def _truth(mask: Tensor | None) -> Tensor | None:
    """A comparison as integers, as other libraries have it: it says which keys count and is not added to scores."""
    if mask is None or mask.operator is None or not mask.dtype.is_float:
        return mask
    definition = mask.operator.define(tuple(t.type for t in mask.operands), mask.attributes)
    return mask.astype("int64") if definition.is_truth else mask


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale · query · keyᵀ + mask) · value

    query [..., queries, d], key [..., keys, d], value [..., keys, e]. A float attn_mask is added to the scores; an
    integer one, or a comparison, keeps the keys where it is not 0; both broadcast to [..., queries, keys], and a causal
    query q sees the keys k <= q. The scale is 1/√d by default. A query without any key gets zeros. In training weights
    are dropped with probability dropout_p. Raises ShapeError, DTypeError.
    """
    return matmul(dropout(attention_weights(query, key, attn_mask, None, is_causal, scale), dropout_p), value)
