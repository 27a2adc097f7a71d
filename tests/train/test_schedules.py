"""Learning rates over time: against torch's schedulers, against formulas, whole or in parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError
from graphc.train.schedules import (
    constant,
    cosine,
    cosine_restarts,
    exponential,
    one_cycle,
    piecewise,
    polynomial,
    step_decay,
    warmup,
)

TORCH: dict[str, tuple[Any, Any]] = {
    "step": (step_decay(0.1, 7, 0.5), lambda s, o: s.StepLR(o, 7, 0.5)),
    "exponential": (exponential(0.1, 0.9), lambda s, o: s.ExponentialLR(o, 0.9)),
    "cosine": (cosine(0.1, 50, 0.01), lambda s, o: s.CosineAnnealingLR(o, 50, 0.01)),
    "restarts": (cosine_restarts(0.1, 6, 2, 0.01), lambda s, o: s.CosineAnnealingWarmRestarts(o, 6, 2, 0.01)),
    "periodic": (cosine_restarts(0.1, 9), lambda s, o: s.CosineAnnealingWarmRestarts(o, 9)),
    "polynomial": (polynomial(0.1, 50, 2.0), lambda s, o: s.PolynomialLR(o, 50, 2.0)),
    "one cycle": (one_cycle(0.1, 50), lambda s, o: s.OneCycleLR(o, 0.1, total_steps=50)),
    "steep cycle": (
        one_cycle(0.1, 50, 0.1, 10.0, 100.0),
        lambda s, o: s.OneCycleLR(o, 0.1, 50, pct_start=0.1, div_factor=10, final_div_factor=100),
    ),
    "piecewise": (
        piecewise([10, 30], [0.1, 0.05, 0.001]),
        lambda s, o: s.LambdaLR(o, lambda k: 1 if k < 10 else 0.5 if k < 30 else 0.01),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("name", TORCH)
def test_fifty_rates_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    own, make = TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    scheduler, rates = make(torch.optim.lr_scheduler, optimizer), []
    for k in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if k < 49:
            scheduler.step()
    np.testing.assert_allclose(own(np.arange(1, 51)), rates, rtol=1e-9, atol=1e-15)


EVERY = (
    constant(0.1), step_decay(0.1, 3), exponential(0.1, 0.9, 10), cosine(0.1, 40), cosine_restarts(0.1, 4, 3),
    one_cycle(0.1, 40), polynomial(0.1, 40, 1.5, 0.01), piecewise([3, 9], [1.0, 0.1, 0.01]),
    warmup(cosine(0.1, 30), 10), warmup(math.sqrt, 5, 0.5),
)  # fmt: skip


@pytest.mark.parametrize("schedule", EVERY, ids=lambda s: type(s).__name__)
def test_one_rate_has_the_bits_of_many(schedule: Any) -> None:
    rates = schedule(np.arange(1, 70))
    assert rates.dtype == np.float64
    assert [schedule(t) for t in range(1, 70)] == rates.tolist()
    assert (rates >= 0).all()
    assert schedule.over(5) is schedule or isinstance(schedule, warmup)  # its length is known


def test_ends_and_tops() -> None:
    assert cosine(0.1, 10)(1) == 0.1
    assert cosine(0.1, 10)(11) == cosine(0.1, 10)(99) == 0
    assert polynomial(0.1, 10, final=0.02)(np.array([1, 6, 11, 99])).tolist() == pytest.approx([0.1, 0.06, 0.02, 0.02])
    assert cosine_restarts(0.1, 4, 3)(np.array([1, 5, 17, 53])).tolist() == [0.1] * 4
    cycle = one_cycle(1.0, 100)(np.arange(1, 101))
    assert (cycle.argmax(), cycle.max(), cycle[0]) == (29, 1.0, pytest.approx(0.04))
    assert cycle[-1] == pytest.approx(0.04 / 1e4)


def test_a_warm_up_ends_where_the_schedule_begins() -> None:
    rates = warmup(cosine(0.1, 10), 4)(np.arange(1, 8))
    np.testing.assert_allclose(rates[:4], [0.025, 0.05, 0.075, 0.1])
    np.testing.assert_allclose(rates[4:], cosine(0.1, 10)(np.arange(1, 4)))


def test_a_schedule_as_long_as_the_training() -> None:
    for schedule in (cosine(0.1), one_cycle(0.1), polynomial(0.1)):
        assert schedule.is_open
        assert schedule.over(7)(5) == type(schedule)(0.1, 7)(5)
        with pytest.raises(GraphcError, match=r"has no length\n.*steps=1000"):
            schedule(1)
    late = warmup(cosine(0.1), 10)
    assert late.is_open
    assert late.over(40) == warmup(cosine(0.1, 30), 10)
    assert gc.Adam(late).fed_names() == ("lr", "t")  # compiled before anybody knows how long it is


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cosine(-0.1), "lr must be in 0 <= lr < inf, got -0.1"),
        (lambda: cosine(0.1, 0), "steps must be a number of updates, at least 1, got 0"),
        (lambda: piecewise([3], [0.1]), "one rate more"),
        (lambda: piecewise([3, 1], [0.1, 0.1, 0.1]), "rising boundaries"),
        (lambda: one_cycle(0.1, 10, 1.0), "pct_start must be"),
        (lambda: one_cycle(0.1, 10, 0.3, 0.0), "divides by 0.0"),
        (lambda: step_decay(0.1, 0), "every must be"),
        (lambda: warmup(cosine(0.1), 0), "steps must be"),
    ],
)
def test_senseless_schedules_are_refused(make: Any, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        make()
