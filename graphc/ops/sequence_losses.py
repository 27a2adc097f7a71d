"""The parts of connectionist temporal classification: labels without places in time.

    blank, label 1, blank, label 2, ..., label S, blank           the 2·S + 1 states of a target
    a_t(s) = e_t(s) + log Σ_{k<3} exp a_{t-1}(s - k)              k = 2 only past a blank between different labels

Everything is logarithms of chances; IMPOSSIBLE stands for that of 0. Graves, Fernández, Gomez, Schmidhuber:
Connectionist temporal classification, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops import scalars
from graphc.ops.formula import FloorDiv, Where, divides, eq, ge, lt
from graphc.ops.loss_terms import reduced
from graphc.ops.notation import Max, Operand, Sum, axes, axis
from graphc.ops.operator import Sample, op

IMPOSSIBLE = sp.Float(-1e30)

SEQUENCES = ((2, 3, 4), ("int", 3, (2, 2)))


def _log_total(path: Callable[[Expr], Expr], count: int) -> Expr:
    """log Σ_{k<count} exp path(k); the largest, which cancels, counts as a constant."""
    j, k = axis("j", count), axis("k", count)
    largest = scalars.stop_gradient(Max(path(j), over=j))
    return largest + scalars.log(Sum(scalars.exp(path(k) - largest), over=k))


@op(register=True, integer="targets", samples=[Sample(SEQUENCES), Sample(SEQUENCES, {"blank": 3})])
def ctc_emissions(log_probabilities: Operand, targets: Operand, *, blank: int = 0) -> Expr:
    """E[n, t, s]: the log probability of the label of state s at time t.

    log_probabilities [n, t, classes], targets [n, labels]. Raises ShapeError, GraphcError.
    """
    if log_probabilities.rank != 3 or targets.rank != 2 or log_probabilities.shape[0] != targets.shape[0]:
        raise ShapeError(
            f"ctc_loss: expected log probabilities [n, time, classes] and targets [n, labels], "
            f"got {log_probabilities.shape} and {targets.shape}",
            hint="targets of different lengths are filled up, and their lengths are given apart",
        )
    classes: Any = log_probabilities.shape[2]
    if not isinstance(blank, int) or not 0 <= blank < classes:
        raise GraphcError(f"ctc_loss: blank must be one of the classes 0..{classes - 1}, got {blank}")
    n, t = axes("n t")
    s = axis("s", _states(targets))
    label = targets[n, FloorDiv(s, sp.Integer(2))]
    return Where(divides(2, s), log_probabilities[n, t, blank], log_probabilities[n, t, label])


def _states(targets: Operand) -> int:
    labels: Any = targets.shape[1]
    return 2 * labels + 1


@op(register=True, integer="targets", samples=[Sample(SEQUENCES)])
def ctc_skips(log_probabilities: Operand, targets: Operand) -> Expr:
    """1 where state s may follow state s - 2: where both are labels and differ. It has the dtype of the first."""
    (n,) = axes("n")
    s = axis("s", _states(targets))
    here, before = (targets[n, FloorDiv(s - back, sp.Integer(2))] for back in (0, 2))
    return Where(ge(s - 2), Where(divides(2, s), 0, Where(eq(here, before), 0, 1)), 0)


@op(register=True, samples=[Sample(((2, 5),))])
def ctc_start(skips: Operand) -> Expr:
    """What precedes the first step: 0 at state 0, IMPOSSIBLE elsewhere; of the shape of skips."""
    _, s = (axis(name, extent) for name, extent in zip("ns", skips.shape, strict=True))
    return Where(eq(s, 0), 0, IMPOSSIBLE)


@op(register=True, samples=[Sample(((2, 5), (2, 5), (2, 5)))])
def ctc_step(state: Operand, emission: Operand, skips: Operand) -> Expr:
    """a'(s) = e(s) + log Σ_{k<3} exp a(s - k), k = 2 only where skips(s) is not 0. All [n, s]."""
    n, s = axes("n s")
    allowed = eq(skips[n, s], 0)

    def path(k: Expr) -> Expr:
        before = Where(ge(s - k), state[n, s - k], IMPOSSIBLE)
        return Where(lt(k, 2), before, Where(allowed, IMPOSSIBLE, before))

    return emission[n, s] + _log_total(path, 3)


@op(
    register=True,
    integer="target_lengths",
    samples=[Sample(((2, 5), ("int", 3, (2,)))), Sample(((2, 5), ("int", 3, (2,))), {"reduction": "none"})],
)
def ctc_result(
    state: Operand, target_lengths: Operand, *, reduction: str = "mean", zero_infinity: bool = False
) -> Expr:
    """-log(exp a(2·S) + exp a(2·S - 1)) with S the length of the target; the mean is of losses over max(S, 1).

    Where no path leads there, or S exceeds the states, it is infinite, or with `zero_infinity` 0 without a gradient.
    """
    if target_lengths.shape != state.shape[:1]:
        raise ShapeError(f"ctc_loss: target_lengths must be {state.shape[:1]}, got {target_lengths.shape}")
    (n,) = axes("n")
    size, states = target_lengths[n], int(str(state.shape[1]))

    def path(k: Expr) -> Expr:
        last = 2 * size - k
        return Where(lt(last, 0), IMPOSSIBLE, Where(lt(states - 1, last), IMPOSSIBLE, state[n, last]))

    total = _log_total(path, 2)
    possible = lt(IMPOSSIBLE / 2, total)
    loss = Where(possible, -total, 0 if zero_infinity else -scalars.log(Where(possible, 1, 0)))
    if reduction == "mean":
        loss = loss / Where(lt(size, 1), 1, size)
    return reduced("ctc_loss", reduction, loss, (n,))
