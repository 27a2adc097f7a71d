"""Functions of two numbers that are steep or undefined somewhere, stated so that they keep their digits there."""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops import scalars
from graphc.ops.formula import Where, eq, le, lt
from graphc.ops.pointwise import pointwise

PAIR = ((3, 4), (4,))


def _scaled(a: Expr, b: Expr) -> tuple[Expr, Expr, Expr]:
    """(s, a/s, b/s) with s = max(|a|, |b|), so that no square overflows; a and b themselves where both are 0.

    s counts as a constant in derivatives: what is the same for any s has the derivatives that it has for one of them.
    """
    s = scalars.stop_gradient(scalars.maximum(scalars.absolute(a), scalars.absolute(b)))
    return s, Where(eq(s, 0), a, a / s), Where(eq(s, 0), b, b / s)


@pointwise(PAIR, always=["y", "x"])
def atan2(y: Expr, x: Expr) -> Expr:
    """The angle in -π .. π of the point (x, y), 0 with derivative 0 at the origin; NaN if a coordinate is infinite.

    The quotient that the arc tangent is taken of is at most 1: y/x, or x/y with the angle counted from the other axis.
    """
    s, v, u = _scaled(y, x)
    side = Where(lt(y, 0), -sp.pi, sp.pi)
    flat = scalars.atan(v / u) + Where(lt(x, 0), side, 0)
    return Where(eq(s, 0), 0, Where(le(scalars.absolute(v), scalars.absolute(u)), flat, side / 2 - scalars.atan(u / v)))


@pointwise(PAIR, always=["a", "b"])
def hypot(a: Expr, b: Expr) -> Expr:
    """√(a² + b²), with derivative 0 where both are 0; NaN if one of them is infinite."""
    s, u, v = _scaled(a, b)
    return Where(eq(s, 0), 0, s * scalars.sqrt(u**2 + v**2))


@pointwise(PAIR, commutative=True)
def logaddexp(a: Expr, b: Expr) -> Expr:
    """log(e^a + e^b), the larger of both plus what is at most log 2; NaN where both are the same infinity."""
    return Where(lt(a, b), b + scalars.softplus(a - b), a + scalars.softplus(b - a))


@pointwise(PAIR, domain=(0.5, 2.0), always=["a", "b"])
def xlogy(a: Expr, b: Expr) -> Expr:
    """a · log(b), and 0 with derivative 0 where a = 0, unless b is NaN."""
    nothing = Where(lt(b, 1), 0, Where(lt(0, b), 0, b))
    return Where(eq(a, 0), nothing, a * scalars.log(b))
