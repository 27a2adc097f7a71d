"""Gauss-Newton and Levenberg-Marquardt: the curvature of a sum of squares, from first derivatives alone.

For residuals r with Jacobian J the matrix is G = Jᵀ·J; for any other loss of some outputs with Jacobian J and Hessian H
it is G = Jᵀ·H·J. Only products G·v are computed, each by one native program: a tangent pushed forward and pulled back.
Sources: Nocedal and Wright 2006, chapter 10; Schraudolph 2002, "Fast curvature matrix-vector products".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import ordered
from graphc.errors import GraphError
from graphc.train.second_order.conjugate_gradients import conjugate_gradients
from graphc.train.second_order.lbfgs import search
from graphc.train.second_order.line_search import Wolfe
from graphc.train.second_order.minimiser import (
    Function,
    Iteration,
    Minimiser,
    Objective,
    Point,
    at_least,
    number,
    whole,
)
from graphc.train.second_order.vectors import State, Vector, dot, largest

MEASURED = 256
"""Up to so many elements the diagonal of G is computed, by a product with each unit vector."""

RISE, TRUSTED = 1e18, 1e-4
"""The damping at which a step is nothing, and the part of the predicted decrease that makes a step acceptable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _LeastSquares(Minimiser):
    """What both methods share: the matrix, its diagonal, and when to stop."""

    iterations: int = 1
    tolerance_grad: float = 1e-12
    tolerance_change: float = 1e-12
    cg_tolerance: float = 1e-10
    cg_iterations: int | None = None

    def __post_init__(self) -> None:
        whole("iterations", self.iterations)
        if self.cg_iterations is not None:
            whole("cg_iterations", self.cg_iterations)
        for name in ("tolerance_grad", "tolerance_change", "cg_tolerance"):
            at_least(name, getattr(self, name), 0)

    def objective(self, loss: Tensor, outputs: tuple[Tensor, ...]) -> Objective:
        """½·Σ r² for residuals r, a scalar loss itself."""
        if loss.shape:
            return Objective((loss * loss).sum() * 0.5, (loss,), residuals=True)
        if not outputs:
            raise GraphError(
                f"{type(self).__name__} needs residuals, got a scalar", location=loss.location, layer=loss.scope,
                hint="give prediction - target, of any shape, or say what the loss is a function of: "
                "gc.compile_training(loss, outputs=prediction, ...)",
            )  # fmt: skip
        needed = set(ordered([loss], training=True))
        for output in outputs:
            if output not in needed:
                raise GraphError(
                    f"the loss does not depend on {output!r}, which is said to be what it is a function of",
                    location=output.location, layer=output.scope,
                    hint="name the tensor that the loss is made of: logits rather than probabilities",
                )  # fmt: skip
        return Objective(loss, outputs)

    def _diagonal(self, function: Function, x: Vector) -> Vector:
        """G_ii, or 1 for each of many elements; 1 where the loss does not depend on an element."""
        if len(x) > MEASURED:
            return np.ones_like(x)
        measured = np.array([function.product(x, unit)[1] for unit in np.eye(len(x))])
        return np.where(measured > 0, measured, 1.0)

    def _solve(
        self, function: Function, point: Point, damping: Vector | float, diagonal: Vector
    ) -> tuple[Vector, float]:
        """p with (G + damping)·p = -G'loss, and by how much the quadratic model falls on the way: -gᵀp - ½·pᵀGp."""

        def product(v: Vector) -> tuple[Vector, float]:
            image, curvature = function.product(point.x, v)
            return image + damping * v, curvature + dot(damping * v, v)

        tolerance = max(self.cg_tolerance, function.eps)
        limit = self.cg_iterations or min(2 * len(point.x) + 10, 256)
        step, image = conjugate_gradients(product, -point.gradient, diagonal, tolerance, limit)
        return step, -dot(point.gradient, step) - 0.5 * (dot(step, image) - dot(damping * step, step))

    def _flat(self, point: Point) -> str:
        if largest(point.gradient) <= self.tolerance_grad:
            return f"no element of the gradient exceeds {self.tolerance_grad:g}"
        return ""

    def _settled(self, function: Function, point: Point, step: Vector, predicted: float, scale: Vector) -> str:
        """Why a step from a point is the last, if it is."""
        tolerance = max(self.tolerance_change, function.eps)
        if predicted <= tolerance * abs(point.loss):
            return f"the loss can fall by less than {tolerance:.2g} of it"
        if dot(scale * step, step) <= tolerance**2 * dot(scale * point.x, point.x):
            return f"the parameters change by less than {tolerance:.2g} of them"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussNewton(_LeastSquares):
    """W ← W + a·p with G·p = -∂loss/∂W, a by strong Wolfe from 1 on.

    The loss is a tensor of residuals r, of any shape: ½·Σ r² is minimised; or a scalar that is a convex function of the
    `outputs` given to `gc.compile_training`, as `gc.Model` does.
    The system is solved by conjugate gradients to `cg_tolerance`, in at most `cg_iterations` (None: twice the number of
    elements and 10, up to 256), preconditioned by the diagonal of G.
    It has converged when no element of the gradient exceeds `tolerance_grad`, when the model promises less than
    `tolerance_change` of the loss, or the step is less than that part of the parameters.
    Raises GraphcError for options out of range.
    """

    def start(self, size: int) -> State:
        """Nothing is remembered."""
        return {}

    def iterate(self, function: Function, point: Point, state: State) -> Iteration:
        """One system, one line search."""
        if reason := self._flat(point):
            return Iteration(point, state, reason)
        diagonal = self._diagonal(function, point.x)
        step, predicted = self._solve(function, point, 0.0, diagonal)
        reason = self._settled(function, point, step, predicted, diagonal)
        wolfe = Wolfe(noise=2 * function.eps)
        found = search(function, point, step, 1.0, wolfe) or search(
            function, point, -point.gradient / diagonal, 1.0, wolfe
        )
        if found is None:
            return Iteration(point, state, reason or "no step along the gradient lowers the loss any more")
        return Iteration(found, state, reason or self._flat(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class LevenbergMarquardt(_LeastSquares):
    """W ← W + p with (G + μ·D)·p = -∂loss/∂W, D_ii being the largest G_ii so far.

    The loss is a tensor of residuals r, of any shape: ½·Σ r² is minimised; or a scalar that is a convex function of the
    `outputs` given to `gc.compile_training`, as `gc.Model` does.
    An iteration raises μ, at first `damping`, until the loss falls; how well the model predicts the fall decides about
    the next μ. A trial where the loss is no number is rejected.
    The other options and what raises errors are as for GaussNewton.
    Sources: Moré 1978, "The Levenberg-Marquardt algorithm" (D); Nielsen 1999, "Damping parameter in Marquardt's method"
    (μ); Madsen, Nielsen and Tingleff 2004, "Methods for non-linear least squares problems", algorithm 3.16.
    """

    damping: float = 1e-3

    def __post_init__(self) -> None:
        _LeastSquares.__post_init__(self)
        at_least("damping", self.damping, 1e-300)

    def start(self, size: int) -> State:
        """The damping, how fast it rises, and no diagonal yet."""
        return {"damping": number(self.damping), "growth": number(2.0), "scale": np.zeros(size)}

    def iterate(self, function: Function, point: Point, state: State) -> Iteration:
        """Systems with rising damping, until one lowers the loss."""
        if reason := self._flat(point):
            return Iteration(point, state, reason)
        mu, growth = float(state["damping"]), float(state["growth"])
        diagonal = self._diagonal(function, point.x)
        scale = np.maximum(state["scale"], diagonal)
        while mu < RISE:
            step, predicted = self._solve(function, point, mu * scale, diagonal + mu * scale)
            found = function(point.x + step)
            gain = (point.loss - found.loss) / predicted if found.finite and predicted > 0 else 0.0
            reason = self._settled(function, point, step, predicted, scale)
            if gain > TRUSTED:
                mu *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                return Iteration(found, _state(mu, 2.0, scale), reason or self._flat(found))
            if reason:
                break
            mu, growth = mu * growth, 2 * growth
        return Iteration(point, _state(mu, growth, scale), reason or "no step lowers the loss any more")


def _state(damping: float, growth: float, scale: Vector) -> State:
    return {"damping": number(damping), "growth": number(growth), "scale": scale}
