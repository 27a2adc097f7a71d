"""Compiled gradients as plain functions of arrays: what checks, tests and curious people call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from time import perf_counter
from typing import Any

import numpy.typing as npt

from graphc.autodiff.backward import gradients
from graphc.build import build
from graphc.codegen.target import host
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Input, Tensor
from graphc.dsl.trace import Traced, trace
from graphc.errors import DerivativeError, GraphError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph
from graphc.ops.structure import identity
from graphc.passes import Named
from graphc.pipeline import SIMPLE, STABLE, lowering_passes, verify
from graphc.programs import InferenceProgram
from graphc.runtime.threads import default_threads

Array = npt.NDArray[Any]
Several = Sequence[Tensor] | Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Gradients:
    """A compiled program: `outputs, gradients = program(x=x)`, the gradients by the names of the leaves."""

    program: InferenceProgram
    names: tuple[str, ...]
    wrt: tuple[str, ...]
    kind: type

    def __call__(self, **arrays: Any) -> tuple[Any, dict[str, Array]]:
        """The outputs, arranged as they were asked for, and the gradient for each leaf."""
        results = self.program(**arrays)
        outputs, found = results[: len(self.names)], results[len(self.names) :]
        grads = dict(zip(self.wrt, found, strict=True))
        if issubclass(self.kind, Mapping):
            return dict(zip(self.names, outputs, strict=True)), grads
        return (outputs[0] if issubclass(self.kind, Tensor) else outputs), grads


def compile_gradients(
    outputs: Tensor | Several,
    *,
    cotangents: Several | None = None,
    wrt: Sequence[Tensor] | None = None,
    threads: int | None = None,
) -> Gradients:
    """Compile Σ_k cotangent_k · ∂output_k/∂w for each w, together with the outputs, and no update.

    `wrt` are parameters and floating-point inputs, by default all trainable parameters. `cotangents` are
    tensors of the outputs' shapes, in order or by the outputs' names; a scalar output counts as it is without
    one. Raises DerivativeError for other outputs without a cotangent and for an integer w, GraphError for a w
    that is no leaf of the outputs. Layers compute as in a training step; running averages stay as they are.
    """
    named = named_tensors(outputs)
    asked = {**named, "": _pulled(named, named_tensors({} if cotangents is None else cotangents))}
    traced = trace(asked, training=True).without_updates()
    if wrt is None:
        wrt = [p for p in traced.parameters.values() if p.trainable]
    names = leaf_names(traced, wrt)
    program = compile_derivative(traced, lambda graph: _differentiate(graph, names), threads)
    return Gradients(program, tuple(named), names, type(outputs))


def compile_derivative(
    traced: Traced, differentiate: Callable[[Graph], Graph], threads: int | None = None
) -> InferenceProgram:
    """A program with the outputs that `differentiate` gives to the graph; it returns them as a tuple.

    The stages are those of training, without an update.
    """
    start, target = perf_counter(), host()
    for parameter in traced.parameters.values():
        parameter.initialise()
    rewrites = (*STABLE, *SIMPLE)
    passes = (
        *[Named(p.__name__, p) for p in rewrites],
        Named("differentiate", differentiate),
        *[Named(f"{p.__name__}_again", p) for p in rewrites],
        Named("copy_leaves", _copy_leaves),
        *lowering_passes(target),
    )
    compiled = build("gradients", traced.graph, passes, verify, target, start)
    return InferenceProgram(compiled, traced, tuple, threads or default_threads())


def named_tensors(tensors: Tensor | Several) -> dict[str, Tensor]:
    """Tensors by name: their own keys, or their positions."""
    if isinstance(tensors, Tensor):
        return {"0": tensors}
    if isinstance(tensors, Mapping):
        return dict(tensors)
    return {str(k): t for k, t in enumerate(tensors)}


def leaf_names(traced: Traced, wrt: Sequence[Tensor]) -> tuple[str, ...]:
    """The names of inputs and parameters. Raises GraphError for other tensors and for those that are not used."""
    leaves = {t.name: t for t in traced.values if isinstance(t, Input | Parameter)}
    for tensor in wrt:
        if leaves.get(getattr(tensor, "name", "")) is not tensor:
            raise GraphError(
                f"{tensor!r} is not an input or parameter of the outputs", location=tensor.location,
                hint=f"ask for gradients with respect to {', '.join(leaves)}",
            )  # fmt: skip
    return tuple(t.name for t in wrt if isinstance(t, Input | Parameter))


def _differentiate(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The gradients of the last output in its place."""
    leaves = {v.name: v for v in (*graph.inputs, *graph.parameters)}
    extended, found = gradients(graph, graph.outputs[-1], tuple(leaves[n] for n in names))
    return replace(extended, outputs=(*graph.outputs[:-1], *found))


def _copy_leaves(graph: Graph) -> Graph:
    """Results that are inputs or parameters as values of their own: a gradient can be a cotangent as it is."""
    leaves = [v for v in dict.fromkeys(graph.outputs) if v in graph.inputs or v in graph.parameters]
    if not leaves:
        return graph
    builder = Builder(graph)
    copies = {v: builder.node("copy", identity("x", v.type.shape), (v,), v.type) for v in leaves}
    return builder.graph([copies.get(v, v) for v in graph.outputs], graph.updates)


def _pulled(outputs: Mapping[str, Tensor], cotangents: Mapping[str, Tensor]) -> Tensor:
    """Σ_k Σ cotangent_k · output_k, whose gradients are the cotangents pulled back."""
    if not outputs:
        raise GraphError("there is nothing to differentiate: no outputs were given")
    for name in cotangents:
        if name not in outputs:
            known = ", ".join(outputs)
            raise GraphError(f"there is a cotangent {name} without an output", hint=f"outputs: {known}")
    terms = []
    for name, y in outputs.items():
        v = cotangents.get(name)
        if v is None and y.shape:
            raise DerivativeError(
                f"output {name} has shape {y.shape} and no cotangent", location=y.location, layer=y.scope,
                hint="reduce it with .mean() or .sum(), or give a cotangent of its shape",
            )  # fmt: skip
        if v is not None and v.type != y.type:
            raise DerivativeError(f"the cotangent of output {name} is {v.type}, expected {y.type}")
        if y.dtype.is_float:
            weighted = y if v is None else y * v
            terms.append(weighted.sum() if weighted.shape else weighted)
    if not terms:
        types = ", ".join(str(y.type) for y in outputs.values())
        raise DerivativeError(f"no output is floating-point: {types}")
    return reduce(add, terms)
