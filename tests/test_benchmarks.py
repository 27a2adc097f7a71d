"""The benchmarks' arithmetic: what they report must follow from what they measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import Row, differences
from benchmarks.machine import Usage, disturbance
from benchmarks.report import table, write
from benchmarks.tasks import TASKS, batches
from benchmarks.worker import burst


def row() -> Row:
    """Three rounds in which graphc takes 1, 2 and 4 ms and torch twice, three and five times as long."""
    row = Row(TASKS["mlp64"], "train", 2, 0.5)
    for ours, times in ((1e-3, 2), (2e-3, 3), (4e-3, 5)):
        row.add("graphc", {"median": ours, "fastest": ours / 2})
        row.add("torch", {"median": ours * times, "fastest": ours})
    return row


def test_the_ratio_is_the_median_over_pairs() -> None:
    assert row().ratio == pytest.approx(3)
    assert row().ratio_of_fastest == pytest.approx(2)


def test_the_ratio_is_that_of_the_faster_torch() -> None:
    both = row()
    for ours in (1e-3, 2e-3, 4e-3):
        both.add("torch channels_last", {"median": 1.5 * ours, "fastest": ours})
    assert both.ratio == pytest.approx(1.5)


def test_the_table_shows_milliseconds_and_gflops() -> None:
    *_, line = table([row()]).splitlines()
    assert "| 2.000 (0.500) | 6.000 (1.000) | **3.00** (2.00) |" in line
    flops = 3 * 2 * 64 * (784 * 512 + 512 * 256 + 256 * 10)
    assert f"| {flops / 2e-3 / 1e9:.0f} | 0.50 s |" in line


def test_different_numbers_are_noticed() -> None:
    ours = {"losses": np.array([1.0, 0.5])}
    assert differences({"graphc": ours, "torch": {"losses": np.array([1.0, 0.50001])}}) == []
    assert differences({"graphc": ours, "torch": {"losses": np.array([1.0, 0.501])}}) == [
        "torch: losses differ by 0.001"
    ]
    assert len(differences({"graphc": ours, "torch": {"losses": np.array([np.nan, 0.5])}})) == 1
    assert len(differences({"graphc": ours, "torch": {}})) == 1


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


def test_a_burst_times_every_call() -> None:
    calls: list[None] = []
    result = burst(lambda: calls.append(None), 0.01)
    assert 3 <= result["calls"] < len(calls)
    assert 0 < result["fastest"] <= result["median"]


def test_writing_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    write(page, "x", "new")
    assert page.read_text("utf-8") == "a\n<!-- x -->\nnew\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="needs <!-- y -->"):
        write(page, "y", "new")
