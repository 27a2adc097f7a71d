"""Normalisation: values less their mean, over the root of their variance; the methods differ in the axes of both.

    batch     n c y x   statistics over n, y, x         Ioffe, Szegedy: Batch normalization, 2015
    instance  n c y x   over y, x                       Ulyanov, Vedaldi, Lempitsky: Instance normalization, 2016
    group     n c y x   over y, x and some of the c     Wu, He: Group normalization, 2018
    layer     ... i     over the last axes              Ba, Kiros, Hinton: Layer normalization, 2016

Channels stand on axis 1. The variance is the mean of squared deviations from the mean, in two passes: E[x²] - E[x]²
would lose all digits where the mean is large.
"""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.formula import Where, le
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Operand, Sum, axes, axis, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

SHAPES = ((4, 3), (3, 2, 5), (2, 3, 4, 3))
DEFAULT_EPS, DEFAULT_MOMENTUM = 1e-5, 0.1

Index = tuple[sp.Symbol, ...]


def _index(X: Operand) -> Index:
    """Axes of the result, the channels being c."""
    return axes(" ".join("ncyxzt"[: X.rank]))


def _over(index: Index, reduced: Iterable[int], letters: str) -> tuple[Index, Index]:
    """(the index with axes of its own at the reduced positions, these axes)"""
    positions = sorted(reduced)
    bound = axes(" ".join(letters[: len(positions)]))
    renamed = dict(zip(positions, bound, strict=True))
    return tuple(renamed.get(k, a) for k, a in enumerate(index)), bound


def _mean(X: Operand, index: Index, reduced: Iterable[int]) -> tuple[Expr, Expr]:
    """(the mean over the reduced positions, the number of elements in it)"""
    inner, bound = _over(index, reduced, "mrsuv")
    count: Expr = sp.S.One
    total = Sum(X[inner], over=bound)
    for symbol in bound:
        count = count * extent(symbol)
    return total / count, count


def _squares(X: Operand, index: Index, reduced: Iterable[int], mean: Expr) -> Expr:
    """The sum of the squared deviations from the mean."""
    inner, bound = _over(index, reduced, "lpqab")
    return Sum((X[inner] - mean) ** 2, over=bound)


def _standardised(name: str, X: Operand, index: Index, reduced: Iterable[int], eps: float) -> Expr:
    """(x - mean) / √(variance + eps), statistics over the reduced positions; the variance is the biased one."""
    positions = tuple(reduced)
    _check_eps(name, eps)
    mean, count = _mean(X, index, positions)
    variance = _squares(X, index, positions, mean) / count
    return (X[index] - mean) / sp.sqrt(variance + number(eps))


def _affine(value: Expr, weight: Operand | None, bias: Operand | None, *index: sp.Symbol) -> Expr:
    """value · weight + bias, each if it is there."""
    if weight is not None:
        value = value * weight[index]
    return value if bias is None else value + bias[index]


def _check_eps(name: str, eps: float) -> None:
    if not eps > 0:
        raise GraphcError(f"{name}: eps must be positive, got {eps}", hint="use eps=1e-5")


def _check_channels(name: str, X: Operand, *vectors: Operand | None, least: int = 2) -> None:
    """Raises ShapeError unless X is [n, channels, ...] and each vector holds one number for each channel."""
    if X.rank < least:
        raise ShapeError(
            f"{name}: expected an input [n, channels, {'...' if least == 2 else 'positions ...'}], got {X.shape}",
            hint="add the axis of the channels" if X.rank < 2 else "one position alone has no variance",
        )
    for vector in vectors:
        if vector is not None and vector.shape != (X.shape[1],):
            raise ShapeError(
                f"{name}: the input {X.shape} has {X.shape[1]} channels, {vector.name} has shape {vector.shape}",
                hint=f"use a vector of shape ({X.shape[1]},); images are (batch, channels, height, width)",
            )


# ------------------------------------------------------------------------------------------------- channels


@op(register=True, samples=[Sample((s, w, w)) for s in SHAPES for w in (None, (s[1],))])
def batch_norm(
    X: Operand, weight: Operand | None = None, bias: Operand | None = None, *, eps: float = DEFAULT_EPS
) -> Expr:
    """Y[n, c, ...] = weight[c] · (X[n, c, ...] - mean[c]) / √(variance[c] + eps) + bias[c]

    Statistics over the batch and all positions; the variance is the biased one. Raises ShapeError, GraphcError.
    """
    _check_channels("batch_norm", X, weight, bias)
    index = _index(X)
    standardised = _standardised("batch_norm", X, index, (0, *range(2, X.rank)), eps)
    return _affine(standardised, weight, bias, index[1])


