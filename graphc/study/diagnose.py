"""After a loss that is not finite: where it began."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.dsl.trace import Traced
from graphc.errors import GraphcError, InputError, NonFiniteError
from graphc.graph.analysis.recurrences import Recurrence, recurrences
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Node, Value
from graphc.schedule.arrange import Array


def find_non_finite(traced: Traced, arrays: Mapping[str, Array], batch: int) -> GraphcError:
    """The error that names the first input, parameter or layer with a NaN or an infinity.

    The forward graph is run again by the interpreter: slow, and only after a failure.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return InputError(
                f"input {name} holds {_first(array)}", hint="clean the data; the parameters are unchanged"
            )
    values = {name: p.value for name, p in traced.parameters.items()}
    for name, value in values.items():
        if not np.isfinite(value).all():
            return NonFiniteError(
                f"parameter {name} holds {_first(value)}", layer=name.rpartition(".")[0].replace(".", "/"),
                hint="an earlier update overflowed: lower the learning rate or clip the gradient",
            )  # fmt: skip
    with np.errstate(all="ignore"):
        result = interpret(traced.graph, arrays, values, batch)
    recurrence_of = {node.output: r for r in recurrences(traced.graph) for node in r.nodes}
    for node in traced.graph.nodes:
        if not np.isfinite(result.values[node.output]).all():
            recurrence = recurrence_of.get(node.output)
            if recurrence:
                node = min(recurrence.nodes, key=lambda member: _steps_before(recurrence, member, result.values))
            found = result.values[node.output]
            return NonFiniteError(
                f"{node.operator} is the first output that is not finite: {_first(found)}", location=node.location,
                layer=node.scope, hint="lower the learning rate or scale the data; the parameters are unchanged",
            )  # fmt: skip
    return NonFiniteError("the loss is not finite in the compiled step", hint="the parameters are unchanged")


def _steps_before(recurrence: Recurrence, node: Node, values: Mapping[Value, Array]) -> int:
    """How many steps a member of a recurrence was finite."""
    finite = np.moveaxis(np.isfinite(values[node.output]), recurrence.axis_of[node.output], 0)
    by_time = np.asarray(finite.reshape(recurrence.steps, -1).all(axis=1))
    return int(np.argmin(np.append(by_time[::-1] if recurrence.reverse else by_time, False)))


def _first(array: Array) -> str:
    place = np.unravel_index(int(np.argmax(~np.isfinite(array))), array.shape)
    value = float(array[place])
    return f"{value} at [{', '.join(map(str, place))}]"
