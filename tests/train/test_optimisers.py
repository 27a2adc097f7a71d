"""Optimisers: against the oracle, against torch, against formulas written in numpy, by the interpreter and natively."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Momentum, NAdam, Nesterov, RAdam, RMSprop, Rprop
from graphc.errors import GraphcError
from graphc.ops.evaluate import evaluate
from graphc.train.optimisers.adam import bias_correction
from graphc.types import DType, TensorType
from tests.oracle.load import arrays
from tests.train.optimising import Fed, interpreted, some

Array = np.ndarray

CASES = {
    "sgd": SGD(0.1),
    "sgd_mom": Momentum(0.1),
    "sgd_nesterov_wd": Nesterov(0.1, weight_decay=0.01),
    "sgd_dampening": SGD(0.1, 0.9, dampening=0.3),
    "adam": Adam(0.01),
    "adamw": AdamW(0.01, weight_decay=0.1),
    "rmsprop_centered_mom": RMSprop(0.01, centered=True, momentum=0.9),
    "adagrad": Adagrad(0.1),
    "adadelta": Adadelta(1.0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-6)])
def test_six_steps_are_those_of_the_oracle(name: str, dtype: str, tolerance: float) -> None:
    case = arrays(f"optim_{name}")
    gradients = [{n: case[f"g{t}.{n}"] for n in ("w", "b")} for t in range(1, 7)]
    steps = interpreted(CASES[name], {n: case[f"p0.{n}"] for n in ("w", "b")}, gradients, dtype)
    for t, held in enumerate(steps, 1):
        for n in "w", "b":
            assert held[n].dtype == dtype
            np.testing.assert_allclose(held[n], case[f"p{t}.{n}"], rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------- against torch

TORCH: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "SGD": (SGD(0.1, 0.9, 0.2, 0.05), lambda t, p: t.SGD(p, 0.1, 0.9, 0.2, 0.05)),
    "Adagrad": (Adagrad(0.1, 0.01, 0.05, 0.3, 1e-8), lambda t, p: t.Adagrad(p, 0.1, 0.01, 0.05, 0.3, 1e-8)),
    "Adadelta": (Adadelta(0.5, 0.8, 1e-5, 0.05), lambda t, p: t.Adadelta(p, 0.5, 0.8, 1e-5, 0.05)),
    "RMSprop": (RMSprop(0.02, 0.9, 1e-7, 0.05), lambda t, p: t.RMSprop(p, 0.02, 0.9, 1e-7, 0.05)),
    "RMSprop centered": (
        RMSprop(0.02, 0.9, 1e-7, 0.05, 0.8, True), lambda t, p: t.RMSprop(p, 0.02, 0.9, 1e-7, 0.05, 0.8, True)
    ),
    "Adam": (Adam(0.02, (0.8, 0.99), 1e-7, 0.05), lambda t, p: t.Adam(p, 0.02, (0.8, 0.99), 1e-7, 0.05)),
    "Adam amsgrad": (
        Adam(0.02, (0.8, 0.9), 1e-7, 0.05, True), lambda t, p: t.Adam(p, 0.02, (0.8, 0.9), 1e-7, 0.05, True)
    ),
    "AdamW amsgrad": (
        AdamW(0.02, (0.8, 0.9), 1e-7, 0.2, True), lambda t, p: t.AdamW(p, 0.02, (0.8, 0.9), 1e-7, 0.2, True)
    ),
    "NAdam": (NAdam(0.02, (0.8, 0.99), 1e-7, 0.05), lambda t, p: t.NAdam(p, 0.02, (0.8, 0.99), 1e-7, 0.05)),
    "NAdam decoupled": (
        NAdam(0.02, weight_decay=0.2, momentum_decay=0.3, decoupled_weight_decay=True),
        lambda t, p: t.NAdam(p, 0.02, weight_decay=0.2, momentum_decay=0.3, decoupled_weight_decay=True),
    ),
    "RAdam": (RAdam(0.02, (0.8, 0.99), 1e-7, 0.05), lambda t, p: t.RAdam(p, 0.02, (0.8, 0.99), 1e-7, 0.05)),
    "RAdam decoupled": (
        RAdam(0.02, (0.8, 0.5), 1e-7, 0.2, True), lambda t, p: t.RAdam(p, 0.02, (0.8, 0.5), 1e-7, 0.2, True)
    ),
    "Adamax": (Adamax(0.02, (0.8, 0.9), 1e-7, 0.05), lambda t, p: t.Adamax(p, 0.02, (0.8, 0.9), 1e-7, 0.05)),
    "Rprop": (Rprop(0.02, (0.4, 1.3), (0.01, 0.05)), lambda t, p: t.Rprop(p, 0.02, (0.4, 1.3), (0.01, 0.05))),
}  # fmt: skip


@contextmanager
def doubled(torch: Any) -> Iterator[None]:
    """Meanwhile float64 is what torch computes with unless it is told."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("name", TORCH)
