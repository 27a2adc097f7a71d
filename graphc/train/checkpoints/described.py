"""What a training is, as plain data that a checkpoint holds, so that another one can be told from it.

{"seed": 0, "batch_size": 64, "samples": 60000, "optimizer": {"kind": "Adam", "betas": [0.9, 0.999], ...}, ...}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from graphc.graph.ir import Graph
from graphc.ops.text import formula_text

RATE = "lr"
"""The name of what may be changed between the parts of a training."""


def described(thing: Any) -> Any:
    """Settings as plain data: what has fields by kind and fields, a function by its name."""
    match thing:
        case None | bool() | int() | float() | str():
            return thing
        case np.generic() | np.ndarray():
            return thing.tolist()
        case Mapping():
            return {str(key): described(value) for key, value in thing.items()}
        case list() | tuple():
            return [described(item) for item in thing]
    kind = type(thing)
    if is_dataclass(kind):
        names = [f.name for f in fields(thing)]
    else:
        names = list(getattr(kind, "__slots__", ()))
        if not names:
            return {"kind": getattr(thing, "__qualname__", kind.__qualname__)}
    return {"kind": kind.__qualname__, **{name: described(getattr(thing, name)) for name in names}}


def without_rates(description: Any) -> Any:
    """The same without what is called `lr`, at any depth."""
    match description:
        case dict():
            return {name: without_rates(value) for name, value in description.items() if name != RATE}
        case list():
            return [without_rates(item) for item in description]
    return description


def layers(graph: Graph) -> list[list[str]]:
    """[layer, digest of its formulas] in the order of the graph; layers that are left and entered again, each time."""
    found: list[tuple[str, list[str]]] = []
    for node in graph.nodes:
        if not found or found[-1][0] != node.scope:
            found.append((node.scope, []))
        operands = " ".join(map(str, node.inputs))
        found[-1][1].append(f"{node.output}: {node.output.type} {operands} {formula_text(node.formula)}")
    return [[scope, sha256("\n".join(lines).encode()).hexdigest()[:16]] for scope, lines in found]


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """`batch_size is 32, was 64` for each place where two descriptions differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        kind = before.get("kind"), now.get("kind")
        if kind[0] == kind[1]:
            for name in dict.fromkeys([*before, *now]):
                yield from differences(before.get(name), now.get(name), f"{place}.{name}" if place else name)
            return
        before, now = (d.get("kind", d) for d in (before, now))
    if before != now:
        yield f"{place} is {_shown(now)}, was {_shown(before)}"


def first_different_layer(before: list[list[str]], now: list[list[str]]) -> str | None:
    """The first layer whose formulas are not those of before; None if there is none."""
    for k in range(max(len(before), len(now))):
        if before[k : k + 1] != now[k : k + 1]:
            scope = (now[k : k + 1] or before[k : k + 1])[0][0]
            return f"the formulas of {scope or 'what is outside of layers'} differ"
    return None


def _shown(value: Any) -> str:
    return "not known" if value is None else repr(value)
