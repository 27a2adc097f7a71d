"""The benchmarks of whole trainings: what they run is what they say."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from benchmarks import overhead
from benchmarks.networks import NETWORKS, multiply_adds, parameters


@pytest.fixture
def case() -> overhead.Case:
    return overhead.Case("a perceptron", lambda: gc.models.perceptron((1, 2, 2), 2), 4, 5)


def test_all_ways_take_the_same_number_of_steps(case: overhead.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = []
    compile = gc.Model.compile
    monkeypatch.setattr(gc.Model, "compile", lambda *a, **k: programs.append(compile(*a, **k)) or programs[-1])
    runs = overhead.ways(case, 1)
    assert tuple(runs) == overhead.WAYS
    for turn, run in enumerate(runs.values(), start=1):
        run()
        assert programs[0].steps == turn * overhead.EPOCHS * case.batches
    assert {id(p) for p in programs} == {id(programs[0])}


def test_the_overhead_is_the_median_over_rounds(case: overhead.Case) -> None:
    times = {"step": [2e-6, 2e-6, 4e-6], "segments": [1e-6, 2e-6, 4e-6], "fit": [1.02e-6, 2.2e-6, 4e-6]}
    assert overhead.overhead(times, "segments") == pytest.approx(0.02)
    assert overhead.row(case, 1, times) == "| a perceptron, threads 1 | 2.00 | 2.00 | 2.20 | +2.0% | +0.0% |"


def test_both_frameworks_train_the_network_of_the_example() -> None:
    ours = {n: p.shape for n, p in gc.models.resnet(2, (1, 28, 28)).network.named_parameters()}
    theirs = parameters(NETWORKS["resnet14"])
    assert sorted(ours.values()) == sorted(v.shape for v in theirs.values())
    stages = 9 * (16 * 784 * (1 + 4 * 16) + 196 * (16 * 32 + 3 * 32 * 32) + 49 * (32 * 64 + 3 * 64 * 64))
    assert sum(multiply_adds(NETWORKS["resnet14"])) == stages + 640


def test_the_table_of_trainings_has_the_better_order_of_axes() -> None:
    pytest.importorskip("torch")
    from benchmarks import training

    found = {"graphc": [1.0, 2.0, 1.0], "torch": [9.0, 9.0, 9.0], "torch channels_last": [3.0, 4.0, 2.0]}
    case = training.Case("LeNet-5", NETWORKS["lenet5"], gc.models.lenet5, 469)
    scale = 60_000 / (128 * 469)
    line = training.row(case, 2, found)
    assert line == f"| LeNet-5, threads 2 | 469 | {scale:.2f} | {9 * scale:.2f} | {3 * scale:.2f} | 2.00 |"


def test_both_frameworks_lose_the_same() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks import training

    case = training.Case("a perceptron", NETWORKS["perceptron"], lambda: gc.models.perceptron((1, 2, 2), 2), 3)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3 * training.BATCH, 1, 2, 2)).astype(np.float32)
    y = generator.integers(2, size=len(x))
    threads = torch.get_num_threads()
    try:
        ours, theirs = training.WithGraphc(case, 1), training.WithTorch(case, 1, torch.contiguous_format)
        np.testing.assert_allclose(ours.losses(x, y), theirs.losses(x, y), rtol=1e-5)
        ours.train(x, y)
        theirs.train(x, y)
        assert ours.model.program.steps == 6
    finally:
        torch.set_num_threads(threads)
