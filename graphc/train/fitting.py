"""The loop of a training: epochs, segments of native steps, validation, and who listens to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError, GraphcError
from graphc.train.callbacks.run import Run
from graphc.train.history import Epoch, History
from graphc.train.interrupt import Interruptible
from graphc.train.schedules import Schedule, Times

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A run, how it is validated, and what it is fed besides the source."""

    run: Run
    score: Callable[[], dict[str, Any]] = dict
    constants: Mapping[str, Array] = field(default_factory=dict)
    drop_last: bool = False
    """Whether a last minibatch of fewer samples is left out."""

    def __call__(self) -> History:
        """Train until the last epoch or until a callback asks for the end; Ctrl-C ends it between two steps.

        Whatever ends it, parameters are those after the last step, the model has the history so far, and every
        callback that was started is stopped, those that are `last` first.
        """
        run, began, before = self.run, perf_counter(), self.run.steps
        message, interrupted = "", False
        with ExitStack() as ending:
            try:
                with Interruptible() as interruptible:
                    for callback in run.callbacks:
                        callback.start(run)
                        ending.callback(lambda c: c.stop(run, message), callback)
                    while run.epoch <= run.epochs and not run.reason:
                        interruptible.point()
                        self._epoch(interruptible)
                    message = run.reason and f"stopped after {run.steps - before} steps: {run.reason}"
            except KeyboardInterrupt:
                interrupted, message = True, f"stopped {self._place(before)}; what was learnt is kept"
            except Exception as error:
                message = f"{type(error).__name__} {self._place(before)}"
                if run.steps > before:
                    message += "; what was learnt is kept"
                    error.add_note(f"{message}, and what was done is in model.history")
                raise
            finally:
                seconds = perf_counter() - began
                run.model.history = History(tuple(run.history), run.steps - before, seconds, interrupted, message)
        return run.model.history

    def _place(self, before: int) -> str:
        if self.run.steps == before:
            return "before the first step"
        steps = self.run.steps - before
        return f"after {steps} step{'s' * (steps > 1)}, in epoch {min(self.run.epoch, self.run.epochs)}"

    def _epoch(self, interruptible: Interruptible) -> None:
        run, began = self.run, perf_counter()
        for part in self._segments():
            run.samples_done += int(part.samples.sum())
            run.totals.add(part.values, part.samples)
            for callback in run.callbacks:
                callback.batch(run, part)
            if run.samples_done != run.samples:
                if run.reason:
                    return
                interruptible.point()
        if not run.samples_done:
            raise DataError(
                f"epoch {run.epoch} has no minibatch of {run.batch_size} samples",
                hint="leave out drop_last or use a smaller batch_size" if self.drop_last else "",
            )
        steps = -(-run.samples_done // run.batch_size)
        seconds = perf_counter() - began
        epoch = Epoch(run.epoch, run.totals.value, self.score(), run.samples_done, seconds, steps, run.rate)
        run.samples = run.samples_done
        run.history.append(epoch)
        run.epoch += 1
        run.begin()
        for callback in run.callbacks:
            callback.epoch(run, epoch)
        if steps == 1 and (arrived := getattr(run.program, "converged", "")):  # at the minimum of the full batch
            run.stop(f"converged: {arrived}")

    def _segments(self) -> Iterator[Any]:
        """The steps of the rest of an epoch."""
        run, size = self.run, self.run.batch_size
        blocks = run.source.blocks(size, seed=run.seed, epoch=run.epoch, start=run.samples_done, shuffle=run.shuffle)
        with ExitStack() as ending:
            ending.callback(getattr(blocks, "close", lambda: None))  # ends the threads that read ahead
            for block in blocks:
                order = block.order
                if self.drop_last:
                    count = len(next(iter(block.arrays.values()))) if order is None else len(order)
                    order = (np.arange(count) if order is None else order)[: count // size * size]
                    if not len(order):
                        continue
                yield from run.program.segments({**block.arrays, **self.constants}, size, order=order)


def updates_of(run: Run, optimizer: Any) -> tuple[int | None, int]:
    """How many updates a training has, and how many there were before it."""
    each = getattr(optimizer, "accumulate", 1)
    done = sum(epoch.steps for epoch in run.history) + -(-run.samples_done // run.batch_size)
    before = (run.steps - done) // each
    if run.samples is None:
        return None, before
    return -(-(run.epochs - run.first) * -(-run.samples // run.batch_size) // each), before


@contextmanager
def rate_over(optimizer: Any, total: int | None, before: int = 0) -> Iterator[None]:
    """Meanwhile a schedule that lasts as long as the training knows how long that is.

    `total` updates after the first `before` ones; None: nobody knows, which raises GraphcError.
    """
    changed = []
    for holder in (optimizer, *getattr(optimizer, "members", ())):
        schedule = getattr(holder, "lr", None)
        if not isinstance(schedule, Schedule) or not schedule.is_open:
            continue
        if total is None:
            raise GraphcError(
                f"{schedule!r} lasts as long as the training, but nobody knows how many steps this data has",
                hint="pass steps_per_epoch to fit, or steps= to the schedule",
            )
        bound = schedule.over(total)
        holder.lr = later(bound, before) if before else bound
        changed.append((holder, schedule, holder.lr))
    try:
        yield
    finally:
        for holder, schedule, bound in changed:
            if holder.lr is bound:
                holder.lr = schedule


@dataclass(frozen=True)
class later(Schedule):
    """A schedule that begins after so many updates."""

    schedule: Schedule
    before: int

    def at(self, t: Times) -> Times:
        return self.schedule.at(t - self.before)
