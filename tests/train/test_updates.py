"""What all optimisers share: clipping, accumulation, averages, groups, decay; reproducible and resumable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError
from tests.train.optimising import Arrays, Fed, interpreted, some

EVERYTHING = gc.Adam(
    gc.schedules.cosine(0.05, 40), weight_decay=0.1, clip_value=0.5, clip_norm=0.1, accumulate=3, ema=0.8,
    groups=[gc.Group("*.bias", weight_decay=0.0, lr_factor=2.0), gc.Group("b.*", betas=(0.5, 0.9))],
)  # fmt: skip


def network(dtype: str = "float64") -> Any:
    """The loss of two layers for samples x with labels y."""
    x, y = gc.input("x", (gc.BATCH, 5), dtype), gc.input("y", (gc.BATCH,), "int64")
    return gc.cross_entropy(gc.Dense(3, name="b")(gc.Dense(7, "tanh", name="a")(x)), y)


def data(samples: int, dtype: str = "float64") -> Arrays:
    r = np.random.default_rng(samples)
    return {"x": r.normal(size=(samples, 5)).astype(dtype), "y": r.integers(0, 3, samples)}


def part(batch: Arrays, start: int, size: int) -> Arrays:
    return {name: array[start : start + size] for name, array in batch.items()}


def memory(program: Any) -> Arrays:
    return {name: p.value.copy() for name, p in {**program.parameters, **program.state}.items()}


def assert_same(got: Arrays, expected: Arrays) -> None:
    assert got.keys() == expected.keys()
    assert [n for n in got if not np.array_equal(got[n], expected[n], equal_nan=True)] == []


# ---------------------------------------------------------------------------------------------------- clipping


def test_the_norm_of_all_gradients_is_limited_as_by_torch() -> None:
    torch = pytest.importorskip("torch")
    start, gradients = some(6)
    fed = Fed(gc.SGD(0.1, 0.9, weight_decay=0.1, clip_norm=3.0), start)
    theirs = {n: torch.tensor(v, requires_grad=True) for n, v in start.items()}
    optimizer = torch.optim.SGD(theirs.values(), 0.1, 0.9, weight_decay=0.1)
    norms = []
    for k, gradient in enumerate(gradients):
        given = {n: g * (0.1 if k % 2 else 1.0) for n, g in gradient.items()}
        for n, p in theirs.items():
            p.grad = torch.tensor(given[n])
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.values(), 3.0)))
        optimizer.step()
        fed.step(given)
        for n, p in theirs.items():
            np.testing.assert_allclose(fed.parameters[n].value, p.detach().numpy(), rtol=1e-12)
    assert min(norms) < 3 < max(norms)  # both cases have occurred


def test_elements_are_limited_before_the_norm_and_before_decay() -> None:
    start, (gradient,) = some(1)
    held = next(interpreted(gc.SGD(0.5, clip_value=0.3, clip_norm=0.7, weight_decay=0.2), start, [gradient]))
    limited = {n: np.clip(g, -0.3, 0.3) for n, g in gradient.items()}
    norm = np.sqrt(sum((g**2).sum() for g in limited.values()))
    assert norm > 0.7
    for n, w in start.items():
        np.testing.assert_allclose(held[n], w - 0.5 * (limited[n] * 0.7 / (norm + 1e-6) + 0.2 * w), rtol=1e-12)


def test_one_gradient_that_is_no_number_shows_in_all() -> None:
    start, (gradient,) = some(1)
    gradient["w"][0, 0] = np.nan
    held = next(interpreted(gc.SGD(0.1, clip_norm=1.0), start, [gradient]))
    assert np.isnan(held["bias"]).all()


# ------------------------------------------------------------------------------------------------ accumulation


def test_several_steps_with_parts_of_a_batch_are_one_with_the_batch() -> None:
    settings: dict[str, Any] = {"weight_decay": 0.1, "clip_norm": 0.2, "ema": 0.5}
    whole = gc.compile_training(network(), optimizer=gc.NAdam(0.05, **settings), threads=1, seed=3)
    parts = gc.compile_training(network(), optimizer=gc.NAdam(0.05, accumulate=3, **settings), threads=1, seed=3)
    for k in range(3):
        batch, before = data(12 + 12 * k), memory(parts)
        losses = []
        for j in range(3):
            losses.append(parts.step(**part(batch, (4 + 4 * k) * j, 4 + 4 * k))["loss"])
            if j < 2:  # nothing but the sums has changed
                assert [n for n, v in memory(parts).items() if not np.array_equal(v, before[n])] == [
                    n for n in before if n.endswith("/gradients")
                ]
        assert whole.step(**batch)["loss"] == pytest.approx(np.mean(losses), rel=1e-12)
        for name, value in memory(whole).items():
            np.testing.assert_allclose(memory(parts)[name], value, rtol=1e-9, atol=1e-12)
        assert all(not v.any() for n, v in memory(parts).items() if n.endswith("/gradients"))
    assert (parts.steps, parts.updates, whole.updates) == (9, 3, 3)


def test_an_epoch_is_the_same_as_its_steps_and_ends_where_it_likes() -> None:
    """Ten steps with three for an update: the tenth waits for the next epoch."""
    batch = data(38)
    one, many = (gc.compile_training(network(), optimizer=EVERYTHING, threads=1, seed=1) for _ in range(2))
    for _ in range(2):
        losses = [one.step(**part(batch, start, 4))["loss"] for start in range(0, 38, 4)]
        assert many.epoch(batch, 4)["loss"].tolist() == losses
        assert_same(memory(many), memory(one))
    assert (many.steps, many.updates) == (20, 6)


def test_a_loss_that_is_not_finite_leaves_sums_and_count_as_they_were() -> None:
    program = gc.compile_training(network(), optimizer=EVERYTHING, threads=1, seed=1)
    batch = data(4)
    program.step(**batch)
    before = memory(program)
    with pytest.raises(GraphcError, match="nan"):
        program.step(x=batch["x"] * np.nan, y=batch["y"])
    assert_same(memory(program), before)
    assert program.steps == 1


# ---------------------------------------------------------------------------------------------------- averages


def test_averages_begin_with_the_weights_and_take_their_place_meanwhile() -> None:
    start, gradients = some(5)
    fed = Fed(gc.SGD(0.1, ema=0.7), start)
    w, average = dict(start), dict(start)
    for gradient in gradients:
        fed.step(gradient)
        for n, g in gradient.items():
            w[n] = w[n] - 0.1 * g
            average[n] = 0.7 * average[n] + 0.3 * w[n]
    read = gc.compile_inference({n: p * 1.0 for n, p in fed.parameters.items()}, threads=1)
    for n in start:
        np.testing.assert_allclose(fed.program.state[f"{n}/average"].value, average[n], rtol=1e-12)
    with fed.program.averaged():
        for n, value in read().items():
            np.testing.assert_allclose(value, average[n], rtol=1e-12)
    for n, value in read().items():
        np.testing.assert_allclose(value, w[n], rtol=1e-12)
    with pytest.raises(GraphcError, match="1 steps were taken from averaged weights"), fed.program.averaged():
        fed.step(gradients[0])
    np.testing.assert_allclose(fed.parameters["w"].value, w["w"], rtol=1e-12)


def test_without_averages_there_is_nothing_to_put_in_place() -> None:
    fed = Fed(gc.SGD(0.1), some(1)[0])
    with pytest.raises(GraphcError, match="keeps no averages of its weights"), fed.program.averaged():
        pass


# ------------------------------------------------------------------------------------------------------ groups


def test_groups_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    start, gradients = some(8)
    own = gc.Adam(0.05, weight_decay=0.3, groups=[gc.Group("b*", lr=0.01, weight_decay=0.0, betas=(0.5, 0.8))])
    fed = Fed(own, start)
    theirs = {n: torch.tensor(v, requires_grad=True) for n, v in start.items()}
    bias = {"params": [theirs["bias"]], "lr": 0.01, "weight_decay": 0.0, "betas": (0.5, 0.8)}
    optimizer = torch.optim.Adam([{"params": [theirs["w"]]}, bias], 0.05, weight_decay=0.3)
    for k, gradient in enumerate(gradients):
        if k == 4:
            own.lr = optimizer.param_groups[0]["lr"] = 0.02
        for n, p in theirs.items():
            p.grad = torch.tensor(gradient[n])
        optimizer.step()
        fed.step(gradient)
        for n, p in theirs.items():
            np.testing.assert_allclose(fed.parameters[n].value, p.detach().numpy(), rtol=1e-10)


def test_a_rate_relative_to_the_optimisers_follows_it() -> None:
    own = gc.SGD(0.1, groups=[gc.Group("a", lr_factor=0.5), gc.Group("*", lr=gc.schedules.step_decay(1.0, 2))])
    assert own.fed(1) == {"lr": 0.1, "t": 1.0, "lr.1": 0.05, "t.1": 1.0, "lr.2": 1.0, "t.2": 1.0}
    own.lr = lambda t: 1 / t
    assert [own.fed(t)["lr.1"] for t in (1, 2, 4)] == [0.5, 0.25, 0.125]
    assert own.fed(np.arange(1, 5))["lr.2"].tolist() == pytest.approx([1, 1, 0.1, 0.1])


def test_parameters_of_a_group_without_momentum_have_no_velocity() -> None:
    fed = Fed(gc.SGD(0.1, 0.9, groups=[gc.Group("bias", momentum=0.0)]), some(1)[0])
    assert list(fed.program.state) == ["w/velocity"]


# -------------------------------------------------------------------------------------- reproducible, resumable


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    """Wide enough for the sums over gradients to be long."""
    ends = []
    for count in (1, threads):
        x, y = gc.input("x", (gc.BATCH, 70)), gc.input("y", (gc.BATCH,), "int64")
        loss = gc.cross_entropy(gc.Dense(11, name="b")(gc.Dense(130, "relu", name="a")(x)), y)
        program = gc.compile_training(loss, optimizer=EVERYTHING, threads=count, seed=2)
        r = np.random.default_rng(0)
        for _ in range(10):
            program.step(x=r.normal(size=(33, 70)).astype("float32"), y=r.integers(0, 11, 33))
        ends.append(memory(program))
    assert_same(*ends)


@pytest.mark.parametrize(
    "make", [lambda: EVERYTHING, lambda: gc.NAdam(0.05), lambda: gc.RAdam(0.05), lambda: gc.Rprop(0.05)]
)
def test_training_goes_on_from_a_state_bit_for_bit(make: Any) -> None:
    """Interrupted in the middle of an update."""
    batches = [data(6 + k) for k in range(11)]
    through = gc.compile_training(network(), optimizer=make(), threads=1, seed=4)
    losses = [through.step(**batch)["loss"] for batch in batches]
    first = gc.compile_training(network(), optimizer=make(), threads=1, seed=4)
    for batch in batches[:7]:
        first.step(**batch)
    state = first.state_dict()
    second = gc.compile_training(network(), optimizer=make(), threads=1, seed=5)
    second.load_state_dict(state)
    assert [second.step(**batch)["loss"] for batch in batches[7:]] == losses[7:]
    assert_same(memory(second), memory(through))


def test_the_report_says_what_is_done_with_gradients() -> None:
    text = gc.compile_training(network(), optimizer=EVERYTHING, threads=1).explain()
    assert "every 3 steps make one update, with the mean of their gradients" in text
    assert "norm of all gradients together is limited to 0.1: all are stored before the first parameter" in text
    assert "Group('*.bias', lr_factor=2.0, weight_decay=0.0)" in text


# ----------------------------------------------------------------------------------- what reads what is overwritten


@dataclass
class Delayed(gc.Optimizer):
    """W ← W - G of two steps ago, and what else may be kept: the old parameter, an old state, one value twice."""

    @property
    def slots(self) -> Any:
        return {"before": 0.0, "first": 0.0, "second": 0.0, "again": 0.0}

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        doubled = 2 * gradient
        new = {"before": parameter, "first": doubled, "second": state["first"], "again": doubled}
        return parameter - state["second"], new


def test_every_new_value_is_made_of_old_ones() -> None:
    start, gradients = some(4)
    fed = Fed(Delayed(), start)
    w, doubled = dict(start), [{n: np.zeros_like(v) for n, v in start.items()}] * 2
    for gradient in gradients:
        fed.step(gradient)
        before, w = w, {n: w[n] - doubled[-2][n] for n in w}
        doubled.append({n: 2 * g for n, g in gradient.items()})
        memory = fed.memory
        for n in start:
            np.testing.assert_allclose(memory[n], w[n], rtol=1e-12)
            np.testing.assert_array_equal(memory[f"{n}/before"], before[n])
            np.testing.assert_array_equal(memory[f"{n}/first"], doubled[-1][n])
            np.testing.assert_array_equal(memory[f"{n}/second"], doubled[-2][n])
            np.testing.assert_array_equal(memory[f"{n}/again"], doubled[-1][n])


def test_parameters_whose_updates_read_each_other() -> None:
    """A product of two parameters: neither can be overwritten before the other has been read."""
    u, v = gc.Parameter("u", (4, 2), 0.5, "float64"), gc.Parameter("v", (2, 3), "normal", "float64")
    loss = (u @ v).sum()
    program = gc.compile_training(loss, optimizer=gc.SGD(0.1), threads=1, seed=0)
    left, right = u.value, v.value
    for _ in range(3):
        program.step()
        left, right = left - 0.1 * right.sum(1), right - 0.1 * left.sum(0)[:, None]
        np.testing.assert_allclose(u.value, left, rtol=1e-12)
        np.testing.assert_allclose(v.value, right, rtol=1e-12)
