"""What an operator's function is written in: axes, tensors that are indexed, sums, maxima and comparisons.

All of it works only while an operator is being traced: `Trace` collects the axes and their extents.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphcError, ShapeError
from graphc.ops.formula import Cond, Read, Reduce, index_symbol, le, lt, size_of, tensor_symbol
from graphc.types import Extent, TensorType


class Trace:
    """Axes and extents of the operator function that is being run."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.axes: dict[sp.Symbol, None] = {}
        self.extents: dict[sp.Symbol, Extent] = {}
        self.origin: dict[sp.Symbol, str] = {}
        self.operands: list[Operand] = []

    def new_axis(self, name: str, extent: Extent | None = None) -> sp.Symbol:
        symbol, k = index_symbol(name), 1
        while symbol in self.axes:
            k += 1
            symbol = index_symbol(f"{name}{k}")
        self.axes[symbol] = None
        if extent is not None:
            self.bind(symbol, extent, "the operator")
        return symbol

    def bind(self, symbol: sp.Symbol, extent: Extent, origin: str) -> None:
        known = self.extents.setdefault(symbol, extent)
        first = self.origin.setdefault(symbol, origin)
        if known != extent:
            raise ShapeError(f"{self.operator}: axis {symbol} is {known} in {first} but {extent} in {origin}")

    def extent(self, symbol: sp.Symbol) -> Extent:
        try:
            return self.extents[symbol]
        except KeyError:
            raise ShapeError(
                f"{self.operator}: the extent of axis {symbol} is not known",
                hint=f'index a tensor with {symbol} alone, or declare axis("{symbol}", extent)',
            ) from None


tracing: ContextVar[Trace] = ContextVar("graphc_operator_trace")


def _current() -> Trace:
    try:
        return tracing.get()
    except LookupError:
        raise GraphcError("axes() and axis() can only be used inside an operator's function") from None


def axes(names: str) -> tuple[sp.Symbol, ...]:
    """New axes, one for each name: `n, k = axes("n k")`."""
    return tuple(_current().new_axis(name) for name in names.split())


def axis(name: str, extent: Extent) -> sp.Symbol:
    """A new axis with a given extent, for those that no tensor is indexed by alone."""
    if isinstance(extent, int) and extent < 1:
        raise ShapeError(f"{_current().operator}: axis {name} would have extent {extent}")
    return _current().new_axis(name, extent)


def extent(symbol: sp.Symbol) -> Expr:
    """The number of values of an axis, as a number inside a formula (N for the batch)."""
    return size_of(_current().extent(symbol))


class Operand:
    """A tensor inside an operator's function: `X[n, i]` reads it, `X[...]` reads it pointwise with broadcasting."""

    __slots__ = ("name", "type")

    def __init__(self, name: str, type: TensorType) -> None:
        self.name, self.type = name, type

    @property
    def shape(self) -> tuple[Extent, ...]:
        return self.type.shape

    @property
    def rank(self) -> int:
        return self.type.rank

    def __getitem__(self, index: Any) -> Read:
        index = index if isinstance(index, tuple) else (index,)
        if index == (Ellipsis,):
            index = self._pointwise()
        if len(index) != self.rank:
            raise ShapeError(
                f"{_current().operator}: {self.name} has {self.rank} axes {self.shape}, "
                f"but is indexed with {len(index)}"
            )
        trace = _current()
        for position, i in enumerate(index):
            if isinstance(i, sp.Symbol) and i in trace.axes:
                trace.bind(i, self.shape[position], self.name)
        return Read(tensor_symbol(self.name), *index)

    def at(self, *index: Any) -> Read:
        """The element at an index whose axes need not be as long as the tensor's."""
        return Read(tensor_symbol(self.name), *index)

    def _pointwise(self) -> tuple[Any, ...]:
        """Axes of the broadcast shape of all operands; a unit extent is read at 0."""
        trace = _current()
        shape = broadcast_shape(trace.operator, [o.shape for o in trace.operands])
        names = pointwise_names(len(shape))
        symbols = []
        for name, e in zip(names, shape, strict=True):
            symbol = index_symbol(name)
            if symbol not in trace.axes:
                trace.new_axis(name, e)
            symbols.append(symbol)
        mine = symbols[len(shape) - self.rank :]
        full = shape[len(shape) - self.rank :]
        return tuple(s if own == whole else sp.S.Zero for s, own, whole in zip(mine, self.shape, full, strict=True))


def pointwise_names(rank: int) -> list[str]:
    """Conventional axis names for a tensor of this rank: n, c, y, x for images, i, j, ... otherwise."""
    match rank:
        case 1:
            return ["i"]
        case 2:
            return ["n", "i"]
        case 4:
            return ["n", "c", "y", "x"]
        case _:
            return [f"i{k}" for k in range(rank)]


def broadcast_shape(operator: str, shapes: Iterable[tuple[Extent, ...]]) -> tuple[Extent, ...]:
    """The numpy broadcast of shapes that may hold the batch extent. Raises ShapeError."""
    shapes = list(shapes)
    rank = max((len(s) for s in shapes), default=0)
    result: list[Extent] = []
    for position in range(-rank, 0):
        extents = dict.fromkeys(s[position] for s in shapes if len(s) >= -position)
        wide = [e for e in extents if e != 1]
        if len(wide) > 1:
            raise ShapeError(
                f"{operator}: shapes {' and '.join(map(str, shapes))} do not broadcast: "
                f"axis {position} is {' and '.join(map(str, wide))}"
            )
        result.append(wide[0] if wide else 1)
    return tuple(result)


# ------------------------------------------------------------------------------------ reductions, comparisons


def _reduce(kind: str, body: Any, over: Any, where: Any) -> Reduce:
    trace = _current()
    symbols = over if isinstance(over, (tuple, list)) else (over,)
    conditions = where if isinstance(where, (tuple, list)) else (where,)
    pairs = [sp.Tuple(s, size_of(trace.extent(s))) for s in symbols]
    return Reduce(sp.Symbol(kind), sp.sympify(body), sp.Tuple(*pairs), *conditions)


def Sum(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """Σ_{over | where} body"""
    return _reduce("sum", body, over, where)


def Product(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """Π_{over | where} body; its derivative is the product of the other factors."""
    return _reduce("prod", body, over, where)


def Max(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """max_{over | where} body; the derivative goes to the first maximum."""
    return _reduce("max", body, over, where)


def Min(body: Any, *, over: Any, where: Any = ()) -> Reduce:
    """min_{over | where} body; the derivative goes to the first minimum."""
    return _reduce("min", body, over, where)


def less(a: Any, b: Any) -> Cond:
    """The condition a < b."""
    return lt(a, b)


def less_equal(a: Any, b: Any) -> Cond:
    """The condition a <= b."""
    return le(a, b)
