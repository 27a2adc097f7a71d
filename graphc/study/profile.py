"""Where the time of a step goes: every unit of kernels timed where it runs, beside what the model of a core predicts.

A second build of the step writes down what the processor's clock shows after each of its items, so caches are as in any
other step. The program itself is neither changed nor slowed down: the steps work on copies of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from time import perf_counter

import numpy as np
import numpy.typing as npt

from graphc.codegen.llvm import emit, row_of_times
from graphc.errors import NonFiniteError
from graphc.graph.ir import Value
from graphc.loops.expressions import Buffer
from graphc.loops.ir import Call, Step
from graphc.runtime.cache import open_cache
from graphc.runtime.executable import Executable
from graphc.runtime.jit import compile_ir
from graphc.schedule.arrange import Array, aligned
from graphc.schedule.roofline import Machine, Prediction, least_traffic, predictions
from graphc.study.compiled import Compiled
from graphc.study.machine import measured
from graphc.study.scopes import layer_of, unit_name
from graphc.study.tables import bytes_text, table, time_text
from graphc.types import DType

TIMES = "times of the items"

WARM = 3
"""Steps that do not count."""

SECONDS = 0.03
"""At least so long: the ends of the calls do not matter for the clock's rate then."""


@dataclass(frozen=True, slots=True)
class Row:
    """A unit of kernels: the median of its times in the first thread, and the prediction for one core."""

    kernel: str
    layer: str
    seconds: float
    prediction: Prediction
    threads: int

    @property
    def strategy(self) -> str:
        """How it is computed."""
        return self.prediction.strategy

    @property
    def gflops(self) -> float:
        """Billions of operations in a second, by all threads."""
        return self.prediction.flops / max(self.seconds, 1e-12) / 1e9

    @property
    def gbytes(self) -> float:
        """Billions of bytes read and written in a second, by all threads."""
        return self.prediction.bytes / max(self.seconds, 1e-12) / 1e9

    @property
    def predicted(self) -> float:
        """Seconds, the work being shared equally."""
        return self.prediction.seconds / self.threads

    @property
    def roofline(self) -> float:
        """The part of the time that perfect cores would need; above 1 where less is done, or operands are nearer."""
        return self.prediction.roofline * self.predicted / max(self.seconds, 1e-12)


