"""What a compiled program shows of itself: every stage as text, for the whole or for one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphc.graph.ir import Graph
from graphc.loops.ir import Call, Step
from graphc.passes import History, last
from graphc.runtime.executable import Executable
from graphc.schedule.program import Kernel, Program
from graphc.target import Target


@dataclass(frozen=True, slots=True)
class Compiled:
    """One compilation: its stages, its code, and how long it took. `path`: training, inference or gradients.

    Code that was `found` in the cache came without stages: they are derived when they are first asked for. `problem`
    says why nothing could be kept there.
    """

    path: str
    _stages: Callable[[], History] = field(repr=False)
    executable: Executable
    target: Target
    seconds: float
    found: bool = False
    problem: str = ""

    @property
    def stages(self) -> History:
        """What each pass made."""
        return self._stages()

    @property
    def graph(self) -> Graph:
        """The graph that was scheduled: the result of the last pass over graphs."""
        return last(self.stages, Graph)

    @property
    def formulas(self) -> Graph:
        """The last graph whose formulas are those of the operators: afterwards some are computed in another way."""
        return next((r.before for r in self.stages.records if r.stage == "apply_winograd"), self.graph)

    @property
    def program(self) -> Program:
        """The kernels and memories that were lowered."""
        return last(self.stages, Program)

    @property
    def step(self) -> Step:
        """The loops that were emitted."""
        return last(self.stages, Step)

    @property
    def units(self) -> tuple[tuple[tuple[Kernel, ...], Call], ...]:
        """The kernels that run together, those of a chain or one, with the call that computes them, in order."""
        items = [self.step.body[place] for place in self.places]
        calls = [item for item in items if isinstance(item, Call)]
        return tuple(zip(self.program.units, calls, strict=True))

    @property
    def places(self) -> tuple[int, ...]:
        """Where in the body of the step each unit is called; calls between them prepare memories."""
        found: list[int] = []
        place = len(self.step.body)
        for unit in reversed(self.program.units):
            used = {name for kernel in unit for name in (*kernel.reads, *kernel.writes)}
            place = next(k for k in reversed(range(place)) if _touches(self.step.body[k], used))
            found.append(place)
        return tuple(reversed(found))


def _touches(item: object, used: set[str]) -> bool:
    return isinstance(item, Call) and set(item.buffers) == used
