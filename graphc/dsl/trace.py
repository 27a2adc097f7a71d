"""From the tensors that are asked for to a Graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from graphc.dsl.chance import STEP, own_chances
from graphc.dsl.expansion import Expansion, Part
from graphc.dsl.parameter import Parameter
from graphc.dsl.phase import Phased
from graphc.dsl.scope import settle
from graphc.dsl.tensor import Input, Tensor
from graphc.errors import GraphError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.ops.random import next_step


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph, and which of its values belongs to what the user holds."""

    graph: Graph
    values: dict[Tensor, Value]
    inputs: dict[str, Value]
    parameters: dict[str, Parameter]
    outputs: dict[str, Value]

    def without_updates(self) -> Traced:
        """The same values, every parameter staying as it is."""
        return replace(self, graph=replace(self.graph, updates=()))


def ordered(outputs: Iterable[Tensor], training: bool | None = None) -> list[Tensor]:
    """Every tensor that the outputs need, operands first, in a deterministic order; for one phase, or for both."""
    order: dict[Tensor, None] = {}
    stack = [(t, False) for t in reversed(list(outputs))]
    while stack:
        tensor, complete = stack.pop()
        if tensor in order:
            continue
        if complete:
            order[tensor] = None
        else:
            stack.append((tensor, True))
            needed = tensor.operands
            if isinstance(tensor, Phased) and training is not None:
                needed = tensor.needed(training)
            stack.extend((t, False) for t in reversed(needed))
    return list(order)


def trace(outputs: Mapping[str, Tensor] | Iterable[Tensor] | Tensor, *, training: bool = False) -> Traced:
    """The graph that computes the outputs; one application of an operator is one call.

    With `training` layers such as batch normalisation compute as they do in a training step, and the graph holds
    their updates. Raises GraphError where one name stands for two different inputs or parameters, and where a
    parameter is updated twice.
    """
    named = _named(outputs)
    order = ordered(named.values(), training)
    settle(t.place.root for t in order)
    builder = Builder()
    values: dict[Tensor, Value] = {}
    inputs: dict[str, Value] = {}
    parameters: dict[str, Parameter] = {}
    for tensor in order:
        if isinstance(tensor, Input):
            values[tensor] = _input(builder, tensor, inputs)
    own = own_chances(order)
    for tensor in order:
        if isinstance(tensor, Parameter):
            held = own.get(tensor, tensor)
            _check_new(held, inputs, parameters)
            parameters[held.name] = held
            values[tensor] = builder.parameter(held.name, held.type)
    updates: dict[Value, Value] = {}
    if training and STEP in values:
        updates[values[STEP]] = builder.apply(next_step, [values[STEP]], {})
    updates |= append(builder, order, values, training)
    results = {name: values[t] for name, t in named.items()}
    return Traced(builder.graph(results.values(), updates.items()), values, inputs, parameters, results)


def append(
    builder: Builder, order: Iterable[Tensor], values: dict[Tensor, Value], training: bool
) -> dict[Value, Value]:
    """Append what computes tensors, operands first, to those that have values; returns the updates.

    Raises GraphError for a leaf without a value and where a parameter is updated twice.
    """
    updates: dict[Value, Value] = {}
    expanded: dict[Expansion, tuple[Value, ...]] = {}
    for tensor in order:
        if tensor in values:
            continue
        if isinstance(tensor, Part):
            if tensor.expansion not in expanded:
                expanded[tensor.expansion] = tensor.expansion.expand(builder, values)
            values[tensor] = expanded[tensor.expansion][tensor.index]
        elif isinstance(tensor, Phased):
            values[tensor] = values[tensor.chosen(training)]
            for parameter, new in tensor.updates if training else ():
                _check_single(parameter, values, updates)
                updates[values[parameter]] = values[new]
        elif tensor.operator is not None:
            values[tensor] = builder.apply(
                tensor.operator,
                [values[t] for t in tensor.operands],
                tensor.attributes,
                scope=tensor.scope,
                location=tensor.location,
            )
        else:
            raise GraphError(
                f"{tensor!r} has no value here: it belongs to the step of a scan", location=tensor.location,
                hint="return it from the step, as a part of the carry or of the results",
            )  # fmt: skip
    return updates


def _named(outputs: Mapping[str, Tensor] | Iterable[Tensor] | Tensor) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        outputs = [outputs]
    if not isinstance(outputs, Mapping):
        outputs = {str(k): t for k, t in enumerate(outputs)}
    for name, tensor in outputs.items():
        if not isinstance(tensor, Tensor):
            raise GraphError(f"output {name} must be a tensor, got {type(tensor).__name__}")
    if not outputs:
        raise GraphError("there is nothing to compute: no outputs were given")
    return dict(outputs)


def _input(builder: Builder, tensor: Input, inputs: dict[str, Value]) -> Value:
    known = inputs.get(tensor.name)
    if known is None:
        known = inputs[tensor.name] = builder.input(tensor.name, tensor.type)
    if known.type != tensor.type:
        raise GraphError(
            f"input {tensor.name} is declared as {known.type} and as {tensor.type}",
            location=tensor.location,
            hint="give one of them another name",
        )
    return known


def _check_new(parameter: Parameter, inputs: Mapping[str, Value], parameters: Mapping[str, Parameter]) -> None:
    name = parameter.name
    if name in parameters or name in inputs:
        other = "another parameter" if name in parameters else "an input"
        raise GraphError(
            f"parameter {name} has the name of {other}",
            location=parameter.location,
            layer=parameter.scope,
            hint='name the layers differently: Dense(10, name="head")',
        )


def _check_single(parameter: Parameter, values: Mapping[Tensor, Value], updates: Mapping[Value, Value]) -> None:
    if values[parameter] in updates:
        raise GraphError(
            f"parameter {parameter.name} is updated twice in one step",
            location=parameter.location,
            layer=parameter.scope,
            hint="a layer with running averages can be called once in a model; make another layer",
        )
