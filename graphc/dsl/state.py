"""Values for parameters by dotted name, as state dictionaries and files hold them: all fit, or none is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.dsl.parameter import Parameter
from graphc.errors import DataError

Array = npt.NDArray[Any]

Patterns = str | Iterable[str] | None
"""Dotted names with `*`, `?` and `[...]`; None fits all."""

Rename = Mapping[str, str] | Callable[[str], str]
"""What names become: `{"backbone": "features"}` for whole dotted beginnings, "" being none; or any function."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The names of parameters that have a new value, of those that have none, and of arrays without a parameter."""

    taken: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def values_of(parameters: Mapping[str, Parameter]) -> dict[str, Array]:
    """Copies of all values by name."""
    return {name: parameter.value.copy() for name, parameter in parameters.items()}


def take(
    parameters: Mapping[str, Parameter], arrays: Mapping[str, npt.ArrayLike], *, strict: bool = True,
    only: Patterns = None, rename: Rename | None = None, exact: bool = False, what: str = "the state",
) -> Taken:  # fmt: skip
    """Give each parameter the array of its name.

    Arrays are renamed first; of parameters and arrays only those count whose names fit one of the patterns `only`.
    With `strict` every parameter must have an array and every array a parameter. Floats of other widths are converted,
    unless `exact`.
    Raises DataError that lists all that is missing, unexpected, misshapen or of another type; nothing is changed then.
    """
    given = renamed(arrays, rename, what)
    patterns = _patterns(only)
    if patterns is not None:
        parameters, given = (_fitting(d, patterns, what) for d in (parameters, given))
    found = {name: np.asarray(given[name]) for name in parameters if name in given}
    missing = tuple(name for name in parameters if name not in given)
    unexpected = tuple(name for name in given if name not in parameters)
    faults = []
    if strict:
        lists = (("missing", missing), ("unexpected", unexpected))
        faults = [f"{title}: {', '.join(names)}" for title, names in lists if names]
    for name, array in found.items():
        shape, dtype = parameters[name].shape, np.dtype(parameters[name].dtype.numpy)
        if array.shape != shape:
            faults.append(f"{name}: expected {shape}, got {array.shape}")
        elif array.dtype != dtype and (exact or not np.can_cast(array.dtype, dtype, "same_kind")):
            faults.append(f"{name}: expected {dtype}, got {array.dtype}")
    if faults:
        shapes = {name: np.shape(given[name]) for name in unexpected}
        hint = _hint({name: parameters[name].shape for name in missing}, shapes, bool(parameters), strict)
        raise DataError(f"{what} does not fit: " + "; ".join(faults), hint=hint)
    for name, array in found.items():
        parameters[name].value = array
    return Taken(tuple(found), missing, unexpected)


def renamed(arrays: Mapping[str, Any], rename: Rename | None, what: str) -> dict[str, Any]:
    """The same arrays under other names. Raises DataError if two become one, or a beginning begins none."""
    if rename is None:
        return dict(arrays)
    if isinstance(rename, Mapping):
        for old in rename:
            if not any(_after(name, old) is not None for name in arrays):
                raise DataError(f"rename: no name in {what} begins with {old!r}", hint=f"it holds {_some(arrays)}")
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        new = rename(name) if callable(rename) else _with_beginnings(name, rename)
        if new in found:
            raise DataError(f"rename gives two arrays of {what} the name {new}")
        found[new] = array
    return found


def _with_beginnings(name: str, beginnings: Mapping[str, str]) -> str:
    for old in sorted(beginnings, key=len, reverse=True):
        rest = _after(name, old)
        if rest is not None:
            return ".".join(part for part in (beginnings[old].rstrip("."), rest) if part)
    return name


def _after(name: str, beginning: str) -> str | None:
    """What follows a dotted beginning; None if the name has another."""
    beginning = beginning.rstrip(".")
    if not beginning:
        return name
    head, rest = name[: len(beginning)], name[len(beginning) :]
    return rest.removeprefix(".") if head == beginning and rest[:1] in ("", ".") else None


def _patterns(only: Patterns) -> tuple[str, ...] | None:
    return None if only is None else (only,) if isinstance(only, str) else tuple(only)


def _fitting(named: Mapping[str, Any], patterns: tuple[str, ...], what: str) -> dict[str, Any]:
    """Those whose names fit a pattern. Raises DataError for a pattern that no name fits."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            place = "the model" if any(isinstance(v, Parameter) for v in named.values()) else what
            raise DataError(f"only: no name in {place} fits {pattern!r}", hint=f"it holds {_some(named)}")
    return {name: v for name, v in named.items() if any(fnmatchcase(name, p) for p in patterns)}


def _hint(
    missing: Mapping[str, tuple[Any, ...]], unexpected: Mapping[str, tuple[Any, ...]], any_parameter: bool, strict: bool
) -> str:
    """The fix, where the names show one."""
    if not any_parameter:
        return "call the layer once before loading"
    for name, shape in missing.items():
        for other in (o for o, s in unexpected.items() if s == shape):
            new, old = _different_beginnings(name, other)
            now = {_with_beginnings(o, {old: new}): s for o, s in unexpected.items()}
            if all(now.get(m) == s for m, s in missing.items()):
                return f"rename={{{old!r}: {new!r}}}"
    return "strict=False ignores missing and unexpected" if strict and (missing or unexpected) else ""


def _different_beginnings(name: str, other: str) -> tuple[str, str]:
    """Both without the dotted ending that they share."""
    a, b = name.split("."), other.split(".")
    while a and b and a[-1] == b[-1]:
        del a[-1], b[-1]
    return ".".join(a), ".".join(b)


def _some(names: Iterable[str], count: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:count] + ["..."] * (len(listed) > count)) or "nothing"
