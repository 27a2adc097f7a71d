"""The numpy meaning of a graph: node after node, nothing fused, nothing saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import InputError
from graphc.graph.ir import Graph, Value
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
    for node in graph.nodes:
        operands = dict(zip(node.formula.operands, (values[v] for v in node.inputs), strict=True))
        dtype = np.dtype(node.output.type.dtype.value)
        result = np.asarray(evaluate(node.formula, operands, batch, dtype))
        values[node.output] = result.astype(dtype, copy=False)
    return Result(
        tuple(values[v] for v in graph.outputs),
        {str(old.name or old): values[new] for old, new in graph.updates},
        values,
    )


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