def test_thirty_native_steps_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    own, make = TORCH[name]
    start, gradients = some(30)
    theirs = {n: torch.tensor(v, requires_grad=True) for n, v in start.items()}
    optimizer, fed = make(torch.optim, list(theirs.values())), Fed(own, start)
    for gradient in gradients:
        for n, p in theirs.items():
            p.grad = torch.tensor(gradient[n])
        with doubled(torch):  # also the numbers that torch multiplies up by itself
            optimizer.step()
        fed.step(gradient)
        for n, p in theirs.items():
            np.testing.assert_allclose(fed.parameters[n].value, p.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax"])
def test_defaults_and_the_order_of_arguments_are_those_of_torch(name: str) -> None:
    """Rprop has no weight decay; what torch has besides is about its implementation."""
    torch = pytest.importorskip("torch")
    import inspect

    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    ours = inspect.signature(getattr(gc, name)).parameters
    first = [n for n in theirs if n in ours]
    assert [n for n in ours if n in theirs] == first
    for n in first:
        assert ours[n].default == theirs[n].default or theirs[n].default is inspect.Parameter.empty, n


# ------------------------------------------------------------------------------------------------- against numpy


def nadam(w: Array, gradients: list[Array], lr: float, betas: tuple[float, float], eps: float) -> Array:
    """Dozat 2016, the products of mu multiplied one after the other."""
    m, s, product = np.zeros_like(w), np.zeros_like(w), 1.0
    for t, g in enumerate(gradients, 1):
        now, after = (betas[0] * (1 - 0.5 * 0.96 ** (u * 0.004)) for u in (t, t + 1))
        product *= now
        m, s = betas[0] * m + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g * g
        looked_ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        w = w - lr * looked_ahead / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return w


def radam(w: Array, gradients: list[Array], lr: float, betas: tuple[float, float], eps: float) -> Array:
    """Liu et al. 2020, algorithm 2, with torch's threshold 5."""
    m, s, limit = np.zeros_like(w), np.zeros_like(w), 2 / (1 - betas[1]) - 1
    for t, g in enumerate(gradients, 1):
        m, s = betas[0] * m + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g * g
        rho, mean = limit - 2 * t * betas[1] ** t / (1 - betas[1] ** t), m / (1 - betas[0] ** t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
            w = w - lr * mean * r * math.sqrt(1 - betas[1] ** t) / (np.sqrt(s) + eps)
        else:
            w = w - lr * mean
    return w


def adamax(w: Array, gradients: list[Array], lr: float, betas: tuple[float, float], eps: float) -> Array:
    """Kingma and Ba 2015, algorithm 2."""
    m, u = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, u = betas[0] * m + (1 - betas[0]) * g, np.maximum(betas[1] * u, np.abs(g) + eps)
        w = w - lr / (1 - betas[0] ** t) * m / u
    return w


def amsgrad(w: Array, gradients: list[Array], lr: float, betas: tuple[float, float], eps: float) -> Array:
    """Reddi et al. 2018, algorithm 2, with bias corrections."""
    m, s, largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, s = betas[0] * m + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g * g
        largest = np.maximum(largest, s)
        w = w - lr * m / (1 - betas[0] ** t) / (np.sqrt(largest / (1 - betas[1] ** t)) + eps)
    return w


@pytest.mark.parametrize(
    ("make", "formula"),
    [(NAdam, nadam), (RAdam, radam), (Adamax, adamax), (lambda *a: Adam(*a, amsgrad=True), amsgrad)],
)
def test_many_steps_are_those_of_the_papers(make: Any, formula: Any) -> None:
    start, gradients = some(40)
    settings = 0.02, (0.8, 0.95), 1e-7
    *_, last = interpreted(make(*settings), start, gradients)
    for n in start:
        np.testing.assert_allclose(last[n], formula(start[n], [g[n] for g in gradients], *settings), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_lion_is_that_of_its_paper(threads: int) -> None:
    """Chen et al. 2023, algorithm 2; natively."""
    start, gradients = some(30)
    fed = Fed(Lion(0.02, (0.8, 0.95), 0.3), start, threads=threads)
    w, m = dict(start), {n: np.zeros_like(v) for n, v in start.items()}
    for gradient in gradients:
        fed.step(gradient)
        for n, g in gradient.items():
            w[n] = w[n] - 0.02 * (np.sign(0.8 * m[n] + 0.2 * g) + 0.3 * w[n])
            m[n] = 0.95 * m[n] + 0.05 * g
            np.testing.assert_allclose(fed.parameters[n].value, w[n], rtol=1e-12)


def test_rprop_grows_and_shrinks_its_steps() -> None:
    start = {"w": np.array([1.0, 1.0, 1.0])}
    gradients = [{"w": np.array(g)} for g in ([2.0, 2.0, 0.0], [5.0, -1.0, 3.0], [0.1, -1.0, 3.0])]
    held = list(interpreted(Rprop(0.1), start, gradients))
    np.testing.assert_allclose([h["w/size"] for h in held], [[0.1] * 3, [0.12, 0.05, 0.1], [0.144, 0.05, 0.12]])
    # where the sign has changed nothing moves, and the next step counts as the first
    np.testing.assert_allclose(held[1]["w"], [0.9 - 0.12, 0.9, 1 - 0.1])
    np.testing.assert_allclose(held[2]["w"], [0.78 - 0.144, 0.95, 0.9 - 0.12])


def test_a_centred_variance_is_never_negative() -> None:
    """The same gradient always: E[G²] - E[G]² would be a difference of equal numbers, its root not a number."""
    gradients = [{"w": np.array([1e3, -1e-3, 123.456])}] * 400
    *_, last = interpreted(RMSprop(1e-3, 0.5, centered=True), {"w": np.zeros(3)}, gradients, "float32")
    assert np.isfinite(last["w"]).all()
    assert (last["w/variance"] >= 0).all()


def test_coupled_weight_decay_of_adam_goes_through_its_means() -> None:
    gradients = [{"w": np.array([0.5, -1.0])}, {"w": np.array([0.25, 3.0])}]
    start, decay = {"w": np.array([2.0, -3.0])}, 0.1
    first, second = (h["w"] for h in interpreted(Adam(0.01, weight_decay=decay), start, gradients))
    # the corrected means of one gradient are that gradient and its square
    np.testing.assert_allclose(first, start["w"] - 0.01 * np.sign(gradients[0]["w"] + decay * start["w"]), rtol=1e-6)
    decayed = [{"w": gradients[0]["w"] + decay * start["w"]}, {"w": gradients[1]["w"] + decay * first}]
    *_, same = interpreted(Adam(0.01), start, decayed)
    np.testing.assert_allclose(second, same["w"], rtol=1e-12)


FAMILIES = (SGD, Nesterov, Adagrad, Adadelta, RMSprop, Adam, AdamW, NAdam, RAdam, Adamax, Rprop, Lion)


@pytest.mark.parametrize("make", FAMILIES)
def test_single_precision_loses_no_more_than_its_own(make: Any) -> None:
    """Nothing cancels: after 20 steps of 0.1 there are about 20 roundings of the weights, and few of the steps."""
    start, gradients = some(20)
    *_, narrow = interpreted(make(0.1), start, gradients, "float32")
    *_, wide = interpreted(make(0.1), start, gradients, "float64")
    for n in start:
        np.testing.assert_allclose(narrow[n], wide[n], rtol=3e-6, atol=6e-6)


@pytest.mark.parametrize("make", FAMILIES)
def test_what_is_not_a_number_stays_none(make: Any) -> None:
    gradient = {"w": np.array([1.0, np.nan])}
    *_, last = interpreted(make(), {"w": np.ones(2)}, [gradient, gradient])
    assert np.isfinite(last["w"]).tolist() == [True, False]


# --------------------------------------------------------------------------------------------- numbers that are fed


def correction(step: float, beta: float, dtype: str) -> float:
    (s,) = bias_correction.define((TensorType((), DType.of(dtype)),), {"beta": beta}).statements
    return float(evaluate(s.formula, {"t": np.asarray(step, dtype)}, 1, DType.of(dtype)))


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999])
@pytest.mark.parametrize("step", [1, 2, 10, 1000, 10**6])
def test_the_bias_correction_keeps_its_digits_in_float32(beta: float, step: int) -> None:
    exact = -math.expm1(step * math.log(beta))
    assert abs(correction(step, beta, "float32") - exact) <= 3e-7 * exact


def test_without_a_running_mean_adam_divides_by_one() -> None:
    assert correction(1, 0.0, "float64") == 1


def test_the_shares_of_nadam_need_no_earlier_step() -> None:
    """A closed form, also after a million steps and without decay of the momentum."""
    optimizer, steps = NAdam(), np.arange(1, 2001)
    mu = [0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in range(1, 2002)]
    products = np.cumprod(mu)
    given = optimizer.fed(steps)
    np.testing.assert_allclose(given["gradient_share"], (1 - np.array(mu[:-1])) / (1 - products[:-1]), rtol=1e-13)
    np.testing.assert_allclose(given["mean_share"], np.array(mu[1:]) / (1 - products[1:]), rtol=1e-13)
    assert optimizer.fed(10**6)["gradient_share"] == pytest.approx(0.1, rel=1e-12)
    constant = NAdam(momentum_decay=0.0).fed(3)
    assert constant["gradient_share"] == pytest.approx(0.55 / (1 - 0.45**3), rel=1e-14)


SCHEDULED = (lambda: Adam(gc.schedules.cosine(0.1, 50)), lambda: SGD(math.sqrt))


@pytest.mark.parametrize("make", [SGD, NAdam, RAdam, *SCHEDULED])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_numbers_of_many_steps_are_those_of_each(make: Any, accumulate: int) -> None:
    """Bit for bit: an epoch in one call and step by step are the same training."""
    from dataclasses import replace

    optimizer = replace(make(), accumulate=accumulate, groups=[gc.Group("b*", lr_factor=0.3)])
    steps = np.arange(7, 67)
    table = optimizer.fed(steps)
    for k, step in enumerate(steps):
        for name, value in optimizer.fed(int(step)).items():
            assert np.broadcast_to(table[name], steps.shape)[k] == value, name


def test_the_rate_may_change_between_steps_and_nothing_else() -> None:
    optimizer = SGD(0.1, 0.9)
    optimizer.lr = 0.05
    assert optimizer.fed(1)["lr"] == 0.05
    with pytest.raises(GraphcError, match=r"SGD\.momentum is compiled into"):
        optimizer.momentum = 0.5
    assert optimizer.momentum == 0.9


def test_a_schedule_gives_the_rate_of_each_update() -> None:
    optimizer = Adam(lambda step: 1 / step)
    assert [optimizer.fed(step) for step in (1, 4)] == [{"lr": 1.0, "t": 1.0}, {"lr": 0.25, "t": 4.0}]
    halves = Adam(lambda step: 1 / step, accumulate=2)
    assert [halves.fed(step)["lr"] for step in (1, 2, 3, 4)] == [1.0, 1.0, 0.5, 0.5]
    assert [halves.fed(step)["last"] for step in (1, 2, 3, 4)] == [0.0, 1.0, 0.0, 1.0]
    with pytest.raises(GraphcError, match=r"lr\(1\) must be in 0 <= lr\(1\) < inf, got nan"):
        SGD(lambda step: math.nan).fed(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "lr must be in 0 <= lr < inf, got -0.1"),
        (lambda: SGD(math.nan), "lr must be"),
        (lambda: SGD(0.1, 1.0), "momentum must be in 0 <= momentum < 1"),
        (lambda: SGD(0.1, nesterov=True), "need momentum > 0"),
        (lambda: SGD(0.1, 0.9, dampening=0.1, nesterov=True), "nesterov needs dampening = 0"),
        (lambda: SGD(0.1, 0.9, dampening=2), r"dampening must be in 0\.\.1"),
        (lambda: Adam(betas=(0.9, 1.0)), "beta must be in 0 <= beta < 1, got 1"),
        (lambda: Adam(eps=-1e-8), "eps must be"),
        (lambda: Adam(weight_decay=-1), "weight_decay must be"),
        (lambda: Adamax(eps=0.0), "eps must be above 0"),
        (lambda: Rprop(etas=(1.2, 0.5)), "etas must be 0 < shrink < 1 < grow"),
        (lambda: Rprop(step_sizes=(1.0, 0.5)), "step_sizes must be"),
        (lambda: Adadelta(rho=1.5), "rho must be"),
        (lambda: Adagrad(lr_decay=-1), "lr_decay must be"),
        (lambda: RMSprop(alpha=1.0), "alpha must be"),
        (lambda: NAdam(momentum_decay=-1), "momentum_decay must be"),
        (lambda: SGD(clip_norm=0.0), "clip_norm must be above 0, got 0.0"),
        (lambda: SGD(clip_value=math.nan), "clip_value must be above 0"),
        (lambda: SGD(accumulate=0), "accumulate must be a number of steps, at least 1, got 0"),
        (lambda: SGD(ema=1.0), "ema must be in 0 <= ema < 1"),
        (lambda: SGD(groups=[gc.Group("b", ema=0.5)]), "has no setting ema of single parameters"),
        (lambda: SGD(groups=[gc.Group("b", betas=(0, 0))]), "has no setting betas"),
        (lambda: SGD(groups=[gc.Group("b", lr=0.1, lr_factor=0.5)]), "a rate of its own and one relative"),
    ],
)
def test_senseless_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        make()


