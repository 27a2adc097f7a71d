"""Chains: which kernels form one, how their blocks and their scratch are laid out, and that their numbers are right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.target import AVX512, TARGETS, runs_here
from graphc.dsl.parameter import Parameter
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Value
from graphc.ops.operator import OPERATORS
from graphc.pipeline import _Scheduled
from graphc.schedule.buffers import assign_buffers
from graphc.schedule.chains import FEW_PARTS, PARTS, form_chains
from graphc.schedule.layout import plan_layouts
from graphc.schedule.program import Chain, Program, Walk
from graphc.target import Target
from graphc.types import BATCH
from tests.convolutions import arrays, in_tiles, training
from tests.native import Native
from tests.schedule.build import graph_of

TILES = (4, 4)


def chained(graph: Graph, target: Target = AVX512) -> tuple[Any, ...]:
    """The kernels of a graph after chains have been formed."""
    fused = _Scheduled.of(graph)
    return form_chains(fused.kernels, fused.lasting, target)


def chains(graph: Graph, target: Target = AVX512) -> list[Chain]:
    return list(dict.fromkeys(k.chain for k in chained(graph, target) if k.chain))


def laid_out(graph: Graph, target: Target = AVX512) -> Program:
    return assign_buffers(plan_layouts(graph, chained(graph, target), target))


# ----------------------------------------------------------------------------------------- what forms a chain


def test_a_convolution_and_its_gradients() -> None:
    """Forward and by the images: transform, product, transform. By the filter: two transforms, partial products."""
    kernels = chained(in_tiles(training(16, 32, (8, 8), rectified=True), TILES))
    formed = [[k for k in kernels if k.chain == c] for c in dict.fromkeys(k.chain for k in kernels if k.chain)]
    assert sorted(len(members) for members in formed) == [3, 3, 3]
    assert [c.parts for c in dict.fromkeys(k.chain for k in kernels if k.chain)].count(0) == 2
    for members in formed:
        first = kernels.index(members[0])
        assert kernels[first : first + 3] == tuple(members)
    forward = formed[0][-1]
    assert len(forward.stages) > 1, "the rectifier is computed in the tiles of the result"


def held(name: str, *shape: int) -> Parameter:
    parameter = Parameter(name, shape, dtype="float64")
    parameter.value = np.random.default_rng(0).normal(size=shape)
    return parameter


def convolution(*size: int, channels: int = 8, features: int = 8, weight: Any = None) -> gc.Tensor:
    """A convolution without bias over images of a size."""
    images = gc.input("x", (gc.BATCH, channels, *size), "float64")
    return gc.conv2d(images, weight if weight is not None else held("w", features, channels, 3, 3), padding=1)


def tiled(*outputs: gc.Tensor) -> Graph:
    return in_tiles(graph_of(*outputs), TILES)


def value_of(graph: Graph, operator: str) -> Value:
    return next(n.output for n in graph.nodes if n.operator == f"winograd.{operator}")


def test_filters_are_transformed_outside() -> None:
    """The transformed filter is the same for all blocks, so it is no part of the chain."""
    kernels = chained(tiled(convolution(8, 8)))
    assert [k.reads for k in kernels if k.chain is None] == [("w",)]


def test_computed_filters_are_transformed_outside_too() -> None:
    kernels = chained(tiled(convolution(8, 8, weight=gc.input("w", (8, 8, 3, 3), "float64"))))
    assert [k.chain is None for k in kernels] == [True, False, False, False]
    assert kernels[0].reads == ("w",)


@pytest.mark.parametrize("operator", ["data", "product"])
def test_what_is_returned_goes_through_memory(operator: str) -> None:
    graph = tiled(convolution(8, 8))
    assert len(chains(graph)) == 1
    assert chains(replace(graph, outputs=(*graph.outputs, value_of(graph, operator)))) == []


@pytest.mark.parametrize("operator", ["data", "product"])
def test_what_is_read_twice_goes_through_memory(operator: str) -> None:
    graph = tiled(convolution(8, 8))
    builder = Builder(graph)
    again = builder.apply(OPERATORS["sum"], (value_of(graph, operator),))
    assert chains(builder.graph((*graph.outputs, again))) == []


def test_transforms_of_parameters_stay_in_front_of_updates() -> None:
    """Images that are a parameter may be overwritten before the chain would read them."""
    images = held("x", 4, 8, 8, 8)
    assert chains(tiled(gc.conv2d(images, held("w", 8, 8, 3, 3), padding=1))) == []


@gc.op
def gram(A: Any, B: Any) -> Any:
    """Σ over samples and pixels of products of channels."""
    n, i, j, y, x = gc.axes("n i j y x")
    return gc.Sum(A[n, i, y, x] * B[n, j, y, x], over=(n, y, x))


def test_results_of_chains_make_no_further_chain() -> None:
    """A product of two convolutions looks like one of two transforms, but their tiles are in two chains already."""
    images = gc.input("x", (gc.BATCH, 8, 8, 8), "float64")
    first, second = (gc.conv2d(images, held(name, 8, 8, 3, 3), padding=1) for name in "vw")
    graph = tiled(gram(first, second))
    assert [len([k for k in chained(graph) if k.chain == c]) for c in chains(graph)] == [3, 3]


def test_other_products_form_none() -> None:
    graph = training(8, 8, (8, 8))
    assert chained(graph) == _Scheduled.of(graph).kernels


# ------------------------------------------------------------------------------------------ blocks and scratch


def test_blocks_of_small_images_are_samples() -> None:
    (chain,) = chains(tiled(convolution(8, 8)))
    assert chain.walks == (Walk("n", BATCH, 4),), "16 tiles, 4 of each image"
    (chain,) = chains(tiled(convolution(24, 24)))
    assert chain.walks == (Walk("n", BATCH, 1),)


def test_blocks_of_large_images_are_rows_of_tiles() -> None:
    (chain,) = chains(tiled(convolution(128, 128, channels=64, features=64)), replace(AVX512, l2=1 << 20))
    sample, rows = chain.walks
    assert (sample.axis, sample.block) == ("n", 1)
    assert (rows.axis, rows.extent) == ("t", 32)
    assert 32 % rows.block == 0
    assert 36 * rows.block * 32 * (64 + 64) * 8 <= 1 << 19 or rows.block == 1


def test_a_given_batch_is_not_exceeded() -> None:
    (chain, *_) = chains(in_tiles(training(8, 8, (8, 8), batch=3), TILES))
    assert chain.walks == (Walk("n", 3, 3),)


def test_parts_do_not_depend_on_threads_and_are_few_for_large_sums() -> None:
    def parts(channels: int) -> int:
        return max(c.parts for c in chains(in_tiles(training(channels, channels, (8, 8)), TILES)))

    assert parts(8) == PARTS
    assert parts(256) == FEW_PARTS


def test_scratch_holds_one_block_with_planes_outermost() -> None:
    program = laid_out(tiled(convolution(8, 8)))
    passed = [m for m in program.memories if m.role == "scratch"]
    assert [m.value.type.shape for m in passed] == [(6, 6, 4, 2, 2, 8)] * 2
    # 16 tiles of 8 numbers are 1024 bytes, so that planes would share sets of the first cache
    assert [m.layout.shape(m.value.type) for m in passed] == [(6, 6, 4, 2, 3, 8)] * 2


def test_what_a_chain_reads_lives_until_its_end() -> None:
    """All blocks read the images: nothing that the chain writes may lie where they are."""
    program = laid_out(in_tiles(training(16, 16, (8, 8), rectified=True), TILES))
    for unit in program.units:
        if unit[0].chain:
            touched = {name for k in unit for name in (*k.reads, *k.writes)}
            slots = [program.memory(n).slot for n in touched if program.memory(n).slot >= 0]
            assert len(set(slots)) == len(slots)
    scratch = {m.slot for m in program.memories if m.role == "scratch"}
    assert scratch.isdisjoint(m.slot for m in program.memories if m.role != "scratch")


# ----------------------------------------------------------------------------------------------------- numbers


def assert_right(graph: Graph, tiles: tuple[int, int], batches: tuple[int, ...]) -> None:
    """As the interpreter computes the direct form, for 1, 2 and 3 threads with the same bits, whatever scratch held."""
    native = Native(in_tiles(graph, tiles))
    assert any(k.chain for k in native.program.kernels)
    for batch in batches:
        inputs, parameters = arrays(graph, batch)
        first = native(inputs, parameters, batch)
        native.poison()
        for threads in (1, 2, 3):
            for a, b in zip(first, native(inputs, parameters, batch, threads), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{batch} samples, {threads} threads")
        for a, b in zip(first, interpret(graph, inputs, parameters, batch).outputs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max(), err_msg=f"{batch} samples")


def test_any_batch() -> None:
    assert_right(training(8, 16, (7, 7), rectified=True), (4, 4), (64, 1, 3, 5))


@pytest.mark.parametrize("target", ["avx512", "avx2", "generic"])
def test_every_width_of_vectors(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not runs_here(TARGETS[target]):
        pytest.skip(f"no {target} here")
    monkeypatch.setenv("GRAPHC_TARGET", target)
    assert_right(training(5, 9, (6, 10)), (4, 2), (2,))


def test_fewer_channels_than_lanes() -> None:
    assert_right(training(1, 20, (2, 6), (1, 4), 0), (4, 2), (2,))


def test_more_channels_than_a_run() -> None:
    assert_right(training(35, 8, (4, 4)), (4, 4), (2,))


def test_large_images() -> None:
    assert_right(training(24, 24, (52, 40)), (4, 4), (2,))


def residual_loss() -> gc.Tensor:
    """A block whose convolutions end in additions and rectifiers."""
    images, targets = (gc.input(name, (gc.BATCH, 8, 8, 8), "float64") for name in ("x", "y"))
    hidden = gc.relu(gc.conv2d(images, held("v", 8, 8, 3, 3), padding=1))
    return gc.mse_loss(gc.relu(gc.conv2d(hidden, held("w", 8, 8, 3, 3), padding=1) + images), targets)


def test_residual_training_steps() -> None:
    """Epilogues, and filters that are updated in place at the end of their chains, are those of the direct form."""
    random = np.random.default_rng(3)
    batch = {name: random.normal(size=(5, 8, 8, 8)) for name in "xy"}
    losses = {}
    for policy in ("off", "fast"):
        program = gc.compile_training(residual_loss(), optimizer=gc.SGD(0.5, momentum=0.9), winograd=policy, threads=2)
        assert ("chain" in program.text("kernels")) == (policy == "fast")
        losses[policy] = [program.step(**batch)["loss"] for _ in range(5)]
    np.testing.assert_allclose(losses["fast"], losses["off"], rtol=1e-10)
    assert losses["fast"][-1] < losses["fast"][0]
