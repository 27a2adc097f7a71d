"""From gradients to new parameters: what is common to all optimisers, and the formulas of the one that is used.

    G ← mean of the gradients of `accumulate` steps
    G ← G limited to ±clip_value;  G ← G·min(1, clip_norm/(‖G‖ + 1e-6))
    G ← G + λ·W,  or W ← (1 - η·λ)·W
    W, state ← update(W, G, state)
    Ā ← ema·Ā + (1 - ema)·W

With accumulation, all but the gradients' sums stays as it is until the last of the steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from graphc.dsl.parameter import Parameter
from graphc.dsl.scope import Root, Scope, current
from graphc.dsl.tensor import Input, Tensor, caller
from graphc.dsl.trace import append, ordered
from graphc.errors import GraphError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.ops.formula import where
from graphc.ops.notation import Operand, axes, less, pointwise_names
from graphc.ops.notation import Sum as summed
from graphc.ops.operator import op
from graphc.ops.scalars import clip, minimum, sqrt
from graphc.runtime.inputs import scalar_names
from graphc.train.optimisers.optimizer import Initial, Optimizer
from graphc.types import TensorType

SUM, AVERAGE = "gradients", "average"
"""Slots of accumulation and of averages."""

# --------------------------------------------------------------------------------------------- the formulas


@op
def decayed_gradient(G: Operand, W: Operand, *, weight_decay: float = 0.0) -> Any:
    """G + λ·W, the gradient of L + λ/2·|W|²"""
    return G[...] + weight_decay * W[...]


@op
def decayed_parameter(W: Operand, lr: Operand, *, weight_decay: float = 0.0) -> Any:
    """(1 - η·λ)·W"""
    return (1 - lr[()] * weight_decay) * W[...]


@op
def gradient_sum(G: Operand, A: Operand) -> Any:
    """A + G"""
    return A[...] + G[...]


@op
def gradient_mean(A: Operand, *, count: int = 1) -> Any:
    """A/k"""
    return A[...] / count


@op
def unless_last(A: Operand, last: Operand) -> Any:
    """A, and 0 after the last step of an update"""
    return where(less(0, last[()]), 0, A[...])


@op
def if_last(new: Operand, old: Operand, last: Operand) -> Any:
    """The new value at the last step of an update, before that the old one"""
    return where(less(0, last[()]), new[...], old[...])


@op
def clipped_gradient(G: Operand, *, limit: float = 1.0) -> Any:
    """G limited to -limit..limit; NaN stays NaN"""
    return clip(G[...], -limit, limit)


@op
def squared_norm(G: Operand) -> Any:
    """Σ G²"""
    index = axes(" ".join(pointwise_names(G.rank)))
    return summed(G[index] ** 2, over=index) if index else G[()] ** 2


@op
def clip_factor(*S: Operand, limit: float = 1.0) -> Any:
    """min(1, limit/(√ΣS + 1e-6)), the S being squared norms; NaN if one of them is"""
    return minimum(1, limit / (sqrt(sum(s[()] for s in S)) + 1e-6))


@op
def scaled_gradient(G: Operand, factor: Operand) -> Any:
    """c·G"""
    return factor[()] * G[...]


@op
def averaged_parameter(W: Operand, A: Operand, *, decay: float = 0.999) -> Any:
    """β·A + (1 - β)·W"""
    return decay * A[...] + (1 - decay) * W[...]


# ---------------------------------------------------------------------------------------------------- slots


def slots(optimizer: Optimizer, parameter: str) -> dict[str, Initial]:
    """The state of a parameter of this name, and what it is at first: the optimiser's own and what is common to all."""
    member, _ = optimizer.member_for(parameter)
    own: dict[str, Initial] = dict(member.slots)
    if optimizer.accumulate > 1:
        own[SUM] = 0.0
    if optimizer.ema is not None:
        own[AVERAGE] = lambda first: first
    if len(own) != len(member.slots) + (optimizer.accumulate > 1) + (optimizer.ema is not None):
        raise GraphError(f"{type(member).__name__}: a slot cannot be called {SUM} or {AVERAGE}", hint="rename it")
    return own


