"""Optimisers. Every update is a formula; it is compiled into the same native call as the gradient it uses.

An optimiser says which state each parameter has (`slots`, all starting at zero), which numbers it is fed at
each step (`scalars`, tensors of rank 0), and how formulas make the new parameter and state of the old
(`update`). Semantics are those of torch.optim.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from graphc.errors import GraphcError
from graphc.ops.formula import where
from graphc.ops.notation import Operand, less
from graphc.ops.operator import Operator, op
from graphc.ops.scalars import expm1, sqrt

V = TypeVar("V")
"""A value of the graph under construction; opaque here."""

Rate = float | Callable[[int], float]
"""A learning rate, or a schedule: the rate of step 1, 2, ..."""


class Apply(Protocol[V]):
    """Adds one application of an operator to the graph."""

    def __call__(self, operator: Operator, *values: V, **attributes: Any) -> V: ...


class Optimizer(Protocol):
    """What the compiler asks of an optimiser. Steps are counted from 1."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the state that each parameter has, of its shape and zero at first."""
        ...

    def scalars(self, step: int) -> dict[str, float]:
        """The numbers that a step is fed; their names do not depend on the step."""
        ...

    def update(
        self, apply: Apply[V], parameter: V, gradient: V, state: dict[str, V], scalars: dict[str, V]
    ) -> tuple[V, dict[str, V]]:
        """The new parameter and the new state."""
        ...


# --------------------------------------------------------------------------------------------- the formulas


@op
def decayed_gradient(G: Operand, W: Operand, *, weight_decay: float = 0.0) -> Any:
    """G + λ·W, the gradient of L + λ/2·|W|²"""
    return G[...] + weight_decay * W[...]


@op
def sgd_velocity(G: Operand, V: Operand, *, momentum: float = 0.9) -> Any:
    """μ·V + G"""
    return momentum * V[...] + G[...]


@op
def damped_velocity(G: Operand, V: Operand, t: Operand, *, momentum: float = 0.9, dampening: float = 0.0) -> Any:
    """μ·V + (1 - d)·G, but G itself at step t = 1"""
    return momentum * V[...] + where(less(1, t[()]), 1 - dampening, 1) * G[...]


@op
def nesterov_direction(G: Operand, V: Operand, *, momentum: float = 0.9) -> Any:
    """G + μ·V, V being the new velocity"""
    return G[...] + momentum * V[...]


@op
def sgd_update(W: Operand, D: Operand, lr: Operand) -> Any:
    """W - η·D"""
    return W[...] - lr[()] * D[...]


@op
def decayed_parameter(W: Operand, lr: Operand, *, weight_decay: float = 0.0) -> Any:
    """(1 - η·λ)·W"""
    return (1 - lr[()] * weight_decay) * W[...]


@op
def adam_mean(G: Operand, M: Operand, *, beta: float = 0.9) -> Any:
    """β·M + (1 - β)·G"""
    return beta * M[...] + (1 - beta) * G[...]


@op
def adam_square(G: Operand, S: Operand, *, beta: float = 0.999) -> Any:
    """β·S + (1 - β)·G²"""
    return beta * S[...] + (1 - beta) * G[...] ** 2


@op
def bias_correction(t: Operand, *, beta: float = 0.9) -> Any:
    """1 - β^t, as -expm1(t·log β): the difference would lose the digits in which β^t is close to 1"""
    # for β = 0 any logarithm will do that makes exp(t·log β) vanish beside 1
    return -expm1(math.log(max(beta, sys.float_info.min)) * t[()])


@op
def adam_update(W: Operand, M: Operand, S: Operand, c1: Operand, c2: Operand, lr: Operand, *, eps: float = 1e-8) -> Any:
    """W - η/c₁ · M / (√S/√c₂ + ε), cₖ = 1 - βₖ^t"""
    return W[...] - lr[()] / c1[()] * M[...] / (sqrt(S[...]) / sqrt(c2[()]) + eps)


# ------------------------------------------------------------------------------------------- the optimisers


class _Compiled:
    """Fields are fixed once set, being compiled into the program, except lr, which every step reads."""

    __slots__ = ()
    lr: Rate

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr" and hasattr(self, name):
            raise GraphcError(
                f"{type(self).__name__}.{name} is compiled into the training program",
                hint="only lr can be changed between steps; for the rest make a new optimiser",
            )
        if name == "lr" and not callable(value):
            check_range("lr", value, 0, math.inf)
        object.__setattr__(self, name, value)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if not callable(self.lr):
            return float(self.lr)
        rate = float(self.lr(step))
        check_range(f"lr({step})", rate, 0, math.inf)
        return rate


