"""Epochs in native code: the same numbers as step by step, for any order, size, number of threads and kind of array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError, InputError, NonFiniteError
from tests.test_training import holding, memory

SAMPLES = 37


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.normal(size=(SAMPLES, 1, 8, 8)).astype(np.float32)
    return {"images": images, "labels": random.integers(0, 10, SAMPLES).astype(np.int32)}


def compiled(threads: int = 1, lr: Any = 1e-2) -> Any:
    model = gc.models.mlp((1, 8, 8), (17,), 10)
    metrics = {"accuracy": model.accuracy}
    return gc.compile_training(model.loss, optimizer=gc.Adam(lr), metrics=metrics, threads=threads, seed=3)


def by_hand(program: Any, data: dict[str, np.ndarray], size: int, order: np.ndarray) -> dict[str, list[float]]:
    rows = [order[k : k + size] for k in range(0, len(order), size)]
    steps = [program.step(**{name: array[r] for name, array in data.items()}) for r in rows]
    return {name: [s[name] for s in steps] for name in steps[0]}


def assert_same(got: Any, expected: Any) -> None:
    """The same bits in every parameter and in all state."""
    a, b = memory(got), memory(expected)
    assert got.steps == expected.steps
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_epoch_is_its_steps(data: dict[str, np.ndarray], threads: int) -> None:
    program, reference = compiled(threads), compiled()
    order = np.random.default_rng(1).permutation(SAMPLES)
    for size in (1, 5, 64):
        for turn in (order, order[::-1], order[:7]):
            got = program.epoch(data, size, order=turn)
            expected = by_hand(reference, data, size, turn)
            assert {name: values.tolist() for name, values in got.items()} == expected
    assert_same(program, reference)


def test_steps_and_epochs_take_turns_and_parameters_are_seen_and_may_be_set(data: dict[str, np.ndarray]) -> None:
    program, reference = compiled(2), compiled()
    order, weight = np.arange(SAMPLES), "output.weight"
    few = {name: array[:9] for name, array in data.items()}
    for other in (program, reference):
        other.step(**few)
    for k in range(3):
        program.epoch(data, 10)
        by_hand(reference, data, 10, order)
        value = program.parameters[weight].value
        np.testing.assert_array_equal(value, reference.parameters[weight].value)
        for other in (program, reference):
            other.parameters[weight].value = value * (k + 1)
        assert program.step(**few) == reference.step(**few)
    assert_same(program, reference)
    assert program.parameters[weight].version == reference.parameters[weight].version


def test_schedules_count_every_step(data: dict[str, np.ndarray]) -> None:
    program, reference = compiled(lr=lambda step: 0.1 / step), compiled(lr=lambda step: 0.1 / step)
    for _ in range(2):
        program.epoch(data, 4)
        by_hand(reference, data, 4, np.arange(SAMPLES))
    assert_same(program, reference)


@pytest.mark.parametrize("kind", ["double", "strided", "fortran", "mapped", "list"])
def test_samples_may_be_held_in_any_way(kind: str, data: dict[str, np.ndarray], tmp_path: Any) -> None:
    images, labels = data["images"], data["labels"]
    held: dict[str, Any] = {"images": images, "labels": labels.astype(np.int64)}
    match kind:
        case "double":
            held["images"] = images.astype(np.float64)
        case "strided":
            held = {"images": np.repeat(images, 2, axis=0)[::2], "labels": np.repeat(labels, 3)[::3]}
        case "fortran":
            held["images"] = np.asfortranarray(images)
        case "mapped":
            np.save(tmp_path / "images.npy", images)
            held["images"] = np.load(tmp_path / "images.npy", mmap_mode="r")
        case "list":
            held["labels"] = labels.tolist()
    program, reference = compiled(), compiled()
    order = np.random.default_rng(2).permutation(SAMPLES)
    program.epoch(held, 6, order=order)
    by_hand(reference, data, 6, order)
    assert_same(program, reference)


def test_the_last_batch_may_be_left_out(data: dict[str, np.ndarray]) -> None:
    program = compiled()
    assert len(program.epoch(data, 10)["loss"]) == 4
    assert len(program.epoch(data, 10, drop_last=True)["loss"]) == 3
    assert program.steps == 7


def test_segments_are_run_when_they_are_asked_for(data: dict[str, np.ndarray]) -> None:
    program = compiled()
    segments = program.segments(data, 5)
    assert program.steps == 0
    first = next(segments)
    assert program.steps == len(first) == 1
    rest = list(segments)
    assert np.concatenate([first.samples, *(s.samples for s in rest)]).tolist() == [5] * 7 + [2]
    assert program.steps == 8


def linear() -> Any:
    """Σ x·w·rate with the parameter itself and an input among the metrics; the rate belongs to no sample."""
    x, rate = gc.input("x", (gc.BATCH,), "float64"), gc.input("rate", (), "float64")
    w = holding("w", np.array(3.0))
    return gc.compile_training((x * w * rate).sum(), optimizer=gc.SGD(0.5), metrics={"w": w, "rate": rate})


def test_constants_and_metrics_that_a_step_overwrites() -> None:
    got = linear().epoch({"x": [1.0, 2.0, 4.0], "rate": 0.5}, 1)
    assert {name: values.tolist() for name, values in got.items()} == {
        "loss": [1.5, 2.75, 4.5], "w": [3.0, 2.75, 2.25], "rate": [0.5, 0.5, 0.5],
    }  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [0, 3, 11])
def test_a_loss_that_is_not_finite_stops_before_its_step(threads: int, bad: int, data: dict[str, np.ndarray]) -> None:
    program, reference = compiled(threads), compiled()
    images = data["images"].copy()
    images[3 * bad + 1, 0, 4, 4] = np.inf
    order = np.arange(SAMPLES)
    with pytest.raises(InputError, match=r"input images holds inf at \[1, 0, 4, 4\]"):
        program.epoch({**data, "images": images}, 3)
    if bad:
        by_hand(reference, data, 3, order[: 3 * bad])
    assert program.steps == bad
    assert_same(program, reference)
    program.epoch(data, 3)
    by_hand(reference, data, 3, order)
    assert_same(program, reference)


def test_the_error_names_the_layer() -> None:
    x = gc.input("x", (gc.BATCH, 2))
    loss = gc.exp(gc.dense(x, holding("w", np.ones((1, 2), np.float32)))).mean()
    program = gc.compile_training(loss, optimizer=gc.SGD(0.0))
    samples = np.array([[1, 1], [100, 100], [2, 2]], np.float32)
    with pytest.raises(NonFiniteError, match="exp is the first output that is not finite"):
        program.epoch({"x": samples}, 1)
    assert program.steps == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"labels": np.full(SAMPLES, 10)}, {}, r"input labels is 10 at \[0\], expected 0..9"),
        ({"images": np.zeros((SAMPLES, 1, 8, 7), "f")}, {}, "axis 3 is 7"),
        ({"images": np.zeros((SAMPLES - 1, 1, 8, 8), "f")}, {}, "37 samples, but images has 36"),
        ({"images": np.zeros((SAMPLES, 1, 8, 8), np.uint8)}, {}, "dtype uint8, expected float32"),
        ({"weights": np.zeros(SAMPLES)}, {}, "there is no input named weights"),
        ({}, {"batch_size": 0}, "batch_size is 0"),
        ({}, {"order": [0, 37]}, r"order holds 37, expected indices in 0\.\.36"),
        ({}, {"order": [-1, 3]}, "order holds -1"),
        ({}, {"order": [0.5]}, "order is float64"),
        ({}, {"batch_size": 38, "drop_last": True}, "no minibatch"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    change: dict[str, Any], options: dict[str, Any], message: str, data: dict[str, np.ndarray]
) -> None:
    program = compiled()
    with pytest.raises(GraphcError, match=message):
        program.epoch(data | change, **{"batch_size": 5} | options)
    assert program.steps == 0


def test_an_epoch_needs_samples_along_the_first_axis() -> None:
    w = holding("w", np.array([3.0, -4.0]))
    program = gc.compile_training((w * w).sum(), optimizer=gc.SGD(0.25))
    with pytest.raises(InputError, match="no input has a batch axis"):
        program.epoch({}, 1)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    orders = [gc.shuffled(50, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len({tuple(order) for order in orders}) == 4
    np.testing.assert_array_equal(orders[3], gc.shuffled(50, seed=1, epoch=1))
