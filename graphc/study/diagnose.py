"""After a loss that is not finite: where it began, by which formula, and from which numbers.

    model.py:12: fc1: dense is the first output that is not finite: inf at [3, 7]
      t12[n,k] = Σ_{d<784} images[n, d]·fc1.weight[k, d]
      784 terms, the largest at d = 12: images[3, 12] = 1e+20, fc1.weight[7, 12] = 3e+25

From the loss it goes back element by element: in the first term that is not finite, to a factor that is not finite, to
the formula that has made it, until all that goes in is finite. So what the loss does not need is not blamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, isnan, prod
from typing import Any

import numpy as np

from graphc.dsl.trace import Traced
from graphc.errors import GraphcError, InputError, NonFiniteError
from graphc.graph.interpreter import interpret
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Axis, Cond, Formula, Read, Where, all_reads
from graphc.ops.text import formula_text
from graphc.schedule.arrange import Array
from graphc.study.compiled import Compiled
from graphc.study.math import statement_of
from graphc.types import Batch

SHOWN = 8
"""How many operands are listed."""


def find_non_finite(
    traced: Traced, arrays: Mapping[str, Array], batch: int, compiled: Compiled | None = None
) -> GraphcError:
    """The error that names the first input, parameter or formula with a NaN or an infinity, and what it was made of.

    The forward graph is run again by the interpreter, and if all of it is finite, the backward graph of a compiled
    training step: slow, and only after a failure.
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
                hint="an earlier update overflowed, or its gradient was not finite: lower the learning rate, clip the "
                'gradient, or train from before that step with guard="gradients", which names the formula',
            )  # fmt: skip
    with np.errstate(all="ignore"):
        result = interpret(traced.graph, arrays, values, batch)
        found = origin(traced.graph, result.values, traced.graph.outputs[0], batch)
        if found is None and compiled is not None:
            found = _gradient(compiled, arrays, values, batch)
    if found is None:
        return NonFiniteError("the loss is not finite in the compiled step", hint="the parameters are unchanged")
    return NonFiniteError(
        f"{found.node.operator} is the first output that is not finite: {found}", location=found.node.location,
        layer=found.node.scope, hint="lower the learning rate or scale the data; the parameters are unchanged",
    )  # fmt: skip


def _gradient(
    compiled: Compiled, arrays: Mapping[str, Array], parameters: Mapping[str, Array], batch: int
) -> Element | None:
    """The first gradient that is not finite, if there is one, back to where it began."""
    graph = next((r.before for r in compiled.stages.records if r.stage == "update"), None)
    if graph is None:
        return None
    result = interpret(graph, arrays, parameters, batch)
    found = (origin(graph, result.values, value, batch) for value in graph.outputs[1:])
    return next((element for element in found if element is not None), None)


