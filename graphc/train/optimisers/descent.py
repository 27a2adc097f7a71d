"""Descent along the gradient, or along its running sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.ops.formula import where
from graphc.ops.notation import Operand, less
from graphc.ops.operator import op
from graphc.train.optimisers.optimizer import Initial, Optimizer, Rate
from graphc.train.ranges import check_range


@op
def sgd_velocity(G: Operand, V: Operand, *, momentum: float = 0.9) -> Any:
    """μ·V + G"""
    return momentum * V[...] + G[...]


@op
def damped_velocity(G: Operand, V: Operand, t: Operand, *, momentum: float = 0.9, dampening: float = 0.0) -> Any:
    """μ·V + (1 - d)·G, but G itself at update t = 1"""
    return momentum * V[...] + where(less(1, t[()]), 1 - dampening, 1) * G[...]


@op
def nesterov_direction(G: Operand, V: Operand, *, momentum: float = 0.9) -> Any:
    """G + μ·V, V being the new velocity"""
    return G[...] + momentum * V[...]


@op
def sgd_update(W: Operand, D: Operand, lr: Operand) -> Any:
    """W - η·D"""
    return W[...] - lr[()] * D[...]


@dataclass
class SGD(Optimizer):
    """W ← W - η·D, where D is G + λ·W, its running sum V ← μ·V + (1 - d)·G, or G + μ·V (Nesterov).

    Source: torch.optim.SGD; Sutskever et al. 2013, "On the importance of initialization and momentum".
    """

    lr: Rate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_range("momentum", self.momentum, 0, 1)
        if not 0 <= self.dampening <= 1:
            raise GraphcError(f"dampening must be in 0..1, got {self.dampening}")
        if (self.nesterov or self.dampening) and not self.momentum:
            raise GraphcError("nesterov and dampening need momentum > 0")
        if self.nesterov and self.dampening:
            raise GraphcError("nesterov needs dampening = 0")
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The velocity, if there is momentum."""
        return {"velocity": 0.0} if self.momentum else {}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of gradient descent."""
        lr = scalars["lr"]
        if not self.momentum:
            return sgd_update(parameter, gradient, lr), {}
        if self.dampening:
            options = {"momentum": self.momentum, "dampening": self.dampening}
            velocity = damped_velocity(gradient, state["velocity"], scalars["t"], **options)
        else:
            velocity = sgd_velocity(gradient, state["velocity"], momentum=self.momentum)
        nesterov = nesterov_direction(gradient, velocity, momentum=self.momentum) if self.nesterov else velocity
        return sgd_update(parameter, nesterov, lr), {"velocity": velocity}


def Momentum(lr: Rate = 1e-3, momentum: float = 0.9, **settings: Any) -> SGD:
    """SGD with momentum: V ← μ·V + G, W ← W - η·V. `settings` are those of SGD."""
    return SGD(lr, momentum, **settings)


def Nesterov(lr: Rate = 1e-3, momentum: float = 0.9, **settings: Any) -> SGD:
    """SGD with Nesterov's momentum: V ← μ·V + G, W ← W - η·(G + μ·V). `settings` are those of SGD."""
    return SGD(lr, momentum, nesterov=True, **settings)