def scalars_over(optimizer: Optimizer, steps: range) -> dict[str, npt.NDArray[np.float64]]:
    """What an optimiser is fed at each of several steps, an array for each name."""
    own = isinstance(optimizer, SGD | Adam) and type(optimizer).scalars in (SGD.scalars, Adam.scalars)
    if own and isinstance(optimizer, _Compiled) and not callable(optimizer.lr):
        every = {
            "lr": np.full(len(steps), optimizer.rate(steps[0])),
            "t": np.arange(steps.start, steps.stop, dtype=float),
        }
        return {name: every[name] for name in optimizer.scalars(steps[0])}
    rows = [optimizer.scalars(step) for step in steps]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises GraphcError unless low <= value < high."""
    if not low <= value < high:
        raise GraphcError(f"{name} must be in {low:g} <= {name} < {high:g}, got {value}")


@dataclass(slots=True)
class SGD(_Compiled):
    """W ← W - η·D, where D is G + λ·W, its running sum V ← μ·V + (1 - d)·G, or G + μ·V (Nesterov).

    Source: torch.optim.SGD; Sutskever et al. 2013, "On the importance of initialization and momentum".
    """

    lr: Rate = 0.01
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_range("momentum", self.momentum, 0, 1)
        check_range("weight_decay", self.weight_decay, 0, math.inf)
        if not 0 <= self.dampening <= 1:
            raise GraphcError(f"dampening must be in 0..1, got {self.dampening}")
        if (self.nesterov or self.dampening) and not self.momentum:
            raise GraphcError("nesterov and dampening need momentum > 0")
        if self.nesterov and self.dampening:
            raise GraphcError("nesterov needs dampening = 0")

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity, if there is momentum."""
        return ("velocity",) if self.momentum else ()

    def scalars(self, step: int) -> dict[str, float]:
        """The learning rate, and with dampening the number of the step."""
        return {"lr": self.rate(step)} | ({"t": float(step)} if self.dampening else {})

    def update(
        self, apply: Apply[V], parameter: V, gradient: V, state: dict[str, V], scalars: dict[str, V]
    ) -> tuple[V, dict[str, V]]:
        """One step of gradient descent."""
        direction, new_state = gradient, {}
        if self.weight_decay:
            direction = apply(decayed_gradient, direction, parameter, weight_decay=self.weight_decay)
        if self.momentum:
            velocity = self._velocity(apply, direction, state["velocity"], scalars)
            new_state = {"velocity": velocity}
            if self.nesterov:
                direction = apply(nesterov_direction, direction, velocity, momentum=self.momentum)
            else:
                direction = velocity
        return apply(sgd_update, parameter, direction, scalars["lr"]), new_state

    def _velocity(self, apply: Apply[V], direction: V, velocity: V, scalars: dict[str, V]) -> V:
        if not self.dampening:
            return apply(sgd_velocity, direction, velocity, momentum=self.momentum)
        options = {"momentum": self.momentum, "dampening": self.dampening}
        return apply(damped_velocity, direction, velocity, scalars["t"], **options)


def Momentum(lr: Rate = 0.01, momentum: float = 0.9, *, weight_decay: float = 0.0, nesterov: bool = False) -> SGD:
    """SGD with momentum: V ← μ·V + G, W ← W - η·V."""
    return SGD(lr, momentum, weight_decay=weight_decay, nesterov=nesterov)


@dataclass(slots=True)
class Adam(_Compiled):
    """M ← β₁·M + (1 - β₁)·G,  S ← β₂·S + (1 - β₂)·G²,  W ← W - η/c₁ · M / (√S/√c₂ + ε),  cₖ = 1 - βₖ^t.

    Weight decay is added to the gradient, or with `decoupled` shrinks the parameter before the step (AdamW).
    Source: torch.optim.Adam; Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019,
    arXiv:1711.05101.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        for beta in self.betas:
            check_range("beta", beta, 0, 1)
        check_range("eps", self.eps, 0, math.inf)
        check_range("weight_decay", self.weight_decay, 0, math.inf)

    @property
    def slots(self) -> tuple[str, ...]:
        """The running means of the gradient and of its square."""
        return "mean", "square"

    def scalars(self, step: int) -> dict[str, float]:
        """The learning rate and the number of the step."""
        return {"lr": self.rate(step), "t": float(step)}

    def update(
        self, apply: Apply[V], parameter: V, gradient: V, state: dict[str, V], scalars: dict[str, V]
    ) -> tuple[V, dict[str, V]]:
        """One step of Adam."""
        lr, t = scalars["lr"], scalars["t"]
        if self.weight_decay and self.decoupled:
            parameter = apply(decayed_parameter, parameter, lr, weight_decay=self.weight_decay)
        elif self.weight_decay:
            gradient = apply(decayed_gradient, gradient, parameter, weight_decay=self.weight_decay)
        first, second = self.betas
        mean = apply(adam_mean, gradient, state["mean"], beta=first)
        square = apply(adam_square, gradient, state["square"], beta=second)
        corrections = [apply(bias_correction, t, beta=beta) for beta in self.betas]
        updated = apply(adam_update, parameter, mean, square, *corrections, lr, eps=self.eps)
        return updated, {"mean": mean, "square": square}


def AdamW(
    lr: Rate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
) -> Adam:
    """Adam with decoupled weight decay: W ← (1 - η·λ)·W before the step."""
    return Adam(lr, betas, eps, weight_decay, decoupled=True)
