"""Recurrences: one step, written with ordinary tensors, repeated along an axis of time.

    def step(h, x):
        h = gc.tanh(x + h @ recurrent)
        return h, h

    states, final = gc.scan(step, 0, gc.dense(sequences, weight, bias))

The step is called for its formulas, not once for each time. Every formula that depends on the carry or on what is taken
from `xs` gets an axis of time; whatever else it computes is computed once. What depends on `xs` but not on the carry,
and all gradients of weights, need no loop over time either: only the cycle itself runs step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.dsl.lifting import Scan, Start, Step, Time
from graphc.dsl.phase import phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ops.operator import Operator
from graphc.types import Batch, DType, TensorType

__all__ = ["scan"]


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    initial: Start | Sequence[Start],
    xs: Tensor | Sequence[Tensor] | None = None,
    length: int | None = None,
    reverse: bool = False,
    axis: int = 1,
    lengths: Tensor | None = None,
) -> tuple[Any, Any]:
    """(ys, final) of carry, y = step(carry, x) for each x along an axis of xs, the carry going from step to step.

    carry, x and y are tensors or tuples of tensors without the axis of time; y may be None. `ys` holds all y along
    `axis`, `final` the carry after the last step. `initial` is the first carry; a number there stands for all elements
    of a carry whose shape the step tells by broadcasting, a TensorType for zeros. Without `xs`, `length` says how often
    the step is taken, with x = None. In reverse time runs from the last x to the first. With `lengths`, an integer
    tensor [N], a sample n takes part in its first lengths[n] steps only: its carry stays, and its ys are zero beyond.

    Raises GraphError for a step that does not return (carry, y) or without a length, ShapeError and DTypeError where
    xs differ in length or where the step changes the type of a carry.
    """
    given = () if xs is None else (xs,) if isinstance(xs, Tensor) else tuple(xs)
    starts = tuple(initial) if isinstance(initial, tuple | list) else (initial,)
    slices, steps = _slices(given, length, axis)
    body = _body(step, starts, slices, (initial, xs))
    _check_lengths(lengths, body)
    time = Time(steps, reverse, axis, lengths is not None)
    both = [Scan(body, time, starts, given, lengths, training).parts for training in body.phases()]
    parts = tuple(map(phased, *both)) if len(both) == 2 else both[0]
    ys, finals = parts[: len(body.ys)], parts[len(body.ys) :]
    return _like(body.y, ys), _like(initial, finals)


# ---------------------------------------------------------------------------------------------------- arguments


def _slices(
    xs: tuple[Tensor, ...], length: int | None, axis: int
) -> tuple[tuple[Tensor, ...], int]:  # fmt: skip
    """What one step takes from each of xs, and the number of steps."""
    slices, found = [], {} if length is None else {length: "length"}
    for k, x in enumerate(xs):
        what = "xs" if len(xs) == 1 else f"xs[{k}]"
        if not isinstance(x, Tensor):
            raise GraphError(f"scan: {what} must be a tensor, got {type(x).__name__}", location=caller())
        if not 0 <= axis < x.ndim:
            raise ShapeError(
                f"scan: {what} is {x.type} and has no axis {axis}", location=caller(),
                hint="axis counts from 0; sequences are (batch, time, ...), or (time, batch, ...) with axis=0",
            )  # fmt: skip
        steps = x.shape[axis]
        if isinstance(steps, Batch):
            raise ShapeError(
                f"scan: axis {axis} of {what}, {x.type}, is the batch, which has no order", location=caller(),
                hint="axis=1 for sequences (batch, time, ...)",
            )  # fmt: skip
        found.setdefault(steps, f"{what} {x.type}")
        slices.append(Tensor(TensorType((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype), location=caller()))
    if len(found) > 1:
        lengths = " and ".join(f"{steps} in {what}" for steps, what in found.items())
        raise ShapeError(
            f"scan: the numbers of steps differ: {lengths}", location=caller(),
            hint=f"all of xs need {next(iter(found))} entries along axis {axis}",
        )  # fmt: skip
    if not found:
        raise GraphError("scan: without xs the number of steps must be given", location=caller(), hint="length=10")
    (steps,) = found
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ShapeError(f"scan: length must be a positive integer, got {length!r}", location=caller())
    return tuple(slices), steps


def _body(
    step: Callable[[Any, Any], tuple[Any, Any]], starts: tuple[Start, ...], slices: tuple[Tensor, ...],
    like: tuple[Any, Any],
) -> Step:  # fmt: skip
    """The step for carries of the types that the starts have; shapes that numbers take are found by a first call."""
    typed = [t for t in (*starts, *slices) if isinstance(t, Tensor | TensorType)]
    dtype = next((t.dtype for t in typed if t.dtype.is_float), DType.FLOAT32)
    types = [_start_type(s, k, dtype) for k, s in enumerate(starts)]
    unsized = [k for k, s in enumerate(starts) if not isinstance(s, Tensor | TensorType)]
    while unsized:
        carries = [_Unsized(t) if k in unsized else Tensor(t) for k, t in enumerate(types)]
        why = ""
        found: dict[int, TensorType] = {}
        try:
            news = _called(step, carries, slices, like).news
            found = {k: news[k].type for k in unsized if not isinstance(news[k], _Unsized)}
        except ShapeError as error:
            why = f": {error.message}"
        if not found:
            raise ShapeError(
                f"scan: carry {unsized[0]} starts with the number {starts[unsized[0]]}, and the step does not tell its "
                f"shape{why}", location=caller(), hint="start with a tensor, as with gc.zeros((gc.BATCH, 5))",
            )  # fmt: skip
        types = [found.get(k, t) for k, t in enumerate(types)]
        unsized = [k for k in unsized if k not in found]
    body = _called(step, [Tensor(t) for t in types], slices, like)
    for k, (carry, new) in enumerate(zip(body.carries, body.news, strict=True)):
        if new.type != carry.type:
            raise (DTypeError if new.shape == carry.shape else ShapeError)(
                f"scan: carry {k} is {carry.type} before a step and {new.type} after it", location=caller(),
                layer=str(current.get()), hint=f"return a carry of type {carry.type}, or start with {new.type}",
            )  # fmt: skip
    return body


class _Unsized(Tensor):
    """A carry of unknown shape, and what only depends on such: beside a tensor that is known it counts as a number."""

    __slots__ = ()

    def __graphc_apply__(self, operator: Operator, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        try:
            result = super().__graphc_apply__(operator, arguments, options)
            known = any(not isinstance(t, _Unsized) for t in result.operands)
        except GraphcError:
            known = False
        return result if known else _Unsized(self.type)


def _start_type(start: Start, k: int, dtype: DType) -> TensorType:
    match start:
        case Tensor():
            return start.type
        case TensorType():
            return start
        case int() | float():
            return TensorType((), dtype)
    raise GraphError(
        f"scan: carry {k} must start with a tensor, a TensorType or a number, got {type(start).__name__}",
        location=caller(),
    )  # fmt: skip


def _called(
    step: Callable[[Any, Any], tuple[Any, Any]], carries: Sequence[Tensor], slices: tuple[Tensor, ...],
    like: tuple[Any, Any],
) -> Step:  # fmt: skip
    """The step applied to these carries."""
    result = step(_like(like[0], carries), None if like[1] is None else _like(like[1], slices))
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise GraphError(
            f"scan: the step must return (carry, y), got {_spelled(result)}", location=caller(),
            hint="return carry, None where there is nothing to collect",
        )  # fmt: skip
    carry, y = result
    news = tuple(carry) if isinstance(carry, tuple | list) else (carry,)
    if len(news) != len(carries) or isinstance(carry, Tensor) != isinstance(like[0], Tensor | float | int | TensorType):
        raise GraphError(
            f"scan: the carry is {_spelled(like[0])} before a step and {_spelled(carry)} after it", location=caller()
        )
    body = Step(tuple(carries), slices, news, y)
    for t in (*news, *body.ys):
        if not isinstance(t, Tensor):
            raise GraphError(f"scan: a step returns tensors, got {type(t).__name__}", location=caller())
    return body


def _check_lengths(lengths: Tensor | None, body: Step) -> None:
    """Raises DTypeError, ShapeError."""
    if lengths is None:
        return
    if not isinstance(lengths, Tensor) or lengths.dtype.is_float:
        got = lengths.dtype.value if isinstance(lengths, Tensor) else type(lengths).__name__
        raise DTypeError(f"scan: lengths must be a tensor of integers, got {got}", location=caller())
    for t in (*body.news, *body.ys):
        if lengths.ndim != 1 or t.shape[:1] != lengths.shape:
            raise ShapeError(
                f"scan: lengths {lengths.type} must hold one number for each sample of {t.type}", location=caller(),
                hint="the first axis of every carry and result counts samples",
            )  # fmt: skip


def _like(pattern: Any, tensors: Sequence[Tensor]) -> Any:
    """One tensor, a tuple of them, or None, as the pattern is."""
    if pattern is None:
        return None
    return tuple(tensors) if isinstance(pattern, tuple | list) else tensors[0]


def _spelled(value: Any) -> str:
    return f"{len(value)} tensors" if isinstance(value, tuple | list) else f"one {type(value).__name__.lower()}"
