"""What a compiled program shows of itself: every stage as text, for the whole or for one layer."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.passes import History
from graphc.runtime.executable import Executable
from graphc.target import Target


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compilation: its stages, its code, and how long it took."""

    path: str
    stages: History
    executable: Executable
    target: Target
    seconds: float
