"""Losses of single elements, and penalties. Classes are in `cross_entropies`, margins in `margin_losses`.

`reduction` is "mean", "sum" or "none". A weight broadcasts to the elements; the mean is then Σ w·loss / Σ w.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops import scalars
from graphc.ops.formula import Where, le, lt
from graphc.ops.loss_terms import broadcast, not_negative, positive, reduced, same_elements
from graphc.ops.notation import Operand, Sum, axes, extent, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number

PAIRS = [Sample(((3, 4), (3, 4)))]
WEIGHTED = [Sample(((3, 4), (3, 4), None)), Sample(((2, 3, 4), (2, 3, 4), (3, 1)), {}, (0.1, 0.9))]


def _weighted(
    name: str, reduction: str, loss: Expr, index: tuple[Expr, ...], like: Operand, weight: Operand | None
) -> Expr:
    if weight is None:
        return reduced(name, reduction, loss, index)
    w = broadcast(name, weight, index, like.shape)
    return reduced(name, reduction, w * loss, index, w)


@op(register=True, samples=WEIGHTED)
def mse_loss(prediction: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean") -> Expr:
    """(p - t)², the squared error. Raises ShapeError, GraphcError."""
    index, (p, t) = same_elements("mse_loss", prediction, target)
    return _weighted("mse_loss", reduction, scalars.square(p - t), index, prediction, weight)


@op(register=True, samples=WEIGHTED)
def l1_loss(prediction: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean") -> Expr:
    """|p - t|, the absolute error. Raises ShapeError, GraphcError."""
    index, (p, t) = same_elements("l1_loss", prediction, target)
    return _weighted("l1_loss", reduction, scalars.absolute(p - t), index, prediction, weight)


def _huber(d: Expr, edge: Expr) -> Expr:
    """d²/2 where |d| < edge, else edge·(|d| - edge/2); NaN stays NaN."""
    rest = edge / 2
    return Where(lt(d, -edge), edge * (-d - rest), Where(lt(edge, d), edge * (d - rest), d**2 / 2))


@op(register=True, samples=[WEIGHTED[1], Sample(((3, 4), (3, 4), None), {"delta": 0.5, "reduction": "none"})])
def huber_loss(
    prediction: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    reduction: str = "mean",
    delta: float = 1.0,
) -> Expr:
    """d²/2 for errors |d| < delta, else delta·(|d| - delta/2) (Huber 1964).

    The mean does not divide by the weights, as torch's. Raises ShapeError, GraphcError.
    """
    positive("huber_loss", delta=delta)
    index, (p, t) = same_elements("huber_loss", prediction, target)
    loss = _huber(p - t, number(delta))
    if weight is not None:
        loss = broadcast("huber_loss", weight, index, prediction.shape) * loss
    return reduced("huber_loss", reduction, loss, index)


@op(register=True, samples=[WEIGHTED[1], Sample(((3, 4), (3, 4), None), {"beta": 0.5, "reduction": "sum"})])
def smooth_l1_loss(
    prediction: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Expr:
    """d²/(2·beta) for errors |d| < beta, else |d| - beta/2; |d| for beta = 0 (Girshick 2015).

    Raises ShapeError, GraphcError.
    """
    not_negative("smooth_l1_loss", beta=beta)
    index, (p, t) = same_elements("smooth_l1_loss", prediction, target)
    loss = _huber(p - t, number(beta)) / number(beta) if beta else scalars.absolute(p - t)
    return _weighted("smooth_l1_loss", reduction, loss, index, prediction, weight)


@op(register=True, samples=WEIGHTED)
def log_cosh_loss(
    prediction: Operand, target: Operand, weight: Operand | None = None, *, reduction: str = "mean"
) -> Expr:
    """log cosh(p - t), about d²/2 for small errors and |d| - log 2 for large ones. Raises ShapeError, GraphcError."""
    index, (p, t) = same_elements("log_cosh_loss", prediction, target)
    return _weighted("log_cosh_loss", reduction, scalars.log_cosh(p - t), index, prediction, weight)


# -------------------------------------------------------------------------------------------- likelihoods


@op(
    register=True,
    samples=[
        Sample(((3, 4), (3, 4)), {"reduction": "batchmean"}, (0.1, 0.9)),
        Sample(((3, 4), (3, 4)), {"log_target": True}),
        Sample(((2, 3, 2), (2, 3, 2)), {"reduction": "none"}, (0.1, 0.9)),
    ],
)
def kl_div(prediction: Operand, target: Operand, *, reduction: str = "mean", log_target: bool = False) -> Expr:
    """t · (log t - x), x being logarithms of probabilities; with `log_target` t is given as its logarithm too.

    Nothing where t is 0. The divergence itself is reduction="batchmean": the sum over the number of samples.
    Kullback, Leibler 1951. Raises ShapeError, GraphcError.
    """
    index, (x, t) = same_elements("kl_div", prediction, target)
    loss = scalars.exp(t) * (t - x) if log_target else Where(le(t, 0), 0, t * scalars.log(t)) - t * x
    if reduction == "batchmean" and index:
        return Sum(loss, over=index) / extent(index[0])
    return reduced("kl_div", reduction, loss, index)


@op(
    register=True,
    samples=[
        *PAIRS,
        Sample(((3, 4), (3, 4)), {"log_input": False}, (0.5, 2.0)),
        Sample(((3, 4), (3, 4)), {"full": True}, (1.5, 3.0)),
    ],
)
def poisson_nll_loss(
    prediction: Operand,
    target: Operand,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Expr:
    """e^x - t·x, or x - t·log(x + eps) for rates x themselves; `full` adds Stirling's log t! where t > 1.

    Raises ShapeError, GraphcError.
    """
    index, (x, t) = same_elements("poisson_nll_loss", prediction, target)
    loss = scalars.exp(x) - t * x if log_input else x - t * scalars.log(x + number(eps))
    if full:
        stirling = t * scalars.log(t) - t + scalars.log(2 * sp.pi * t) / 2
        loss = loss + Where(le(t, 1), 0, stirling)
    return reduced("poisson_nll_loss", reduction, loss, index)


@op(
    register=True,
    samples=[
        Sample(((3, 4), (3, 4), (3, 4)), {}, (0.5, 2.0)),
        Sample(((2, 3, 4), (2, 3, 4), (2, 3, 1)), {"full": True}, (0.5, 2.0)),
    ],
)
def gaussian_nll_loss(
    prediction: Operand,
    target: Operand,
    var: Operand,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Expr:
    """(log v + (x - t)² / v) / 2 with variances v, which broadcast, at least eps; `full` adds log(2π) / 2.

    Nix, Weigend 1994. Raises ShapeError, GraphcError.
    """
    positive("gaussian_nll_loss", eps=eps)
    index, (x, t) = same_elements("gaussian_nll_loss", prediction, target)
    v = broadcast("gaussian_nll_loss", var, index, prediction.shape)
    v = Where(lt(v, number(eps)), number(eps), v)
    loss = (scalars.log(v) + scalars.square(x - t) / v) / 2 + (scalars.log(2 * sp.pi) / 2 if full else 0)
    return reduced("gaussian_nll_loss", reduction, loss, index)


# ---------------------------------------------------------------------------------------------- penalties


@op(register=True, samples=[Sample(((3, 4),)), Sample(((5,),))])
def l1_penalty(X: Operand) -> Expr:
    """Σ |x|"""
    index = axes(" ".join(pointwise_names(X.rank)))
    return Sum(scalars.absolute(X[index]), over=index)


@op(register=True, samples=[Sample(((3, 4),)), Sample(((5,),))])
def l2_penalty(X: Operand) -> Expr:
    """Σ x²"""
    index = axes(" ".join(pointwise_names(X.rank)))
    return Sum(scalars.square(X[index]), over=index)
