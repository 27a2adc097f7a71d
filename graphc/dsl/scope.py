"""Where in the model something was built: "features/conv1". Names that nobody gave are settled here."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass


class Root:
    """The name of an outermost layer.

    A name that the user gave stays. Otherwise a layer with layers inside has the empty name (its parts name
    themselves), any other its class name, and one that meets the same name in its graph gets a number.
    """

    __slots__ = ("given", "name", "stem")

    def __init__(self, name: str | None, stem: str, anonymous: bool) -> None:
        self.given, self.stem = name is not None, stem
        self.name = name if name is not None else "" if anonymous else stem


@dataclass(frozen=True, slots=True)
class Scope:
    """An outermost layer and the path below it."""

    root: Root | None = None
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.joined("/")

    def joined(self, separator: str) -> str:
        """The path in one word: with "/" a scope, with "." a parameter's name."""
        root = (self.root.name,) if self.root and self.root.name else ()
        return separator.join((*root, *self.path))

    def child(self, name: str) -> Scope:
        """The scope of a part."""
        return Scope(self.root, (*self.path, name))


def settle(roots: Iterable[Root | None]) -> None:
    """Give different names to the outermost layers of one graph, which are listed in its order."""
    distinct = [r for r in dict.fromkeys(roots) if r is not None]
    taken = {r.name for r in distinct if r.given}
    for root in distinct:
        if root.given:
            continue
        k = 0
        while root.name in taken:
            k += 1
            root.name = f"{root.stem}_{k}"
        taken.add(root.name)


current: ContextVar[Scope] = ContextVar("graphc_scope", default=Scope())  # noqa: B039
"""The scope of whatever is being built now."""
