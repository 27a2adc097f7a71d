"""The benchmarks' arithmetic: what they report must follow from what they measured."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.chart import chart
from benchmarks.compare import Failure, Worker, differences
from benchmarks.frameworks.with_graphc import Contender, paired
from benchmarks.machine import Usage, disturbance
from benchmarks.measurements import Comparison, Row
from benchmarks.networks import BUFFERS, NETWORKS, Array, multiply_adds, parameters
from benchmarks.report import compile_table, memory_table, report, shortcomings, table, write
from benchmarks.tasks import LEARNING_RATE, TASKS, batches
from benchmarks.worker import FRAMEWORKS, burst, check


def row() -> Row:
    """Three rounds in which graphc takes 1, 2 and 4 ms and torch twice, three and five times as long."""
    row = Row(TASKS["mlp64"], "train", 2)
    for ours, times in ((1e-3, 2), (2e-3, 3), (4e-3, 5)):
        row.add("graphc", {"median": ours, "fastest": ours / 2})
        row.add("torch", {"median": ours * times, "fastest": ours})
    return row


def with_faster_peer() -> Row:
    """The same, and a peer that takes 0.9 times as long as graphc."""
    both = row()
    for ours in (1e-3, 2e-3, 4e-3):
        both.add("jax.jit", {"median": 0.9 * ours, "fastest": ours})
    return both


def test_the_ratio_is_the_median_over_pairs() -> None:
    assert row().ratio == pytest.approx(3)
    assert row().ratio_of_fastest == pytest.approx(2)


def test_the_ratio_is_that_of_the_best_peer() -> None:
    assert with_faster_peer().best_peer == "jax.jit"
    assert with_faster_peer().ratio == pytest.approx(0.9)
    assert with_faster_peer().ratio_to("torch") == pytest.approx(3)


def test_the_table_shows_milliseconds_and_rates() -> None:
    *_, line = table([row()], peak=1e11).splitlines()
    assert "| **2.000** | 6.000 | 3.00 (2.00) | 1.4 met |" in line
    flops = 64 * (2 * 2 * 784 * 512 + 3 * 2 * (512 * 256 + 256 * 10))
    assert f"| {flops / 2e-3 / 1e9:.0f} | {flops / 2e-3 / 2e11:.0%} |" in line


def test_what_is_lost_is_said() -> None:
    assert shortcomings([row()]) == ["A peer is faster than graphc: nowhere.", "Targets are missed: nowhere."]
    lost, missed = shortcomings([row(), with_faster_peer()])
    assert lost.endswith("graphc: mlp64 training step with 2 threads (jax.jit, 0.90).")
    assert missed.endswith("missed: mlp64 training step with 2 threads (0.90 of 1.4).")
    *_, line = table([with_faster_peer()], peak=1e11).splitlines()
    assert "| 2.000 | 6.000 | **1.800** | 0.90 (2.00) | 1.4 **missed** |" in line


def test_the_report_has_every_part() -> None:
    found = Comparison(3, 1e11, rows=[row()], versions={"graphc": "graphc 1", "torch": "torch 2", "jax.jit": "jax 3"})
    found.left_out["onnxruntime"] = "ModuleNotFoundError: no"
    found.seconds["mlp64", "train"] = {"graphc": 0.5, "torch": 9.0, "jax.jit": 1.5}
    found.again["mlp64", "train"] = 0.25
    found.memory = {"graphc": {"step": 30_000_000, "whole": 1}, "torch": {"step": 50_000_000, "whole": 2}}
    text = report(found, "a machine")
    assert "a machine; graphc 1, torch 2, jax 3; 3 rounds. 0 of 6 bursts" in text
    assert "onnxruntime is left out (ModuleNotFoundError: no)." in text
    assert table([row()], 1e11) in text
    assert compile_table(found).splitlines()[-1] == "| mlp64 training step | 0.50 | 0.250 |  | 1.50 |"
    assert compile_table(found) in text
    assert memory_table(found).endswith("Target, half of the least peer: ≤ 25 MB **missed**.")
    assert memory_table(found) in text


def test_the_chart_has_a_dot_for_every_peer() -> None:
    svg = xml.fromstring(chart([row(), with_faster_peer()]))
    titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["torch: 3.00", "torch: 3.00", "jax.jit: 0.90"]
    one, *dots = (
        float(e.get("cx") or e.get("x1") or 0)
        for e in svg.iter()
        if e.get("fill-opacity") or (e.get("stroke") == "#000")
    )
    assert [dot > one for dot in dots] == [True, True, False]


def test_different_numbers_are_noticed() -> None:
    ours = {"losses": np.array([1.0, 0.5])}
    assert differences({"graphc": ours, "torch": {"losses": np.array([1.0, 0.50001])}}) == []
    assert differences({"graphc": ours, "torch": {"losses": np.array([1.0, 0.501])}}) == [
        "torch: losses differ by 0.001"
    ]
    assert len(differences({"graphc": ours, "torch": {"losses": np.array([np.nan, 0.5])}})) == 1
    assert len(differences({"graphc": ours, "torch": {"losses": np.array([0.5])}})) == 1


def test_frameworks_without_training_are_compared_by_their_logits() -> None:
    ours = {"logits": np.array([1.0]), "losses": np.array([1.0])}
    assert differences({"graphc": ours, "onnxruntime": {"logits": np.array([1.0])}}) == []
    assert differences({"graphc": ours, "onnxruntime": {"logits": np.array([1.1])}}) == [
        "onnxruntime: logits differ by 0.1"
    ]
    assert len(differences({"graphc": ours, "torch": {"losses": np.array([1.0])}})) == 1
    assert len(differences({"graphc": ours, "onnxruntime": {}})) == 1


def test_disturbance_is_what_others_used() -> None:
    before, after = Usage(total=100, busy=50), Usage(total=110, busy=56)
    assert disturbance(before, after, own=5) == pytest.approx(0.1)
    assert disturbance(before, after, own=7) == 0
    assert disturbance(None, after) == 0


def test_every_framework_gets_the_same_batches() -> None:
    first, again = batches(TASKS["lenet1"]), batches(TASKS["lenet1"])
    for (x, y), (x_again, y_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(first[0][0], first[1][0])


def test_operations_are_counted_from_the_layers() -> None:
    # the images of a block in the middle of a network need a gradient, those of a whole network do not
    assert sum(multiply_adds(NETWORKS["lenet5"])) == 6 * 25 * 784 + 16 * 150 * 100 + 400 * 120 + 120 * 84 + 840
    per_stage = 16 * 27 * 1024 + 6 * 16 * 144 * 1024, (32 * 144 + 5 * 32 * 288) * 256, (64 * 288 + 5 * 64 * 576) * 64
    assert sum(multiply_adds(NETWORKS["resnet20"])) == sum(per_stage) + 640
    block, lenet = TASKS["convblock8"].flops, TASKS["lenet1"].flops
    assert block["infer"] == 2 * 8 * 2 * 64 * 576 * 56 * 56
    assert block["train"] == 3 * block["infer"]
    assert lenet["train"] == 3 * lenet["infer"] - 2 * 6 * 25 * 784


def test_residual_networks_have_their_size() -> None:
    # He et al. (2015), table 6, say 0.27 million for 20 layers
    trained = {n: v for n, v in parameters(NETWORKS["resnet20"]).items() if n.rpartition(".")[2] not in BUFFERS}
    assert sum(v.size for v in trained.values()) == 269_722


def test_parameters_are_paired_by_kind_order_and_shape() -> None:
    class Parameter:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

    ours: dict[str, Any] = {"a.bias": Parameter(3), "a.weight": Parameter(3, 2), "z.weight": Parameter(5, 3)}
    zeros: dict[str, Array] = {"first.weight": np.zeros((3, 2)), "first.bias": np.zeros(3)}
    assert paired(ours, zeros) == {"first.weight": ours["a.weight"], "first.bias": ours["a.bias"]}
    with pytest.raises(ValueError, match=r"no parameter for second.weight \(4, 3\)"):
        paired(ours, zeros | {"second.weight": np.zeros((4, 3))})


def test_graphc_computes_what_the_description_says() -> None:
    task = TASKS["tiny1"]
    given = parameters(task.network)
    (x, y), *_ = batches(task)
    results, seconds = check(Contender(task, given, 1))
    weight, bias = given["output.weight"].astype(np.float64), given["output.bias"].astype(np.float64)
    logits = x.reshape(1, 4) @ weight.T + bias
    np.testing.assert_allclose(results["logits"], logits, rtol=1e-5, atol=1e-6)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert results["losses"][0] == pytest.approx(-np.log(probabilities[0, y[0]]), rel=1e-5)
    assert results["losses"].shape == (5,)
    moved = np.abs(results["parameter output.bias"] - bias).max()
    assert 0 < moved < 5 * 5 * LEARNING_RATE
    assert seconds.keys() == {"train", "infer"}


def test_a_worker_answers_and_reports_failures(tmp_path: Path) -> None:
    worker = Worker("graphc", 1, str(tmp_path))
    try:
        assert worker.answer()["version"].startswith("graphc ")
        with pytest.raises(Failure, match="KeyError: 'unknown'"):
            worker.build(replace(TASKS["tiny1"], name="unknown"))
        assert worker.build(TASKS["tiny1"]) == ("train", "infer")
    finally:
        worker.close()


def test_every_peer_has_a_module() -> None:
    folder = Path(__file__).parents[1] / "benchmarks" / "frameworks"
    assert {f"{module}.py" for module, _ in FRAMEWORKS.values()} == {p.name for p in folder.glob("*.py")}


def test_a_burst_times_every_call() -> None:
    calls: list[int] = []
    result = burst(calls.append, 0.01)
    assert 3 <= result["calls"] < len(calls)
    assert 0 < result["fastest"] <= result["median"]
    assert calls[:6] == [0, 1, 2, 3, 0, 1]


def test_writing_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    write(page, "x", "new")
    assert page.read_text("utf-8") == "a\n<!-- x -->\nnew\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="needs <!-- y -->"):
        write(page, "y", "new")