@dataclass(frozen=True, slots=True)
class Profile:
    """The rows of a program's units, slowest first.

    `seconds` are those of a whole step; among them are `waiting` at barriers and `clearing` of borders.
    """

    rows: tuple[Row, ...]
    seconds: float
    waiting: float
    clearing: float
    batch: int
    threads: int
    machine: Machine
    least_bytes: int
    title: str

    @property
    def layers(self) -> dict[str, float]:
        """Seconds by layer, slowest first; a unit of several layers counts for them together."""
        sums: dict[str, float] = {}
        for row in self.rows:
            sums[row.layer] = sums.get(row.layer, 0.0) + row.seconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def bytes(self) -> int:
        """Bytes that all units read and write."""
        return sum(row.prediction.bytes for row in self.rows)

    def text(self, most: int | None = None) -> str:
        """The tables; of units and layers only the slowest `most`."""
        return "\n".join((self._head(), *self._units(most), "", *self._layers(most)))

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _head(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        flops = sum(row.prediction.flops for row in self.rows)
        rates = ", ".join(f"{k} {self.machine.clock * r / 1e9:.0f}" for k, r in self.machine.rates.items())
        return (
            f"{self.title}, batch {self.batch}, {threads}: {time_text(self.seconds)}, "
            f"{flops / self.seconds / 1e9:.1f} GFLOP/s, {time_text(self.waiting)} at barriers"
            f"{f', {time_text(self.clearing)} for zeros around memories' if self.clearing else ''}\n"
            f"moved {bytes_text(self.bytes)}, {self.bytes / max(self.least_bytes, 1):.1f} times what must be: "
            f"{bytes_text(self.least_bytes)} of inputs, parameters and outputs\n"
            f"a core of {self.machine.clock / 1e9:.2f} GHz that reads, in GB/s: {rates}"
        )

    def _units(self, most: int | None) -> Iterable[str]:
        head = ("kernel", "layer", "time", "share", "GFLOP/s", "GB/s", "predicted", "bound by", "roofline", "strategy")
        rows = [
            (
                row.kernel, row.layer or "-", time_text(row.seconds), f"{row.seconds / self.seconds:.1%}",
                f"{row.gflops:.1f}", f"{row.gbytes:.1f}", time_text(row.predicted), row.prediction.bound,
                f"{row.roofline:.0%} of {row.prediction.roofline:.0%}", row.strategy,
            )
            for row in self.rows[:most]
        ]  # fmt: skip
        yield table([head, *rows], "llrrrrrlrl")
        if most is not None and len(self.rows) > most:
            rest = sum(row.seconds for row in self.rows[most:])
            yield f"  {len(self.rows) - most} more: {time_text(rest)}, {rest / self.seconds:.1%}"
        yield "  roofline: what perfect cores would need of the time measured, of the time predicted"

    def _layers(self, most: int | None) -> Iterable[str]:
        rows = [(name or "-", time_text(t), f"{t / self.seconds:.1%}") for name, t in self.layers.items()]
        yield table([("layer", "time", "share"), *rows[:most]], "lrr")


def profile(
    compiled: Compiled, arrays: Mapping[str, Array], parameters: Mapping[str, Array], batch: int, threads: int,
    repeats: int,
) -> Profile:  # fmt: skip
    """Run a program on checked inputs and scalars, and on copies of its parameters, with a clock between its kernels.

    Raises NonFiniteError when a step ends early.
    """
    program, target = compiled.program, compiled.target
    step = compiled.step
    timed = replace(step, buffers=(*step.buffers, Buffer(TIMES, DType.INT64, (threads, row_of_times(step)))))
    runner = Executable(program, timed, compile_ir(emit(timed, target, TIMES), target, open_cache()))
    for name, array in parameters.items():
        copy = aligned(array.shape, array.dtype)
        np.copyto(copy, array)
        runner.bind(name, copy)
    times = aligned((threads, row_of_times(step)), np.int64)
    runner.bind(TIMES, times)
    found = _durations(runner, step, arrays, batch, threads, repeats, times)
    machine = measured(target)
    every = predictions(program, target, batch, machine)
    rows = [
        Row(unit_name(unit), layer_of(unit), float(found[k]), predicted, threads)
        for unit, k, predicted in zip(program.units, compiled.places, every, strict=True)
    ]
    calls = [k for k, item in enumerate(step.body) if isinstance(item, Call)]
    clearing = float(sum(found[k] for k in set(calls) - set(compiled.places)))
    whole = float(found[-1])
    rows.sort(key=lambda row: -row.seconds)
    waiting = whole - clearing - sum(row.seconds for row in rows)
    least = least_traffic(program)(batch)
    return Profile(tuple(rows), whole, waiting, clearing, batch, threads, machine, least, compiled.path)


def _durations(
    runner: Executable, step: Step, arrays: Mapping[str, Array], batch: int, threads: int, repeats: int,
    times: Array,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """The median seconds of each item of a step, then those of the whole step."""
    items = len(step.body)
    for _ in range(WARM):
        runner.run(arrays, batch, threads)
    marks: list[Array] = []
    start = perf_counter()
    while len(marks) < repeats or perf_counter() - start < SECONDS:
        times.fill(0)
        runner.run(arrays, batch, threads)
        marks.append(times[0, : items + 1].copy())
    elapsed = perf_counter() - start
    if not marks[-1][-1]:
        raise NonFiniteError("the loss is not finite", hint="profile on data that the program can learn from")
    ticks = np.stack(marks).astype(np.float64)
    ticks -= ticks[0, 0]
    tick = elapsed / ticks[-1, -1]
    spent = np.column_stack((np.diff(ticks, axis=1), ticks[:, -1] - ticks[:, 0]))
    return np.asarray(np.median(spent, axis=0) * tick)


def noise(inputs: Mapping[str, Value], limits: Mapping[str, int], batch: int) -> dict[str, Array]:
    """Normal numbers for inputs, and for integers those below their limit in turn."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for name, value in inputs.items():
        shape, dtype = value.type.concrete(batch), value.type.dtype
        count = int(np.prod(shape, dtype=np.int64))
        numbers = generator.standard_normal(count) if dtype.is_float else np.arange(count) % limits.get(name, 2)
        arrays[name] = numbers.reshape(shape).astype(dtype.numpy)
    return arrays
