"""Between logical arrays and the physical arrangement of a layout, in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from graphc.schedule.program import Layout
from graphc.types import Batch, TensorType

Array = npt.NDArray[np.generic]


def physical_shape(layout: Layout, type: TensorType, batch: int) -> tuple[int, ...]:
    """The physical shape for a batch."""
    return tuple(batch if isinstance(e, Batch) else e for e in layout.shape(type))


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike, alignment: int = 64) -> Array:
    """A zeroed array that starts on a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned_empty(shape: tuple[int, ...], dtype: npt.DTypeLike, alignment: int = 64) -> Array:
    """An array with arbitrary contents that starts on a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.empty(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def arrange(array: Array, layout: Layout, type: TensorType, batch: int = 1) -> Array:
    """A logical array in its physical arrangement; padding and borders are zero."""
    result = aligned(physical_shape(layout, type, batch), type.dtype.numpy)
    if layout.block:
        return _blocked(result, layout, array)
    interior(result, layout, type, batch)[...] = array
    return result


def restore(physical: Array, layout: Layout, type: TensorType, batch: int = 1) -> Array:
    """The logical array, a copy, of a physical one."""
    if layout.block:
        physical = _unblocked(physical)
        layout = Layout(layout.order, layout.halo, physical.shape[-1])
    return np.array(interior(physical, layout, type, batch), order="C")


def restore_each(stack: Array, layout: Layout, type: TensorType) -> Array:
    """The logical arrays, a copy, of physical ones that are stacked along a first axis."""
    order, halo = (0, *(axis + 1 for axis in layout.order)), ((0, 0), *layout.halo)
    blocks_first = np.moveaxis(stack, 1, 0) if layout.block else stack
    several = TensorType((len(stack), *type.shape), type.dtype)
    return restore(blocks_first, replace(layout, order=order, halo=halo), several)


def interior(physical: Array, layout: Layout, type: TensorType, batch: int) -> Array:
    """A view of the elements proper, with the axes in logical order; not for layouts in blocks."""
    shape = type.concrete(batch)
    cut = tuple(slice(layout.halo[a][0], layout.halo[a][0] + shape[a]) for a in layout.order)
    return physical[cut].transpose(np.argsort(layout.order)) if layout.order else physical


def _blocked(result: Array, layout: Layout, array: Array) -> Array:
    blocks, size = result.shape[0], result.shape[-1]
    moved = array.transpose(layout.order)
    wide = np.zeros((*moved.shape[:-1], blocks * size), array.dtype)
    wide[..., : moved.shape[-1]] = moved
    result[...] = np.moveaxis(wide.reshape(*moved.shape[:-1], blocks, size), -2, 0)
    return result


def _unblocked(physical: Array) -> Array:
    moved = np.moveaxis(physical, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)
