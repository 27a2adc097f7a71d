import math
from pathlib import Path

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.ops.evaluate import evaluate
from graphc.train.optimisers import SGD, Adam, AdamW, Momentum, bias_correction
from graphc.types import DType, TensorType

ORACLE = Path(__file__).parent.parent / "oracle"


class Arithmetic:
    """Applies operators to arrays at once, by the meaning of their formulas."""

    def __init__(self, dtype):
        self.dtype = DType.of(dtype)

    def __call__(self, operator, *values, **attributes):
        types = tuple(TensorType(np.shape(v), self.dtype) for v in values)
        known = dict(zip(operator.tensors, values, strict=True))
        for s in operator.define(types, attributes).statements:
            result = known[s.name] = evaluate(s.formula, {o: known[o] for o in s.formula.operands}, 1, self.dtype)
        return result


def run(optimizer, start, gradients, dtype="float64"):
    """The parameter after each step."""
    apply, parameter = Arithmetic(dtype), start.astype(dtype)
    state = {slot: np.zeros_like(parameter) for slot in optimizer.slots}
    for step, gradient in enumerate(gradients, 1):
        scalars = {k: np.asarray(v, dtype) for k, v in optimizer.scalars(step).items()}
        parameter, state = optimizer.update(apply, parameter, gradient.astype(dtype), state, scalars)
        assert tuple(state) == optimizer.slots
        yield parameter


CASES = {
    "sgd": SGD(0.1),
    "sgd_mom": Momentum(0.1),
    "sgd_nesterov_wd": SGD(0.1, 0.9, nesterov=True, weight_decay=0.01),
    "sgd_dampening": SGD(0.1, 0.9, dampening=0.3),
    "adam": Adam(0.01),
    "adamw": AdamW(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-6)])
def test_six_steps_are_those_of_torch(name, dtype, tolerance):
    with np.load(ORACLE / f"optim_{name}.npz") as case:
        for parameter in "w", "b":
            gradients = [case[f"g{t}.{parameter}"] for t in range(1, 7)]
            steps = list(run(CASES[name], case[f"p0.{parameter}"], gradients, dtype))
            assert steps[0].dtype == dtype
            for t, got in enumerate(steps, 1):
                np.testing.assert_allclose(got, case[f"p{t}.{parameter}"], rtol=tolerance, atol=tolerance)


def test_coupled_weight_decay_of_adam_goes_through_its_means():
    gradients = [np.array([0.5, -1.0]), np.array([0.25, 3.0])]
    start, decay = np.array([2.0, -3.0]), 0.1
    first = next(run(Adam(0.01, weight_decay=decay), start, gradients))
    # the corrected means of one gradient are that gradient and its square
    np.testing.assert_allclose(first, start - 0.01 * np.sign(gradients[0] + decay * start), rtol=1e-6)
    second = list(run(Adam(0.01, weight_decay=decay), start, gradients))[-1]
    decayed = gradients[1] + decay * first
    same = list(run(Adam(0.01), start, [gradients[0] + decay * start, decayed]))[-1]
    np.testing.assert_allclose(second, same, rtol=1e-12)


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999])
@pytest.mark.parametrize("step", [1, 2, 10, 1000, 10**6])
def test_the_bias_correction_keeps_its_digits_in_float32(beta, step):
    got = Arithmetic("float32")(bias_correction, np.float32(step), beta=beta)
    exact = -math.expm1(step * math.log(beta))
    assert abs(float(got) - exact) <= 3e-7 * exact


def test_without_a_running_mean_adam_divides_by_one():
    assert Arithmetic("float64")(bias_correction, np.float64(1), beta=0.0) == 1


def test_the_rate_may_change_between_steps_and_nothing_else():
    optimizer = SGD(0.1, 0.9)
    optimizer.lr = 0.05
    assert optimizer.scalars(1) == {"lr": 0.05}
    with pytest.raises(GraphcError, match=r"SGD\.momentum is compiled into"):
        optimizer.momentum = 0.5
    assert optimizer.momentum == 0.9


def test_a_schedule_gives_the_rate_of_each_step():
    optimizer = Adam(lambda step: 1 / step)
    assert [optimizer.scalars(step) for step in (1, 4)] == [{"lr": 1.0, "t": 1.0}, {"lr": 0.25, "t": 4.0}]
    with pytest.raises(GraphcError, match=r"lr\(1\) must be in 0 <= lr\(1\) < inf, got nan"):
        SGD(lambda step: math.nan).scalars(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "lr must be in 0 <= lr < inf, got -0.1"),
        (lambda: SGD(math.nan), "lr must be"),
        (lambda: SGD(0.1, 1.0), "momentum must be in 0 <= momentum < 1"),
        (lambda: SGD(0.1, nesterov=True), "need momentum > 0"),
        (lambda: SGD(0.1, 0.9, dampening=0.1, nesterov=True), "nesterov needs dampening = 0"),
        (lambda: SGD(0.1, 0.9, dampening=2), r"dampening must be in 0\.\.1"),
        (lambda: Adam(betas=(0.9, 1.0)), "beta must be in 0 <= beta < 1, got 1.0"),
        (lambda: Adam(eps=-1e-8), "eps must be"),
        (lambda: Adam(weight_decay=-1), "weight_decay must be"),
    ],
)
def test_senseless_settings_are_refused(make, message):
    with pytest.raises(GraphcError, match=message):
        make()
