"""One step of a recurrence for all times: its graph, lifted, and what ties the steps together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from graphc.dsl.expansion import Expansion, Part
from graphc.dsl.parameter import Parameter
from graphc.dsl.phase import Phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Input, Tensor, caller
from graphc.dsl.trace import append, ordered
from graphc.errors import GraphError
from graphc.graph.analysis.recurrences import recurrences, settled
from graphc.graph.analysis.topology import descendants
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.ops import recurrence
from graphc.ops.formula import Formula
from graphc.types import Extent, TensorType

Start: TypeAlias = "Tensor | TensorType | float"
"""The first carry: a tensor, zeros of a type, or a number in every element."""


@dataclass(frozen=True, slots=True)
class Time:
    """How often, in which direction and along which axis; whether samples end early."""

    steps: int
    reverse: bool
    axis: int
    masked: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its carries and slices, which have no value of their own, and the new carries and results."""

    carries: tuple[Tensor, ...]
    slices: tuple[Tensor, ...]
    news: tuple[Tensor, ...]
    y: Any

    @property
    def ys(self) -> tuple[Tensor, ...]:
        return () if self.y is None else (self.y,) if isinstance(self.y, Tensor) else tuple(self.y)

    def order(self, training: bool | None) -> list[Tensor]:
        """What the step computes, operands first: what depends on carries or slices.

        If it takes a derivative, that is everything back to inputs and parameters, for the derivative may go there.
        """
        order = ordered((*self.news, *self.ys), training)
        moving = self._moving(order, training)
        if any(isinstance(t, Part) and not isinstance(t.expansion, Scan) for t in moving):
            return [t for t in order if not isinstance(t, Input | Parameter)]
        return [t for t in order if t in moving]

    def _moving(self, order: Iterable[Tensor], training: bool | None) -> set[Tensor]:
        """Carries, slices and what depends on them."""
        moving = {*self.carries, *self.slices}
        for t in order:
            if not moving.isdisjoint(_needed(t, training)):
                moving.add(t)
        return moving

    def captured(self, training: bool | None) -> tuple[Tensor, ...]:
        """The tensors from outside that the step uses."""
        inside = self.order(training)
        used = [*(o for t in inside for o in _needed(t, training)), *self.news, *self.ys]
        own = {*inside, *self.carries, *self.slices}
        return tuple(t for t in dict.fromkeys(used) if t not in own)

    def phases(self) -> tuple[bool, ...]:
        """Training and inference where they differ. Raises GraphError where a step would update a parameter."""
        order = self.order(None)
        moving = self._moving(order, None)
        found = [t for t in order if isinstance(t, Phased)]
        for t in found:
            if t.updates and t in moving:
                raise GraphError(
                    f"{t.updates[0][0].name} would be updated at every step of a scan", location=t.location,
                    layer=t.scope, hint="normalise the whole sequence before the scan, or use a layer without averages",
                )  # fmt: skip
        return (True, False) if found else (True,)


def _needed(t: Tensor, training: bool | None) -> tuple[Tensor, ...]:
    """What a tensor is computed from, in one phase or in both."""
    return (t.chosen(training),) if isinstance(t, Phased) and training is not None else t.operands


# --------------------------------------------------------------------------------------------------- the graph


class Scan(Expansion):
    """The formulas of a step for all times, and what ties the steps together."""

    def __init__(
        self, body: Step, time: Time, starts: tuple[Start, ...], xs: tuple[Tensor, ...], lengths: Tensor | None,
        training: bool,
    ) -> None:  # fmt: skip
        self.body, self.time, self.starts, self.training = body, time, starts, training
        self.captured = body.captured(training)
        self.location, self.place = caller(), current.get()
        ys = [TensorType(_inserted(y.shape, time.axis, time.steps), y.dtype) for y in body.ys]
        started = [s for s in starts if isinstance(s, Tensor)]
        operands = [*started, *xs, *([] if lengths is None else [lengths]), *self.captured]
        super().__init__(operands, [*ys, *(c.type for c in body.carries)])

    def expand(self, builder: Builder, values: Mapping[Tensor, Value]) -> tuple[Value, ...]:
        """The results of all steps and the last carries."""
        return _Lifting(self, builder, [values[t] for t in self.operands]).run()


