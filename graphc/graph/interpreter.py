"""The numpy meaning of a graph: node after node, nothing fused, nothing saved; recurrences one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import InputError
from graphc.graph.analysis.recurrences import Recurrence, recurrences
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.evaluate import evaluate
from graphc.types import Batch

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Result:
    """outputs in the graph's order, the new value of each updated parameter by name, and every value."""

    outputs: tuple[Array, ...]
    updates: dict[str, Array]
    values: dict[Value, Array]


def interpret(
    graph: Graph,
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
    batch: int | None = None,
) -> Result:
    """Run a graph on arrays given by name; `batch` is needed only when no input or parameter shows it.

    Raises InputError for missing or superfluous names, and for shapes that do not fit.
    """
    given = {
        **_named("input", graph.inputs, inputs),
        **_named("parameter", graph.parameters, parameters or {}),
    }
    batch = _batch(given, batch)
    for value, array in given.items():
        wanted = value.type.concrete(batch)
        if array.shape != wanted:
            raise InputError(f"{value.name or value} has shape {array.shape}, expected {wanted}")
    values = {v: a.astype(np.dtype(v.type.dtype.value), copy=False) for v, a in given.items()}
    recurrence_of = {node.output: found for found in recurrences(graph) for node in found.nodes}
    for node in graph.nodes:
        if node.output in values:
            continue
        if node.output in recurrence_of:
            _run(recurrence_of[node.output], values, batch)
        else:
            values[node.output] = _evaluated(node, values, batch)
    return Result(
        tuple(values[v] for v in graph.outputs),
        {str(old.name or old): values[new] for old, new in graph.updates},
        values,
    )


def _run(recurrence: Recurrence, values: dict[Value, Array], batch: int) -> None:
    """Add the members of a recurrence to `values`; what lies beyond the first and the last time is zero."""
    for node in recurrence.nodes:
        type = node.output.type
        values[node.output] = np.zeros(type.concrete(batch), type.dtype.value)
    times = range(recurrence.steps)
    for t in reversed(times) if recurrence.reverse else times:
        for node in recurrence.nodes:
            now = (slice(None),) * recurrence.axis_of[node.output] + (slice(t, t + 1),)
            values[node.output][now] = _evaluated(node, values, batch, {recurrence.time(node): t})


def _evaluated(node: Node, values: Mapping[Value, Array], batch: int, at: Mapping[str, int] = {}) -> Array:
    """The value of a node, at one time if `at` says so."""
    operands = {o: values[v] for o, v in zip(node.formula.operands, node.inputs, strict=True)}
    dtype = np.dtype(node.output.type.dtype.value)
    return np.asarray(evaluate(node.formula, operands, batch, dtype, at)).astype(dtype, copy=False)


def _named(kind: str, declared: tuple[Value, ...], given: Mapping[str, Any]) -> dict[Value, Array]:
    """Arrays by value, every declared name exactly once."""
    names = [v.name or str(v.id) for v in declared]
    missing = [n for n in names if n not in given]
    surplus = [n for n in given if n not in names]
    if missing or surplus:
        raise InputError(
            f"{kind}s are {', '.join(names) or 'none'}; got {', '.join(given) or 'none'}",
            hint=f"add {', '.join(missing)}" if missing else f"leave out {', '.join(surplus)}",
        )
    return {v: np.asarray(given[n]) for v, n in zip(declared, names, strict=True)}


def _batch(given: dict[Value, Array], batch: int | None) -> int:
    """The batch size on which all arrays agree."""
    for value, array in given.items():
        if array.ndim != value.type.rank:
            raise InputError(f"{value.name or value} has {array.ndim} axes, expected {value.type}")
        for extent, size in zip(value.type.shape, array.shape, strict=True):
            if isinstance(extent, Batch):
                if batch is not None and batch != size:
                    raise InputError(f"{value.name or value} has {size} samples, expected {batch}")
                batch = size
    return 1 if batch is None else batch
