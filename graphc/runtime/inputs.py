"""What a program accepts: names, shapes, dtypes, label ranges; checked before every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.errors import InputError
from graphc.graph.ir import Graph, Value
from graphc.ops.structure import gather_limits
from graphc.schedule.arrange import Array
from graphc.types import Batch


class Signature:
    """The inputs of a graph and the ranges that integer inputs must keep because they are used as indices."""

    def __init__(self, graph: Graph) -> None:
        self.inputs = {v.name: v for v in graph.inputs}
        self.limits: dict[str, int] = {}
        for node in graph.nodes:
            operands = dict(zip(node.formula.operands, node.inputs, strict=True))
            for operand, indexed, axis in gather_limits(node.formula):
                value, extent = operands[operand], operands[indexed].type.shape[axis]
                if value.name in self.inputs and isinstance(extent, int):
                    self.limits[value.name] = min(extent, self.limits.get(value.name, extent))

    def check(self, arrays: Mapping[str, Any]) -> tuple[dict[str, Array], int]:
        """The arrays as native code takes them, and the batch size. Raises InputError."""
        if arrays.keys() != self.inputs.keys():
            self._wrong_names(arrays)
        batch: int | None = None
        first = ""
        checked: dict[str, Array] = {}
        for name, value in self.inputs.items():
            array = self._converted(value, arrays[name])
            shape = value.type.shape
            if array.ndim != len(shape):
                raise InputError(
                    f"input {name} has rank {array.ndim} (shape {array.shape}), expected {_shape(value)}",
                    hint="one sample still needs the batch axis: x[None]" if array.ndim == len(shape) - 1 else "",
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
            checked[name] = array
        if batch == 0:
            raise InputError(f"the batch is empty: {first} has 0 samples", hint="a batch needs at least one sample")
        for name, limit in self.limits.items():
            self._check_range(name, checked[name], limit)
        return checked, 1 if batch is None else batch

    def _wrong_names(self, arrays: Mapping[str, Any]) -> None:
        expected = ", ".join(self.inputs) or "none"
        for name in arrays:
            if name not in self.inputs:
                raise InputError(f"there is no input named {name}", hint=f"the inputs are {expected}")
        missing = [n for n in self.inputs if n not in arrays]
        raise InputError(f"input {', '.join(missing)} is missing", hint=f"the inputs are {expected}")

    @staticmethod
    def _converted(value: Value, given: Any) -> Array:
        """A C-contiguous array of the declared dtype. Floats and integers of other widths are converted."""
        wanted = np.dtype(value.type.dtype.numpy)
        array = np.asarray(given)
        if array.dtype == wanted:
            return array if array.flags.c_contiguous else np.ascontiguousarray(array)
        if array.dtype.kind == wanted.kind == "f" or (array.dtype.kind in "iu" and wanted.kind == "i"):
            return np.asarray(array, dtype=wanted, order="C")
        if wanted.kind == "f":
            hint = f"convert it: x.astype('{wanted.name}')" + (", pixels also / 255" if array.dtype == np.uint8 else "")
        else:
            hint = "labels must be integers"
        raise InputError(f"input {value.name} has dtype {array.dtype}, expected {wanted.name}", hint=hint)

    @staticmethod
    def _check_range(name: str, array: Array, limit: int) -> None:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= limit:
            bad = low if low < 0 else high
            where = np.unravel_index(int(np.argmax(array == bad)), array.shape)
            place = ", ".join(map(str, where))
            raise InputError(
                f"input {name} is {bad} at [{place}], expected 0..{limit - 1}",
                hint="labels count from 0" if bad == limit else "",
            )


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
