"""How far compiled scalar functions are from the true ones, over all numbers of float32 and samples of float64.

float32 has 2^32 numbers: all of them (or every n-th) go through a compiled kernel and are compared with the same
function in float64, whose own error is a billionth of a unit in the last place of float32. float64 is compared with
mpmath, 60 digits, at random points of all exponents.

An error is counted in units in the last place of the rounded true value. Inside a step numbers below the smallest
normal one count as zero, so the true value is taken at zero for such arguments, and a true value in that range may
come out as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

from graphc.dsl import functional as f
from graphc.dsl.tensor import Tensor, input
from graphc.errors import InputError
from graphc.pipeline import compile_inference
from graphc.study.tables import table

Array = npt.NDArray[Any]

BLOCK = 1 << 14
"""Numbers in one native call."""

TINY = 2.0**-126
"""The smallest normal number of float32."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A function as users write it, in numpy for float64 arrays, and in mpmath for one number."""

    apply: Callable[[Tensor], Tensor]
    double: Callable[[Array], Array]
    precise: Callable[[Any], Any]
    subnormal: bool = False
    """Whether arguments below the smallest normal number do not count as zero."""
    domain: float = math.inf
    """Arguments of this size and beyond give NaN."""
    least: float = TINY
    """Results below may be zero."""


def _erf(x: Array) -> Array:
    """Two terms of the series below 2⁻¹², one from 6 on; the library of C between."""
    size = np.abs(x)
    result = np.where(size < 1, x * (2 / math.sqrt(math.pi)) * (1 - x * x / 3), np.copysign(1.0, x))
    inner = (size > 2.0**-12) & (size < 6)
    result[inner] = [math.erf(v) for v in x[inner].tolist()]
    return np.where(np.isnan(x), x, result)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


