"""Which parameters are trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import Traced
from graphc.errors import GraphError

Patterns = str | Sequence[str] | None
"""Patterns of dotted names, as in `fnmatch`; None for all."""


def trained(traced: Traced, patterns: Patterns, loss: Tensor) -> tuple[str, ...]:
    """The names of the parameters that are trainable and fit a pattern.

    Raises GraphError if there are none, for a pattern that fits none, and for parameters that their layers update.
    """
    able = [name for name, p in traced.parameters.items() if p.trainable]
    some = (patterns,) if isinstance(patterns, str) else patterns
    names = [n for n in able if some is None or any(fnmatchcase(n, pattern) for pattern in some)]
    for pattern in some or ():
        if not any(fnmatchcase(n, pattern) for n in able):
            raise GraphError(
                f"trainable={pattern!r} fits no trainable parameter",
                hint=f"they are called {', '.join(able) or 'nothing: there are none'}",
            )
    if not names:
        frozen = [name for name, p in traced.parameters.items() if p.is_frozen]
        hint = f"{', '.join(frozen)}: frozen, unfreeze() them" if frozen else ""
        raise GraphError("the loss depends on no trainable parameter", location=loss.location, hint=hint)
    if twice := [old.name for old, _ in traced.graph.updates if old.name in names]:
        raise GraphError(
            f"{twice[0]} is updated by its layer and cannot be trained as well",
            location=traced.parameters[twice[0]].location, hint="leave trainable=False as it was",
        )  # fmt: skip
    return tuple(names)
