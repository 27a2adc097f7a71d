"""Index-set splitting: one kernel's axes as one or more plain loop nests.

Divisibility conditions (gradients of strided reads, transposed convolutions) are removed by phases: for each residue
of the axes modulo the divisor a nest of its own, in which every index is affine with integer coefficients. Axes that
are only taken apart by // and % (reshapes, non-overlapping windows) are replaced by their digits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from graphc.loops.index import Index, Range, constant, variable
from graphc.ops.structure import divisibilities, radices
from graphc.schedule.program import Kernel
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
    holds; with `run` a sum is the total of sums over so many iterations; `held` is how much of an axis is wanted.
    """

    axes: tuple[tuple[str, Extent], ...]
    env: dict[str, Index]
    passes: tuple[Pass, ...]
    phased: bool = False
    known: dict[str, Range] = field(default_factory=dict)
    adds: bool = False
    run: int = 0
    held: dict[str, Index] = field(default_factory=dict)

    def part(self, axis: str, first: int, extent: int) -> Nest:
        """The nest restricted to a stretch of one axis."""
        axes = tuple((n, extent if n == axis else e) for n, e in self.axes)
        shift = {axis: variable(axis) + first}
        env = {n: i.substitute(shift) for n, i in self.env.items()}
        if axis not in env:
            env[axis] = shift[axis]
        return replace(self, axes=axes, env=env)


def nests(kernel: Kernel) -> tuple[Nest, ...]:
    """The loop nests that together cover a kernel's result exactly once."""
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
    return (Nest(tuple(axes), env, (Pass(over),)),)


def _digits(kernel: Kernel) -> dict[str, tuple[tuple[str, int, int], ...]]:
    """For each axis of the result that splits evenly: (variable, extent, weight) of its digits, highest first."""
    found: dict[str, set[int]] = {}
    for stage in kernel.stages:
        for name, divisors in radices(stage.formula).items():
            found.setdefault(name, set()).update(divisors)
    taken = {a.name for stage in kernel.stages for a in (*stage.formula.axes, *stage.formula.over)}
    result = {}
    for axis in kernel.axes:
        if axis.name not in found or isinstance(axis.extent, Batch):
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
    if count > PHASE_LIMIT**2:
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
