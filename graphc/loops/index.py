"""Integer index expressions: sums of atoms with integer coefficients, simplified by interval analysis.

    Index     constant + Σ coefficient · atom
    atom      Var(name) | Quotient(index, divisor) | Remainder(index, divisor) | Minimum(a, b) | Maximum(a, b)
              | Element(buffer, index, ...)            an integer read from memory (gather)

The batch size is the variable N.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union

Range = tuple[int, int]
"""Smallest and largest value that a variable takes, both included."""

UNBOUNDED = 1 << 40


@dataclass(frozen=True, slots=True, order=True)
class Var:
    """A loop variable, or N."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Quotient:
    """of // divisor, rounded down."""

    of: Index
    divisor: int

    def __str__(self) -> str:
        return f"{_operand(self.of)}//{self.divisor}"


@dataclass(frozen=True, slots=True)
class Remainder:
    """of mod divisor, never negative."""

    of: Index
    divisor: int

    def __str__(self) -> str:
        return f"{_operand(self.of)}%{self.divisor}"


@dataclass(frozen=True, slots=True)
class Minimum:
    a: Index
    b: Index

    def __str__(self) -> str:
        return f"min({self.a}, {self.b})"


@dataclass(frozen=True, slots=True)
class Maximum:
    a: Index
    b: Index

    def __str__(self) -> str:
        return f"max({self.a}, {self.b})"


@dataclass(frozen=True, slots=True)
class Element:
    """An element of an integer buffer, used as an index."""

    buffer: str
    index: tuple[Index, ...]

    def __str__(self) -> str:
        return f"{self.buffer}[{', '.join(map(str, self.index))}]"


Atom = Union[Var, Quotient, Remainder, Minimum, Maximum, Element]


@dataclass(frozen=True, slots=True)
class Index:
    """constant + Σ coefficient · atom, terms sorted by their text."""

    terms: tuple[tuple[Atom, int], ...] = ()
    constant: int = 0

    def __str__(self) -> str:
        parts: list[str] = []
        for atom, k in self.terms:
            text = f"({atom})" if abs(k) != 1 and isinstance(atom, Quotient | Remainder) else str(atom)
            parts.append(("-" if k < 0 else "+") + (text if abs(k) == 1 else f"{abs(k)}*{text}"))
        if self.constant or not parts:
            parts.append(f"{self.constant:+d}")
        return "".join(parts).removeprefix("+")

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.constant + other) if other else self
        if not other.terms:
            return Index(self.terms, self.constant + other.constant) if other.constant else self
        if not self.terms:
            return Index(other.terms, self.constant + other.constant) if self.constant else other
        return total((*self.terms, *other.terms), self.constant + other.constant)

    def __sub__(self, other: Index | int) -> Index:
        return self + (other * -1 if isinstance(other, Index) else -other)

    def __mul__(self, k: int) -> Index:
        if k == 0:
            return ZERO
        if k == 1:
            return self
        return Index(tuple((a, c * k) for a, c in self.terms), self.constant * k)

    __rmul__ = __mul__

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def coefficient(self, name: str) -> int:
        """The factor of a variable where it stands alone."""
        return next((k for a, k in self.terms if isinstance(a, Var) and a.name == name), 0)

    def uses(self, name: str) -> bool:
        """Whether a variable occurs anywhere, inside atoms included."""
        return name in self.variables()

    def variables(self) -> frozenset[str]:
        """The names of all variables, those inside atoms included."""
        if all(type(atom) is Var for atom, _ in self.terms):
            return frozenset([atom.name for atom, _ in self.terms])  # type: ignore[union-attr]
        found: set[str] = set()
        for atom, _ in self.terms:
            match atom:
                case Var(name):
                    found.add(name)
                case Quotient(of, _) | Remainder(of, _):
                    found |= of.variables()
                case Minimum(a, b) | Maximum(a, b):
                    found |= a.variables() | b.variables()
                case Element(_, index):
                    for i in index:
                        found |= i.variables()
        return frozenset(found)

    def elements(self) -> tuple[Element, ...]:
        """The memory reads inside the expression, innermost first."""
        if all(type(atom) is Var for atom, _ in self.terms):
            return ()
        found: list[Element] = []
        for atom, _ in self.terms:
            match atom:
                case Quotient(of, _) | Remainder(of, _):
                    found += of.elements()
                case Minimum(a, b) | Maximum(a, b):
                    found += (*a.elements(), *b.elements())
                case Element(_, index):
                    for i in index:
                        found += i.elements()
                    found.append(atom)
                case _:
                    pass
        return tuple(dict.fromkeys(found))

    def with_buffers(self, names: Mapping[str, str]) -> Index:
        """The same expression reading from buffers of other names."""
        if not self.elements():
            return self

        def renamed(atom: Atom) -> Atom:
            match atom:
                case Element(buffer, index):
                    return Element(names.get(buffer, buffer), tuple(i.with_buffers(names) for i in index))
                case Quotient(of, d):
                    return Quotient(of.with_buffers(names), d)
                case Remainder(of, d):
                    return Remainder(of.with_buffers(names), d)
                case Minimum(a, b):
                    return Minimum(a.with_buffers(names), b.with_buffers(names))
                case Maximum(a, b):
                    return Maximum(a.with_buffers(names), b.with_buffers(names))
                case _:
                    return atom

        return total([(renamed(a), k) for a, k in self.terms], self.constant)

    def substitute(self, mapping: Mapping[str, Index], ranges: Mapping[str, Range] | None = None) -> Index:
        """Replace variables; `ranges` of the variables that remain allow quotients to be simplified."""
        if not mapping or not (self.variables() & mapping.keys()):
            return self
        result = Index((), self.constant)
        for atom, k in self.terms:
            match atom:
                case Var(name):
                    new = mapping.get(name, Index(((atom, 1),)))
                case Quotient(of, d):
                    new = quotient(of.substitute(mapping, ranges), d, ranges or {})
                case Remainder(of, d):
                    new = remainder(of.substitute(mapping, ranges), d, ranges or {})
                case Minimum(a, b):
                    new = minimum(a.substitute(mapping, ranges), b.substitute(mapping, ranges), ranges or {})
                case Maximum(a, b):
                    new = maximum(a.substitute(mapping, ranges), b.substitute(mapping, ranges), ranges or {})
                case Element(buffer, index):
                    new = of_atom(Element(buffer, tuple(i.substitute(mapping, ranges) for i in index)))
            result = result + new * k
        return result