def slot(optimizer: Optimizer, name: str, type: TensorType, parameters: Mapping[str, Parameter]) -> Parameter:
    """The state of this name, "conv1.weight/velocity", with its initial value."""
    owner, _, own = name.rpartition("/")
    initial = slots(optimizer, owner)[own]
    if not callable(initial):
        return Parameter(name, type, float(initial))
    return Parameter(name, type, lambda *_: np.array(initial(parameters[owner].value), np.float64))


# ------------------------------------------------------------------------------------------------ the graph


def update(graph: Graph, optimizer: Optimizer, trainable: Sequence[str]) -> Graph:
    """The graph with an update for each trainable parameter, whose gradients are its last outputs, in this order.

    Raises GraphError for an optimiser whose update does not fit its slots or the parameter.
    """
    by_name = {p.name: p for p in graph.parameters}
    kept = graph.outputs[: len(graph.outputs) - len(trainable)]
    _check_groups(optimizer, by_name)
    new = _Updates(graph, optimizer)
    prepared = [
        new.prepared(by_name[name], gradient)
        for name, gradient in zip(trainable, graph.outputs[len(kept) :], strict=True)
    ]
    factor = new.clip_factor(prepared)
    updates = [pair for weight in prepared for pair in new.of(weight, factor)]
    return new.builder.graph(kept, (*graph.updates, *updates))


@dataclass(frozen=True, slots=True)
class _Weight:
    """A parameter as value and as tensor, the gradient of its update, its state, and the new value of its sums."""

    value: Value
    tensor: Tensor
    gradient: Tensor
    state: dict[str, Tensor]
    sums: Tensor | None


class _Updates:
    """A graph that is extended by updates. Numbers and states become values of it when a formula reads them."""

    def __init__(self, graph: Graph, optimizer: Optimizer) -> None:
        self.builder, self.optimizer = Builder(graph), optimizer
        self.values: dict[Tensor, Value] = {}
        self.states: dict[Tensor, str] = {}
        scalar = TensorType((), graph.outputs[0].type.dtype)
        self.inputs = scalar_names(optimizer.fed_names(), graph)
        self.numbers = {name: Tensor(scalar) for name in self.inputs}
        self.here = caller()

    def prepared(self, parameter: Value, gradient: Value) -> _Weight:
        """A parameter with the mean gradient of an update, every element within its limits."""
        o = self.optimizer
        W, G = self._leaf(parameter), self._leaf(gradient)
        state = {s: Tensor(parameter.type) for s in slots(o, parameter.name)}
        self.states |= {tensor: f"{parameter.name}/{s}" for s, tensor in state.items()}
        sums = None
        with _within(parameter):
            if o.accumulate > 1:
                total = gradient_sum(G, state[SUM])
                sums, G = unless_last(total, self.numbers["last"]), gradient_mean(total, count=o.accumulate)
            if o.clip_value is not None:
                G = clipped_gradient(G, limit=float(o.clip_value))
        return _Weight(parameter, W, G, state, sums)

    def clip_factor(self, weights: Sequence[_Weight]) -> Tensor | None:
        """By what all gradients are multiplied, if their norm is limited."""
        if self.optimizer.clip_norm is None:
            return None
        squares = []
        for weight in weights:
            with _within(weight.value):
                squares.append(squared_norm(weight.gradient))
        factor: Tensor = clip_factor(squares, limit=float(self.optimizer.clip_norm))
        return factor

    def of(self, weight: _Weight, factor: Tensor | None) -> Iterator[tuple[Value, Value]]:
        """A parameter and its state, each with its new value."""
        o, (own, ending) = self.optimizer, self.optimizer.member_for(weight.value.name)
        scalars = {name: self.numbers.get(name + ending, self.numbers[name]) for name in own.names()}
        with _within(weight.value):
            W, G = weight.tensor, weight.gradient
            if factor is not None:
                G = scaled_gradient(G, factor)
            if own.weight_decay and own.decoupled_weight_decay:
                W = decayed_parameter(W, scalars["lr"], weight_decay=float(own.weight_decay))
            elif own.weight_decay:
                G = decayed_gradient(G, W, weight_decay=float(own.weight_decay))
            W, new = own.update(W, G, {s: weight.state[s] for s in own.slots}, scalars)
            _check(own, weight, W, new)
            new = {s: new[s] for s in own.slots}
            if o.ema is not None:
                new[AVERAGE] = averaged_parameter(W, weight.state[AVERAGE], decay=float(o.ema))
            if weight.sums is not None:
                last = self.numbers["last"]
                W = if_last(W, weight.tensor, last)
                new = {s: if_last(t, weight.state[s], last) for s, t in new.items()} | {SUM: weight.sums}
        self._append([*weight.state.values(), W, *new.values()])
        pairs = [(weight.tensor, W), *((weight.state[s], t) for s, t in new.items())]
        yield from ((self.values[old], self.values[t]) for old, t in pairs if t is not old)

    def _leaf(self, value: Value) -> Tensor:
        tensor = Tensor(value.type)
        self.values[tensor] = value
        return tensor

    def _append(self, results: Sequence[Tensor]) -> None:
        """Append what computes tensors. What is written in this package belongs to no line of the user's."""
        order = [t for t in ordered(results) if t not in self.values]
        _check_leaves(type(self.optimizer).__name__, order)
        used = set(order)
        for name, number in self.numbers.items():
            if number in used:
                self.values[number] = self.builder.input(self.inputs[name], number.type)
        for tensor in order:
            if tensor in self.states:
                self.values[tensor] = self.builder.parameter(self.states[tensor], tensor.type)
        first = len(self.builder.nodes)
        append(self.builder, order, self.values, training=True)
        self.builder.nodes[first:] = [
            replace(n, location=None) if n.location == self.here else n for n in self.builder.nodes[first:]
        ]


