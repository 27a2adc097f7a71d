"""Losses of distances and angles between embeddings.

Embeddings are [..., d]; `reduction` is over the leading axes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops import scalars
from graphc.ops.formula import Where, eq, lt
from graphc.ops.loss_terms import hinge, not_negative, positive, reduced
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Max, Operand, Sum, axes, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

PAIR = ((4, 3), (4, 3))

Vector = Callable[[Expr], Expr]
"""The component of an embedding along an axis."""


def _embeddings(name: str, a: Operand, *others: Operand) -> tuple[tuple[Expr, ...], list[Vector]]:
    """(leading axes, each embedding by its component). Raises ShapeError unless all shapes are equal."""
    for b in others:
        if a.shape != b.shape or not a.rank:
            raise ShapeError(
                f"{name}: {a.name} has shape {a.shape} but {b.name} has shape {b.shape}",
                hint="embeddings [..., d] of one loss have the same shape",
            )
    lead = axes(" ".join(pointwise_names(a.rank)[:-1]))

    def of(operand: Operand) -> Vector:
        return lambda k: operand[(*lead, k)]

    return lead, [of(o) for o in (a, *others)]


def _targets(name: str, target: Operand, like: Operand, lead: tuple[Expr, ...]) -> Expr:
    if target.shape != like.shape[:-1]:
        raise ShapeError(
            f"{name}: embeddings {like.shape} need a {target.name} of shape {like.shape[:-1]}, got {target.shape}"
        )
    return target[lead]


@op(register=True, samples=[Sample(((4, 3), (4, 3))), Sample(((2, 3, 2), (2, 3, 2)), {"axis": -1})])
def cosine_similarity(first: Operand, second: Operand, *, axis: int = 1, eps: float = 1e-8) -> Expr:
    """Σ a·b / (max(‖a‖, eps) · max(‖b‖, eps)) along the axis. Raises ShapeError, GraphcError."""
    name = "cosine_similarity"
    positive(name, eps=eps)
    if first.shape != second.shape:
        raise ShapeError(f"{name}: first has shape {first.shape} but second has shape {second.shape}")
    place = normal_axis(name, axis, first.rank)
    names = pointwise_names(first.rank)
    before, after = axes(" ".join(names[:place])), axes(" ".join(names[place + 1 :]))

    def at(operand: Operand, k: Expr) -> Expr:
        return operand[(*before, k, *after)]

    j, k, d = axes("j k d")
    least = number(eps) ** 2
    squares = Sum(at(first, j) ** 2, over=j), Sum(at(second, k) ** 2, over=k)
    lengths = (scalars.sqrt(Where(lt(s, least), least, s)) for s in squares)
    return Sum(at(first, d) * at(second, d), over=d) / sp.Mul(*lengths)


@op(register=True, either="target", samples=[Sample((*PAIR, (4,)), {"margin": 0.1})])
def cosine_embedding_loss(
    first: Operand, second: Operand, target: Operand, *, margin: float = 0.0, reduction: str = "mean"
) -> Expr:
    """1 - cos(a, b) where t = 1, max(0, cos(a, b) - margin) where t = -1.

    first and second [..., d], target [...]. Raises ShapeError, GraphcError.
    """
    name = "cosine_embedding_loss"
    lead, (a, b) = _embeddings(name, first, second)
    t = _targets(name, target, first, lead)
    j, k, d = axes("j k d")
    tiny = number(1e-12)
    lengths = scalars.sqrt((Sum(a(j) ** 2, over=j) + tiny) * (Sum(b(k) ** 2, over=k) + tiny))
    cosine = Sum(a(d) * b(d), over=d) / lengths
    near, far = Where(eq(t, 1), 1 - cosine, 0), Where(eq(t, -1), hinge(cosine - number(margin)), 0)
    return reduced(name, reduction, near + far, lead)


def _distance(name: str, difference: Vector, p: float) -> Expr:
    """‖d‖_p = (Σ_k |d_k|^p)^(1/p), the largest |d_k| for p = inf."""
    (k,) = axes("d")
    size = scalars.absolute(difference(k))
    if p == inf:
        return Max(size, over=k)
    positive(name, p=p)
    if p == 1:
        return Sum(size, over=k)
    if p == 2:
        return scalars.sqrt(Sum(difference(k) ** 2, over=k))
    return Sum(size ** number(p), over=k) ** (1 / number(p))


@op(
    register=True,
    samples=[
        Sample((*PAIR, (4, 3))),
        Sample((*PAIR, (4, 3)), {"p": 1, "swap": True}),
        Sample((*PAIR, (4, 3)), {"p": 3.0}),
    ],
)
def triplet_margin_loss(
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Expr:
    """max(0, margin + D(a, p) - D(a, n)), D(x, y) = ‖x - y + eps‖_p; with `swap` the smaller of D(a, n), D(p, n).

    All [..., d]. Balntas et al. 2016. Raises ShapeError, GraphcError.
    """
    name = "triplet_margin_loss"
    lead, (a, q, n) = _embeddings(name, anchor, positive, negative)

    def distance(x: Vector, y: Vector) -> Expr:
        return _distance(name, lambda k: x(k) - y(k) + number(eps), p)

    far = distance(a, n)
    if swap:
        far = scalars.minimum(far, distance(q, n))
    return reduced(name, reduction, hinge(distance(a, q) - far + number(margin)), lead)


@op(register=True, either="same", samples=[Sample((*PAIR, (4,)), {"margin": 3.0}, (0.1, 0.9))])
def contrastive_loss(
    first: Operand, second: Operand, same: Operand, *, margin: float = 1.0, reduction: str = "mean"
) -> Expr:
    """same · D²/2 + (1 - same) · max(0, margin - D)²/2, D = ‖a - b‖: pairs of one class (same = 1) attract, others
    repel up to the margin.

    first and second [..., d], same [...]. Hadsell, Chopra, LeCun 2006. Raises ShapeError, GraphcError.
    """
    name = "contrastive_loss"
    not_negative(name, margin=margin)
    lead, (a, b) = _embeddings(name, first, second)
    s = _targets(name, same, first, lead)
    (d,) = axes("d")
    square = Sum((a(d) - b(d)) ** 2, over=d)
    # where both are equal the repulsion has no direction: the root is kept from 0
    distance = scalars.sqrt(square + number(1e-12))
    loss = s * square / 2 + (1 - s) * hinge(number(margin) - distance) ** 2 / 2
    return reduced(name, reduction, loss, lead)


# ---------------------------------------------------------------------------- every sample against the others


def _directions(name: str, *operands: Operand) -> None:
    first = operands[0]
    for o in operands:
        if o.rank != 2 or o.shape != first.shape:
            raise ShapeError(
                f"{name}: expected embeddings [n, d] of one shape, got {' and '.join(str(x.shape) for x in operands)}"
            )
        if not isinstance(o.shape[0], int):
            raise ShapeError(
                f"{name}: every sample is compared with all others, so the batch must be known, got {o.shape}",
                hint=f'declare it: gc.input("x", (64, {o.shape[1]}))',
            )


def _similarities(a: Operand, b: Operand, temperature: float) -> Callable[[Expr, Expr], Expr]:
    """cos(a_i, b_j) / T as a function of i and j."""

    def at(i: Expr, j: Expr) -> Expr:
        d, e, f = axes("d e f")
        squares = Sum(a[i, e] ** 2, over=e), Sum(b[j, f] ** 2, over=f)
        least = number(1e-16)
        lengths = sp.Mul(*[scalars.sqrt(Where(lt(s, least), least, s)) for s in squares])
        return Sum(a[i, d] * b[j, d], over=d) / (lengths * number(temperature))

    return at


@op(register=True, samples=[Sample(PAIR, {"temperature": 0.5})])
def info_nce(query: Operand, positive_key: Operand, *, temperature: float = 0.1, reduction: str = "mean") -> Expr:
    """-log(e^(s_ii) / Σ_j e^(s_ij)), s_ij = cos(q_i, k_j) / T: the own key among those of all samples.

    query and positive_key [n, d] with n known. van den Oord, Li, Vinyals 2018. Raises ShapeError, GraphcError.
    """
    positive("info_nce", temperature=temperature)
    _directions("info_nce", query, positive_key)
    s = _similarities(query, positive_key, temperature)
    i, j, k = axes("n j k")
    largest = scalars.stop_gradient(Max(s(i, j), over=j))  # it cancels
    loss = scalars.log(Sum(scalars.exp(s(i, k) - largest), over=k)) - (s(i, i) - largest)
    return reduced("info_nce", reduction, loss, (i,))


@op(register=True, samples=[Sample(PAIR, {"temperature": 0.5})])
def nt_xent(first: Operand, second: Operand, *, temperature: float = 0.5, reduction: str = "mean") -> Expr:
    """The mean of both directions of -log(e^(s_i) / Σ_j e^(s_ij)) over the other view and all other samples of both.

    first and second [n, d] are two views of the same n samples, n known; s = cos / T. SimCLR: Chen et al. 2020.
    Raises ShapeError, GraphcError.
    """
    positive("nt_xent", temperature=temperature)
    _directions("nt_xent", first, second)
    (n,) = axes("n")
    loss = (_one_way(first, second, temperature, n) + _one_way(second, first, temperature, n)) / 2
    return reduced("nt_xent", reduction, loss, (n,))


def _one_way(a: Operand, b: Operand, temperature: float, n: Expr) -> Expr:
    across, within = _similarities(a, b, temperature), _similarities(a, a, temperature)
    i, j, k, m = axes("i j k m")
    # a sample is not compared with itself; no similarity is below -1/T
    lowest = -2 / number(temperature)
    bounds = Max(across(n, i), over=i), Max(Where(eq(n, j), lowest, within(n, j)), over=j)
    largest = scalars.stop_gradient(scalars.maximum(*bounds))  # it cancels
    others = Sum(Where(eq(n, k), 0, scalars.exp(within(n, k) - largest)), over=k)
    total = Sum(scalars.exp(across(n, m) - largest), over=m) + others
    return scalars.log(total) - (across(n, n) - largest)
