"""Numbers, texts, lists, dictionaries and arrays as strict JSON and arrays apart; what comes back is bit for bit equal.

0.1         0.1, the shortest text that is read back as the same number
inf, nan    {"float": "inf"}: JSON has no word for them
an array    {"array": "callbacks/0/best/conv1.weight"}, its name among the arrays apart
(1, 2)      [1, 2]: tuples become lists
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError

Array = npt.NDArray[Any]


def encoded(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """A value as JSON knows it; its arrays are added to `arrays` under names that begin with `place`.

    Raises DataError for anything else, naming its place.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case np.generic():
            return encoded(value.item(), place, arrays)
        case np.ndarray():
            arrays[place] = value
            return {"array": place}
        case list() | tuple():
            return [encoded(item, f"{place}/{k}", arrays) for k, item in enumerate(value)]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: encoded(item, f"{place}/{key}", arrays) for key, item in value.items()}
    raise DataError(
        f"{place} is {type(value).__name__}, which a checkpoint cannot hold",
        hint="state() may return numbers, texts, None, lists, dictionaries by text, and arrays",
    )


def decoded(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The value again."""
    match value:
        case {"float": str(text), **rest} if not rest:
            return float(text)
        case {"array": str(name), **rest} if not rest:
            return arrays[name].copy()
        case dict():
            return {key: decoded(item, arrays) for key, item in value.items()}
        case list():
            return [decoded(item, arrays) for item in value]
    return value


def text(value: Any) -> str:
    """An encoded value as JSON: the same again for what is read from it."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
