"""Transforms and chains in loops: every stage, every width of vector, means what the convolution means."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.codegen.target import AVX2, AVX512, GENERIC
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph
from graphc.target import Target
from tests.convolutions import arrays, in_tiles, training
from tests.loops.steps import STAGES, interpret_step, lowered

TARGETS = {target.name: target for target in (AVX512, AVX2, GENERIC)}

CASES = {
    "5x5, two blocks of lanes and a part of one": (training(3, 17, (5, 5)), (4, 4)),
    "7x7": (training(8, 9, (7, 7)), (4, 4)),
    "tiles of both sizes": (training(2, 8, (6, 9), rectified=True), (2, 4)),
    "14x3, no border": (training(8, 4, (14, 3), padding=0), (4, 2)),
    "a window of 2x5": (training(4, 8, (6, 7), (2, 5), 2), (3, 2)),
    "one axis": (training(8, 8, (3, 11), (1, 3), 1), (4, 4)),
    "a batch that is given": (training(4, 8, (4, 4), batch=3), (2, 2)),
}


def compared(graph: Graph, tiles: tuple[int, int], target: Target, stages: tuple[str, ...], threads: int) -> None:
    inputs, parameters = arrays(graph, 3)
    expected = interpret(graph, inputs, parameters, 3).outputs
    tiled = in_tiles(graph, tiles)
    history = lowered(tiled, target)
    program = history["assign_buffers"]
    assert any(kernel.chain for kernel in program.kernels)
    for stage in stages:
        got = interpret_step(history[stage], program, tiled, inputs, parameters, 3, threads)
        for value, a, b in zip(graph.outputs, got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max(), err_msg=f"{stage}: {value}")


@pytest.mark.parametrize("name", CASES)
def test_the_last_stage_computes_the_same(name: str) -> None:
    """No access leaves its buffer, nothing reads scratch that was never written, values and gradients are right."""
    graph, tiles = CASES[name]
    compared(graph, tiles, AVX512, STAGES[-1:], threads=2)


@pytest.mark.parametrize("target", TARGETS)
def test_every_stage_computes_the_same(target: str) -> None:
    compared(training(3, 5, (5, 4)), (4, 2), TARGETS[target], STAGES, threads=1)


def loops(graph: Graph, tiles: tuple[int, int], target: Target) -> list[str]:
    """The functions of a convolution's chain and of its gradients'."""
    history = lowered(in_tiles(graph, tiles), target)
    step = history["lower"]
    chained = {unit[-1].name for unit in history["assign_buffers"].units if unit[0].chain}
    assert chained
    return [str(function) for function in step.functions if "_block" in str(function)]


def test_long_sums_are_totalled_in_runs() -> None:
    """A product with 20 channels sums 8, 8 and 4 of them in registers of their own."""
    forward = loops(training(20, 8, (4, 4)), (2, 2), AVX2)[0]
    assert "for c_r in 0..20 by 8:" in forward
    assert "for c in c_r..min(c_r+8, 20):" in forward
    assert "run:" not in loops(training(8, 8, (4, 4)), (2, 2), AVX2)[0]


def test_a_chain_in_loops(golden) -> None:
    """Transform, product and transform of one block, F(2, 3) along one axis, on the plainest processor."""
    assert loops(training(2, 2, (1, 4), (1, 3)), (2, 2), GENERIC)[0] == golden
