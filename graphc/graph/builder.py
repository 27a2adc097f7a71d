"""Appending operator applications to a graph under construction: the one mutable object, private to its maker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphc.errors import GraphcError
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.formula import Formula
from graphc.ops.operator import Operator, Statement
from graphc.types import Location, TensorType


class Builder:
    """Collects values and nodes; `graph()` freezes them."""

    def __init__(self, base: Graph | None = None) -> None:
        self.extend(Graph((), (), (), ()) if base is None else base)

    def extend(self, graph: Graph) -> None:
        """Go on from a graph, which holds everything built so far."""
        self.inputs: list[Value] = list(graph.inputs)
        self.parameters: list[Value] = list(graph.parameters)
        self.nodes: list[Node] = list(graph.nodes)
        self._next_id = graph.next_id()
        self._next_call = graph.next_call()

    def value(self, type: TensorType, name: str = "") -> Value:
        """A new value, not yet defined by anything."""
        self._next_id += 1
        return Value(self._next_id - 1, type, name)

    def input(self, name: str, type: TensorType) -> Value:
        """A new graph input."""
        self.inputs.append(value := self.value(type, name))
        return value

    def parameter(self, name: str, type: TensorType) -> Value:
        """A new persistent value."""
        self.parameters.append(value := self.value(type, name))
        return value

    def new_call(self) -> int:
        """A number for one application of an operator."""
        self._next_call += 1
        return self._next_call - 1

    def node(
        self, operator: str, formula: Formula, inputs: Iterable[Value], type: TensorType, *,
        call: int | None = None, scope: str = "", origin: int | None = None, location: Location | None = None,
        delayed: Iterable[Value] = (),
    ) -> Value:  # fmt: skip
        """Append one node; returns its output."""
        output = self.value(type)
        call = self.new_call() if call is None else call
        self.nodes.append(Node(operator, formula, tuple(inputs), output, call, scope, origin, location, tuple(delayed)))
        return output

    def apply(
        self, operator: Operator, operands: Iterable[Value | None], attributes: dict[str, Any] | None = None, *,
        scope: str = "", origin: int | None = None, location: Location | None = None,
    ) -> Value:  # fmt: skip
        """Append the statements of an operator, None for operands left out; returns the result.

        Errors carry location and layer.
        """
        given = tuple(operands)
        operator = operator.form(tuple(v is not None for v in given))
        present = tuple(v for v in given if v is not None)
        try:
            definition = operator.define(tuple(v.type for v in present), attributes)
        except GraphcError as error:
            raise error.at(location, scope) from None
        names = dict(zip(operator.tensors, present, strict=True))
        return self.statements(
            operator.name, definition.statements, names, scope=scope, origin=origin, location=location
        )

    def statements(
        self, operator: str, statements: Iterable[Statement], names: dict[str, Value], *,
        scope: str = "", origin: int | None = None, location: Location | None = None,
    ) -> Value:  # fmt: skip
        """Append statements that read `names`; each result is added to `names`. Returns the last result."""
        call, result = self.new_call(), None
        for s in statements:
            title = operator if s.name == operator else f"{operator}.{s.name}"
            inputs = [names[o] for o in s.formula.operands]
            result = names[s.name] = self.node(
                title, s.formula, inputs, s.type, call=call, scope=scope, origin=origin, location=location
            )
        assert result is not None
        return result

    def graph(self, outputs: Iterable[Value], updates: Iterable[tuple[Value, Value]] = ()) -> Graph:
        """The graph built so far."""
        return Graph(tuple(self.inputs), tuple(self.parameters), tuple(self.nodes), tuple(outputs), tuple(updates))
