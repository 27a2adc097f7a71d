"""What all optimisers have in common.

    @dataclass
    class Signs(gc.Optimizer):
        beta: float = 0.9
        slots: ClassVar = {"mean": 0.0}

        def update(self, parameter, gradient, state, scalars):
            mean = self.beta * state["mean"] + (1 - self.beta) * gradient
            return parameter - scalars["lr"] * gc.sign(mean), {"mean": mean}

The update is written over tensors and compiled with the gradients; whatever may be asked of any optimiser (schedules,
groups, decay, clipping, accumulation, averages) works for it too. An optimiser object holds settings alone: what
changes while a program trains are the slots of its parameters and its number of steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from fnmatch import fnmatchcase
from math import inf
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.train.ranges import check_range
from graphc.train.schedules import Schedule

Rate = float | Callable[[int], float]
"""A learning rate, or a schedule: the rate of update 1, 2, ..."""

Initial = float | Callable[[npt.NDArray[Any]], npt.ArrayLike]
"""What a slot holds at first: a number, or a function of the parameter's first value."""

Numbers: TypeAlias = npt.NDArray[np.float64]
"""A number for each of several updates."""


class Group:
    """Settings of those parameters whose dotted names fit a pattern: `Group("*.bias", weight_decay=0.0)`.

    `lr` is a rate or a schedule of its own, `lr_factor` one relative to the optimiser's; all other settings are the
    fields of the optimiser. The first group that fits a parameter is its group. Patterns are those of `fnmatch`.
    """

    __slots__ = ("lr_factor", "pattern", "settings")

    def __init__(self, pattern: str, *, lr_factor: float = 1.0, **settings: Any) -> None:
        check_range("lr_factor", lr_factor, 0, inf)
        self.pattern, self.lr_factor, self.settings = pattern, lr_factor, settings

    def __repr__(self) -> str:
        factor = {} if self.lr_factor == 1 else {"lr_factor": self.lr_factor}
        given = ", ".join(f"{name}={value!r}" for name, value in (factor | self.settings).items())
        return f"Group({self.pattern!r}{', ' if given else ''}{given})"


