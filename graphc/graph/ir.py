"""Graph IR: single assignment, topologically sorted, one node class for all operators.

Value(id, type, name)
Node(operator, formula, inputs, output, call, scope, origin, location, delayed)
Graph(inputs, parameters, nodes, outputs, updates)

A recurrence is a cycle of ordinary formulas over an axis of time, closed by nodes that read a value at an earlier time:

    P[n,t,k] = (t == 0 ? h0[n, k] : H[n, t - 1, k])        H is defined later: `delayed`
    H[n,t,k] = tanh(X[n, t, k] + P[n, t, k])

What else there is to know about it is found by `graph.analysis.recurrences`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from graphc.ops.formula import Formula
from graphc.types import Location, TensorType


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that flows through the graph. Inputs and parameters carry the user's name."""

    id: int
    type: TensorType
    name: str = ""

    def __str__(self) -> str:
        return f"%{self.name or self.id}"


@dataclass(frozen=True, slots=True)
class Node:
    """output = formula(inputs); `inputs` are in the order of `formula.operands`.

    `operator` is for people only: no stage decides by it. Nodes that share `call` came from one application of an
    operator and are differentiated together. `scope` is the layer's path, `origin` the id of the forward value that
    an adjoint belongs to. `delayed` are the inputs that are read at an earlier time of the recurrence to which the node
    and they belong (at a later one where time runs backwards); only they may be defined after the node.
    """

    operator: str
    formula: Formula
    inputs: tuple[Value, ...]
    output: Value
    call: int
    scope: str = ""
    origin: int | None = None
    location: Location | None = field(default=None, compare=False)
    delayed: tuple[Value, ...] = ()

    def stating(self, formula: Formula, operands: Mapping[str, Value]) -> Node:
        """The node with another formula, whose operands are looked up by name."""
        inputs = tuple(operands[o] for o in formula.operands)
        return replace(self, formula=formula, inputs=inputs, delayed=tuple(v for v in self.delayed if v in inputs))


@dataclass(frozen=True, slots=True)
class Graph:
    """A program over tensors.

    `parameters` persist between runs (weights and optimiser state); `updates` pairs a parameter with the value that
    replaces it when the run ends; until then every read sees the old one. `constants` of the compile, such as the
    learning rate, are inputs of rank 0.
    """

    inputs: tuple[Value, ...]
    parameters: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    updates: tuple[tuple[Value, Value], ...] = ()

    @property
    def values(self) -> Iterator[Value]:
        """Every value, in order of definition."""
        yield from self.inputs
        yield from self.parameters
        for node in self.nodes:
            yield node.output

    @property
    def results(self) -> tuple[Value, ...]:
        """What must be computed: outputs and the new values of updated parameters."""
        return tuple(dict.fromkeys((*self.outputs, *(new for _, new in self.updates))))

    def producers(self) -> dict[Value, Node]:
        """The node that defines each computed value."""
        return {node.output: node for node in self.nodes}

    def consumers(self) -> dict[Value, tuple[Node, ...]]:
        """The nodes that read each value."""
        users: dict[Value, list[Node]] = {v: [] for v in self.values}
        for node in self.nodes:
            for v in dict.fromkeys(node.inputs):
                users[v].append(node)
        return {v: tuple(u) for v, u in users.items()}

    def next_id(self) -> int:
        """An id that no value has yet."""
        return 1 + max((v.id for v in self.values), default=-1)

    def next_call(self) -> int:
        """A call number that no node has yet."""
        return 1 + max((n.call for n in self.nodes), default=-1)

    def with_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        """The same graph with other nodes; itself if nothing changed."""
        return self if nodes == self.nodes else replace(self, nodes=nodes)

    def __str__(self) -> str:
        from graphc.graph.printer import graph_text

        return graph_text(self)