SUBJECTS: dict[str, Subject] = {
    "exp": Subject(f.exp, np.exp, mpmath.exp),
    "expm1": Subject(f.expm1, np.expm1, mpmath.expm1),
    "log": Subject(f.log, np.log, mpmath.log, subnormal=True),
    "log1p": Subject(f.log1p, np.log1p, mpmath.log1p),
    "tanh": Subject(f.tanh, np.tanh, mpmath.tanh),
    "sigmoid": Subject(f.sigmoid, _sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "softplus": Subject(
        f.softplus,
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda x: mpmath.log1p(mpmath.exp(x)),
    ),
    "erf": Subject(f.erf, _erf, mpmath.erf),
    "sin": Subject(f.sin, np.sin, mpmath.sin, domain=2.0**20),
    "cos": Subject(f.cos, np.cos, mpmath.cos, domain=2.0**20),
    "sqrt": Subject(f.sqrt, np.sqrt, mpmath.sqrt),
    "rsqrt": Subject(lambda x: x**-0.5, lambda x: 1 / np.sqrt(x), lambda x: 1 / mpmath.sqrt(x)),
    "reciprocal": Subject(lambda x: 1 / x, lambda x: 1 / x, lambda x: 1 / x),
    "silu": Subject(f.silu, lambda x: x * _sigmoid(x), lambda x: x / (1 + mpmath.exp(-x)), least=2.0**-119),
}


@dataclass(frozen=True, slots=True)
class Row:
    """The largest error of one function and where it is; arguments where the kind of the result is wrong.

    `flushed` counts results that are zero although the true value, too small to be normal, is not; `wrong` the
    arguments whose result is NaN, infinite or negative where the true value is not, or the other way round.
    """

    name: str
    checked: int = 0
    ulp: float = 0.0
    at: float = 0.0
    flushed: int = 0
    wrong: int = 0
    example: float = math.nan

    def joined(self, other: Row) -> Row:
        """Both together."""
        worse = max(self, other, key=lambda row: row.ulp)
        shown = self if self.wrong else other
        return Row(
            self.name, self.checked + other.checked, worse.ulp, worse.at, self.flushed + other.flushed,
            self.wrong + other.wrong, shown.example,
        )  # fmt: skip


def sweep(name: str, stride: int = 1, start: int = 0, stop: int = 1 << 32) -> Row:
    """Compare a float32 function with float64 at every `stride`-th bit pattern of start..stop.

    Raises InputError for a name that is not among SUBJECTS.
    """
    if name not in SUBJECTS:
        raise InputError(f"there is no function {name}", hint=f"choose among {', '.join(SUBJECTS)}")
    subject = SUBJECTS[name]
    program = compile_inference(subject.apply(input("x", (BLOCK,))), threads=1)
    rows = (_compare(name, subject, x, program(x=x)) for x in _patterns(stride, start, stop))
    return reduce(Row.joined, rows, Row(name))


def _patterns(stride: int, start: int, stop: int) -> Iterator[Array]:
    """The float32 numbers with these bit patterns, in blocks; the last block is filled up with its first number."""
    for first in range(start, stop, stride * BLOCK):
        bits = first + stride * np.arange(BLOCK, dtype=np.int64)
        yield np.where(bits < stop, bits, first).astype(np.uint32).view(np.float32)


def _compare(name: str, subject: Subject, x: Array, got: Array) -> Row:
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        if not subject.subnormal:
            wide = np.where(np.abs(wide) < TINY, np.copysign(0.0, wide), wide)
        exact = subject.double(wide)
        if subject.domain < math.inf:
            exact[np.abs(wide) >= subject.domain] = math.nan
        rounded = exact.astype(np.float32)
        # the exponent of the rounded value alone, 23 places down
        unit = (rounded.view(np.int32) & 0x7F800000).view(np.float32) * np.float64(2.0**-23)
        size = np.abs(rounded)
        usual = (size >= subject.least) & (size < math.inf)
        ulp = np.where(usual & np.isfinite(got), np.abs(got - exact) / unit, 0.0)
        fine = (np.isnan(got) == np.isnan(rounded)) & (np.isinf(got) == np.isinf(rounded))
        fine &= np.isnan(rounded) | (np.signbit(got) == np.signbit(rounded))
        fine &= ~(size < subject.least) | (np.abs(got) <= subject.least)
    worst = int(np.argmax(ulp))
    wrong = int(np.count_nonzero(~fine))
    example = float(x[np.argmin(fine)]) if wrong else math.nan
    flushed = int(np.count_nonzero((size < subject.least) & (rounded != 0) & (got == 0)))
    return Row(name, len(x), float(ulp[worst]), float(x[worst]), flushed, wrong, example)


# ------------------------------------------------------------------------------------------------- float64


def sample(name: str, count: int = 4096, seed: int = 0) -> Row:
    """Compare a float64 function with mpmath at random arguments, half of all exponents and half of usual size."""
    subject = SUBJECTS[name]
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 1 << 64, count, dtype=np.uint64).view(np.float64)
    usual = generator.uniform(-1, 1, count) * 2.0 ** generator.uniform(-30, 10, count)
    x = np.concatenate([bits, usual])
    x = x[np.isfinite(x) & (np.abs(x) >= 2.0**-1022)]
    got = compile_inference(subject.apply(input("x", (len(x),), "float64")), threads=1)(x=x)
    worst, at, checked = 0.0, 0.0, 0
    with mpmath.workdps(60):
        for argument, result in zip(x.tolist(), got.tolist(), strict=True):
            if not math.isfinite(result) or not 2.0**-1021 < abs(result) < 2.0**1023:
                continue
            exact = subject.precise(mpmath.mpf(argument))
            error = float(abs(exact - result) / math.ulp(float(exact)))
            checked += 1
            if error > worst:
                worst, at = error, argument
    return Row(name, checked, worst, at)


def report(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = [("function", "arguments", "largest error", "at", "flushed", "wrong kind")]
    lines += [
        (
            row.name, f"{row.checked:,}", f"{row.ulp:.3f} ulp", f"{row.at!r}", f"{row.flushed:,}",
            f"{row.wrong:,} such as {row.example!r}" if row.wrong else "0",
        )
        for row in rows
    ]  # fmt: skip
    return table(lines, "lrrrrl")
