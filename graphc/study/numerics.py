"""Every scalar function of the catalogue and its derivative, as compiled for float32, against many digits.

The subjects are the operators that map one tensor element by element. Arguments are taken from all exponents of
float32, and densely near the places where functions change: 0, 1, the ends of exp, multiples of π/2, the breakpoints of
the formula. The truth is the operator's formula in mpmath's arithmetic; that of the derivative is a difference of it,
so that the derivation is judged too.

An error is counted in units in the last place of the rounded true value (ulp). A derivative that is written in the
function's value, such as 1 - tanh², loses digits where it is small beside 1; so a second column counts the error
relative to the larger of 1 and the true value, in units of 2⁻²⁴. Values below 2⁻¹⁰⁰ count in the second column alone:
they are products of numbers that may vanish. Near the largest number a result may be infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

from graphc.dsl.derivatives import gradient
from graphc.dsl.tensor import input
from graphc.errors import InputError
from graphc.ops.formula import Read, free_symbols, replace, tensor_symbol
from graphc.ops.operator import Operator
from graphc.ops.precise import DIGITS, Function, Number, breakpoints, holds_constants, precise, slope_of
from graphc.pipeline import compile_inference
from graphc.study.catalogue import application, entries
from graphc.study.tables import table

Array = npt.NDArray[Any]

TINY = float(np.finfo(np.float32).tiny)
LEAST = 2.0**-100
LARGEST = float(np.finfo(np.float32).max)
EXPONENTS = range(-126, 128)

SPECIAL = (
    0.0,
    0.5,
    1.0,
    2.0,
    3.0,
    6.0,
    10.0,
    20.0,
    87.3365,
    88.7228,
    103.972,
    *[k * math.pi / 2 for k in (1, 2, 3, 4)],
)
"""Where elementary functions bend, overflow, vanish or have zeros; with both signs."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An operator on one tensor, its formula as a function of many digits, and where the formula changes."""

    name: str
    operator: Operator
    exact: Function
    breaks: tuple[float, ...]
    has_slope: bool


def subjects() -> dict[str, Subject]:
    """The operators that map one float tensor element by element, with the options of their first samples."""
    return {s.name: s for entry in entries() if (s := _subject(entry.operator)) is not None}


def _subject(operator: Operator) -> Subject | None:
    found = application(operator, operator.samples[0])
    f = found.statements[-1].formula
    reads = tuple(f.body.atoms(Read))
    alone = len(found.operands) == len(found.statements) == len(reads) == 1 and f.is_pointwise and not f.conditions
    if not alone or not found.operands[0][1].dtype.is_float or f.body == reads[0]:
        return None
    argument = tensor_symbol("x")
    body = replace(f.body, {reads[0]: argument})
    if reads[0].index != tuple(a.symbol for a in f.axes) or free_symbols(body):
        return None
    return Subject(
        operator.name, operator, precise(body, argument), breakpoints(body, argument), not holds_constants(body)
    )


# ---------------------------------------------------------------------------------------------------- arguments


def arguments(breaks: Iterable[float] = (), density: int = 2, seed: int = 0) -> Array:
    """float32 numbers in order: `density` of every exponent and sign, and 8 · density around each special one."""
    random = np.random.default_rng(seed)
    exponents = np.repeat(np.array(EXPONENTS, float), density)
    everywhere = random.uniform(1, 2, len(exponents)) * 2.0**exponents
    places = np.array(sorted({*SPECIAL, *map(abs, breaks)}))
    size = (len(places), 8 * density)
    distance = 2.0 ** random.uniform(-23, 0, size) * random.choice([-1, 1], size)
    near = (places[:, None] + distance * np.maximum(places[:, None], 1)).ravel()
    ends = np.array([TINY, LARGEST])
    positive = np.concatenate([everywhere, near, -near, places, ends]).astype(np.float32)
    every = np.unique(np.concatenate([positive, -positive]))
    return every[(every == 0) | (np.abs(every) >= TINY)]