@contextmanager
def _within(parameter: Value) -> Iterator[None]:
    """What is built here belongs to the layer of a parameter."""
    layer = parameter.name.rpartition(".")[0].replace(".", "/")
    token = current.set(Scope(Root(layer, "", anonymous=False)) if layer else Scope())
    try:
        yield
    finally:
        current.reset(token)


def _check_groups(optimizer: Optimizer, names: Collection[str]) -> None:
    """Raises GraphError for a group without parameters."""
    for group in optimizer.groups:
        if not any(fnmatchcase(name, group.pattern) for name in names):
            raise GraphError(f"{group!r} fits no parameter", hint=f"they are called {', '.join(names)}")


def _check_leaves(optimizer: str, order: Iterable[Tensor]) -> None:
    """Raises GraphError for an update that reads what it is not given."""
    for tensor in order:
        if isinstance(tensor, Parameter | Input):
            raise GraphError(
                f"{optimizer}.update reads {tensor!r}, expected its arguments alone", location=tensor.location,
                hint="what changes between updates is state (slots), or a number that is a function of t (factors)",
            )  # fmt: skip


def _check(optimizer: Optimizer, weight: _Weight, new: Tensor, state: dict[str, Tensor]) -> None:
    """Raises GraphError unless there is a new value of the same type for a parameter and for each of its slots."""
    name = f"{type(optimizer).__name__}.update"
    if state.keys() != optimizer.slots.keys():
        given, slots = (", ".join(sorted(names)) or "none" for names in (state, optimizer.slots))
        raise GraphError(
            f"{name} must return a new value for each slot: {slots}; it returned {given}",
            hint="declare the state of a parameter in slots = {name: initial value}",
        )
    for what, tensor in {weight.value.name: new, **{f"{weight.value.name}/{s}": t for s, t in state.items()}}.items():
        if not isinstance(tensor, Tensor) or tensor.type != weight.value.type:
            got = tensor.type if isinstance(tensor, Tensor) else type(tensor).__name__
            raise GraphError(f"{name}: {what} is {weight.value.type}, its new value {got}")
