"""Lanes: which axis lies along them when the channels are too few, and what follows for layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.ops.convolution import conv2d
from graphc.ops.operator import Operator, Sample
from graphc.ops.pooling import max_pool2d
from graphc.passes import run
from graphc.pipeline import lowering_passes, verify
from graphc.schedule.program import Kernel, Program
from graphc.schedule.tiling import choose_tile
from graphc.target import AVX512
from graphc.types import DType
from tests.native import application, assert_native, draw, with_gradients
from tests.schedule.build import graph_of


def scheduled(*outputs: Any) -> Program:
    """The program of some tensors for 16 lanes."""
    stages = lowering_passes(AVX512, "off")
    return run(stages, graph_of(*outputs), verify, (), "assign_buffers")


def layer(program: Program, name: str) -> Kernel:
    return next(k for k in program.kernels if k.scope.startswith(name))


def network(channels: int) -> Program:
    images = gc.input("images", (gc.BATCH, 1, 28, 28))
    return scheduled(
        gc.Sequential(gc.Conv2d(channels, 5, padding=2, name="conv"), gc.MaxPool2d(2, name="pool"))(images)
    )


@pytest.mark.parametrize(("channels", "lane"), [(6, "x"), (7, "x"), (8, "k"), (16, "k"), (24, "k")])
def test_lanes_are_pixels_when_channels_leave_most_of_them_idle(channels: int, lane: str) -> None:
    assert layer(network(channels), "conv").lane == lane


def test_pooling_follows_the_pixels() -> None:
    assert layer(network(6), "pool").lane == "x"
    assert layer(network(16), "pool").lane == "c"


def test_the_border_covers_idle_lanes() -> None:
    copy = next(m for m in network(6).memories if m.name == "images.halo")
    # 28 pixels in 2 vectors of 16 lanes under a window of 5: 32 + 4 elements may be read
    assert copy.layout.shape(copy.value.type)[-1] >= 36


def test_few_results_of_a_long_product_are_summed_along_the_lanes() -> None:
    program = scheduled(gc.Dense(2, name="dense")(gc.input("x", (gc.BATCH, 64))))
    dense = layer(program, "dense")
    assert dense.lane == "i"
    assert dense.lane_reduces
    assert choose_tile(dense, AVX512).rows == 2


FEW = Sample(((2, 2, 9, 17), (3, 2, 3, 3)), {"padding": 1})
SHORT = Sample(((2, 1, 6, 40), (2, 1, 3, 5)), {})
WINDOWS = Sample(((2, 3, 6, 36),), {"kernel_size": 2})


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64])
@pytest.mark.parametrize(
    ("operator", "sample"), [(conv2d, FEW), (conv2d, SHORT), (max_pool2d, WINDOWS)], ids=["few", "short", "windows"]
)
def test_pixels_along_lanes_compute_the_same(operator: Operator, sample: Sample, dtype: DType) -> None:
    """Values and gradients, against the interpreter."""
    graph, arrays = application(operator, sample, dtype)
    graph = with_gradients(graph)
    arrays["cotangent"] = draw(graph.inputs[-1].type, 1, seed=1)
    single = dtype is DType.FLOAT32
    assert_native(graph, arrays, rtol=2e-5 if single else 1e-12, atol=2e-5 if single else 1e-13)


def test_idle_lanes_of_a_sum_take_no_part() -> None:
    """Behind the last element of a row stands the next row, which is infinite."""
    program = gc.compile_inference(gc.Dense(2, name="dense")(gc.input("x", (gc.BATCH, 20))))
    values = np.ones((4, 20), np.float32)
    values[1] = np.inf
    np.testing.assert_array_equal(np.isfinite(program(x=values)).all(1), [True, False, True, True])
