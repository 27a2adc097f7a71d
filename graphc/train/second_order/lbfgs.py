"""L-BFGS: a direction from the last changes of parameters and gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.train.second_order.line_search import Trial, Wolfe
from graphc.train.second_order.minimiser import (
    Function,
    Iteration,
    Minimiser,
    Objective,
    Point,
    at_least,
    scalar,
    whole,
)
from graphc.train.second_order.vectors import State, Vector, dot, largest

EPS = float(np.finfo(np.float64).eps)

MOVES, TURNS = "changes of parameters", "changes of gradients"
"""What is remembered: a row for each iteration, the newest last, rows of zeros where there was none."""


@dataclass(frozen=True, slots=True)
class LBFGS(Minimiser):
    """W ← W - a·H·G, H being the inverse Hessian that `history` changes of W and G suggest, a by strong Wolfe.

    A step is `iterations` iterations on its batch, each of which evaluates the loss at most `max_eval` times in each of
    two line searches. It has converged when no element of G exceeds `tolerance_grad`, when an iteration
    changes neither the loss nor any parameter by more than `tolerance_change`, or when rounding hides all progress.
    Raises GraphcError for options out of range.
    Source: Nocedal and Wright 2006, algorithms 7.4 and 7.5; names as in torch.optim.LBFGS.
    """

    history: int = 10
    iterations: int = 1
    max_eval: int = 25
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    c1: float = 1e-4
    c2: float = 0.9

    def __post_init__(self) -> None:
        for name in ("history", "iterations", "max_eval"):
            whole(name, getattr(self, name))
        at_least("tolerance_grad", self.tolerance_grad, 0)
        at_least("tolerance_change", self.tolerance_change, 0)
        if not 0 < self.c1 < self.c2 < 1:
            raise GraphcError(f"expected 0 < c1 < c2 < 1, got {self.c1} and {self.c2}", hint="use c1=1e-4, c2=0.9")

    def objective(self, loss: Tensor, outputs: tuple[Tensor, ...]) -> Objective:
        """The loss itself."""
        return Objective(scalar(loss, "reduce it with .mean() or .sum(); LevenbergMarquardt() takes residuals"))

    def start(self, size: int) -> State:
        """No changes yet."""
        return {name: np.zeros((self.history, size)) for name in (MOVES, TURNS)}

    def iterate(self, function: Function, point: Point, state: State) -> Iteration:
        """One direction, one line search."""
        if largest(point.gradient) <= self.tolerance_grad:
            return Iteration(point, state, f"no element of the gradient exceeds {self.tolerance_grad:g}")
        found = None
        if state[MOVES][-1].any():
            wanted = direction(point.gradient, state[MOVES], state[TURNS])
            found = self._search(function, point, wanted, 1.0)
        if found is None:  # at first, and where the remembered changes mislead
            state = self.start(len(point.x))
            length = min(1.0, 1 / float(np.abs(point.gradient).sum()))
            found = self._search(function, point, -point.gradient, length)
        if found is None:
            return Iteration(point, state, "no step along the gradient lowers the loss any more")
        step, change = found.x - point.x, found.gradient - point.gradient
        if dot(step, change) > EPS * dot(change, change):
            state = {MOVES: _newest(state[MOVES], step), TURNS: _newest(state[TURNS], change)}
        return Iteration(found, state, self._reason(point, found))

    def _search(self, function: Function, point: Point, way: Vector, length: float) -> Point | None:
        wolfe = Wolfe(self.c1, self.c2, self.max_eval, 2 * function.eps)
        return search(function, point, way, length, wolfe)

    def _reason(self, old: Point, new: Point) -> str:
        if largest(new.gradient) <= self.tolerance_grad:
            return f"no element of the gradient exceeds {self.tolerance_grad:g}"
        if largest(new.x - old.x) <= self.tolerance_change:
            return f"no parameter changes by more than {self.tolerance_change:g}"
        if abs(new.loss - old.loss) <= self.tolerance_change:
            return f"the loss changes by less than {self.tolerance_change:g}"
        return ""


def direction(gradient: Vector, moves: Vector, turns: Vector) -> Vector:
    """-H·G by the two-loop recursion, H being γ·I with every (move, turn) worked in, oldest first."""
    pairs = [(s, y, dot(s, y)) for s, y in zip(moves, turns, strict=True) if s.any()]
    q, weights = gradient, []
    for s, y, product in reversed(pairs):
        weights.append(dot(s, q) / product)
        q = q - weights[-1] * y
    _, y, product = pairs[-1]
    q = q * (product / dot(y, y))
    for (s, y, product), weight in zip(pairs, reversed(weights), strict=True):
        q = q + (weight - dot(y, q) / product) * s
    return -q


def _newest(kept: Vector, new: Vector) -> Vector:
    return np.concatenate([kept[1:], new[None]])


def search(function: Function, point: Point, way: Vector, length: float, wolfe: Wolfe) -> Point | None:
    """The point that a line search finds from another one; None where it finds none, or the way leads up."""
    slope = dot(point.gradient, way)
    if not slope < 0:
        return None

    def phi(length: float) -> Trial:
        found = function(point.x + length * way)
        return Trial(length, found.loss, dot(found.gradient, way), found)

    found = wolfe.search(phi, Trial(0.0, point.loss, slope, point), length)
    return None if found is None else found.point
