"""Every stage of the two paths, for a small network, as golden text; nothing is executed, so the target is fixed."""

from __future__ import annotations

import pytest

import graphc as gc
from graphc.passes import History, run
from graphc.pipeline import inference_passes, training_passes, verify
from graphc.study.dump import program_text
from graphc.target import AVX2

STAGES = [p.name for p in training_passes(gc.SGD(0.1, momentum=0.9), ["w"], AVX2)]
PATH_OF_INFERENCE = [p.name for p in inference_passes(AVX2)]


@pytest.fixture(scope="module")
def network() -> gc.trace:
    """softmax cross-entropy of relu(W·x + b) with a penalty: contraction, epilogue, reductions, in-place updates."""
    x = gc.input("x", (gc.BATCH, 5))
    labels = gc.input("labels", (gc.BATCH,), "int32")
    w = gc.Parameter("w", (3, 5), "xavier")
    b = gc.Parameter("b", (3,), "zeros")
    logits = gc.relu(gc.linear(x, w, b))
    loss = gc.cross_entropy(logits, labels) + 0.5 * gc.l2_penalty(w)
    return gc.trace({"loss": loss}), gc.trace({"probabilities": gc.softmax(logits)})


@pytest.fixture(scope="module")
def training(network) -> History:
    history = History()
    passes = training_passes(gc.SGD(0.1, momentum=0.9), ["w", "b"], AVX2)
    run(passes, network[0].graph, verify, (history,))
    return history


@pytest.fixture(scope="module")
def inference(network) -> History:
    history = History()
    run(inference_passes(AVX2), network[1].graph, verify, (history,))
    return history


@pytest.mark.parametrize("stage", STAGES)
def test_training(stage: str, training: History, golden) -> None:
    assert without_lines(program_text(training[stage])) == golden


@pytest.mark.parametrize("stage", PATH_OF_INFERENCE)
def test_inference(stage: str, inference: History, golden) -> None:
    assert without_lines(program_text(inference[stage])) == golden


def test_a_pass_that_changes_nothing_returns_the_same_object(training: History) -> None:
    unchanged = [r for r in training.records if program_text(r.before) == program_text(r.after)]
    assert unchanged
    assert not any(r.changed for r in unchanged)


def without_lines(text: str) -> str:
    """The text without the comments that hold line numbers of this file."""
    return "\n".join(line.split("   # test_pipeline.py")[0] for line in text.splitlines()) + "\n"
