"""Expressions beside functions of torch: values and gradients of both for the same arrays, natively in one program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphc.dsl.tensor import Input
from graphc.study.gradients import compile_gradients
from graphc.types import DType, TensorType

torch = pytest.importorskip("torch")


@dataclass(frozen=True)
class Case:
    """`ours` of tensors and `theirs` of torch's tensors, in the order of the arrays; `fixed` ones have no gradient."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    fixed: tuple[int, ...] = ()

    def wanted(self) -> list[int]:
        return [k for k, a in enumerate(self.arrays) if a.dtype.kind == "f" and k not in self.fixed]


def alike(
    name: str, ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, fixed: tuple[int, ...] = (),
    **options: Any,
) -> Case:  # fmt: skip
    """A case in which both take the same options."""
    return Case(name, partial(ours, **options), partial(theirs, **options), arrays, fixed)


def reduced(
    name: str, ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, fixed: tuple[int, ...] = (),
    kinds: tuple[str, ...] = ("mean", "none"), **options: Any,
) -> list[Case]:  # fmt: skip
    """One case for each reduction, which both take by name."""
    return [alike(f"{name} {k}", ours, theirs, *arrays, fixed=fixed, reduction=k, **options) for k in kinds]


def reduce(loss: Any, reduction: str) -> Any:
    """The reduction of a loss of torch."""
    return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]


@dataclass(frozen=True)
class Numbers:
    """Random arrays."""

    random: np.random.Generator

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
        return self.random.uniform(low, high, shape)

    def chances(self, *shape: int) -> np.ndarray:
        return self(*shape, low=0.05, high=0.95)

    def shares(self, *shape: int) -> np.ndarray:
        """Chances that add up to 1 along axis 1."""
        e = np.exp(self(*shape))
        return e / e.sum(1, keepdims=True)

    def among(self, values: Iterable[float], *shape: int, dtype: str = "float64") -> np.ndarray:
        return self.random.choice(np.array(values), shape).astype(dtype)

    def large(self, *shape: int) -> np.ndarray:
        """Numbers up to ten thousand, positive and negative."""
        return self.among([-1e4, -30.0, -1.0, 0.0, 1.0, 30.0, 1e4], *shape)


def largest_errors(cases: Iterable[Case], dtype: DType) -> dict[str, float]:
    """For each case the largest error of its value and gradients, relative to the largest element of each, or to 1.

    A NaN on one side only is an infinite error.
    """
    cases = tuple(cases)
    fed: dict[str, np.ndarray] = {}
    outputs, cotangents, wrt = {}, {}, []
    expected: dict[str, np.ndarray] = {}
    for case in cases:
        leaves = []
        for k, a in enumerate(case.arrays):
            kind = dtype if a.dtype.kind == "f" else DType.of(a.dtype)
            leaves.append(Input(f"{case.name}/{k}", TensorType(a.shape, kind)))
            fed[leaves[-1].name] = a.astype(kind.numpy)
        y = outputs[case.name] = case.ours(*leaves)
        given = [torch.tensor(fed[leaf.name]).double() if leaf.dtype.is_float else torch.tensor(fed[leaf.name])
                 for leaf in leaves]  # fmt: skip
        for k in case.wanted():
            given[k].requires_grad_()
        value = case.theirs(*given)
        expected[case.name] = value.detach().numpy()
        assert y.shape == expected[case.name].shape, (case.name, y.shape, expected[case.name].shape)
        weight = np.random.default_rng(7).uniform(0.5, 1.5, y.shape).astype(dtype.numpy)
        cotangents[case.name] = Input(f"{case.name}/cotangent", TensorType(y.shape, dtype))
        fed[f"{case.name}/cotangent"] = weight
        found = torch.autograd.grad(
            value, [given[k] for k in case.wanted()], torch.tensor(weight).to(value.dtype).reshape(value.shape),
            allow_unused=True,
        )  # fmt: skip
        for k, g in zip(case.wanted(), found, strict=True):
            wrt.append(leaves[k])
            expected[leaves[k].name] = np.zeros_like(case.arrays[k]) if g is None else g.numpy()
    values, gradients = compile_gradients(outputs, cotangents=cotangents, wrt=wrt, threads=1)(**fed)
    got = values | gradients
    errors = {case.name: 0.0 for case in cases}
    for name, e in expected.items():
        g = got[name]
        difference = np.where(np.isnan(g) & np.isnan(e) | (g == e), 0.0, np.abs(g - e))
        size = max(1.0, float(np.abs(e[np.isfinite(e)]).max(initial=0)))
        error = float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0)) / size
        owner = name if name in errors else name.rpartition("/")[0]
        errors[owner] = max(errors[owner], error)
    return errors


def not_finite(cases: Iterable[Case]) -> list[str]:
    """The names of cases with an infinite or undefined value or gradient in float32, natively."""
    fed: dict[str, np.ndarray] = {}
    outputs, wrt = {}, []
    for k, case in enumerate(cases):
        leaves = []
        for j, a in enumerate(case.arrays):
            kind = DType.FLOAT32 if a.dtype.kind == "f" else DType.of(a.dtype)
            leaves.append(Input(f"{k}/{j}", TensorType(a.shape, kind)))
            fed[leaves[-1].name] = a.astype(kind.numpy)
        y = case.ours(*leaves)
        outputs[f"{k}"] = y.sum() if y.shape else y
        wrt += [leaves[j] for j in case.wanted()]
    values, gradients = compile_gradients(outputs, wrt=wrt, threads=1)(**fed)
    bad = {n.partition("/")[0] for n, a in (values | gradients).items() if not np.isfinite(a).all()}
    return [case.name for k, case in enumerate(cases) if str(k) in bad]