@op(
    register=True,
    samples=[
        *(Sample((s, (s[1],), (s[1],), None, None), domain=(0.5, 2.0)) for s in SHAPES[:1]),
        *(Sample((s, *[(s[1],)] * 4), domain=(0.5, 2.0)) for s in SHAPES),
    ],
)
def channel_norm(
    X: Operand,
    mean: Operand,
    variance: Operand,
    weight: Operand | None = None,
    bias: Operand | None = None,
    *,
    eps: float = DEFAULT_EPS,
) -> Expr:
    """Y[n, c, ...] = weight[c] · (X[n, c, ...] - mean[c]) / √(variance[c] + eps) + bias[c], with given statistics.

    Raises ShapeError.
    """
    _check_channels("channel_norm", X, mean, variance, weight, bias)
    index = _index(X)
    c = index[1]
    return _affine((X[index] - mean[c]) / sp.sqrt(variance[c] + number(eps)), weight, bias, c)


@op(register=True, samples=[Sample(((s[1],), s)) for s in SHAPES])
def running_mean(R: Operand, X: Operand, *, momentum: float = DEFAULT_MOMENTUM) -> Expr:
    """(1 - momentum) · R[c] + momentum · mean[c] over the batch and all positions. Raises ShapeError."""
    _check_channels("running_mean", X, R)
    (c,) = axes("c")
    mean, _ = _mean(X, (c,) * X.rank, (0, *range(2, X.rank)))
    return (1 - number(momentum)) * R[c] + number(momentum) * mean


@op(register=True, samples=[Sample(((s[1],), s)) for s in SHAPES])
def running_variance(R: Operand, X: Operand, *, momentum: float = DEFAULT_MOMENTUM) -> Expr:
    """(1 - momentum) · R[c] + momentum · variance[c], the unbiased one: squared deviations / (count - 1).

    One element alone has no variance and leaves R as it is. Raises ShapeError.
    """
    _check_channels("running_variance", X, R)
    (c,) = axes("c")
    index, reduced = (c,) * X.rank, (0, *range(2, X.rank))
    mean, count = _mean(X, index, reduced)
    variance = _squares(X, index, reduced, mean) / (count - 1)
    moved = (1 - number(momentum)) * R[c] + number(momentum) * variance
    return Where(le(count, 1), R[c], moved)


@op(
    register=True,
    samples=[
        Sample(((2, 3, 4), None, None)),
        Sample(((2, 3, 4, 3), (3,), (3,))),
        Sample(((2, 2, 2, 3, 2), (2,), (2,))),
    ],
)
def instance_norm(
    X: Operand, weight: Operand | None = None, bias: Operand | None = None, *, eps: float = DEFAULT_EPS
) -> Expr:
    """Y[n, c, ...] = weight[c] · (X[n, c, ...] - mean[n, c]) / √(variance[n, c] + eps) + bias[c]

    Statistics over the positions of each sample and channel; the variance is the biased one. Raises ShapeError.
    """
    _check_channels("instance_norm", X, weight, bias, least=3)
    index = _index(X)
    return _affine(_standardised("instance_norm", X, index, range(2, X.rank), eps), weight, bias, index[1])


@op(register=True, samples=[Sample((s, (s[1],), (s[1],))) for s in SHAPES] + [Sample((SHAPES[1], (2,), None))])
def channel_affine(X: Operand, weight: Operand | None = None, bias: Operand | None = None) -> Expr:
    """Y[n, c, ...] = weight[c] · X[n, c, ...] + bias[c]. Raises ShapeError."""
    _check_channels("channel_affine", X, weight, bias)
    index = _index(X)
    return _affine(X[index], weight, bias, index[1])


# --------------------------------------------------------------------------------------------- last axes


def _features(name: str, X: Operand, count: int, *tensors: Operand | None) -> tuple[Index, Index]:
    """(axes of the result, the last `count` of them). Raises ShapeError unless the tensors have just these axes."""
    if not isinstance(count, int) or not 1 <= count <= X.rank:
        raise ShapeError(
            f"{name}: the last {count} axes of {X.shape} cannot be normalised", hint=f"it has {X.rank} axes"
        )
    shape = X.shape[X.rank - count :]
    for tensor in tensors:
        if tensor is not None and tensor.shape != shape:
            raise ShapeError(
                f"{name}: the last {count} axes of the input {X.shape} are {shape}, "
                f"{tensor.name} has shape {tensor.shape}",
                hint=f"use a {tensor.name} of shape {shape}",
            )
    index = axes(" ".join(pointwise_names(X.rank)))
    return index, index[X.rank - count :]


