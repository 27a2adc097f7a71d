"""What native code needs to be called, as text and back: memories, layouts, buffers. Only known classes are built."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from graphc.graph.ir import Value
from graphc.loops.expressions import Buffer
from graphc.loops.ir import Step
from graphc.schedule.program import Layout, Memory, Program
from graphc.types import BATCH, Batch, DType, TensorType

CLASSES = {c.__name__: c for c in (Program, Memory, Layout, Value, TensorType, Step, Buffer)}
CLASS = "class"


def interface(program: Program, step: Step) -> tuple[Program, Step]:
    """A program and its step without what happens inside: what their callers need."""
    return replace(program, kernels=(), remarks=()), replace(step, functions=(), body=())


def to_text(value: Any) -> str:
    """A value as JSON. Raises TypeError for what `from_text` cannot bring back."""
    return json.dumps(_plain(value))


def from_text(text: str | bytes) -> Any:
    """The value of a text of `to_text`; lists have become tuples."""
    return _restored(json.loads(text))


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [_plain(v) for v in value]
        case frozenset():
            return {CLASS: "frozenset", "of": [_plain(v) for v in sorted(value)]}
        case DType():
            return {CLASS: "DType", "of": value.value}
        case Batch():
            return {CLASS: "Batch"}
        case _ if CLASSES.get(type(value).__name__) is type(value):
            return {CLASS: type(value).__name__} | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be kept as text")


def _restored(data: Any) -> Any:
    match data:
        case list():
            return tuple(_restored(v) for v in data)
        case {"class": "frozenset", "of": members}:
            return frozenset(_restored(v) for v in members)
        case {"class": "DType", "of": name}:
            return DType(name)
        case {"class": "Batch"}:
            return BATCH
        case {"class": name}:
            return CLASSES[name](**{k: _restored(v) for k, v in data.items() if k != CLASS})
    return data
