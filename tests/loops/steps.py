"""A graph as a step of loops, run by the interpreter of Loop IR with every memory access checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.codegen.target import host
from graphc.graph.ir import Graph
from graphc.loops.interpreter import run_step
from graphc.loops.ir import Step
from graphc.passes import History, run
from graphc.pipeline import SIMPLE, STABLE, lowering_passes, verify
from graphc.schedule.arrange import aligned, arrange, physical_shape, restore
from graphc.schedule.program import Program
from graphc.target import Target

Array = np.ndarray
STAGES = ("lower", "vectorise", "unroll", "expand_transcendentals", "interleave")


def lowered(graph: Graph, target: Target | None = None) -> History:
    """The stages of lowering, up to the last one on loops."""
    target, history = target or host(), History()
    passes = (*STABLE, *SIMPLE, *lowering_passes(target))
    run(passes, graph, verify, (history,), stop_after="interleave")
    return history


def interpret_step(
    step: Step, program: Program, graph: Graph, inputs: Mapping[str, Array], parameters: Mapping[str, Array],
    batch: int, threads: int = 1,
) -> list[Array]:  # fmt: skip
    """The outputs of a step. Working memory without a border holds NaN at first."""
    memory: dict[str, Any] = {}
    names = {v.name for v in graph.inputs}
    for m in program.memories:
        type = m.value.type
        if m.name in names:
            memory[m.name] = np.array(inputs[m.name], type.dtype.numpy)
        elif m.role == "parameter":
            memory[m.name] = arrange(np.asarray(parameters[m.name]), m.layout, type)
        else:
            memory[m.name] = aligned(physical_shape(m.layout, type, batch), type.dtype.numpy)
            if not m.layout.has_halo:
                memory[m.name][...] = np.nan if type.dtype.is_float else 1 << 20
    assert run_step(step, memory, batch, threads)
    memories = {m.name: m for m in program.memories}
    return [restore(memory[name], memories[name].layout, memories[name].value.type, batch) for name in program.outputs]
