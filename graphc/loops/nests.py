"""Index-set splitting: one kernel's axes as one or more plain loop nests.

Divisibility conditions (gradients of strided reads, transposed convolutions) are removed by phases: for each residue
of the axes modulo the divisor a nest of its own, in which every index is affine with integer coefficients. Axes that
are only taken apart by // and % (reshapes, non-overlapping windows) are replaced by their digits. Axes along which
reads enter or leave their tensors (concatenation, gradients of slices) are cut there, so that no element asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from graphc.loops.index import Index, Range, constant, variable
from graphc.ops.recurrence import places
from graphc.ops.structure import divisibilities, radices, thresholds
from graphc.schedule.layout import CUTS
from graphc.schedule.program import Kernel, Memory
from graphc.types import Batch, Extent

PHASE_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Pass:
    """One sweep over the reduction: loop variables, what the formula's reduced axes become, and where loops that are
    shorter than their axes stop."""

    over: tuple[tuple[str, Extent], ...]
    env: dict[str, Index] = field(default_factory=dict)
    stops: dict[str, Index] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nest:
    """Loop variables of the result, what the formula's axes become, and the sweeps of the reduction.

    `known` holds the ranges of variables that surround the nest; with `adds` results are added to what memory
    holds; with `run` a sum is the total of sums over so many iterations; `held` is how much of an axis is wanted;
    `near` is what those variables are inside scratch, which holds one block; indices `within` an axis of some extent
    need no proof.
    """

    axes: tuple[tuple[str, Extent], ...]
    env: dict[str, Index]
    passes: tuple[Pass, ...]
    phased: bool = False
    known: dict[str, Range] = field(default_factory=dict)
    adds: bool = False
    run: int = 0
    held: dict[str, Index] = field(default_factory=dict)
    near: dict[str, Index] = field(default_factory=dict)
    within: dict[Index, Extent] = field(default_factory=dict)

    def part(self, axis: str, first: int, extent: int) -> Nest:
        """The nest restricted to a stretch of one axis."""
        axes = tuple((n, extent if n == axis else e) for n, e in self.axes)
        shift = {axis: variable(axis) + first}
        env = {n: i.substitute(shift) for n, i in self.env.items()}
        if axis not in env:
            env[axis] = shift[axis]
        return replace(self, axes=axes, env=env)


def nests(kernel: Kernel, memories: Mapping[str, Memory] | None = None, lanes: int = 1) -> tuple[Nest, ...]:
    """The loop nests that together cover a kernel's result exactly once; those of reads that leave their memories
    are cut apart there, between whole vectors."""
    first = kernel.stages[0].formula
    over = tuple((a.name, a.extent) for a in first.over)
    split = _phases(kernel)
    if split is not None:
        return split
    axes: list[tuple[str, Extent]] = []
    env: dict[str, Index] = {}
    digits = _digits(kernel)
    for axis in first.axes:
        if axis.name in digits:
            total = constant(0)
            for name, extent, weight in digits[axis.name]:
                axes.append((name, extent))
                total = total + variable(name) * weight
            env[axis.name] = total
        else:
            axes.append((axis.name, axis.extent))
    whole = Nest(tuple(axes), env, (Pass(over),))
    return _cut(whole, _edges(kernel, memories or {}, lanes)) if first.reduction is None else (whole,)


def _edges(kernel: Kernel, memories: Mapping[str, Memory], lanes: int) -> dict[str, list[int]]:
    """Where along each axis reads enter or leave their memories, borders included, and where conditions on it change;
    none if that is too often."""
    found: dict[str, set[int]] = {a.name: set() for a in kernel.axes if a.name not in dict(kernel.walked)}
    reads = [read for stage in kernel.stages for read in places(stage.formula)]
    for memory, index in ((memories[name], index) for name, index in reads if name in memories):
        sides = zip(index, memory.value.type.shape, memory.layout.halo, strict=True)
        for place, extent, (low, high) in sides:
            if place is not None and place[0] in found and not isinstance(extent, Batch):
                found[place[0]] |= {-low - place[1], extent + high - place[1]}
    for stage in kernel.stages if memories else ():
        for name in found.keys() & (steps := thresholds(stage.formula)).keys():
            found[name] |= steps[name]
    edges = {
        a.name: sorted(e for e in found.get(a.name, ()) if isinstance(a.extent, int) and 0 < e < a.extent)
        for a in kernel.axes
    }
    few = prod(len(e) + 1 for e in edges.values()) <= CUTS
    return {n: e for n, e in edges.items() if e and few and (n != kernel.lane or all(k % lanes == 0 for k in e))}


def _cut(nest: Nest, edges: Mapping[str, Sequence[int]]) -> tuple[Nest, ...]:
    """The nest in parts between the edges; axes that were taken apart already remain."""
    parts = [nest]
    for name, extent in nest.axes:
        if name in edges and name not in nest.env:
            assert isinstance(extent, int)
            stretches = list(itertools.pairwise((0, *edges[name], extent)))
            parts = [part.part(name, first, end - first) for part in parts for first, end in stretches]
    return tuple(parts)


def _digits(kernel: Kernel) -> dict[str, tuple[tuple[str, int, int], ...]]:
    """For each axis of the result that splits evenly: (variable, extent, weight) of its digits, highest first."""
    found: dict[str, set[int]] = {}
    for stage in kernel.stages:
        for name, divisors in radices(stage.formula).items():
            found.setdefault(name, set()).update(divisors)
    taken = {a.name for stage in kernel.stages for a in (*stage.formula.axes, *stage.formula.over)}
    result = {}
    for axis in kernel.axes:
        if axis.name not in found or isinstance(axis.extent, Batch) or axis.name in dict(kernel.walked):
            continue
        if axis.name == kernel.lane and found[axis.name] == {2}:
            continue  # one shuffle gives every element to two lanes; the stores stay whole vectors
        chain = [1, *sorted(found[axis.name]), axis.extent]
        chain = list(dict.fromkeys(chain))
        if chain[-1] != axis.extent or any(b % a for a, b in itertools.pairwise(chain)):
            continue
        pairs = list(itertools.pairwise(chain))
        stem = axis.name
        while taken & {f"{stem}{k}" for k in range(len(pairs))}:
            stem += "_"
        result[axis.name] = tuple(
            (f"{stem}{len(pairs) - 1 - k}", high // low, low) for k, (low, high) in reversed(list(enumerate(pairs)))
        )
    return result


def _phases(kernel: Kernel) -> tuple[Nest, ...] | None:
    """Nests without divisibility conditions, or None if there are none or too many residues."""
    first = kernel.stages[0].formula
    conditions = divisibilities(first)
    if not conditions:
        return None
    extents: dict[str, Extent] = {a.name: a.extent for a in (*first.axes, *first.over)}
    modulus: dict[str, int] = {}
    for c in conditions:
        for name, k in c.coefficients:
            if k % c.divisor:
                if isinstance(extents[name], Batch) or modulus.get(name, c.divisor) != c.divisor:
                    return None
                modulus[name] = c.divisor
    count = 1
    for m in modulus.values():
        count *= m
    if count > PHASE_LIMIT**2 or not modulus.keys().isdisjoint(dict(kernel.walked)):
        return None
    outer = [a.name for a in first.axes if a.name in modulus]
    inner = [a.name for a in first.over if a.name in modulus]
    result = []
    for residues in itertools.product(*[range(modulus[n]) for n in outer]):
        fixed = dict(zip(outer, residues, strict=True))
        axes = _split(tuple((a.name, a.extent) for a in first.axes), fixed, modulus)
        if axes is None:
            continue
        passes = []
        for rest in itertools.product(*[range(modulus[n]) for n in inner]):
            chosen = fixed | dict(zip(inner, rest, strict=True))
            holds = all(
                (sum(k * chosen.get(n, 0) for n, k in c.coefficients) + c.constant) % c.divisor == 0 for c in conditions
            )
            over = _split(tuple((a.name, a.extent) for a in first.over), chosen, modulus)
            if holds and over is not None:
                env = {n: variable(n) * modulus[n] + chosen[n] for n in inner}
                passes.append(Pass(over, env))
        env = {n: variable(n) * modulus[n] + fixed[n] for n in outer}
        result.append(Nest(axes, env, tuple(passes), phased=True))
    return tuple(result)


def _split(
    axes: tuple[tuple[str, Extent], ...], residues: dict[str, int], modulus: dict[str, int]
) -> tuple[tuple[str, Extent], ...] | None:
    """Extents of the axes restricted to their residues; None if one of them is empty."""
    result: list[tuple[str, Extent]] = []
    for name, extent in axes:
        if name in residues:
            assert isinstance(extent, int)
            extent = -(-(extent - residues[name]) // modulus[name])
            if extent <= 0:
                return None
        result.append((name, extent))
    return tuple(result)
