"""Stretches: where threads wait for each other."""

from __future__ import annotations

import graphc as gc
from graphc.dsl.trace import trace
from graphc.schedule.stretches import stretches
from tests import convolutions
from tests.loops.steps import lowered
from tests.native import with_gradients
from tests.networks import Network


def test_chains_whose_scratch_differs_in_size_wait_for_each_other() -> None:
    """Where a thread's part of scratch lies depends on its size: another chain's part may overlap it."""
    kernel, same = ((2, 2), (1, 1), "same", (1, 1), False), (("relu",), ("batch_norm", False))
    network = Network((gc.BATCH, 19, 3, 3), (("tanh",), ("conv", 19, *kernel), *same, ("conv", 9, *kernel)))
    graph = with_gradients(trace(network.build()).graph)
    program = lowered(convolutions.in_tiles(graph, (2, 2)))["assign_buffers"]
    scratch = {m.name: m for m in program.memories if m.role == "scratch"}
    seen: dict[tuple[int, int], set[object]] = {}
    for unit, stretch in zip(program.units, stretches(program), strict=True):
        for name in (n for kernel in unit for n in kernel.writes if n in scratch):
            memory = scratch[name]
            size = memory.value.type.dtype, memory.layout.shape(memory.value.type)
            seen.setdefault((memory.slot, stretch), set()).add(size)
    assert len({slot for slot, _ in seen}) < len(scratch)  # chains do take turns
    assert len({size for sizes in seen.values() for size in sizes}) > 2
    assert all(len(sizes) == 1 for sizes in seen.values())