# ------------------------------------------------------------------------------------------------ one element


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """One element of what a node computes, with the values that it is computed from."""

    node: Node
    place: tuple[int, ...]
    values: Mapping[Value, Array]
    batch: int

    @property
    def value(self) -> float:
        """The element."""
        return float(self.values[self.node.output][self.place])

    @property
    def formula(self) -> Formula:
        return self.node.formula

    @property
    def terms(self) -> Array:
        """What is reduced, an axis for each reduced one; terms that a condition excludes are zero."""
        f, dtype = self.formula, self.node.output.type.dtype
        body = Formula((*f.axes, *f.over), f.body, None, (), f.conditions, f.operands)
        found = evaluate(body, self._operands, self.batch, dtype, self._at(()))
        return found.reshape(found.shape[len(f.axes) :])

    @property
    def worst(self) -> tuple[int, ...]:
        """Where the first term that is not finite is, or else the largest."""
        terms = self.terms
        bad = ~np.isfinite(terms)
        position = int(np.argmax(bad)) if bad.any() else int(np.argmax(np.abs(terms)))
        return tuple(map(int, np.unravel_index(position, terms.shape)))

    def reads(self, term: tuple[int, ...]) -> Iterator[tuple[Value, str, tuple[int, ...], float]]:
        """What a term is computed from: each value, its name in the formula, where it is read, and its element there.

        Of conditionals only the branch that is taken counts.
        """
        value_of = dict(zip(self.formula.operands, self.node.inputs, strict=True))
        body = _taken(self.formula.body, lambda c: self._holds(c, term))
        for read in dict.fromkeys(all_reads(body)):
            index = tuple(int(self._number(i, term, np.int64)) for i in read.index)
            yield value_of[read.name], read.name, index, float(self._number(read, term, np.float64))

    def _holds(self, condition: Cond, term: tuple[int, ...]) -> bool:
        return bool(self._number(Where(condition, 1, 0), term, np.float64))

    def _number(self, e: Any, term: tuple[int, ...], dtype: Any) -> Any:
        """A scalar expression at one place of the grid."""
        f = self.formula
        alone = Formula((*f.axes, *f.over), e, None, (), (), f.operands)
        return evaluate(alone, self._operands, self.batch, dtype, self._at(term)).item()

    @property
    def _operands(self) -> dict[str, Array]:
        return {o: self.values[v] for o, v in zip(self.formula.operands, self.node.inputs, strict=True)}

    def _at(self, term: tuple[int, ...]) -> dict[str, int]:
        places = (*self.place, *term)
        return {axis.name: k for axis, k in zip((*self.formula.axes, *self.formula.over), places, strict=False)}

    def __str__(self) -> str:
        """Its value and place, the formula, and the operands of the worst term."""
        own = statement_of(self.node)
        names = dict(zip(self.formula.operands, own.formula.operands, strict=True))
        term = self.worst
        reads = [f"{names[n]}{_index(index)} = {value:.6g}" for _, n, index, value in self.reads(term)]
        more = [f"and {len(reads) - SHOWN} more"] if len(reads) > SHOWN else []
        line = ", ".join(reads[:SHOWN] + more)
        if over := self.formula.over:
            which = "the largest" if np.isfinite(self.terms).all() else "the first that is not finite"
            at = ", ".join(f"{axis.name} = {k}" for axis, k in zip(over, term, strict=True))
            line = f"{self._count(over):,} terms, {which} at {at}: {line}"
        return f"{self.value} at {_index(self.place)}\n  {formula_text(own.formula, own.name)}\n  {line}".rstrip()

    def _count(self, over: tuple[Axis, ...]) -> int:
        return prod(self.batch if isinstance(a.extent, Batch) else a.extent for a in over)


def origin(graph: Graph, values: Mapping[Value, Array], result: Value, batch: int) -> Element | None:
    """The first element that is not finite of the formula that makes `result` not finite; None if it is finite."""
    producers = graph.producers()
    if result not in producers or np.isfinite(values[result]).all():
        return None
    element = Element(producers[result], _place(values[result]), values, batch)
    while (before := _cause(element, producers)) is not None:
        element = before
    return Element(element.node, _place(values[element.node.output]), values, batch)


def _cause(element: Element, producers: Mapping[Value, Node]) -> Element | None:
    """A computed element that is not finite and that this one is computed from: a NaN if there is one."""
    found = [
        Element(producers[value], index, element.values, element.batch)
        for value, _, index, number in element.reads(element.worst)
        if not isfinite(number) and value in producers
    ]
    return next((e for e in found if isnan(e.value)), found[0] if found else None)


def _taken(e: Any, holds: Callable[[Cond], bool]) -> Any:
    """An expression with each conditional replaced by the branch that is taken."""
    if isinstance(e, Where):
        condition, a, b = e.args
        return _taken(a if holds(condition) else b, holds)
    if isinstance(e, Read) or not e.args:
        return e
    return e.func(*[_taken(a, holds) for a in e.args])


def _place(array: Array) -> tuple[int, ...]:
    """Where an array is not finite first."""
    return tuple(map(int, np.unravel_index(int(np.argmax(~np.isfinite(array))), array.shape)))


def _first(array: Array) -> str:
    place = _place(array)
    return f"{float(array[place])} at {_index(place)}"


def _index(place: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, place))}]"
