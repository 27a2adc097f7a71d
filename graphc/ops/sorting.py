"""Order along an axis: ranks are counted, the permutation follows from them, and values are gathered through it.

    rank[i]    = #{j | x[j] stands before x[i]}        a total order: equal values by place, NaN above all numbers
    order[k]   = Σ_{i | rank[i] = k} i                 the inverse permutation
    sorted[k]  = x[order[k]]                           differentiated through the gathered values alone

Counting compares every pair: count² comparisons in straight vector code. It pays for short axes; at 512 elements it
takes a few times as long as sorting, and that ratio grows with the length.
"""

from __future__ import annotations

from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops.formula import Where, eq, lt
from graphc.ops.indexing import of_batch
from graphc.ops.movement import normal_axis
from graphc.ops.notation import Operand, Sum, axes, pointwise_names
from graphc.ops.notation import axis as new_axis
from graphc.ops.operator import Sample, op
from graphc.types import Batch, DType


def _stands_before(b: Expr, j: Expr, a: Expr, i: Expr, descending: bool) -> Expr:
    """1 where b at place j stands before a at place i, else 0; NaN counts as greater than all numbers."""
    low, high = (a, b) if descending else (b, a)
    earlier = Where(lt(j, i), 1, 0)
    with_nan = Where(eq(high, high), 0, Where(eq(low, low), 1, earlier))
    return Where(lt(low, high), 1, Where(lt(high, low), 0, Where(eq(a, b), earlier, with_nan)))


@op(
    register=True,
    either="X",
    result=DType.INT64,
    samples=[
        Sample(((3, 5),)),
        Sample(((2, 4, 3),), {"axis": 1, "descending": True}),
        Sample(((3, 5),), {"count": 2, "descending": True}),
        Sample(((5,),), {"start": 2, "count": 1}),
    ],
)
def argsort(X: Operand, *, axis: int = -1, descending: bool = False, start: int = 0, count: int = -1) -> Expr:
    """The places of the elements along an axis in ascending order, as int64; equal elements keep their order.

    `start` and `count` take a stretch of that order. Costs count² comparisons. Raises ShapeError for the batch axis,
    and for a stretch that the axis does not have.
    """
    position = normal_axis("argsort", axis, X.rank)
    length = X.shape[position]
    if isinstance(length, Batch):
        raise of_batch("argsort", X, "its length is not known", "declare the input with a fixed number of samples")
    count = length - start if count == -1 else count
    if not 0 < count <= length - start or start < 0:
        raise ShapeError(
            f"argsort: {count} elements from place {start} of axis {position} with {length}",
            hint=f"use at most {length - start}" if 0 <= start < length else f"start below {length}",
        )
    names = pointwise_names(X.rank)
    before = axes(" ".join(names[:position]))
    k = new_axis("k", count)
    after = axes(" ".join(names[position + 1 :]))
    i, j = axes("i j")
    here, there = X[(*before, i, *after)], X[(*before, j, *after)]
    rank = Sum(_stands_before(there, j, here, i, descending), over=j)
    return Sum(Where(eq(rank, k + start), i, 0), over=i)
