"""Steps relative to the size that the gradients of each element have had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.ops.notation import Operand
from graphc.ops.operator import op
from graphc.ops.scalars import sqrt
from graphc.train.optimisers.descent import sgd_update
from graphc.train.optimisers.optimizer import Initial, Optimizer, Rate
from graphc.train.ranges import check_range


@op
def square_sum(G: Operand, S: Operand) -> Any:
    """S + G²"""
    return S[...] + G[...] ** 2


@op
def running_mean(G: Operand, M: Operand, *, beta: float = 0.9) -> Any:
    """β·M + (1 - β)·G"""
    return beta * M[...] + (1 - beta) * G[...]


@op
def running_square(G: Operand, S: Operand, *, beta: float = 0.999) -> Any:
    """β·S + (1 - β)·G²"""
    return beta * S[...] + (1 - beta) * G[...] ** 2


@op
def running_variance(G: Operand, M: Operand, V: Operand, *, beta: float = 0.99) -> Any:
    """β·(V + (1 - β)·(G - M)²): the running mean of G² less the square of that of G, M being the latter's old value.

    Never negative, unlike the difference.
    """
    return beta * (V[...] + (1 - beta) * (G[...] - M[...]) ** 2)


@op
def adagrad_update(
    W: Operand, G: Operand, S: Operand, lr: Operand, t: Operand, *, lr_decay: float = 0.0, eps: float = 1e-10
) -> Any:
    """W - η/(1 + (t - 1)·δ) · G/(√S + ε)"""
    return W[...] - lr[()] / (1 + (t[()] - 1) * lr_decay) * G[...] / (sqrt(S[...]) + eps)


@op
def adadelta_direction(G: Operand, S: Operand, D: Operand, *, eps: float = 1e-6) -> Any:
    """√(D + ε)/√(S + ε) · G"""
    return sqrt(D[...] + eps) / sqrt(S[...] + eps) * G[...]


@op
def relative_gradient(G: Operand, S: Operand, *, eps: float = 1e-8) -> Any:
    """G/(√S + ε)"""
    return G[...] / (sqrt(S[...]) + eps)


@op
def relative_velocity(G: Operand, S: Operand, B: Operand, *, momentum: float = 0.9, eps: float = 1e-8) -> Any:
    """μ·B + G/(√S + ε)"""
    return momentum * B[...] + G[...] / (sqrt(S[...]) + eps)


@dataclass
class Adagrad(Optimizer):
    """S ← S + G²,  W ← W - η/(1 + (t - 1)·δ) · G/(√S + ε).

    Source: torch.optim.Adagrad; Duchi et al. 2011, "Adaptive subgradient methods".
    """

    lr: Rate = 0.01
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        for name in "lr_decay", "initial_accumulator_value", "eps":
            check_range(name, getattr(self, name), 0, inf)
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The sum of the gradient's squares."""
        return {"square": self.initial_accumulator_value}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Adagrad."""
        square = square_sum(gradient, state["square"])
        lr, t = scalars["lr"], scalars["t"]
        new = adagrad_update(parameter, gradient, square, lr, t, lr_decay=self.lr_decay, eps=self.eps)
        return new, {"square": square}


@dataclass
class Adadelta(Optimizer):
    """S ← ρ·S + (1 - ρ)·G²,  U = √(D + ε)/√(S + ε) · G,  D ← ρ·D + (1 - ρ)·U²,  W ← W - η·U.

    Source: torch.optim.Adadelta; Zeiler 2012, arXiv:1212.5701.
    """

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_range("rho", self.rho, 0, 1)
        check_range("eps", self.eps, 0, inf)
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running means of the squares of the gradient and of the step."""
        return {"square": 0.0, "delta": 0.0}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Adadelta."""
        square = running_square(gradient, state["square"], beta=self.rho)
        direction = adadelta_direction(gradient, square, state["delta"], eps=self.eps)
        delta = running_square(direction, state["delta"], beta=self.rho)
        return sgd_update(parameter, direction, scalars["lr"]), {"square": square, "delta": delta}


@dataclass
class RMSprop(Optimizer):
    """S ← α·S + (1 - α)·G²,  W ← W - η·D,  D = G/(√S + ε) or its running sum D ← μ·D + G/(√S + ε).

    With `centered` S is the running variance, S ← α·(S + (1 - α)·(G - M)²) with M ← α·M + (1 - α)·G.
    Source: torch.optim.RMSprop; Tieleman and Hinton 2012; Graves 2013, arXiv:1308.0850 (centred).
    """

    lr: Rate = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0, 1)
        check_range("eps", self.eps, 0, inf)
        check_range("momentum", self.momentum, 0, 1)
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running mean of the gradient's square, or its mean and variance; the velocity, if there is momentum."""
        size = {"mean": 0.0, "variance": 0.0} if self.centered else {"square": 0.0}
        return size | ({"velocity": 0.0} if self.momentum else {})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of RMSprop."""
        if self.centered:
            mean = running_mean(gradient, state["mean"], beta=self.alpha)
            size = running_variance(gradient, state["mean"], state["variance"], beta=self.alpha)
            new = {"mean": mean, "variance": size}
        else:
            size = running_square(gradient, state["square"], beta=self.alpha)
            new = {"square": size}
        if self.momentum:
            direction = relative_velocity(gradient, size, state["velocity"], momentum=self.momentum, eps=self.eps)
            new["velocity"] = direction
        else:
            direction = relative_gradient(gradient, size, eps=self.eps)
        return sgd_update(parameter, direction, scalars["lr"]), new
