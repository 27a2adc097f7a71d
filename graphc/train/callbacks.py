"""What listens to a training and may end it: callbacks, and the run that they see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Run:
    """A training under way, as callbacks see it."""

    model: Any
    program: Any
    epochs: int
    batch_size: int
    seed: int
    samples: int | None
    """Those of an epoch; None if nobody knows."""
    epoch: int = 1
    """The number of the current one, from 1 on."""
    samples_done: int = 0
    """In this epoch."""
    history: list[Any] = field(default_factory=list)
    """The finished epochs."""
    reason: str = ""
    """Why it is to end early."""

    @property
    def optimizer(self) -> Any:
        """The optimiser, whose rate may be changed."""
        return self.program.optimizer

    def stop(self, reason: str) -> None:
        """End after the current epoch, or after the current segment if this is called from `batch`."""
        self.reason = reason


class Callback:
    """Listens to a training; this one does nothing."""

    __slots__ = ()

    def start(self, run: Run) -> None:
        """Training begins, or goes on after `restore`."""

    def batch(self, run: Run, segment: Any) -> None:
        """Some steps are done (about a twentieth of a second)."""

    def epoch(self, run: Run, epoch: Any) -> None:
        """An epoch is done and evaluated."""

    def stop(self, run: Run, message: str) -> None:
        """Training is over, early if there is a message."""

    def state(self) -> dict[str, Any]:
        """What decides about the rest of the training, as JSON can hold it."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