LAST = [
    Sample(((3, 4), None, None)),
    Sample(((2, 3, 4), (4,), (4,))),
    Sample(((2, 3, 4), (3, 4), (3, 4)), {"count": 2}),
]


@op(register=True, samples=[*LAST, Sample(((3, 4), (4,), None))])
def layer_norm(
    X: Operand,
    weight: Operand | None = None,
    bias: Operand | None = None,
    *,
    count: int = 1,
    eps: float = DEFAULT_EPS,
) -> Expr:
    """Y[..., i] = weight[i] · (X[..., i] - mean[...]) / √(variance[...] + eps) + bias[i]

    Statistics over the last `count` axes, which weight and bias have; the variance is the biased one.
    Raises ShapeError, GraphcError.
    """
    index, features = _features("layer_norm", X, count, weight, bias)
    return _affine(_standardised("layer_norm", X, index, range(X.rank - count, X.rank), eps), weight, bias, *features)


@op(register=True, samples=[Sample(s.tensors[:2], s.attributes) for s in LAST])
def rms_norm(X: Operand, weight: Operand | None = None, *, count: int = 1, eps: float | None = None) -> Expr:
    """Y[..., i] = weight[i] · X[..., i] / √(mean of X² + eps) over the last `count` axes.

    `eps` is the distance from 1 to the next number of the dtype unless given. Raises ShapeError, GraphcError.
    Zhang, Sennrich: Root mean square layer normalization, 2019.
    """
    index, features = _features("rms_norm", X, count, weight)
    chosen = 2.0 ** -(23 if X.type.dtype.bits == 32 else 52) if eps is None else eps
    _check_eps("rms_norm", chosen)
    inner, bound = _over(index, range(X.rank - count, X.rank), "mrsuv")
    squares = Sum(X[inner] ** 2, over=bound)
    elements: Expr = sp.S.One
    for symbol in bound:
        elements = elements * extent(symbol)
    return _affine(X[index] / sp.sqrt(squares / elements + number(chosen)), weight, None, *features)


# --------------------------------------------------------------------------------------- neighbours, weights


@op(
    register=True,
    samples=[
        Sample(((2, 4, 3),), {"size": 3, "alpha": 0.1}),
        Sample(((2, 5),), {"size": 2, "alpha": 0.5, "beta": 0.5, "k": 2.0}),
        Sample(((2, 3, 2, 2),), {"size": 5, "alpha": 1.0}),
    ],
)
def local_response_norm(X: Operand, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Expr:
    """Y[n, c, ...] = X[n, c, ...] / (k + alpha/size · Σ_{r<size} X[n, c + r - size//2, ...]²)^beta

    Channels beyond the first and the last count as zero. Raises ShapeError.
    Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012.
    """
    _check_channels("local_response_norm", X)
    if not isinstance(size, int) or size < 1:
        raise ShapeError(f"local_response_norm: size must be a positive integer, got {size!r}")
    index = _index(X)
    n, c, *rest = index
    r = axis("r", size)
    squares = Sum(X[(n, c + r - size // 2, *rest)] ** 2, over=r)
    return X[index] * (number(k) + number(alpha) / size * squares) ** -number(beta)


@op(
    register=True,
    samples=[
        Sample(((3, 4), (3,)), domain=(0.5, 2.0)),
        Sample(((2, 3, 2), (3,)), {"axis": 1}, domain=(0.5, 2.0)),
        Sample(((2, 3), ()), {"axis": None}, domain=(0.5, 2.0)),
    ],
)
def weight_norm(V: Operand, g: Operand, *, axis: int | None = 0) -> Expr:
    """W[o, ...] = g[o] · V[o, ...] / ‖V[o]‖, the norm over all axes but one, or over all.

    Raises ShapeError. Salimans, Kingma: Weight normalization, 2016.
    """
    kept = () if axis is None else (normal_axis("weight_norm", axis, V.rank),)
    if g.shape != tuple(V.shape[a] for a in kept):
        raise ShapeError(
            f"weight_norm: {V.shape} normalised along axis {axis} needs g of shape "
            f"{tuple(V.shape[a] for a in kept)}, got {g.shape}"
        )
    index = axes(" ".join(pointwise_names(V.rank)))
    inner, bound = _over(index, (a for a in range(V.rank) if a not in kept), "mrsuv")
    return V[index] * g[tuple(index[a] for a in kept)] / sp.sqrt(Sum(V[inner] ** 2, over=bound))
