"""Scattered sums as loops over their terms.

parallel over the other axes of the result, vectors of the last one
  clear all places
  serial over the terms
    place = index[term]; if it is one: result[place] += term
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.access import buffer_of, load, physical
from graphc.loops.expressions import Binary, Const, Expression, Load, Select
from graphc.loops.freeze import Scope, freeze, freeze_index, freeze_test
from graphc.loops.index import UNBOUNDED, Element, Index, Range, constant, variable
from graphc.loops.ir import Bind, Condition, If, Statement, Store
from graphc.loops.tiles import TileShape, outer_loops, serial_loops
from graphc.ops.formula import Axis
from graphc.ops.scattering import scattering
from graphc.schedule.program import Kernel, Memory
from graphc.target import Target
from graphc.types import Batch

VECTORS = 4
"""The most vectors of a row that are added at a time."""


def lower_scatter(kernel: Kernel, memories: Mapping[str, Memory], target: Target) -> tuple[Statement, ...]:
    """The loops of a scattered sum, whose kernel has no other stage."""
    (stage,) = kernel.stages
    f, form = stage.formula, scattering(stage.formula)
    assert form is not None
    assert kernel.lane not in form.fixed
    dtype, result = stage.value.type.dtype, memories[kernel.writes[0]]
    ranges: dict[str, Range] = {"N": (1, UNBOUNDED)} | {a.name: _range(a) for a in (*f.axes, *f.over)}
    env: dict[str, Index] = {}
    tile = TileShape(None, 1, 1, None, 1, 1, None)
    parts = [(a.name, _size(a)) for a in f.axes if a.name not in form.named and a.name != kernel.lane]
    extent = next((a.extent for a in f.axes if a.name == kernel.lane), None)
    if isinstance(extent, int):
        tile, env, blocks = _vectors(str(kernel.lane), extent, target.lanes(dtype), ranges)
        parts.append((f"{kernel.lane}_b", blocks))
    named = [a for a in f.axes if a.name in form.named]
    term = env | {a.name: variable(f"{a.name}_at") for a in named}
    known = ranges | {f"{a.name}_at": ranges[a.name] for a in named}

    def access(operand: str, index: tuple[Index, ...]) -> Expression:
        return load(memories[operand], index, known)

    def element(operand: str, index: tuple[Index, ...]) -> Element:
        return Element(operand, physical(memories[operand].layout, index, known))

    def at(place: Mapping[str, Index]) -> tuple[Index, ...]:
        logical = tuple(place.get(a.name, variable(a.name)) for a in f.axes)
        return physical(result.layout, logical, known)

    scope = Scope(dtype, term, known, access, element, {o: memories[o].value.type.dtype for o in kernel.reads})
    value = freeze(f.body, scope)
    for c in form.conditions:
        value = Select(freeze_test(c, scope), value, Const(0.0, dtype))
    buffer = buffer_of(result)
    added = tile.wrap((Store(buffer, at(term), Binary("add", Load(buffer, at(term)), value)),))
    inside: list[Condition] = []
    for a in named:
        place = term[a.name]
        inside += [Condition("ge", place), Condition("ge", _size(a) - 1 - place)]
    binds = tuple(Bind(f"{name}_at", freeze_index(index, scope)) for name, index in form.places)
    clear = serial_loops([(a.name, _size(a)) for a in named], tile.wrap((Store(buffer, at(env), Const(0.0, dtype)),)))
    terms = serial_loops([(a.name, _size(a)) for a in f.over], (*binds, If(tuple(inside), added)))
    return (outer_loops(parts, (*clear, *terms)),)


def _vectors(lane: str, extent: int, lanes: int, ranges: dict[str, Range]) -> tuple[TileShape, dict[str, Index], Index]:
    """(the vectors that are added at a time, what the axis is in them, how many such parts it has)"""
    whole = -(-extent // lanes)
    vectors = max(v for v in range(1, VECTORS + 1) if whole % v == 0)
    position = variable(f"{lane}_b") * (lanes * vectors) + variable(f"{lane}_v") * lanes
    ranges |= {
        f"{lane}_b": (0, whole // vectors - 1), f"{lane}_v": (0, vectors - 1), f"{lane}_l": (0, lanes - 1),
    }  # fmt: skip
    active = None if extent % lanes == 0 else constant(extent) - position
    tile = TileShape(lane, lanes, vectors, None, 1, 1, active)
    return tile, {lane: position + variable(f"{lane}_l")}, constant(whole // vectors)


def _range(axis: Axis) -> Range:
    return 0, UNBOUNDED if isinstance(axis.extent, Batch) else axis.extent - 1


def _size(axis: Axis) -> Index:
    return variable("N") if isinstance(axis.extent, Batch) else constant(axis.extent)
