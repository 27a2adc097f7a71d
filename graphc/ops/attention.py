"""Attention: Vaswani et al.: Attention is all you need, 2017.

    S[.., q, k] = scale · Σ_d Q[.., q, d] · K[.., k, d] + mask[.., q, k]      attention_scores
    P[.., q, k] = e^S / Σ_k e^S, 0 for keys that take no part                  softmax, attended
    Y[.., q, e] = Σ_k P[.., q, k] · V[.., k, e]                                matmul

A key that takes no part has the score NOTHING. A query without any key gets zeros, as torch's function of this name
gives them: neither the shift by the largest score nor the division meets an infinity.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, le
from graphc.ops.linear import leading_axes
from graphc.ops.notation import Operand, Sum, axes, broadcast_shape
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number
from graphc.types import Extent

NOTHING = sp.Float(-1e38)
"""The score of a key that takes no part; lower ones count as this one."""


@op(
    register=True,
    integer="keep padding",
    samples=[
        # without keys that take no part: differences of their scores would be lost beside -1e38
        Sample(((2, 3, 4), (2, 5, 4), None, None, None)),
        Sample(((2, 2, 3, 4), (2, 1, 5, 4), (3, 5), None, None), {"scale": 0.5}),
    ],
)
def attention_scores(
    query: Operand,
    key: Operand,
    mask: Operand | None = None,
    keep: Operand | None = None,
    padding: Operand | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    zero_keeps: bool = False,
) -> Expr:
    """S[..., q, k] = scale · Σ_d query[..., q, d] · key[..., k, d] + mask[..., q, k], or NOTHING

    query [..., queries, features], key [..., keys, features], leading axes broadcast; `mask` and `keep` broadcast to
    the scores. A key takes no part where keep is 0 (with `zero_keeps`: where it is not), where padding [n, keys] is
    not 0, and for a causal query q where k > q. The scale is 1/√features by default. Raises ShapeError.
    """
    if query.rank < 2 or key.rank < 2:
        raise ShapeError(
            f"attention_scores: expected a query and a key [..., length, features], got {query.shape} and {key.shape}"
        )
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"attention_scores: the query {query.shape} has {query.shape[-1]} features, "
            f"the key {key.shape} has {key.shape[-1]}",
            hint=f"project both to the same number, for example Linear({query.shape[-1]}) for the key",
        )
    batch = broadcast_shape("attention_scores", [query.shape[:-2], key.shape[:-2]])
    lead = leading_axes(len(batch))
    q, k, d = axes("q k d")
    product = Sum(query[(*_at(lead, query, batch), q, d)] * key[(*_at(lead, key, batch), k, d)], over=d)
    score: Expr = product * (number(scale) if scale is not None else 1 / sp.sqrt(query.shape[-1]))
    whole = (*batch, query.shape[-2], key.shape[-2])
    if mask is not None:
        score = scalars.maximum(score + _read(mask, (*lead, q, k), whole), NOTHING)
    if keep is not None:
        at_zero, elsewhere = (score, NOTHING) if zero_keeps else (NOTHING, score)
        score = Where(eq(_read(keep, (*lead, q, k), whole), 0), at_zero, elsewhere)
    if padding is not None:
        score = Where(eq(_padding(padding, lead, k, whole), 0), score, NOTHING)
    return Where(le(k, q), score, NOTHING) if is_causal else score


@op(register=True, samples=[Sample(((3, 4), (3, 4)))])
def attended(weights: Operand, scores: Operand) -> Expr:
    """weights[...] where scores[...] is above NOTHING, else 0: a query without any key weighs none."""
    return Where(le(scores[...], NOTHING), 0, weights[...])


def _at(lead: tuple[Expr, ...], operand: Operand, batch: tuple[Extent, ...]) -> tuple[Expr, ...]:
    """Where an operand [..., length, features] is read: axes of extent 1 stay at 0."""
    own = operand.shape[:-2]
    start = len(batch) - len(own)
    return tuple(
        a if extent == whole else sp.S.Zero for a, extent, whole in zip(lead[start:], own, batch[start:], strict=True)
    )


def _read(mask: Operand, index: tuple[Expr, ...], whole: tuple[Extent, ...]) -> Expr:
    """A mask at the place of a score, broadcast. Raises ShapeError."""
    own = mask.shape
    fits = len(own) <= len(whole) and all(e in (1, w) for e, w in zip(own[::-1], whole[::-1], strict=False))
    if not fits:
        raise ShapeError(
            f"attention_scores: {mask.name} has shape {own}, the scores are {whole}",
            hint=f"a mask broadcasts to {whole}: use ({whole[-2]}, {whole[-1]}) for one that all samples share, or "
            f"({whole[0]}, {', '.join('1' for _ in whole[1:-1])}, {whole[-1]}) for keys of each sample",
        )
    start = len(whole) - len(own)
    return mask[tuple(a if e != 1 else sp.S.Zero for a, e in zip(index[start:], own, strict=True))]


def _padding(padding: Operand, lead: tuple[Expr, ...], k: Expr, whole: tuple[Extent, ...]) -> Expr:
    """The entry of a key's own sample. Raises ShapeError."""
    wanted = (whole[0], whole[-1])
    if len(whole) < 3 or padding.shape != wanted:
        raise ShapeError(
            f"attention_scores: {padding.name} has shape {padding.shape}, the scores are {whole}",
            hint=f"it holds a number for each key of each sample: {wanted}",
        )
    return padding[lead[0], k]
