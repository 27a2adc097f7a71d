"""Compiled functions and derivatives against many digits; and losses whose arguments are extreme."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from graphc.errors import InputError
from graphc.ops.formula import Where, lt, tensor_symbol
from graphc.ops.precise import DIGITS, breakpoints, precise, slope_of
from graphc.ops.scalars import exp, log, sigmoid, softplus
from graphc.study import numerics
from graphc.study.numerics import Row, arguments, report, sweep

PERIODIC = {"sin", "sin'", "cos", "cos'", "tan", "tan'"}
"""Beyond 2^20 these are NaN, as docs/vector_mathematics.md says."""


EXTREME = {"gelu'"}
"""Beyond 2^127 a factor of x overflows, and infinity times 0 is NaN."""


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.name: row for row in sweep(density=1)}


def test_every_function_is_finite_where_it_is_defined(rows: dict[str, Row]) -> None:
    assert {name: row.wrong for name, row in rows.items() if row.wrong and name not in PERIODIC | EXTREME} == {}
    for name in (PERIODIC | EXTREME) & rows.keys():
        (below, above) = (w.split(" in ")[1].split(" .. ") for w in rows[name].wrong)
        assert float(below[1]) <= -(2.0**20 if name in PERIODIC else 2.0**127)
        assert float(above[0]) >= (2.0**20 if name in PERIODIC else 2.0**127)


def test_errors_are_small_beside_one(rows: dict[str, Row]) -> None:
    """A product of functions, such as mish', may be off by some units in the last place of 1."""
    assert {name: row.beside for name, row in rows.items() if not row.beside <= 16} == {}
    assert all(row.points > 100 for row in rows.values())


def test_the_functions_of_the_hardware_and_of_the_library_have_small_relative_errors(rows: dict[str, Row]) -> None:
    names = ("exp", "log", "expm1", "log1p", "tanh", "sigmoid", "softplus", "erf", "sqrt", "exp'", "log'", "softplus'")
    assert {name: rows[name].ulp for name in names if not rows[name].ulp <= 2} == {}


def test_what_is_not_defined_is_told(rows: dict[str, Row]) -> None:
    assert rows["log"].undefined[0].startswith("nan in -3.40282e+38 .. ")
    assert rows["log"].undefined[1] == "-inf in 0 .. 0"
    (overflow,) = rows["exp"].undefined
    assert 88 < float(overflow.removeprefix("inf in ").split(" .. ")[0]) < 90


def test_a_wrong_function_is_found() -> None:
    x = arguments()
    x = x[np.abs(x) < 1e38]

    def row(got: np.ndarray) -> Row:
        return numerics._row("f", x, got, (mpmath.mpf(float(v)) for v in x))

    assert row(x) == Row("f", len(x), 0.0, 0.0, 0.0)
    shifted = row(x * np.float32(1 + 2.0**-22))
    assert 1.9 < shifted.ulp < 4.1
    assert 3.9 < shifted.beside < 4.9
    holes = row(np.where((x > 1) & (x < 2), np.nan, x))
    (hole,) = holes.wrong
    assert hole.startswith("nan in 1.0")
    assert "WRONG" in report([holes])
    assert hole in report([holes])


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no function tangens\n  hint: choose among .*tanh"):
        sweep(["tangens"])


# ------------------------------------------------------------------------------------------------- many digits


def test_values_and_slopes_of_many_digits() -> None:
    x = tensor_symbol("x")
    with mpmath.workdps(DIGITS):
        at = mpmath.mpf(3) / 7
        f = precise(sigmoid(2 * x) / (1 + x**2), x)
        assert mpmath.almosteq(f(at), 1 / (1 + mpmath.exp(-2 * at)) / (1 + at**2), 1e-100)
        assert mpmath.almosteq(slope_of(f, at), mpmath.diff(f, at), 1e-20)
        assert mpmath.almosteq(slope_of(precise(softplus(x), x), mpmath.mpf(-80)), mpmath.exp(-80), 1e-30)


def test_bends_and_jumps_have_no_slope() -> None:
    x = tensor_symbol("x")
    bend, jump = Where(lt(x, 2), 0, x - 2), Where(lt(x, 0), -1, Where(lt(0, x), 1, 0))
    with mpmath.workdps(DIGITS):
        assert mpmath.isnan(slope_of(precise(bend, x), mpmath.mpf(2)))
        assert mpmath.isnan(slope_of(precise(jump, x), mpmath.mpf(0)))
        assert slope_of(precise(x, x), mpmath.mpf(0)) == 1
        assert mpmath.isnan(precise(log(x), x)(mpmath.mpf(-1)))
        assert mpmath.isinf(precise(1 / x, x)(mpmath.mpf(0)))
        assert precise(exp(x), x)(mpmath.mpf(10) ** 30) > mpmath.mpf(10) ** 30
    assert breakpoints(bend, x) == (2.0,)
