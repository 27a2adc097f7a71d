"""The pass runner: apply, verify, time, notify. Everything that is done around a pass is done here.

A pass is a pure function from an intermediate language to itself: valid in, valid out, the input untouched,
the same object back when nothing changed. Its name is that of the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeVar

IR = TypeVar("IR")


@dataclass(frozen=True, slots=True)
class Remark:
    """What a pass says about a subject: mostly that and why something was left as it is."""

    stage: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.subject}: {self.text}"


class Observer(Protocol):
    """Told about each pass when it has been verified."""

    def after(self, stage: str, before: Any, after: Any, seconds: float, remarks: tuple[Remark, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A pass under a name of its own: a function with options bound, or a crossing between languages.

    Two passes of one name whose functions captured equal things do the same. Where that cannot be told, `same` says
    it: a function of the first program of a pipeline, whose results are equal only if the passes do the same.
    """

    name: str
    apply: Callable[[Any], Any]
    same: Callable[[Any], Any] | None = None

    def __call__(self, ir: Any) -> Any:
        return self.apply(ir)


_remarks: ContextVar[list[tuple[str, str]] | None] = ContextVar("graphc_remarks", default=None)


def remark(subject: str, text: str) -> None:
    """Record a remark of the pass that is running; without a runner it is dropped."""
    collected = _remarks.get()
    if collected is not None:
        collected.append((subject, text))


def name_of(step: Callable[..., Any]) -> str:
    """The name under which a pass is reported."""
    return step.name if isinstance(step, Named) else str(getattr(step, "__name__", type(step).__name__))


def run(
    passes: Sequence[Callable[[Any], Any]],
    ir: IR,
    verify: Callable[[Any, str], None],
    observers: Iterable[Observer] = (),
    stop_after: str | None = None,
) -> Any:
    """passes[-1](... passes[0](ir)), each result verified; ends after the pass named `stop_after`, if any.

    `verify(ir, stage)` raises where the result is not a sentence of its language.
    """
    observers = tuple(observers)
    current: Any = ir
    for step in passes:
        stage = name_of(step)
        collected: list[tuple[str, str]] = []
        token = _remarks.set(collected)
        start = perf_counter()
        try:
            result = step(current)
        finally:
            _remarks.reset(token)
        seconds = perf_counter() - start
        if result is not current:
            verify(result, stage)
        remarks = tuple(dict.fromkeys(Remark(stage, subject, text) for subject, text in collected))
        for observer in observers:
            observer.after(stage, current, result, seconds, remarks)
        current = result
        if stage == stop_after:
            break
    return current


@dataclass(frozen=True, slots=True)
class Record:
    """One pass as it was observed."""

    stage: str
    before: Any
    after: Any
    seconds: float
    remarks: tuple[Remark, ...]

    @property
    def changed(self) -> bool:
        """Whether the pass did anything."""
        return self.after is not self.before


class History:
    """An observer that keeps everything: the programs between passes, times and remarks."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def after(self, stage: str, before: Any, after: Any, seconds: float, remarks: tuple[Remark, ...]) -> None:
        self.records.append(Record(stage, before, after, seconds, remarks))

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """The remarks of all passes in order."""
        return tuple(r for record in self.records for r in record.remarks)

    def __getitem__(self, stage: str) -> Any:
        """The program after a stage; the last one if the stage ran several times. Raises KeyError."""
        for record in reversed(self.records):
            if record.stage == stage:
                return record.after
        raise KeyError(f"no stage {stage}; there are {', '.join(dict.fromkeys(r.stage for r in self.records))}")


def last(history: History, language: type[IR]) -> IR:
    """The last program that was of a language."""
    return next(r.after for r in reversed(history.records) if isinstance(r.after, language))
