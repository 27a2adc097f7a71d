"""Graphs and operators as native code, for comparison with the interpreter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.autodiff.backward import gradients
from graphc.codegen.target import host
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Value
from graphc.graph.verifier import verify as verify_graph
from graphc.ops.operator import Operator, Sample
from graphc.passes import History, run
from graphc.pipeline import SIMPLE, STABLE, lowering_passes, verify
from graphc.runtime.executable import Executable
from graphc.runtime.jit import compile_ir
from graphc.schedule.arrange import arrange, interior
from graphc.types import DType, TensorType

Array = np.ndarray
Arrays = Mapping[str, Array]


class Native:
    """A graph compiled by the stages that training and inference share; inputs and parameters go by name."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.history, target = graph, History(), host()
        text = run((*STABLE, *SIMPLE, *lowering_passes(target)), graph, verify, (self.history,))
        self.program, self.step = self.history["assign_buffers"], self.history["expand_transcendentals"]
        self.executable = Executable(self.program, self.step, compile_ir(text, target))

    def __call__(
        self, inputs: Arrays, parameters: Arrays | None = None, batch: int = 1, threads: int = 1
    ) -> list[Array]:
        """The outputs in order."""
        outputs, _ = self.run(inputs, parameters, batch, threads)
        return outputs

    def run(
        self, inputs: Arrays, parameters: Arrays | None = None, batch: int = 1, threads: int = 1
    ) -> tuple[list[Array], dict[str, Array]]:
        """The outputs in order, and the parameters afterwards."""
        held = {m.name: m for m in self.program.memories if m.role == "parameter"}
        for name, memory in held.items():
            physical = arrange(np.asarray((parameters or {})[name]), memory.layout, memory.value.type)
            self.executable.bind(name, physical)
        given = {v.name: np.ascontiguousarray(inputs[v.name], dtype=v.type.dtype.numpy) for v in self.graph.inputs}
        self.executable.run(given, batch, threads)
        self._check_memory(batch)
        outputs = []
        for name in self.program.outputs:
            outputs.append(given[name] if name in given else self.executable.output(name, batch))
        return outputs, {name: self.executable.output(name, batch) for name in held}

    def _check_memory(self, batch: int) -> None:
        """Nothing was stored between the slots of the arena, nor in the borders of zeros."""
        executable = self.executable
        capacity = executable._capacity
        unused = np.ones(len(executable._arena), bool)
        for m in self.program.memories:
            if m.slot >= 0:
                start = executable._offsets[m.name]
                unused[start : start + executable._bytes(m, capacity)] = False
        assert not executable._arena[unused].any(), "stored behind a slot"
        for m in self.program.memories:
            if m.slot >= 0 and m.layout.has_halo and m.role == "temporary" and m.life is None:
                view = executable._view(m, batch).copy()
                interior(view, m.layout, m.value.type, batch)[...] = 0
                innermost = m.layout.order[-1]
                if m.layout.halo[innermost] == (0, 0):  # padding behind a row without border is never read
                    view[..., m.value.type.concrete(batch)[innermost] :] = 0
                assert not view.any(), f"stored in the border of {m.name}"

    def poison(self) -> None:
        """NaN into all working memory whose borders of zeros do not last: nothing may depend on what was there."""
        executable = self.executable
        bordered = {m.slot for m in self.program.memories if m.layout.has_halo and m.life is None}
        for memory in self.program.memories:
            if memory.slot >= 0 and memory.slot not in bordered:
                view = executable._view(memory, executable._capacity)
                view[...] = np.nan if view.dtype.kind == "f" else 1 << 20


def application(
    operator: Operator, sample: Sample, dtype: DType = DType.FLOAT64, batch: int | None = None, seed: int = 0
) -> tuple[Graph, dict[str, Array]]:
    """A graph of one operator on the tensors of a sample, with arrays; `batch` replaces equal first extents."""
    builder = Builder()
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    operands: list[Value] = []
    operator = operator.form(tuple(t is not None for t in sample.tensors))
    for name, tensor in zip(operator.tensors, (t for t in sample.tensors if t is not None), strict=True):
        integer = len(tensor) == 3 and tensor[0] == "int"
        shape = tuple(tensor[2] if integer else tensor)
        kind = DType.INT64 if integer else dtype
        operands.append(builder.input(name, TensorType(shape, kind)))
        if integer:
            arrays[name] = random.integers(0, tensor[1], shape)
        else:
            arrays[name] = random.uniform(*sample.domain, shape).astype(dtype.numpy)
    result = builder.apply(operator, operands, dict(sample.attributes))
    return builder.graph((result,)), arrays


def with_gradients(graph: Graph, output: Value | None = None) -> Graph:
    """The graph with a cotangent for one output and the gradients of Σ cotangent·output as further outputs."""
    output = graph.outputs[0] if output is None else output
    builder = Builder(graph)
    cotangent = builder.input("cotangent", output.type)
    wrt = tuple(v for v in (*graph.inputs, *graph.parameters) if v.type.dtype.is_float)
    extended, grads = gradients(builder.graph(graph.outputs), output, wrt, cotangent)
    full = Builder(extended).graph((*extended.outputs, *grads))
    verify_graph(full, "gradients")
    return full


def draw(type: TensorType, batch: int, seed: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Uniform random numbers of a type."""
    return np.random.default_rng(seed).uniform(low, high, type.concrete(batch)).astype(type.dtype.numpy)


def assert_native(
    graph: Graph, inputs: Arrays, parameters: Arrays | None = None, batch: int = 1, rtol: float = 1e-12,
    atol: float = 1e-13,
) -> list[Array]:  # fmt: skip
    """Native code and the interpreter agree on every output; returns the native ones."""
    got = Native(graph)(inputs, parameters, batch)
    expected = interpret(graph, inputs, parameters, batch).outputs
    for value, a, b in zip(graph.outputs, got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"output {value}")
    return got
