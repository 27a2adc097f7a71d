"""Steps by the sign of the gradient alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.ops.formula import where
from graphc.ops.notation import Operand, less
from graphc.ops.operator import op
from graphc.ops.scalars import clip, sign
from graphc.train.optimisers.adaptive import running_mean
from graphc.train.optimisers.optimizer import Initial, Optimizer, Rate
from graphc.train.ranges import check_range


@op
def kept_gradient(G: Operand, P: Operand) -> Any:
    """G, and 0 where its sign is not that of P"""
    return where(less(G[...] * P[...], 0), 0, G[...])


@op
def rprop_size(
    G: Operand, P: Operand, D: Operand, *,
    etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-6, 50),
) -> Any:  # fmt: skip
    """D·η⁺ where G and P have the same sign, D·η⁻ where they have not, D where one is 0; within limits"""
    same = G[...] * P[...]
    factor = where(less(same, 0), etas[0], where(less(0, same), etas[1], 1))
    return clip(factor * D[...], *step_sizes)


@op
def sign_update(W: Operand, G: Operand, D: Operand) -> Any:
    """W - D·sign(G)"""
    return W[...] - D[...] * sign(G[...])


@dataclass
class Rprop(Optimizer):
    """W ← W - D·sign(G); the step D of each element grows while the sign of G stays, and shrinks where it changes.

    For full batches. `lr` is the first step of all elements; changes of it have no effect.
    Source: torch.optim.Rprop; Riedmiller and Braun 1993, "A direct adaptive method for faster backpropagation".
    """

    lr: Rate = 0.01
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        if not 0 < self.etas[0] < 1 < self.etas[1]:
            raise GraphcError(f"etas must be 0 < shrink < 1 < grow, got {self.etas}")
        if not 0 < self.step_sizes[0] < self.step_sizes[1]:
            raise GraphcError(f"step_sizes must be 0 < smallest < largest, got {self.step_sizes}")
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The gradient of before, 0 where its sign had changed, and the steps."""
        return {"previous": 0.0, "size": lambda first: np.full_like(first, self.rate(1))}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Rprop."""
        options = {"etas": self.etas, "step_sizes": self.step_sizes}
        size = rprop_size(gradient, state["previous"], state["size"], **options)
        kept = kept_gradient(gradient, state["previous"])
        return sign_update(parameter, kept, size), {"previous": kept, "size": size}


@dataclass
class Lion(Optimizer):
    """W ← W - η·(sign(β₁·M + (1 - β₁)·G) + λ·W),  M ← β₂·M + (1 - β₂)·G.

    Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675.
    """

    lr: Rate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for beta in self.betas:
            check_range("beta", beta, 0, 1)
        super().__post_init__()

    @property
    def decoupled_weight_decay(self) -> bool:
        """The decay goes around the sign."""
        return True

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running mean of the gradient."""
        return {"mean": 0.0}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Lion."""
        first, second = self.betas
        direction = running_mean(gradient, state["mean"], beta=first)
        mean = running_mean(gradient, state["mean"], beta=second)
        return sign_update(parameter, direction, scalars["lr"]), {"mean": mean}
