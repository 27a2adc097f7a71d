"""After a loss that is not finite: where it began."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.dsl.trace import Traced
from graphc.errors import GraphcError, InputError, NonFiniteError
from graphc.graph.interpreter import interpret
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
    for node in traced.graph.nodes:
        found = result.values[node.output]
        if not np.isfinite(found).all():
            return NonFiniteError(
                f"{node.operator} is the first output that is not finite: {_first(found)}", location=node.location,
                layer=node.scope, hint="lower the learning rate or scale the data; the parameters are unchanged",
            )  # fmt: skip
    return NonFiniteError("the loss is not finite in the compiled step", hint="the parameters are unchanged")


def _first(array: Array) -> str:
    place = np.unravel_index(int(np.argmax(~np.isfinite(array))), array.shape)
    value = float(array[place])
    return f"{value} at [{', '.join(map(str, place))}]"