@dataclass
class Optimizer(ABC):
    """W ← update(W, ∂L/∂W, state, numbers): settings that all optimisers share, and the update that each has.

    `clip_value` limits every element of the gradients to -clip_value..clip_value; `clip_norm` then the norm of all of
    them together, G ← G·min(1, clip_norm/(‖G‖ + 1e-6)). `accumulate` steps make one update with the mean of their
    gradients; updates are counted, not steps. `ema` is the decay of an average of the weights, Ā ← ema·Ā + (1 - ema)·W,
    which `program.averaged()` puts in their place. With a field `weight_decay` the gradient becomes G + λ·W, or with
    `decoupled_weight_decay` the parameter becomes (1 - η·λ)·W before the update.
    Settings are compiled into a program, except `lr`, which may be assigned at any time.
    Raises GraphcError for senseless settings.
    Source: clipping and groups as in torch.nn.utils and torch.optim; Pascanu et al. 2013, arXiv:1211.5063 (norm);
    Polyak and Juditsky 1992 (average).
    """

    lr: Rate = 1e-3
    _: KW_ONLY
    clip_value: float | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    groups: Sequence[Group] = ()

    def __post_init__(self) -> None:
        check_range("weight_decay", self.weight_decay, 0, inf)
        for name in "clip_value", "clip_norm":
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise GraphcError(f"{name} must be above 0, got {limit}", hint=f"without {name} nothing is clipped")
        if self.accumulate != int(self.accumulate) or self.accumulate < 1:
            raise GraphcError(f"accumulate must be a number of steps, at least 1, got {self.accumulate}")
        if self.ema is not None:
            check_range("ema", self.ema, 0, 1)
        self.members = tuple(map(self._member, self.groups))

    @property
    def weight_decay(self) -> float:
        """λ; none for optimisers that do not declare it as a field."""
        return 0.0

    @property
    def decoupled_weight_decay(self) -> bool:
        """Whether the decay is none of the gradient's."""
        return False

    # ------------------------------------------------------------------------------ what an optimiser defines

    @property
    def slots(self) -> Mapping[str, Initial]:
        """The state that each parameter has, of its shape: names and initial values."""
        return {}

    @abstractmethod
    def update(
        self, parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], scalars: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The new parameter and the new state. `scalars` are tensors of rank 0: "lr", "t" and the `factors`."""

    def factors(self, t: Numbers) -> Mapping[str, Numbers]:
        """Further numbers that updates are fed, in float64: functions of their numbers t = 1, 2, ... alone."""
        return {}

    def scalars(self, step: Any) -> dict[str, Any]:
        """What the update of a number (or of each of an array of numbers) is fed."""
        if isinstance(step, np.ndarray):
            t = step.astype(np.float64)
            return {"lr": self.rate(step), "t": t, **self.factors(t)}
        given = {"lr": self.rate(step), "t": float(step)}
        if type(self).factors is not Optimizer.factors:
            several = self.factors(np.array([step], np.float64))  # the same bits for one as for many
            given |= {name: float(value[0]) for name, value in several.items()}
        return given

    # -------------------------------------------------------------------------------------- what a program asks

    def rate(self, step: Any) -> Any:
        """The learning rate of an update, or of each of an array of updates. Raises GraphcError."""
        if not callable(self.lr):
            return np.full(step.shape, float(self.lr)) if isinstance(step, np.ndarray) else float(self.lr)
        if not isinstance(step, np.ndarray):
            rate = float(self.lr(step))
            if not 0 <= rate < inf:
                check_range(f"lr({step})", rate, 0, inf)
            return rate
        rates = self.lr(step) if isinstance(self.lr, Schedule) else np.array([float(self.lr(int(s))) for s in step])
        check_range("lr", rates, 0, inf)
        return rates

    def names(self) -> tuple[str, ...]:
        """The names of the numbers that an update is fed."""
        return ("lr", "t", *self.factors(np.ones(1))) if _is_common(self) else tuple(self.scalars(1))

    def fed_names(self) -> tuple[str, ...]:
        """The names of all numbers that a step is fed."""
        grouped = [f"{n}.{k}" for k, member in enumerate(self.members, 1) for n in member.names() if n != "t"]
        return (*self.names(), *(["last"] if self.accumulate > 1 else []), *grouped)

    def fed(self, steps: Any) -> dict[str, Any]:
        """What a step, counted from 1, or each of an array of steps is fed, by name."""
        update = (steps - 1) // self.accumulate + 1
        several = isinstance(steps, np.ndarray)
        given = _row_by_row(self, update) if several and not _is_common(self) else self.scalars(update)
        if self.accumulate > 1:
            given["last"] = (steps % self.accumulate == 0) * 1.0
        for k, member in enumerate(self.members, 1):
            given |= {f"{name}.{k}": value for name, value in member.fed(update).items()}
        return given

    @property
    def remarks(self) -> tuple[str, ...]:
        """In words what is done with gradients and weights besides the update itself."""
        known = {
            f"every {self.accumulate} steps make one update, with the mean of their gradients": self.accumulate > 1,
            f"every element of a gradient is limited to ±{self.clip_value}": self.clip_value is not None,
            f"the norm of all gradients together is limited to {self.clip_norm}: all are stored before the first "
            "parameter changes": self.clip_norm is not None,
            f"a running average of the weights is kept, which forgets {1 - (self.ema or 0):.3g} at each update": (
                self.ema is not None
            ),
        }
        return (*[text for text, holds in known.items() if holds], *map(repr, self.groups))

    def member_for(self, name: str) -> tuple[Optimizer, str]:
        """The optimiser of the group to which a parameter belongs, and what the names of its numbers end with."""
        for k, (group, member) in enumerate(zip(self.groups, self.members, strict=True), 1):
            if fnmatchcase(name, group.pattern):
                return member, f".{k}"
        return self, ""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "lr" and name in vars(self):
            raise GraphcError(
                f"{type(self).__name__}.{name} is compiled into the training program",
                hint="only lr can be changed between steps; for the rest make a new optimiser",
            )
        if name == "lr" and not callable(value):
            if np.ndim(value):
                raise GraphcError(f"lr must be a number or a schedule, got {value!r}", hint="gc.schedules.piecewise")
            check_range("lr", value, 0, inf)
        object.__setattr__(self, name, value)

    def _member(self, group: Group) -> Optimizer:
        alone: dict[str, Any] = {"clip_value": None, "clip_norm": None, "accumulate": 1, "ema": None, "groups": ()}
        known = {f.name for f in fields(self)} - alone.keys()
        if unknown := [name for name in group.settings if name not in known]:
            raise GraphcError(
                f"{group!r}: {type(self).__name__} has no setting {unknown[0]} of single parameters",
                hint=f"a group may set lr_factor, {', '.join(sorted(known))}",
            )
        member = replace(self, **alone, **group.settings)
        if "lr" not in group.settings:
            member.lr = _Share(self, group.lr_factor)
        elif group.lr_factor != 1:
            raise GraphcError(f"{group!r} has both a rate of its own and one relative to the optimiser's")
        return member


@dataclass(frozen=True)
class _Share(Schedule):
    """factor·η, η being whatever rate an optimiser has by then."""

    optimizer: Optimizer
    factor: float

    def at(self, t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rates: npt.NDArray[np.float64] = self.factor * self.optimizer.rate(t)
        return rates


def _is_common(optimizer: Optimizer) -> bool:
    """Whether what an optimiser is fed can be computed for many updates at once."""
    return type(optimizer).scalars is Optimizer.scalars


def _row_by_row(optimizer: Optimizer, updates: npt.NDArray[np.int64]) -> dict[str, Any]:
    rows = [optimizer.scalars(int(update)) for update in updates]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