# -------------------------------------------------------------------------------------------- one of one's own


@dataclass
class SignedMean(gc.Optimizer):
    """W ← W - η·sign(M)·|M|^p"""

    beta: float = 0.9
    power: float = 0.5
    weight_decay: float = 0.0

    @property
    def slots(self) -> Any:
        return {"mean": 0.0, "count": 1.0}

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        mean = self.beta * state["mean"] + (1 - self.beta) * gradient
        step = scalars["lr"] * gc.sign(mean) * abs(mean) ** self.power
        return parameter - step / state["count"], {"mean": mean, "count": state["count"] + 1}


def test_an_optimiser_of_ones_own_is_a_formula() -> None:
    start, gradients = some(8)
    fed = Fed(SignedMean(0.1, weight_decay=0.2, groups=[gc.Group("bias", beta=0.5, weight_decay=0.0)]), start)
    w, m = dict(start), {n: np.zeros_like(v) for n, v in start.items()}
    for t, gradient in enumerate(gradients, 1):
        fed.step(gradient)
        for n, beta, decay in (("w", 0.9, 0.2), ("bias", 0.5, 0.0)):
            m[n] = beta * m[n] + (1 - beta) * (gradient[n] + decay * w[n])
            w[n] = w[n] - 0.1 * np.sign(m[n]) * np.sqrt(np.abs(m[n])) / t
            np.testing.assert_allclose(fed.parameters[n].value, w[n], rtol=1e-11)
    assert "0.9·w/mean" in fed.program.text("math")
    assert f"{__file__.rpartition('/')[2]}" in fed.program.text("graph")  # errors and texts name the user's line


@dataclass
class Forgetful(gc.Optimizer):
    slots = MappingProxyType({"mean": 0.0})

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter - gradient, {}


OUTSIDE = gc.Parameter("outside", (3, 4), 1.0, "float64")


@dataclass
class Distracted(gc.Optimizer):
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter - gradient * OUTSIDE, {}


@dataclass
class Shrinking(gc.Optimizer):
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return (parameter - gradient).sum(), {}


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Forgetful(), r"Forgetful\.update must return a new value for each slot: mean; it returned none"),
        (Distracted(), r"Distracted\.update reads <parameter outside: f64\[3,4\]>, expected its arguments alone"),
        (SGD(groups=[gc.Group("*.bais")]), r"Group\('\*\.bais'\) fits no parameter\n.*called w, bias"),
        (Shrinking(), r"Shrinking\.update: w is f64\[3,4\], its new value f64\[\]"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(optimizer: Any, message: str) -> None:
    start, gradients = some(1)
    with pytest.raises(GraphcError, match=message):
        next(interpreted(optimizer, start, gradients))
