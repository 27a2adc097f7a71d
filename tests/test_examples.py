"""The examples run and reach what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.errors import DataError
from graphc.train.data import load

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, cwd=EXAMPLES.parent, check=False,
        # the numbers are those of any number of threads; one does not wait for cores that other tests use
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "GRAPHC_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def percentages(start: str, out: str) -> list[float]:
    """The numbers in front of % behind the text that starts a line."""
    (line,) = [line for line in out.splitlines() if line.startswith(start)]
    return [float(x) for x in re.findall(r"([\d.]+)%", line.removeprefix(start))]


def test_every_example_is_run_here() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {
        "train_digits", "own_operator", "two_outputs", "network", "sequence", "vision_transformer", "gradient_penalty",
        "own_optimizer",
        "fine_tuning", "several_losses", "fashion_mnist",
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_fits_on_a_screen(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 60


@pytest.mark.parametrize(("example", "least"), [("train_digits", 97), ("sequence", 97), ("vision_transformer", 93)])
def test_digits(example: str, least: float) -> None:
    out = run(f"examples/{example}.py")
    (held_out,) = percentages("accuracy on 599 images that were held out", out)
    assert held_out >= least
    if example == "vision_transformer":  # blind for places it would lose nothing
        (moved,) = percentages("with the same patches in other places", out)
        assert moved < 50


def test_fashion_mnist_in_reduced_form() -> None:
    try:
        load("fashion-mnist")
    except DataError as missing:
        pytest.skip(str(missing))
    arguments = "lenet5", "--validate", "--images", "12800", "--epochs", "2"
    (found,) = re.findall(r"on 6000 images: ([\d.]+)%", run("examples/fashion_mnist.py", *arguments))
    assert float(found) > 82


def test_a_gradient_penalty_helps_against_attacks() -> None:
    out = run("examples/gradient_penalty.py")
    before, attacked_before = percentages("penalty 0.0  held out", out)
    after, attacked_after = percentages("penalty 0.3  held out", out)
    assert min(before, after) > 95
    assert attacked_after > attacked_before + 10


def test_what_was_learnt_from_other_digits_helps_where_labels_are_few() -> None:
    out = run("examples/fine_tuning.py")
    runs = [line for line in out.splitlines() if line.startswith("20 labels")]
    assert len(runs) == 3
    for line in runs:
        scratch, new_head, fine_tuned = percentages("20 labels: from scratch", line)
        assert min(new_head, fine_tuned) > scratch + 5
    assert "transferred: conv1.weight, conv1.bias, conv2.weight" in out


def test_the_weight_of_a_loss_decides_what_is_learnt() -> None:
    out = run("examples/several_losses.py")
    scores = re.findall(r"weight +([\d.]+)  accuracy ([\d.]+)%  squared error of a pixel ([\d.]+)", out)
    errors = {float(weight): float(error) for weight, _, error in scores}
    named = {float(weight): float(accuracy) for weight, accuracy, _ in scores}
    assert errors[1.0] < errors[0.1] < errors[0.0] / 3
    assert min(named[0.0], named[0.1], named[1.0]) > 95
    assert named[10.0] < named[1.0]


def test_an_own_operator_finds_its_parameter() -> None:
    out = run("examples/own_operator.py")
    assert "sigmoid" in out
    assert float(re.findall(r"beta ([\d.]+)", out)[-1]) == pytest.approx(1.7, abs=0.05)


def test_an_own_optimizer_trains() -> None:
    out = run("examples/own_optimizer.py")
    assert "output.bias/mean" in out
    assert percentages("accuracy on 599 images that were held out", out)[0] >= 91


def test_two_outputs_learn_both() -> None:
    out = run("examples/two_outputs.py")
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", out)]
    assert losses[-1] < 0.5 * losses[0]
    same, different = map(float, re.findall(r"[01]\.\d{3}", out.splitlines()[-1]))
    assert same > 0.9
    assert different < 0.1


def test_a_network_of_a_file() -> None:
    out = run("-c", "from graphc.cli import main; main()", "train", "examples/network.py", "--epochs", "3")
    assert float(re.search(r"held-out accuracy ([\d.]+)%", out)[1]) > 85
