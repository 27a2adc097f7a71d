"""Running means of the gradient and of its square."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.ops.formula import where
from graphc.ops.notation import Operand, less
from graphc.ops.operator import op
from graphc.ops.scalars import absolute, expm1, maximum, sqrt
from graphc.train.optimisers.adaptive import running_mean, running_square
from graphc.train.optimisers.optimizer import Initial, Numbers, Optimizer, Rate
from graphc.train.ranges import check_range


@op
def bias_correction(t: Operand, *, beta: float = 0.9) -> Any:
    """1 - β^t, as -expm1(t·log β): the difference would lose the digits in which β^t is close to 1"""
    # for β = 0 any logarithm will do that makes exp(t·log β) vanish beside 1
    return -expm1(math.log(max(beta, sys.float_info.min)) * t[()])


@op
def largest_square(S: Operand, L: Operand) -> Any:
    """max(L, S)"""
    return maximum(L[...], S[...])


@op
def adam_update(W: Operand, M: Operand, S: Operand, c1: Operand, c2: Operand, lr: Operand, *, eps: float = 1e-8) -> Any:
    """W - η/c₁ · M / (√S/√c₂ + ε), cₖ = 1 - βₖ^t"""
    return W[...] - lr[()] / c1[()] * M[...] / (sqrt(S[...]) / sqrt(c2[()]) + eps)


@op
def nadam_update(
    W: Operand, G: Operand, M: Operand, S: Operand, g: Operand, m: Operand, c2: Operand, lr: Operand,
    *, eps: float = 1e-8,
) -> Any:  # fmt: skip
    """W - η · (g·G + m·M) / (√S/√c₂ + ε), c₂ = 1 - β₂^t"""
    return W[...] - lr[()] * (g[()] * G[...] + m[()] * M[...]) / (sqrt(S[...]) / sqrt(c2[()]) + eps)


@op
def radam_update(W: Operand, M: Operand, S: Operand, c1: Operand, r: Operand, lr: Operand, *, eps: float = 1e-8) -> Any:
    """W - η/c₁ · M · r/(√S + ε), and W - η/c₁ · M where r = 0, c₁ = 1 - β₁^t"""
    return W[...] - lr[()] / c1[()] * M[...] * where(less(0, r[()]), r[()] / (sqrt(S[...]) + eps), 1)


@op
def adamax_norm(G: Operand, U: Operand, *, beta: float = 0.999, eps: float = 1e-8) -> Any:
    """max(β·U, |G| + ε)"""
    return maximum(beta * U[...], absolute(G[...]) + eps)


@op
def adamax_update(W: Operand, M: Operand, U: Operand, c1: Operand, lr: Operand) -> Any:
    """W - η/c₁ · M/U, c₁ = 1 - β₁^t"""
    return W[...] - lr[()] / c1[()] * M[...] / U[...]


@dataclass
class _Means(Optimizer):
    """Settings of all that keep the means M ← β₁·M + (1 - β₁)·G and S ← β₂·S + (1 - β₂)·G²."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for beta in self.betas:
            check_range("beta", beta, 0, 1)
        check_range("eps", self.eps, 0, math.inf)
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running means of the gradient and of its square."""
        return {"mean": 0.0, "square": 0.0}

    def means(self, gradient: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The new means."""
        first, second = self.betas
        mean = running_mean(gradient, state["mean"], beta=first)
        return {"mean": mean, "square": running_square(gradient, state["square"], beta=second)}


@dataclass
class Adam(_Means):
    """M ← β₁·M + (1 - β₁)·G,  S ← β₂·S + (1 - β₂)·G²,  W ← W - η/c₁ · M / (√S/√c₂ + ε),  cₖ = 1 - βₖ^t.

    With `amsgrad` the largest S so far takes the place of S. Weight decay is added to the gradient, or with
    `decoupled_weight_decay` shrinks the parameter before the step (AdamW).
    Source: torch.optim.Adam; Kingma and Ba 2015, arXiv:1412.6980; Reddi et al. 2018, arXiv:1904.09237 (amsgrad).
    """

    amsgrad: bool = False
    decoupled_weight_decay: bool = field(default=False, kw_only=True)

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running means of the gradient and of its square, and the largest of the latter."""
        return {"mean": 0.0, "square": 0.0} | ({"largest": 0.0} if self.amsgrad else {})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Adam."""
        new = self.means(gradient, state)
        if self.amsgrad:
            new["largest"] = largest_square(new["square"], state["largest"])
        size = new["largest"] if self.amsgrad else new["square"]
        corrections = [bias_correction(scalars["t"], beta=beta) for beta in self.betas]
        return adam_update(parameter, new["mean"], size, *corrections, scalars["lr"], eps=self.eps), new


@dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay: W ← (1 - η·λ)·W before the step.

    Source: torch.optim.AdamW; Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    weight_decay: float = 0.01
    decoupled_weight_decay: bool = field(default=True, kw_only=True)


@dataclass
class NAdam(_Means):
    """Adam with Nesterov's momentum: W ← W - η · ((1 - μₜ)/(1 - Πₜ)·G + μₜ₊₁/(1 - Πₜ₊₁)·M) / (√S/√c₂ + ε).

    μₜ = β₁·(1 - ½·0.96^(t·ψ)) and Πₜ = μ₁·...·μₜ, ψ being `momentum_decay`.
    Source: torch.optim.NAdam; Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """

    lr: Rate = 2e-3
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        check_range("momentum_decay", self.momentum_decay, 0, math.inf)
        super().__post_init__()

    def factors(self, t: Numbers) -> Mapping[str, Numbers]:
        """By what the gradient and the mean are multiplied."""
        beta, rate = self.betas[0], math.log(0.96) * self.momentum_decay
        now, after = (beta * (1 - 0.5 * np.exp(rate * u)) for u in (t, t + 1))
        so_far = beta**t * np.exp(_halved(t, rate))
        return {"gradient_share": (1 - now) / (1 - so_far), "mean_share": after / (1 - so_far * after)}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of NAdam."""
        new = self.means(gradient, state)
        factors = scalars["gradient_share"], scalars["mean_share"], bias_correction(scalars["t"], beta=self.betas[1])
        updated = nadam_update(
            parameter, gradient, new["mean"], new["square"], *factors, scalars["lr"], eps=self.eps
        )  # fmt: skip
        return updated, new


def _halved(t: Numbers, rate: float) -> Numbers:
    """Σ_{s=1..t} log(1 - ½·q^s), q = e^rate <= 1: as -Σ_m 2^-m/m · (q^m + q^2m + ... + q^tm), the same for any t."""
    if not rate:
        return math.log(0.5) * t
    m = np.arange(1, 50, dtype=np.float64)[:, None]
    terms = 0.5**m / m * np.exp(m * rate) * np.expm1(m * rate * t) / np.expm1(m * rate)
    total: Numbers = np.add.accumulate(terms[::-1])[-1]  # one after the other, for one t as for many
    return -total


@dataclass
class RAdam(_Means):
    """Adam with rectified steps: W ← W - η/c₁ · M · r·√c₂/(√S + ε), or W - η/c₁ · M while ρ <= 5, cₖ = 1 - βₖ^t.

    ρ∞ = 2/(1 - β₂) - 1,  ρ = ρ∞ - 2·t·β₂^t/c₂,  r² = (ρ - 4)·(ρ - 2)·ρ∞ / ((ρ∞ - 4)·(ρ∞ - 2)·ρ).
    Source: torch.optim.RAdam; Liu et al. 2020, arXiv:1908.03265.
    """

    decoupled_weight_decay: bool = False

    def factors(self, t: Numbers) -> Mapping[str, Numbers]:
        """r·√c₂, 0 while ρ <= 5."""
        beta = self.betas[1]
        correction = 1 - beta**t
        limit = 2 / (1 - beta) - 1
        rho = limit - 2 * t * beta**t / correction
        if limit <= 5:
            return {"r": 0.0 * rho}
        safe = np.maximum(rho, 5)
        r = np.sqrt((safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe))
        return {"r": np.where(rho > 5, r * np.sqrt(correction), 0.0)}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of RAdam."""
        new = self.means(gradient, state)
        correction = bias_correction(scalars["t"], beta=self.betas[0])
        means = new["mean"], new["square"]
        return radam_update(parameter, *means, correction, scalars["r"], scalars["lr"], eps=self.eps), new


@dataclass
class Adamax(_Means):
    """M ← β₁·M + (1 - β₁)·G,  U ← max(β₂·U, |G| + ε),  W ← W - η/c₁ · M/U,  c₁ = 1 - β₁^t.

    Source: torch.optim.Adamax; Kingma and Ba 2015, arXiv:1412.6980.
    """

    lr: Rate = 2e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise GraphcError(f"eps must be above 0, got {self.eps}", hint="U would be 0 where the gradient is")
        super().__post_init__()

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The running mean of the gradient and the decaying largest gradient."""
        return {"mean": 0.0, "norm": 0.0}

    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of Adamax."""
        first, second = self.betas
        mean = running_mean(gradient, state["mean"], beta=first)
        norm = adamax_norm(gradient, state["norm"], beta=second, eps=self.eps)
        correction = bias_correction(scalars["t"], beta=first)
        return adamax_update(parameter, mean, norm, correction, scalars["lr"]), {"mean": mean, "norm": norm}
