"""What stands in square brackets behind a tensor: places, slices, new axes, and at most one tensor of integers."""

from __future__ import annotations

import operator
from typing import Any

from graphc.errors import GraphError
from graphc.ops.indexing import WHOLE, Item

TENSOR = "tensor"


def subscript(key: Any, rank: int, is_tensor: Any) -> tuple[tuple[Item, ...], tuple[int, Any] | None]:
    """(the parts of a slice, (the axis of its result that a tensor of integers indexes, that tensor) or None).

    Raises GraphError for what cannot be an index.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [k for k, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise GraphError("an index holds ... twice", hint="it stands for all axes that are not named")
    if dots:
        named = len([p for p in parts if p is not None and p is not Ellipsis])
        parts[dots[0] : dots[0] + 1] = [slice(None)] * max(rank - named, 0)
    items: list[Item] = []
    found: tuple[int, Any] | None = None
    for part in parts:
        if is_tensor(part):
            if part.dtype.is_float:
                raise _mask()
            if found is not None:
                raise GraphError(
                    "an index holds two tensors",
                    hint="use gc.gather(x, axis, index), or index one axis after the other",
                )
            found = len([i for i in items if not isinstance(i, int)]), part
            items.append(WHOLE)
        else:
            items.append(_item(part))
    return tuple(items), found


def _item(part: Any) -> Item:
    if part is None:
        return None
    if isinstance(part, slice):
        return _whole(part.start), _whole(part.stop), _whole(part.step)
    if isinstance(part, bool) or str(getattr(part, "dtype", "")) == "bool":
        raise _mask()
    try:
        return operator.index(part)
    except TypeError:
        raise GraphError(
            f"{type(part).__name__} cannot be an index",
            hint="use integers, slices, ..., None or a tensor of integers: gc.input(name, shape, 'int64')",
        ) from None


def _mask() -> GraphError:
    return GraphError(
        "a mask cannot be an index: how many elements it leaves is not known before the program runs",
        hint="use gc.where(mask, x, 0), and divide sums by mask.sum() instead of by their number",
    )


def _whole(value: Any) -> int | None:
    return None if value is None else operator.index(value)