class _Lifting:
    """One step as a graph of its own, and every value of it at all times."""

    def __init__(self, scan: Scan, builder: Builder, operands: list[Value]) -> None:
        self.scan, self.body, self.time, self.builder = scan, scan.body, scan.time, builder
        given = iter(operands)
        self.starts = [next(given) if isinstance(s, Tensor) else s for s in scan.starts]
        self.xs = [next(given) for _ in self.body.slices]
        self.lengths = next(given) if self.time.masked else None
        self.captured = list(given)
        # in another precision than the step was written in, if the operands are
        dtype = next((v.type.dtype for v in operands if v.type.dtype.is_float), None)
        self.carries = [
            s.type if isinstance(s, Value) else TensorType(c.shape, dtype if dtype and c.dtype.is_float else c.dtype)
            for s, c in zip(self.starts, self.body.carries, strict=True)
        ]
        self.at: dict[Value, tuple[Value, int | None]] = {}
        """Each value of the step at all times, and where in it time stands; None where it is always the same."""
        self.first = len(builder.nodes)

    def run(self) -> tuple[Value, ...]:
        """Append the nodes; returns the results of all steps and the last carries."""
        body = self.body
        step, values = self._step()
        befores = [self.builder.value(self._timed(type)) for type in self.carries]
        for tensor, before, type in zip(body.carries, befores, self.carries, strict=True):
            self.at[values[tensor]] = before, _position(type)
        self._lift(step, [values[t] for t in (*body.carries, *body.slices)])
        states = [self.at[values[t]] for t in body.news]
        if self.lengths is not None:
            states = [self._held(*state, before) for state, before in zip(states, befores, strict=True)]
        self.builder.nodes[self.first : self.first] = [
            self._previous(before, start, type, *state)
            for before, start, type, state in zip(befores, self.starts, self.carries, states, strict=True)
        ]
        ys = [self._stacked(*self.at[values[y]], y.shape) for y in body.ys]
        finals = [self._last(*state, type) for state, type in zip(states, self.carries, strict=True)]
        self._settle()
        return (*ys, *finals)

    def _step(self) -> tuple[Graph, dict[Tensor, Value]]:
        """The graph of one step, and the values of its tensors."""
        inner, body, scan = Builder(), self.body, self.scan
        values = {c: inner.input("", type) for c, type in zip(body.carries, self.carries, strict=True)}
        for tensor, x in zip(body.slices, self.xs, strict=True):
            values[tensor] = inner.input("", TensorType(tensor.shape, x.type.dtype))
            self.at[values[tensor]] = x, self.time.axis
        for tensor, v in zip(scan.captured, self.captured, strict=True):
            values[tensor] = inner.input("", v.type)
            self.at[values[tensor]] = v, None
        append(inner, body.order(scan.training), values, scan.training)
        return inner.graph(values[t] for t in (*body.news, *body.ys)), values

    def _lift(self, step: Graph, moving: list[Value]) -> None:
        """Append the nodes of the step; those that depend on what moves for all times."""
        changing = descendants(step, moving)
        for v in (node.output for node in step.nodes):  # all of them first: a recurrence within the step reads ahead
            moves = v in changing
            self.at[v] = (
                self.builder.value(self._timed(v.type) if moves else v.type),
                _position(v.type) if moves else None,
            )
        calls = {call: self.builder.new_call() for call in dict.fromkeys(node.call for node in step.nodes)}
        own_id = {v.id: everywhen.id for v, (everywhen, _) in self.at.items()}
        for node in step.nodes:
            value, time = self.at[node.output]
            given = {o: self.at[v] for o, v in zip(node.formula.operands, node.inputs, strict=True)}
            f = node.formula
            if time is not None:
                moved = {o: place for o, (_, place) in given.items() if place is not None}
                f = recurrence.at_all_times(f, self.time.steps, time, moved)
            self.builder.nodes.append(
                replace(
                    node, formula=f, inputs=tuple(v for v, _ in given.values()), output=value, call=calls[node.call],
                    origin=None if node.origin is None else own_id[node.origin],
                    delayed=tuple(self.at[v][0] for v in node.delayed),
                )
            )  # fmt: skip

    # ----------------------------------------------------------------------------------------- between the steps

    def _previous(
        self, before: Value, start: Value | TensorType | float, type: TensorType, state: Value, time: int | None
    ) -> Node:
        first: str | float = 0.0 if isinstance(start, TensorType) else "S" if isinstance(start, Value) else start
        f = recurrence.previous(type.shape, _position(type), self.time.steps, self.time.reverse, first, time)
        given = {"H": state} | ({"S": start} if isinstance(start, Value) else {})
        return self._node("previous", f, given, before, delayed=[state] if "H" in f.operands else [])

    def _held(self, state: Value, time: int | None, before: Value) -> tuple[Value, int]:
        assert self.lengths is not None
        shape, position = before.type.shape, _position(before.type)
        f = recurrence.held((*shape[:position], *shape[position + 1 :]), position, self.time.steps, time)
        return self._append("held", f, {"Y": state, "P": before, "L": self.lengths}), position

    def _last(self, state: Value, time: int | None, type: TensorType) -> Value:
        if time is None:
            return state
        f = recurrence.last(type.shape, self.time.steps, self.time.reverse, time)
        return self._append("last", f, {"H": state})

    def _stacked(self, y: Value, time: int | None, shape: tuple[Extent, ...]) -> Value:
        if time == self.time.axis and self.lengths is None:
            return y
        f = recurrence.stacked(shape, self.time.axis, self.time.steps, time, self.lengths is not None)
        return self._append("stacked", f, {"Y": y} | ({} if self.lengths is None else {"L": self.lengths}))

    def _append(self, operator: str, f: Formula, given: Mapping[str, Value]) -> Value:
        output = self.builder.value(TensorType(f.shape, next(iter(given.values())).type.dtype))
        self.builder.nodes.append(self._node(operator, f, given, output))
        return output

    def _node(
        self, operator: str, f: Formula, given: Mapping[str, Value], output: Value, delayed: Iterable[Value] = ()
    ) -> Node:
        inputs = tuple(given[o] for o in f.operands)
        call, scope, place = self.builder.new_call(), str(self.scan.place), self.scan.location
        return Node(operator, f, inputs, output, call, scope, None, place, tuple(delayed))

    def _timed(self, type: TensorType) -> TensorType:
        return TensorType(_inserted(type.shape, _position(type), self.time.steps), type.dtype)

    def _settle(self) -> None:
        """Put the new nodes in order. Raises GraphError for a recurrence within another."""
        added = settled(Graph((), (), tuple(self.builder.nodes[self.first :]), ()))
        try:
            recurrences(added)
        except GraphError as error:
            raise GraphError(
                f"a scan within the step of a scan depends on its carry: {error.message}",
                location=self.scan.location, layer=str(self.scan.place),
                hint="the inner scan may use xs and weights; write its few steps out where it needs the carry",
            ) from None  # fmt: skip
        self.builder.nodes[self.first :] = added.nodes


def _position(type: TensorType) -> int:
    """Where time stands in a value of the step: behind the samples."""
    return min(1, type.rank)


def _inserted(shape: tuple[Extent, ...], position: int, extent: Extent) -> tuple[Extent, ...]:
    return (*shape[:position], extent, *shape[position:])
