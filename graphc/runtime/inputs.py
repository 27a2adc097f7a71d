"""What a program accepts: names, shapes, dtypes, label ranges; checked before every run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import InputError
from graphc.graph.ir import Graph, Value
from graphc.ops.structure import gather_limits
from graphc.runtime.driver import Indices, inside
from graphc.runtime.executable import address
from graphc.schedule.arrange import Array
from graphc.types import Batch


class Signature:
    """The inputs of a graph and the ranges that integer inputs must keep because they are used as indices."""

    def __init__(self, graph: Graph) -> None:
        self.inputs = {v.name: v for v in graph.inputs}
        self.limits: dict[str, int] = {}
        self.marks: dict[str, frozenset[int]] = {}
        """Numbers beyond the limits that are allowed: what is read there is not used."""
        for node in graph.nodes:
            operands = dict(zip(node.formula.operands, node.inputs, strict=True))
            for operand, indexed, axis, marks in gather_limits(node.formula):
                value, extent = operands[operand], operands[indexed].type.shape[axis]
                if value.name in self.inputs and isinstance(extent, int):
                    self.limits[value.name] = min(extent, self.limits.get(value.name, extent))
                    self.marks[value.name] = marks & self.marks.get(value.name, marks)

        self._known: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...] | None = None
        self._ranges: tuple[tuple[str, int, int, Callable[[int, int, int], int]], ...] = ()
        self._batch = 1

    def check(self, arrays: Mapping[str, Any]) -> tuple[Mapping[str, Array], int]:
        """The arrays as native code takes them, and the batch size. Raises InputError."""
        if self._as_before(arrays):
            return arrays, self._batch
        given = {name: np.asarray(array) for name, array in self._named(arrays).items()}
        self._check_dtypes(given)
        batch = self._sizes(given)
        checked = {name: converted(self.inputs[name], array) for name, array in given.items()}
        self._check_ranges(checked)
        self._known = tuple((name, array.dtype, array.shape) for name, array in checked.items())
        self._ranges = tuple(
            (n, checked[n].size, limit, inside(checked[n].itemsize)) for n, limit in self.limits.items()
        )
        self._batch = batch
        return checked, batch

    def check_data(self, arrays: Mapping[str, Any]) -> tuple[Mapping[str, Array], int]:
        """Any number of samples, as they are, and their number: every row can be converted. Raises InputError."""
        given = {name: np.asarray(array) for name, array in self._named(arrays).items()}
        self._check_dtypes(given)
        samples = self._sizes(given)
        self._check_ranges(given)
        return given, samples

    def _as_before(self, arrays: Mapping[str, Any]) -> bool:
        """Whether the arrays need no conversion, look like those of the last call, and keep their ranges."""
        known = self._known
        if known is None or len(arrays) != len(known):
            return False
        for name, dtype, shape in known:
            array = arrays.get(name)
            if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != shape:
                return False
            if not array.flags.c_contiguous:
                return False
        for name, size, limit, within in self._ranges:  # noqa: SIM110 - a generator costs more than the comparison
            if not within(address(arrays[name]), size, limit):
                return False
        return True

    def _named(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays in the order of the inputs."""
        if arrays.keys() != self.inputs.keys():
            self._wrong_names(arrays)
        return {name: arrays[name] for name in self.inputs}

    def _check_dtypes(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            _check_dtype(self.inputs[name], array.dtype, self._on_classes(name, array.shape))

    def _on_classes(self, name: str, shape: tuple[int, ...]) -> str:
        """What to do with rows that have a one for their class."""
        classes, wanted = self.limits.get(name), self.inputs[name].type.shape
        if classes is None or shape[1:] != (classes, *wanted[1:]):
            return ""
        extents = "".join(f", {extent}" for extent in (classes, *wanted[1:]))
        return (
            f"rows with a one for the class become class numbers with {name}.argmax(axis=1); "
            f"for probabilities declare y=gc.input({name!r}, (gc.BATCH{extents}))"
        )

    def _sizes(self, arrays: Mapping[str, Array]) -> int:
        """The number of samples, 1 if no shape tells it."""
        batch: int | None = None
        first = ""
        for name, array in arrays.items():
            value = self.inputs[name]
            shape = value.type.shape
            if array.ndim != len(shape):
                raise InputError(
                    f"input {name} has rank {array.ndim} (shape {array.shape}), expected {_shape(value)}",
                    hint=self._on_classes(name, array.shape) or _on_rank(name, shape, array.ndim),
                )
            for axis, (extent, size) in enumerate(zip(shape, array.shape, strict=True)):
                if isinstance(extent, Batch):
                    if batch is None:
                        batch, first = size, name
                    elif size != batch:
                        raise InputError(f"input {name} has {size} samples, but {first} has {batch}")
                elif size != extent:
                    raise InputError(
                        f"input {name} has shape {array.shape}, expected {_shape(value)}: axis {axis} is {size}"
                    )
        if batch == 0:
            raise InputError(f"the batch is empty: {first} has 0 samples", hint="a batch needs at least one sample")
        return 1 if batch is None else batch

    def _wrong_names(self, arrays: Mapping[str, Any]) -> None:
        expected = ", ".join(self.inputs) or "none"
        for name in arrays:
            if name not in self.inputs:
                raise InputError(f"there is no input named {name}", hint=f"the inputs are {expected}")
        missing = [n for n in self.inputs if n not in arrays]
        raise InputError(f"input {', '.join(missing)} is missing", hint=f"the inputs are {expected}")

    def _check_ranges(self, arrays: Mapping[str, Array]) -> None:
        for name, limit in self.limits.items():
            array = arrays[name]
            for mark in self.marks[name]:
                array = np.where(array == mark, 0, array)
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= limit:
                bad = low if low < 0 else high
                where = np.unravel_index(int(np.argmax(array == bad)), array.shape)
                place = ", ".join(map(str, where))
                raise InputError(
                    f"input {name} is {bad} at [{place}], expected 0..{limit - 1}",
                    hint=_advice(bad, limit),
                )


def _on_rank(name: str, wanted: tuple[Any, ...], rank: int) -> str:
    if rank != len(wanted) - 1:
        return ""
    column = f"an axis of one element is missing: {name}[:, None]"
    return column if wanted[1:] == (1,) else "one sample still needs the batch axis: x[None]"


def _advice(bad: int, limit: int) -> str:
    if bad == limit:
        return "labels count from 0"
    return f"losses leave such labels out with ignore_index={bad}" if bad < 0 else ""


def converted(value: Value, given: Any) -> Array:
    """A C-contiguous array of the declared dtype. Floats and integers of other widths are converted."""
    array = np.asarray(given)
    _check_dtype(value, array.dtype)
    return np.asarray(array, dtype=np.dtype(value.type.dtype.numpy), order="C")


def _check_dtype(value: Value, dtype: np.dtype[Any], advice: str = "") -> None:
    wanted = np.dtype(value.type.dtype.numpy)
    if dtype == wanted or dtype.kind == wanted.kind == "f" or (dtype.kind in "iu" and wanted.kind == "i"):
        return
    if wanted.kind == "f":
        hint = f"convert it: {value.name}.astype('{wanted.name}')" + (
            ", pixels also / 255" if dtype == np.uint8 else ""
        )
    else:
        hint = advice or "labels must be integers"
    raise InputError(f"input {value.name} has dtype {dtype}, expected {wanted.name}", hint=hint)


def scalar_names(scalars: Iterable[str], graph: Graph) -> dict[str, str]:
    """For each number that an optimiser is fed, the input that carries it: its own name unless a user has it."""
    taken = {v.name for v in (*graph.inputs, *graph.parameters)}
    names = {}
    for scalar in scalars:
        own = scalar
        while own in taken:
            own += "'"
        names[scalar] = own
    return names


def _shape(value: Value) -> str:
    return "(" + ", ".join(map(str, value.type.shape)) + ")"


def turns(order: npt.ArrayLike | None, count: int, batch_size: int, drop_last: bool = False) -> Indices:
    """The rows of so many samples in the order of their turns, as native code takes them. Raises InputError."""
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected at least 1")
    rows = _order(order, count)
    if drop_last:
        rows = rows[: len(rows) // batch_size * batch_size]
    if not len(rows):
        raise InputError("there is no minibatch", hint="fewer samples than batch_size: leave out drop_last")
    return rows


def _order(order: npt.ArrayLike | None, count: int) -> Indices:
    """Indices of samples, checked. Raises InputError."""
    if order is None:
        return np.arange(count)
    given = np.asarray(order)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InputError(f"order is {given.dtype} of shape {given.shape}, expected a list of indices of samples")
    if len(given) and not 0 <= given.min() <= given.max() < count:
        bad = given.min() if given.min() < 0 else given.max()
        raise InputError(f"order holds {bad}, expected indices in 0..{count - 1}")
    return np.ascontiguousarray(given, np.int64)


def has_samples(name: str, value: Value) -> bool:
    """Whether an input has a batch axis. Raises InputError when it is not the first."""
    position = next((k for k, extent in enumerate(value.type.shape) if isinstance(extent, Batch)), None)
    if position:
        raise InputError(f"axis {position} of input {name} is the batch, expected axis 0", hint="call step()")
    return position is not None
