"""What a compiled program shows of itself: every stage as text, for the whole or for one layer."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.ir import Graph
from graphc.loops.ir import Call, Step
from graphc.passes import History
from graphc.runtime.executable import Executable
from graphc.schedule.program import Kernel, Program
from graphc.target import Target


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compilation: its stages, its code, and how long it took. `path`: training, inference or gradients."""

    path: str
    stages: History
    executable: Executable
    target: Target
    seconds: float

    @property
    def graph(self) -> Graph:
        """The graph that was scheduled: the result of the last pass over graphs."""
        return next(r.after for r in reversed(self.stages.records) if isinstance(r.after, Graph))

    @property
    def program(self) -> Program:
        """The kernels and memories that were lowered."""
        return self.executable.program

    @property
    def step(self) -> Step:
        """The loops that were emitted."""
        return self.executable.step

    @property
    def calls(self) -> tuple[tuple[Kernel, Call], ...]:
        """Each kernel of the program with the call that it became, in order."""
        calls = [item for item in self.step.body if isinstance(item, Call)]
        return tuple(zip(self.program.kernels, calls, strict=True))
