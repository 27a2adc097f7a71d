"""The examples run and reach what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, cwd=EXAMPLES.parent, check=False,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {"train_digits", "own_operator", "two_outputs", "network"}


def test_digits() -> None:
    out = run("examples/train_digits.py")
    assert float(re.search(r"held out: ([\d.]+)%", out)[1]) >= 97


def test_an_own_operator_finds_its_parameter() -> None:
    out = run("examples/own_operator.py")
    assert "sigmoid" in out
    assert float(re.findall(r"beta ([\d.]+)", out)[-1]) == pytest.approx(1.7, abs=0.05)


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
