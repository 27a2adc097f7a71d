"""Telling things apart by their content: a digest for what decides a compilation, a pattern for what differs in names.

Names, formulas and numbers count with their exact content: two formulas share a digest only if they are one.
Functions, such as the passes of a pipeline, count by where their code is and by what they have captured. What cannot
be told apart from its content, like code that is not graphc's own, is refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import cache, partial
from numbers import Integral
from types import FunctionType
from typing import Any

import sympy as sp

from graphc.ops.scalars import DECLARED, ScalarFunction
from graphc.types import Batch

OWN = "graphc"


class UnidentifiedError(TypeError):
    """A thing whose meaning does not follow from its content."""


def fingerprint(*things: Any) -> str:
    """The digest of things, of the functions that the user has declared, and of the versions of Python and sympy.

    Fields of dataclasses that do not take part in comparisons, such as locations, do not count.
    Raises UnidentifiedError for what is neither plain data, nor a formula, nor graphc's own.
    """
    table = _Table()
    declared = [f for f in DECLARED.values() if not _is_own(f)]
    table.number((sys.version, sp.__version__, declared, things))
    return hashlib.sha256(table.text().encode()).hexdigest()


def pattern(thing: Any, names: Collection[str]) -> tuple[Hashable, tuple[str, ...]]:
    """What things that differ only in some names have in common, and the names in the order of their appearance.

    Raises UnidentifiedError like `fingerprint`.
    """
    table = _Table(names)
    table.number(thing)
    return tuple(table.rows), tuple(table.met)


class _Table:
    """Every distinct part once, as a row that refers to earlier rows: shared parts cost nothing.

    Names that are to be forgotten count by the place of their first appearance.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.rows: dict[tuple[Hashable, ...], int] = {}
        self.met: dict[str, int] = {}
        self._names = names
        self._known: dict[int, tuple[Any, int]] = {}  # keeps the parts alive, so that no id is used twice
        self._open: set[int] = set()

    def text(self) -> str:
        return json.dumps(list(self.rows))

    def number(self, thing: Any) -> int:
        """The row of a thing; equal things have one row."""
        known = self._known.get(id(thing))
        if known is None:
            known = self._known[id(thing)] = (thing, self._row(self._content(thing)))
        return known[1]

    def _row(self, content: tuple[Hashable, ...]) -> int:
        return self.rows.setdefault(content, len(self.rows))

    def _parts(self, kind: str, parts: Iterable[Any]) -> tuple[Hashable, ...]:
        return (kind, *map(self.number, parts))

    def _content(self, thing: Any) -> tuple[Hashable, ...]:
        """What a thing consists of: its kind, and the rows of its parts or a text."""
        kind = _kind(thing.__class__)
        match thing:
            case str() if thing in self._names:
                return "name", self.met.setdefault(thing, len(self.met))
            case None | str() | int() | float() | bytes() | Fraction():
                return kind, repr(thing)
            case tuple() | list():
                return self._parts(kind, thing)
            case sp.Symbol():
                return kind, self.number(thing.name), _assumptions(thing)
            case ScalarFunction():
                return self._parts("apply", (thing.func, *thing.args))
            case sp.Basic() if kind.startswith((f"{OWN}.", "sympy.")):
                return self._parts(kind, thing.args or thing._hashable_content())
            case Enum():
                return kind, thing.name
            case Batch():
                return (kind,)
            case set() | frozenset():
                return kind, *sorted(map(self.number, thing))
            case Mapping():
                return self._parts(kind, thing.items())
            case partial():
                return self._parts(kind, (thing.func, thing.args, thing.keywords))
            case type() if issubclass(thing, ScalarFunction):
                return self._parts("declared", (thing.__name__, thing.formula, *thing.variables))
            case FunctionType() if _is_own(thing):
                return self._function(thing)
            case Integral():  # of sympy's or numpy's own
                return "builtins.int", repr(int(thing))
            case _ if kind.startswith(f"{OWN}.") and is_dataclass(thing) and not isinstance(thing, type):
                return self._parts(kind, [getattr(thing, name) for name in _compared(type(thing))])
        raise UnidentifiedError(f"{kind} {thing!r} cannot be told from others like it")

    def _function(self, function: FunctionType) -> tuple[Hashable, ...]:
        place = (_name(function), function.__code__.co_firstlineno)
        if id(function) in self._open:
            return "recursive", *place
        self._open.add(id(function))
        captured = [cell.cell_contents for cell in function.__closure__ or ()]
        content = self._parts("function", (*place, captured, function.__defaults__, function.__kwdefaults__))
        self._open.discard(id(function))
        return content


@cache
def _kind(cls: Hashable) -> str:
    return _name(cls)


@cache
def _compared(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass that take part in comparisons."""
    return tuple(f.name for f in fields(cls) if f.compare)


@cache
def _assumptions(symbol: sp.Symbol) -> str:
    return repr(symbol._hashable_content()[1:])


def _is_own(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] == OWN


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
