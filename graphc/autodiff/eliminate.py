"""Solving h = index(axes) for the axes of a read: what turns the adjoint of a gather into a gather again.

For a read X[f_0(u), f_1(u), ...] inside a statement over the axes u, the adjoint of X is

    dX[h] = Σ_u  ... · [h_0 == f_0(u)] · [h_1 == f_1(u)] ...

and every equation that can be solved removes one loop. The rules, tried in this order for each equation:

    bare       h = u                      u keeps its name and becomes an axis of the result
    split      floor(a / s), a mod s      one axis of a is written s·q + t, which makes both of them affine
    digits     h = Σ c_i·u_i + c          mixed radix: u_i = floor((h - c) / c_i) mod (c_{i+1} / c_i)
    floor      h = floor((k·u + b) / s)   u is one of ⌈s / k⌉, from the least on: u = ⌈(s·h - b) / k⌉ + t
    linear     h = k·u + rest             u = (h - rest) / k where k divides it; the longest axis goes
    guard      anything else              the equation stays a condition (gathers, constant indices)

In the end a summed axis u under s | u + rest becomes s·v - rest: the gradient of a transposed convolution's weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, pairwise

import sympy as sp
from sympy.core.expr import Expr

from graphc.autodiff.conditions import decide, simplify, simplify_conditions
from graphc.ops.formula import (
    Axis,
    Cond,
    FloorDiv,
    Mod,
    Read,
    affine,
    denominator,
    divides,
    eq,
    free_symbols,
    ge,
    index_symbol,
    replace,
    size_of,
    walk,
)
from graphc.ops.intervals import interval
from graphc.types import Batch, Extent

MANY = 1 << 40
"""The batch axis counts as the longest one."""

RESULT_NAMES = ("h", "w", "u", "v", "z")


@dataclass(frozen=True, slots=True)
class Elimination:
    """dX[axes] = Σ_{over | conditions} of a body in which `solved` has been substituted."""

    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    solved: tuple[tuple[sp.Symbol, Expr], ...]
    conditions: tuple[Cond, ...]

    @property
    def extents(self) -> dict[sp.Symbol, Extent]:
        """The extents of all axes that remain."""
        return {a.symbol: a.extent for a in (*self.axes, *self.over)}

    def substitute(self, e: Expr) -> Expr:
        """An expression over the old axes, written over the new ones."""
        return decide(simplify(replace(e, dict(self.solved)), self.extents), self.extents)


def eliminate(
    read: Read,
    shape: tuple[Extent, ...],
    axes: tuple[Axis, ...],
    over: tuple[Axis, ...] = (),
    conditions: Iterable[Cond] = (),
) -> Elimination | None:
    """Solve the index equations of a read for as many axes of its statement as possible.

    `axes` are the axes of the statement's result, `over` its reduced ones. None if no element is ever read.
    """
    system = _System(read, shape, axes, over, conditions)
    while system.equations:
        outcome = system.settle()
        if outcome is None:
            return None
        if not (outcome or system.split() or system.digits() or system.floor() or system.linear()):
            break
    return system.finish()


class _System:
    """The equations that are still open, and what has been solved so far."""

    def __init__(
        self, read: Read, shape: tuple[Extent, ...], axes: tuple[Axis, ...], over: tuple[Axis, ...],
        conditions: Iterable[Cond],
    ) -> None:  # fmt: skip
        self.scope: dict[sp.Symbol, Extent] = {a.symbol: a.extent for a in (*axes, *over)}
        self.original = frozenset(self.scope)
        self.results = frozenset(a.symbol for a in axes)
        self.taken = {a.name for a in (*axes, *over)} | {"N"}
        self.solved: dict[sp.Symbol, Expr] = {}
        self.conditions: list[Cond] = list(conditions)
        self.equations: list[Expr] = []
        """Expressions that must be zero."""
        self.axes: list[Axis] = []
        for index, extent in zip(read.index, shape, strict=True):
            if index in self.scope:
                known = self.scope.pop(index)
                self.axes.append(Axis(index, extent))
                if known != extent:
                    self.conditions.append(ge(size_of(known) - 1 - index))
            else:
                self.axes.append(Axis(self.fresh(RESULT_NAMES), extent))
                self.equations.append(index - self.axes[-1].symbol)
        self.columns = {a.symbol for a in self.axes}
        for symbol in [s for s, extent in self.scope.items() if extent == 1]:
            self.apply(symbol, sp.S.Zero)

    def fresh(self, names: tuple[str, ...]) -> sp.Symbol:
        for k in count(1):
            for name in names:
                candidate = name if k == 1 else f"{name}{k}"
                if candidate not in self.taken:
                    self.taken.add(candidate)
                    return index_symbol(candidate)
        raise AssertionError

    @property
    def extents(self) -> dict[sp.Symbol, Extent]:
        return self.scope | {a.symbol: a.extent for a in self.axes}

    def apply(self, symbol: sp.Symbol, value: Expr) -> None:
        """Replace an axis everywhere; the caller adds what its range demands."""
        step = {symbol: value}
        self.solved = {s: replace(e, step) for s, e in self.solved.items()} | step
        self.equations = [replace(e, step) for e in self.equations]
        self.conditions = [replace(c, step) for c in self.conditions]
        self.scope.pop(symbol, None)

    def solve(self, symbol: sp.Symbol, value: Expr) -> None:
        """Replace an axis everywhere and demand that the value lies in its range."""
        top = size_of(self.scope[symbol]) - 1
        self.apply(symbol, value)
        self.conditions += [ge(value), ge(top - value)]

    def settle(self) -> bool | None:
        """Simplify the equations; True if one of them vanished, None if one cannot hold."""
        extents = self.extents
        self.equations = [simplify(e, extents) for e in self.equations]
        open_equations = [e for e in self.equations if e != 0]
        if any(e.is_Number for e in open_equations):
            return None
        vanished = len(open_equations) < len(self.equations)
        self.equations = open_equations
        return vanished

    # ------------------------------------------------------------------------------------------------ rules

    def split(self) -> bool:
        """Write an axis of floor(a / s) or a mod s as the quotient and remainder of a, if it saves loops."""
        atoms = {n for e in self.equations for n in walk(e) if isinstance(n, (FloorDiv, Mod))}
        for atom in sorted(atoms, key=lambda a: (int(a.args[1]), str(a))):
            of, divisor = atom.args[0], int(atom.args[1])
            terms = affine(of)
            low, high = interval(of, self.extents)
            if terms is None or low is None or high is None or low.slope or high.slope:
                continue
            first = int(low.constant // divisor)
            quotients = int(high.constant // divisor) - first + 1
            left = divisor if isinstance(atom, FloorDiv) else quotients
            fitting = [
                (extent, str(u), u)
                for u, k in terms[0].items()
                if abs(k) == 1 and isinstance(extent := self.scope.get(u), int) and extent >= left
            ]
            if not fitting:
                continue
            u = max(fitting)[2]
            q, t = self.fresh(("q",)), self.fresh(("t",))
            self.scope |= {q: quotients, t: divisor}
            self.solve(u, terms[0][u] * (divisor * (q + first) + t - (of - terms[0][u] * u)))
            if quotients == 1:
                self.apply(q, sp.S.Zero)
            return True
        return False

    def digits(self) -> bool:
        """Mixed radix: reshape, pixel shuffle, heads, windows that do not overlap."""
        for position, equation in enumerate(self.equations):
            terms = equation.as_coefficients_dict()
            if denominator(equation) != 1:
                continue
            parts = [(int(k), u) for u, k in terms.items() if u in self.scope]
            if len(parts) < 2 or any(k < 0 for k, _ in parts):
                if len(parts) < 2 or any(k > 0 for k, _ in parts):
                    continue
                parts, equation = [(-k, u) for k, u in parts], -equation
            rest = sp.Add(*[k * u for k, u in parts]) - equation
            if free_symbols(rest) & {u for _, u in parts}:
                continue
            parts.sort(key=lambda part: (part[0], str(part[1])))
            if not all(
                isinstance(extent := self.scope[u], int) and not c % k and k * extent <= c
                for (k, u), (c, _) in pairwise(parts)
            ):
                continue
            del self.equations[position]
            if parts[0][0] > 1:
                self.conditions.append(divides(parts[0][0], rest))
            for (k, u), above in zip(parts, [*parts[1:], None], strict=True):
                digit = FloorDiv(rest, sp.Integer(k)) if k > 1 else rest
                if above is not None:
                    digit = Mod(digit, sp.Integer(above[0] // k))
                self.solve(u, digit)
            return True
        return False

    def floor(self) -> bool:
        """The axis inside of a quotient of which most values fall away, if these are more than `linear` takes."""
        best: tuple[float, int, Expr, sp.Symbol] | None = None
        for position, equation in enumerate(self.equations):
            for atom, sign in equation.as_coefficients_dict().items():
                if not isinstance(atom, FloorDiv) or abs(sign) != 1 or (terms := affine(atom.args[0])) is None:
                    continue
                elsewhere = free_symbols(equation - sign * atom)
                for u, k in terms[0].items():
                    extent = self.scope.get(u)
                    if isinstance(extent, int) and u not in elsewhere and k.is_Integer and k > 0:
                        saved = extent / -(-int(atom.args[1]) // int(k))
                        if saved > 1 and (best is None or saved > best[0]):
                            best = saved, position, atom, u
        simpler = self._longest()
        if best is None or (simpler is not None and simpler[0][0] >= best[0]):
            return False
        _, position, atom, u = best
        equation = self.equations.pop(position)
        quotient = (sign := equation.coeff(atom)) * (sign * atom - equation)
        of, divisor = atom.args
        k = of.coeff(u)
        below = divisor * quotient - (of - k * u)
        t = self.fresh(("t",))
        self.scope[t] = -(-int(divisor) // int(k))
        value = FloorDiv(below + k - 1, k) + t
        self.solve(u, value)
        self.conditions.append(ge(below + divisor - 1 - k * value))
        if self.scope[t] == 1:
            self.apply(t, sp.S.Zero)
        return True

    def _longest(self) -> tuple[tuple[int, bool, bool], int, sp.Symbol] | None:
        """(its length and what else speaks for it, the equation, the axis) that `linear` takes."""
        best: tuple[tuple[int, bool, bool], int, sp.Symbol] | None = None
        for position, equation in enumerate(self.equations):
            for u, k in equation.as_coefficients_dict().items():
                if u not in self.scope or u in free_symbols(equation - k * u):
                    continue
                extent = self.scope[u]
                length = MANY if isinstance(extent, Batch) else extent
                score = (length, u in self.results, abs(k) == 1)
                if best is None or score > best[0]:
                    best = (score, position, u)
        return best

    def linear(self) -> bool:
        """The axis with the most values, of those that stand in an equation with a constant factor."""
        best = self._longest()
        if best is None:
            return False
        _, position, u = best
        equation = self.equations.pop(position)
        equation = denominator(equation) * equation
        k = equation.as_coefficients_dict()[u]
        rest = k * u - equation
        if abs(k) != 1:
            self.conditions.append(divides(abs(k), rest if k > 0 else -rest))
        self.solve(u, rest / k)
        return True

    def stride(self) -> None:
        """An axis that is summed where s divides it, but for an offset, runs in steps of s, if they are fewer."""
        for condition in [c for c in self.conditions if c.kind == "divides"]:
            step, e = int(condition.args[1]), condition.args[2]
            terms, (low, high) = affine(e), interval(e, self.extents)
            if terms is None or low is None or high is None or low.slope or high.slope or denominator(e) != 1:
                continue
            first = -int(-low.constant // step)
            count = int(high.constant // step) - first + 1
            for u, k in terms[0].items():
                extent = self.scope.get(u)
                if abs(k) == 1 and isinstance(extent, int) and 0 < count < extent:
                    v = self.fresh(("v",))
                    self.scope[v] = count
                    self.conditions.remove(condition)
                    self.solve(u, k * (step * (v + first) - (e - k * u)))
                    break

    def finish(self) -> Elimination | None:
        self.stride()
        extents = self.extents
        for equation in self.equations:
            terms = equation.as_coefficients_dict()
            left = sp.Add(*[-k * s for s, k in terms.items() if s in self.columns])
            self.conditions.append(eq(left, equation + left))
        conditions = simplify_conditions(self.conditions, extents)
        if conditions is None:
            return None
        solved = tuple((s, simplify(e, extents)) for s, e in self.solved.items() if s in self.original)
        over = tuple(Axis(s, extent) for s, extent in self.scope.items())
        return Elimination(tuple(self.axes), over, solved, conditions)