# -------------------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True)
class Row:
    """A function or a derivative: the largest error in ulp and where it is, and the largest beside 1.

    `undefined` are ranges of arguments without a finite true value, `wrong` those where the result is not finite
    although the true value is, or the other way round.
    """

    name: str
    points: int
    ulp: float
    at: float
    beside: float
    undefined: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def sweep(names: Sequence[str] = (), density: int = 2) -> list[Row]:
    """For each function a row of its values and one of its derivative. Raises InputError for an unknown name."""
    known = subjects()
    for name in names:
        if name not in known:
            raise InputError(f"there is no function {name}", hint=f"choose among {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    x = arguments([b for s in chosen for b in s.breaks], density)
    rows = []
    for subject, (value, derivative) in zip(chosen, _computed(chosen, x), strict=True):
        with mpmath.workdps(DIGITS):
            exact, argument = subject.exact, [mpmath.mpf(float(v)) for v in x]
            rows.append(_row(subject.name, x, value, map(exact, argument)))
            if subject.has_slope:
                slopes = (slope_of(exact, a) for a in argument)
                rows.append(_row(f"{subject.name}'", x, derivative, slopes, smooth=True))
    return rows


def _computed(chosen: Sequence[Subject], x: Array) -> Iterator[tuple[Array, Array]]:
    """Values and derivatives of all functions, by one native program."""
    tensor = input("x", x.shape)
    values = [s.operator(tensor, **s.operator.samples[0].attributes) for s in chosen]
    slopes = [gradient(y.sum(), tensor) for y in values]
    found = compile_inference([*values, *slopes], threads=1)(x=x)
    return zip(found[: len(chosen)], found[len(chosen) :], strict=True)


def _row(name: str, x: Array, got: Array, exact: Iterable[Number], *, smooth: bool = False) -> Row:
    """With `smooth`, arguments without a true value are left out: there is a kink, or an end of the domain."""
    worst, at, beside, points = 0.0, 0.0, 0.0, 0
    kinds: list[tuple[float, str, bool]] = []
    for argument, result, true in zip(x.tolist(), got.tolist(), exact, strict=True):
        if smooth and mpmath.isnan(true):
            continue
        points += 1
        expected, found = _kind(true), _kind(result)
        kinds.append((argument, found or expected, found not in _allowed(true)))
        if expected or found:
            continue
        error = float(abs(result - true))
        beside = max(beside, error / max(1.0, float(abs(true))) * 2.0**24)
        size = abs(true)
        if size >= LEAST and (units := error / _ulp(float(size))) > worst:
            worst, at = units, argument
    undefined = tuple(_ranges(kinds, lambda kind, wrong: bool(kind) and not wrong))
    return Row(name, points, worst, at, beside, undefined, tuple(_ranges(kinds, lambda kind, wrong: wrong)))


def _kind(value: Number) -> str:
    """What a number is if it is none of float32."""
    if value != value:
        return "nan"
    return "" if abs(value) < LARGEST * (1 + 2.0**-25) else "inf" if value > 0 else "-inf"


def _allowed(true: Number) -> tuple[str, ...]:
    """The kinds of results that are right: an infinity near the largest number, and either sign or none at a pole."""
    if mpmath.isinf(true) or mpmath.isnan(true):
        return ("nan", "inf", "-inf")
    return (_kind(true), _kind(8 * true)) if abs(true) < LARGEST else (_kind(true),)


def _ulp(size: float) -> float:
    return 2.0 ** (math.frexp(np.float32(size))[1] - 24)


def _ranges(kinds: Sequence[tuple[float, str, bool]], chosen: Callable[[str, bool], bool]) -> Iterator[str]:
    """Neighbouring arguments of one kind as `nan in -3.4e+38 .. -1.2e-38`."""
    for (kind, wrong), run in groupby(kinds, key=lambda k: k[1:]):
        if chosen(kind, wrong):
            places = [argument for argument, _, _ in run]
            yield f"{kind} in {places[0]:.6g} .. {places[-1]:.6g}"


def report(rows: Iterable[Row]) -> str:
    """The rows as a table."""
    lines = [("function", "arguments", "largest error", "at", "beside 1", "no finite value", "WRONG")]
    lines += [
        (
            row.name, f"{row.points:,}", f"{row.ulp:,.2f} ulp", f"{row.at:.9g}", f"{row.beside:.2f}",
            ", ".join(row.undefined), ", ".join(row.wrong),
        )
        for row in rows
    ]  # fmt: skip
    return table(lines, "lrrrrll")
