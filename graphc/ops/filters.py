"""Fixed filters: the slopes of images by Sobel, Prewitt and Scharr, whose constants are exact."""

from __future__ import annotations

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Constants, Table, Where, eq
from graphc.ops.notation import Operand, Sum, axes
from graphc.ops.operator import Sample, op
from graphc.ops.window import index_axes, offset_axes, windows

SLOPE = Constants("slope", ((-1, 0, 1),))
SMOOTH = {
    "sobel": Constants("sobel", ((1, 2, 1),)),
    "prewitt": Constants("prewitt", ((1, 1, 1),)),
    "scharr": Constants("scharr", ((3, 10, 3),)),
}


@op(
    register=True,
    samples=[
        Sample(((2, 2, 4, 5),)),
        Sample(((1, 2, 4, 4),), {"filter": "scharr", "along": "y"}),
        Sample(((1, 1, 3, 4),), {"filter": "prewitt"}),
    ],
)
def slope(X: Operand, *, filter: str = "sobel", along: str = "x") -> Expr:
    """Y[n, c, y, x] = Σ_{r<3, q<3} smooth[r] · (-1, 0, 1)[q] · X[n, c, y + r, x + q], or with r and q exchanged

    smooth is (1, 2, 1) for "sobel", (1, 1, 1) for "prewitt", (3, 10, 3) for "scharr"; `along` is the axis of the
    slope. X is [n, channels, height, width], Y has two rows and two columns less. Raises ShapeError.
    """
    if filter not in SMOOTH or along not in ("x", "y"):
        raise ShapeError(f'slope: filters are {", ".join(SMOOTH)} along "x" or "y", got {filter!r} along {along!r}')
    sides = windows("slope", X.shape, (3, 3), 1, 0, 1)
    n, c = axes("n c")
    y, x = index_axes([w.positions for w in sides])
    r, q = offset_axes((3, 3))
    rows, columns = (SMOOTH[filter], SLOPE) if along == "x" else (SLOPE, SMOOTH[filter])
    return Sum(Table(rows, 0, r) * Table(columns, 0, q) * X[n, c, y + r, x + q], over=(r, q))


@op(register=True, samples=[Sample(((2, 3), (2, 3)), {}, (0.5, 2.0))])
def magnitude(A: Operand, B: Operand) -> Expr:
    """√(A² + B²), with gradient 0 where both are 0. Raises ShapeError."""
    total = A[...] ** 2 + B[...] ** 2
    return Where(eq(total, 0), 0, sp.sqrt(total))