ZERO = Index()


def _operand(index: Index) -> str:
    """An index on the left of // or %: a variable alone needs no brackets."""
    alone = len(index.terms) == 1 and index.terms[0][1] == 1 and not index.constant
    return str(index) if alone and isinstance(index.terms[0][0], Var) else f"({index})"


def of_atom(atom: Atom) -> Index:
    """The index expression that is one atom."""
    return Index(((atom, 1),))


def variable(name: str) -> Index:
    """The index expression that is one variable."""
    return of_atom(Var(name))


def constant(value: int) -> Index:
    """A constant index."""
    return Index((), value)


def total(terms: Iterable[tuple[Atom, int]], const: int = 0) -> Index:
    """The sum of terms, like ones merged."""
    merged: dict[Atom, int] = {}
    for atom, k in terms:
        merged[atom] = merged.get(atom, 0) + k
    ordered = sorted(((a, k) for a, k in merged.items() if k), key=lambda t: str(t[0]))
    return Index(tuple(ordered), const)


def bounds(index: Index, ranges: Mapping[str, Range]) -> Range:
    """Smallest and largest value; ±UNBOUNDED where nothing is known."""
    low = high = index.constant
    for atom, k in index.terms:
        match atom:
            case Var(name):
                a, b = ranges.get(name, (-UNBOUNDED, UNBOUNDED))
            case Quotient(of, d):
                a, b = (v // d for v in bounds(of, ranges))
            case Remainder(of, d):
                a, b = 0, d - 1
            case Minimum(p, q):
                (a, b), (c, d) = bounds(p, ranges), bounds(q, ranges)
                a, b = min(a, c), min(b, d)
            case Maximum(p, q):
                (a, b), (c, d) = bounds(p, ranges), bounds(q, ranges)
                a, b = max(a, c), max(b, d)
            case Element():
                a, b = -UNBOUNDED, UNBOUNDED
        low += min(k * a, k * b)
        high += max(k * a, k * b)
    return max(low, -UNBOUNDED), min(high, UNBOUNDED)


def _split(index: Index, divisor: int) -> tuple[Index, Index]:
    """index = divisor · first + second, taking whole multiples out."""
    whole = total([(a, k // divisor) for a, k in index.terms if k % divisor == 0])
    rest = total([(a, k) for a, k in index.terms if k % divisor], index.constant % divisor)
    return whole + index.constant // divisor, rest


def quotient(index: Index, divisor: int, ranges: Mapping[str, Range] = {}) -> Index:
    """index // divisor, simplified."""
    if divisor == 1:
        return index
    whole, rest = _split(index, divisor)
    low, high = bounds(rest, ranges)
    if low // divisor == high // divisor:
        return whole + low // divisor
    step, coarse, _ = _coarse(rest, divisor, ranges)
    if step > 1:
        return whole + quotient(coarse, divisor // step, ranges)
    return whole + of_atom(Quotient(rest, divisor))


def remainder(index: Index, divisor: int, ranges: Mapping[str, Range] = {}) -> Index:
    """index mod divisor, simplified."""
    if divisor == 1:
        return ZERO
    _, rest = _split(index, divisor)
    low, high = bounds(rest, ranges)
    if low // divisor == high // divisor:
        return rest - (low // divisor) * divisor
    step, coarse, fine = _coarse(rest, divisor, ranges)
    if step > 1:
        return remainder(coarse, divisor // step, ranges) * step + fine
    return of_atom(Remainder(rest, divisor))


def _coarse(index: Index, divisor: int, ranges: Mapping[str, Range]) -> tuple[int, Index, Index]:
    """index = step · coarse + fine with 0 <= fine < step and step | divisor; step is 1 where there is none.

    A block of lanes stays together: (8·b + l) mod 24 = 8 · (b mod 3) + l.
    """
    for step in sorted({abs(k) for _, k in index.terms if abs(k) > 1 and divisor % abs(k) == 0}, reverse=True):
        coarse = total([(a, k // step) for a, k in index.terms if k % step == 0], index.constant // step)
        fine = total([(a, k) for a, k in index.terms if k % step], index.constant % step)
        low, high = bounds(fine, ranges)
        if low >= 0 and high < step:
            return step, coarse, fine
    return 1, index, ZERO


def minimum(a: Index, b: Index, ranges: Mapping[str, Range] = {}) -> Index:
    """min(a, b), folded when one side is known to be smaller."""
    low, high = bounds(b - a, ranges)
    if low >= 0:
        return a
    return b if high <= 0 else of_atom(Minimum(a, b))


def maximum(a: Index, b: Index, ranges: Mapping[str, Range] = {}) -> Index:
    """max(a, b), folded when one side is known to be larger."""
    low, high = bounds(b - a, ranges)
    if low >= 0:
        return b
    return a if high <= 0 else of_atom(Maximum(a, b))
