"""Tensors: immutable nodes of an expression, built by operators, with shape and dtype known at once.

There is no global graph: a tensor holds its operands; `trace` turns those that are asked for into a Graph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from os import sep
from pathlib import Path
from typing import Any, NoReturn

import numpy.typing as npt

from graphc.dsl.scope import Scope, current
from graphc.dsl.subscripts import subscript
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.ops import division, elementwise, indexing, linear, movement, reductions
from graphc.ops.conversion import astype
from graphc.ops.indexing import WHOLE
from graphc.ops.operator import Operator
from graphc.ops.pointwise import Pointwise
from graphc.types import BATCH, Batch, DType, Extent, Location, TensorType

PACKAGE = f"{Path(__file__).parents[1]}{sep}"


MODELS = str(Path(PACKAGE, "models"))
"""The ready-made models are written as users write theirs: their lines count as the user's."""

declared: ContextVar[Location | None] = ContextVar("graphc_declared", default=None)
"""Where the layer of the catalogue that is being called was declared: what it builds belongs to that line."""


def caller() -> Location | None:
    """The line that declared the layer that is being called, or the innermost line outside of this package."""
    place = declared.get()
    if place is not None:
        return place
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(MODELS) or not file.startswith(PACKAGE):
            return Location(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


class Tensor:
    """`operator(operands; attributes)`, not yet computed. Leaves have no operator: inputs and parameters."""

    __slots__ = ("__weakref__", "attributes", "location", "operands", "operator", "place", "type")

    # numpy must not take `array + tensor` apart element by element
    __array_ufunc__ = None

    operator: Operator | None
    operands: tuple[Tensor, ...]
    attributes: dict[str, Any]
    type: TensorType
    location: Location | None
    place: Scope

    def __init__(
        self,
        type: TensorType,
        operator: Operator | None = None,
        operands: Iterable[Tensor] = (),
        attributes: dict[str, Any] | None = None,
        *,
        location: Location | None = None,
        place: Scope | None = None,
    ) -> None:
        self._set(type=type, operator=operator, operands=tuple(operands), attributes=dict(attributes or {}))
        self._set(location=location, place=current.get() if place is None else place)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise GraphError(
            f"a tensor is immutable: its {name} cannot be set",
            hint="build a new tensor; values that change between runs belong into a Parameter",
        )

    __delattr__ = None  # type: ignore[assignment]

    def __graphc_apply__(self, operator: Operator, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """A tensor that is the operator's result. Raises ShapeError, DTypeError with the user's line."""
        location, place = caller(), current.get()
        try:
            bound = operator.bind(arguments, options)
            operator = bound.operator
            operands = [_tensor(operator, name, t) for name, t in zip(operator.tensors, bound.operands, strict=True)]
            options = {name: _hashable(value) for name, value in bound.options.items()}
            type = operator.define(tuple(t.type for t in operands), options).type
        except GraphcError as error:
            raise error.at(location, str(place)) from None
        return Tensor(type, operator, operands, options, location=location, place=place)

    # ------------------------------------------------------------------------------------------- questions

    @property
    def shape(self) -> tuple[Extent, ...]:
        """Extents of the axes; the batch is `gc.BATCH`."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.type.rank

    @property
    def scope(self) -> str:
        """The layer that built the tensor: "features/conv1"."""
        return str(self.place)

    def __repr__(self) -> str:
        made = self.operator.name if self.operator is not None else "leaf"
        place = ", ".join(str(p) for p in (self.location, self.scope) if p)
        return f"<tensor {self.type} = {made}{f' ({place})' if place else ''}>"

    def __bool__(self) -> NoReturn:
        self._no_value("used as a condition", "use gc.where(condition, a, b), which chooses element by element")

    def __float__(self) -> NoReturn:
        self._no_value("converted to a number")

    def __array__(self, *_: Any, **__: Any) -> npt.NDArray[Any]:
        self._no_value("converted to an array")

    def __iter__(self) -> NoReturn:
        self._no_value("iterated over", "operators and reductions work on all elements at once")

    def _no_value(self, use: str, hint: str = "compile it and run the program to get numbers") -> NoReturn:
        raise GraphError(
            f"{self!r} has no value before it is compiled and run, so it cannot be {use}",
            location=caller(),
            hint=hint,
        )

    # ------------------------------------------------------------------------------------------ arithmetic

    def __add__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.divide, other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _pointwise(division.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _pointwise(division.floor_divide, other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _pointwise(division.remainder, self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _pointwise(division.remainder, other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.power, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.power, other, self)

    def __neg__(self) -> Tensor:
        return _pointwise(elementwise.negative, self)

    def __abs__(self) -> Tensor:
        return _pointwise(elementwise.abs, self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return linear.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return linear.matmul(other, self)

    def __lt__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _pointwise(elementwise.greater_equal, self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return _pointwise(elementwise.equal, self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return _pointwise(elementwise.not_equal, self, other)

    # element by element comparison leaves identity to be the key of a dictionary
    __hash__ = object.__hash__

    # ------------------------------------------------------------------------------ reductions and movement

    def __getitem__(self, key: Any) -> Tensor:
        """x[1:, ::-1, None, ..., 3]; a tensor of integers in one place takes the elements that it names."""
        try:
            items, indexed = subscript(key, self.ndim, lambda part: isinstance(part, Tensor))
        except GraphcError as error:
            raise error.at(caller(), str(current.get())) from None
        chosen: Tensor = self if items == (WHOLE,) * len(items) else indexing.sliced(self, index=items)
        return chosen if indexed is None else indexing.take(chosen, indexed[1], axis=indexed[0])

    def astype(self, dtype: npt.DTypeLike | DType) -> Tensor:
        """The same values in another element type."""
        return astype(self, dtype=as_dtype(dtype, "astype"))

    def sum(self, axis: movement.Axes = None, keepdims: bool = False) -> Tensor:
        """Σ over the given axes, all of them by default."""
        return reductions.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: movement.Axes = None, keepdims: bool = False) -> Tensor:
        """The mean over the given axes, all of them by default."""
        return reductions.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: movement.Axes = None, keepdims: bool = False) -> Tensor:
        """The largest element over the given axes, all of them by default."""
        return reductions.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: movement.Axes = None, keepdims: bool = False) -> Tensor:
        """The smallest element over the given axes, all of them by default."""
        return reductions.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: movement.Axes = None, keepdims: bool = False) -> Tensor:
        """Π over the given axes, all of them by default."""
        return reductions.prod(self, axis=axis, keepdims=keepdims)

    def var(self, axis: movement.Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor:
        """Σ (x - mean)² / (count - correction) over the given axes, all of them by default."""
        return reductions.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: movement.Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor:
        """√ var over the given axes, all of them by default."""
        return reductions.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the first largest element along an axis, or among all."""
        return reductions.argmax(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the first smallest element along an axis, or among all."""
        return reductions.argmin(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements with another shape, one extent of which may be -1: `x.reshape(gc.BATCH, -1)`."""
        return movement.reshape(self, shape=_sequence(shape))

    def flatten(self, start: int = 1) -> Tensor:
        """The axes from `start` on as one."""
        return movement.flatten(self, start=start)

    def transpose(self, *order: Any) -> Tensor:
        """The axes in another order, reversed by default: `x.transpose(0, 2, 1)`."""
        return movement.permute(self, order=_sequence(order) or None)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return self.transpose()


class Input(Tensor):
    """A tensor that is fed at every run."""

    __slots__ = ("name",)

    name: str

    def __init__(self, name: str, type: TensorType, location: Location | None = None) -> None:
        super().__init__(type, location=location)
        self._set(name=name)

    def __repr__(self) -> str:
        return f"<input {self.name}: {self.type}>"


def input(name: str, shape: Iterable[Extent] = (BATCH,), dtype: npt.DTypeLike | DType = "float32") -> Input:
    """Declare what is fed at every run: `gc.input("images", (gc.BATCH, 1, 28, 28))`.

    `gc.BATCH` stands first for the number of samples, which is known only when a program runs; an integer
    fixes it. Raises GraphError for a bad name, ShapeError for a bad shape, DTypeError for a bad dtype.
    """
    location = caller()
    if not name or not isinstance(name, str):
        raise GraphError(f"an input needs a name, got {name!r}", location=location)
    extents = _sequence((shape,))
    if any(e is None or (isinstance(e, int) and e < 1) or not isinstance(e, int | Batch) for e in extents):
        raise ShapeError(
            f"input {name}: extents must be positive integers or gc.BATCH, got {tuple(shape)}",
            location=location,
            hint='for a batch of unknown size write gc.input("images", (gc.BATCH, 1, 28, 28))',
        )
    if any(isinstance(e, Batch) for e in extents[1:]):
        raise ShapeError(f"input {name}: gc.BATCH must be the first axis only, got {extents}", location=location)
    return Input(name, TensorType(extents, as_dtype(dtype, f"input {name}")), location)


def as_dtype(spelling: npt.DTypeLike | DType, what: str) -> DType:
    """The DType of a spelling. Raises DTypeError."""
    try:
        return DType.of(spelling)
    except TypeError as error:
        raise DTypeError(f"{what}: {error}", location=caller()) from None


def _tensor(operator: Operator, name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    raise DTypeError(
        f"{operator.name}: {name} must be a tensor, got {type(value).__name__}",
        hint="feed arrays through gc.input, or hold them in a gc.Parameter; numbers are keyword options",
    )


def _pointwise(function: Pointwise | Callable[[Any, Any], Tensor], *values: Any) -> Tensor:
    try:
        tensor: Tensor = function(*values)
        return tensor
    except GraphcError as error:
        raise error.at(caller(), str(current.get())) from None


def _sequence(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that were given one by one, or as one sequence."""
    if len(values) == 1 and not isinstance(values[0], int | Batch) and hasattr(values[0], "__iter__"):
        values = tuple(values[0])
    return tuple(_hashable(v) for v in values)


def _hashable(value: Any) -> Any:
    """Lists as tuples, numpy's numbers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(_hashable(v) for v in value)
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
