"""Programs that users hold: a training step, an inference function. One native call each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphc.dsl.chance import Key, Step
from graphc.dsl.parameter import Changes, Clock, Parameter
from graphc.dsl.state import take, values_of
from graphc.dsl.trace import Traced
from graphc.errors import InputError
from graphc.graph.ir import Graph, Value
from graphc.runtime.driver import Driver, Indices, feed
from graphc.runtime.inputs import Signature, converted, has_samples, scalar_names, turns
from graphc.schedule.arrange import Array, aligned, arrange, restore
from graphc.study.diagnose import find_non_finite
from graphc.train.metrics.metric import Measured, Metric, Totals, statistics_of
from graphc.train.optimisers import Optimizer
from graphc.train.optimisers.average import averaged
from graphc.train.optimisers.updating import slot

if TYPE_CHECKING:
    from graphc.study.compiled import Compiled
    from graphc.study.profile import Profile

COUNT = "/steps"
"""The name of the number of steps in a program's state: that of no parameter."""

SEGMENT_SECONDS = 0.05
"""How long native code may keep to itself: progress and Ctrl-C wait for the end of a segment."""

SEGMENT_BYTES = 8 << 20
"""How much the results of its steps may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Consecutive steps: the results of each by name, [steps, ...], and how many samples each has seen.

    Results are the loss, tensors among the metrics, and the statistics of each `Metric`: "f1/counts"."""

    values: dict[str, npt.NDArray[np.float64]]
    samples: Indices

    def __len__(self) -> int:
        return len(self.samples)


class _Program:
    """What both kinds share: inputs checked, parameters bound, stages to read."""

    def __init__(self, compiled: Compiled, traced: Traced, threads: int) -> None:
        self.compiled, self.threads = compiled, threads
        self.parameters: dict[str, Parameter] = dict(traced.parameters)
        self._traced = traced
        self._executable = compiled.executable
        self._signature = Signature(traced.graph)
        self._slots: dict[str, Parameter] = {}
        memories = compiled.executable.program.memories
        self._bound = [(m, self._holder(m.name, m.value)) for m in memories if m.role == "parameter"]
        self._forms = [
            (
                m.name, holder, ("layout", m.layout),
                partial(arrange, layout=m.layout, type=m.value.type),
                partial(restore, layout=m.layout, type=m.value.type),
            )
            for m, holder in self._bound
        ]  # fmt: skip
        self._seen = -1

    def _holder(self, name: str, value: Value) -> Parameter:
        """The parameter behind a memory; optimiser state becomes one of its own."""
        if name in self.parameters:
            return self.parameters[name]
        return self._slots.setdefault(name, Parameter(name, value.type))

    def _bind(self) -> None:
        """Every parameter as it is now, in this program's arrangement."""
        self._seen = Changes.last
        for name, holder, key, encode, decode in self._forms:
            self._executable.bind(name, holder.form(key, encode, decode))

    def __repr__(self) -> str:
        from graphc.study.explain import summary

        return summary(self.compiled, self.threads)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    def check(self, arrays: Mapping[str, Any]) -> None:
        """Raises InputError unless these can be samples: every input by name, shapes, dtypes, ranges of labels."""
        self._signature.check_data(arrays)

    def text(self, stage: str, scope: str | None = None) -> str:
        """A stage as text, for the whole program or for the layers whose path starts with `scope`.

        Stages: math, derivatives, graph, kernels, loops, llvm, asm, or the name of any pass.
        """
        from graphc.study.view import stage_text

        return stage_text(self.compiled, stage, scope)

    @property
    def graph(self) -> Graph:
        """The formulas of the user's tensors, as they were before any pass."""
        return self._traced.graph

    @property
    def stages(self) -> Any:
        """The intermediate language after each stage: `program.stages["fuse"]`."""
        return self.compiled.stages

    def explain(self, *, measured: bool = False) -> str:
        """Strategies, fusion and layout decisions with their reasons, flops, bytes, compile time by stage.

        Predicted times are those of a nominal processor, or with `measured` of the one at hand.
        """
        from graphc.study.explain import explain

        return explain(self.compiled, self.threads, measured)

    def profile(self, *, repeats: int = 20, **arrays: Any) -> Profile:
        """Measure what every kernel takes in real runs on these inputs; parameters stay as they are.

        The result prints as tables. Raises InputError for arrays that do not fit, NonFiniteError.
        """
        from graphc.study.profile import profile

        checked, batch = self._signature.check(arrays)
        held = {name: holder.form(key, encode, decode) for name, holder, key, encode, decode in self._forms}
        return profile(self.compiled, {**checked, **self._fed()}, held, batch, self.threads, repeats)

    def noise(self, batch: int) -> dict[str, Array]:
        """Inputs for measurements: normal numbers, and integers below their limits in turn."""
        from graphc.study.profile import noise

        return noise(self._signature.inputs, self._signature.limits, batch)

    def _fed(self) -> dict[str, Array]:
        """The numbers that a run is given besides the inputs, by memory."""
        return {}

    @property
    def compile_seconds(self) -> float:
        """How long compilation took."""
        return self.compiled.seconds


class TrainingProgram(_Program):
    """Forward, backward, update, loss and metrics as one native call."""

    def __init__(
        self, compiled: Compiled, traced: Traced, metrics: Mapping[str, Measured], optimizer: Optimizer,
        trained: Sequence[str], threads: int,
    ) -> None:  # fmt: skip
        self.trained = tuple(trained)
        """The names of the parameters that gradients change."""
        self.optimizer = optimizer
        super().__init__(compiled, traced, threads)
        self.metrics = metrics
        """What is reported by name, the loss first."""
        self._names, self._count = tuple(statistics_of(metrics)), 0
        self._summed = any(isinstance(m, Metric) for m in metrics.values())
        program, dtype = compiled.executable.program, traced.graph.outputs[0].type.dtype.numpy
        changed = {*self.trained, *self._slots, *(parameter.name for parameter, _ in traced.graph.updates)}
        self._changed = [(h, key) for _, h, key, _, _ in self._forms if h.name in changed]
        self._clock = Clock()
        self._scalars = scalar_names(optimizer.fed_names(), traced.graph)
        self._driver = Driver(compiled.executable, program.outputs, tuple(self._scalars.values()), dtype)
        self._readers = tuple(zip(self._names, self._driver.readers, strict=True))
        self._longest = max(1, SEGMENT_BYTES // self._driver.result_bytes)
        self._dtype, self._pace = dtype, (0, 1)

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._count

    @property
    def updates(self) -> int:
        """How many updates have been made: steps, unless gradients are accumulated."""
        return self._count // self.optimizer.accumulate

    def explain(self, *, measured: bool = False) -> str:
        """As for any program, and what is done with gradients besides the update itself."""
        report = super().explain(measured=measured)
        resting = [name for name, p in self.parameters.items() if p.learns and name not in self.trained]
        remarks = [*self.optimizer.remarks, *([f"not trained: {', '.join(resting)}"] if resting else [])]
        if not remarks:
            return report
        return "\n  ".join([f"{report}\nupdates by {type(self.optimizer).__name__}", *remarks]) + "\n"

    def averaged(self) -> AbstractContextManager[None]:
        """With the running averages of the weights (`ema=` of the optimiser) in the place of the weights.

        Raises GraphcError if there are none, and if training went on inside.
        """
        return averaged(self)

    def _holder(self, name: str, value: Value) -> Parameter:
        if name not in self.parameters and name not in self._slots:
            self._slots[name] = slot(self.optimizer, name, value.type, self.parameters)
        return super()._holder(name, value)

    def _fed(self) -> dict[str, Array]:
        given = self.optimizer.fed(self._count + 1)
        return {memory: np.asarray(given[name], self._dtype) for name, memory in self._scalars.items()}

    @property
    def state(self) -> dict[str, Parameter]:
        """The optimiser's state by name: "conv1.weight/velocity"."""
        return dict(self._slots)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that decides about further steps: parameters, the state of the optimiser ("fc.weight/mean"),
        and what random numbers depend on ("/dropout.key", "/step") with the number of steps taken ("/steps")."""
        return values_of(self._persistent())

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], *, what: str = "the state") -> None:
        """Go on from a state, bit for bit. Raises DataError unless it fits exactly; nothing is changed then."""
        held = self._persistent()
        take(held, state, exact=True, what=what)
        self._count = int(held[COUNT].value)

    def _persistent(self) -> dict[str, Parameter]:
        """All that a state holds by name; names with a slash are not those of weights."""
        counted = Parameter(COUNT, (), "zeros", "int64")
        counted.value = self._count
        own = {f"/{n}" if isinstance(p, Key | Step) else n: p for n, p in self.parameters.items()}
        return {**own, **self._slots, COUNT: counted}

    @property
    def results(self) -> dict[str, Any]:
        """What the last step computed, as `Totals.add` takes it: statistics where `step` gives values."""
        return {name: read() for name, read in self._readers}

    def step(self, **arrays: Any) -> dict[str, Any]:
        """One update on one batch; returns the loss and the metrics of the parameters before it.

        Raises InputError for arrays that do not fit, NonFiniteError (naming the first layer) when the loss is not
        finite; the parameters then are as they were.
        """
        checked, batch = self._signature.check(arrays)
        given, numbers = self.optimizer.fed(self._count + 1), self._driver.numbers
        for position, name in enumerate(self._scalars):
            numbers[position] = given[name]
        if self._seen != Changes.last:
            self._bind()
        try:
            self._driver.step(checked, batch, self.threads)
        finally:
            if done := self._driver.done:
                self._advance(done)
        if not done:
            raise find_non_finite(self._traced, checked, batch, self.compiled)
        return Totals(self.metrics).add(self.results, batch).value if self._summed else self.results

    def epoch(
        self, data: Mapping[str, npt.ArrayLike], batch_size: int, *, order: npt.ArrayLike | None = None,
        drop_last: bool = False,
    ) -> dict[str, npt.NDArray[np.float64]]:  # fmt: skip
        """A step on each minibatch of `data`, every input by name; returns the results of each step, see Segment.

        The same numbers as by `step`, but native code goes through many steps at a time and gathers the samples.
        `order` holds the indices of the samples in the order of their turns, see `graphc.shuffled`; without it they
        come as they are. The last minibatch may be smaller, or with `drop_last` is left out.
        Raises InputError as `step`, and NonFiniteError at the first loss that is not finite; the parameters then are
        as they were before that step.
        """
        parts = list(self.segments(data, batch_size, order=order, drop_last=drop_last))
        return {name: np.concatenate([part.values[name] for part in parts]) for name in self._names}

    def segments(
        self, data: Mapping[str, npt.ArrayLike], batch_size: int, *, order: npt.ArrayLike | None = None,
        drop_last: bool = False,
    ) -> Iterator[Segment]:  # fmt: skip
        """The same as `epoch`, in parts of about a twentieth of a second, each of which is run when it is asked for."""
        given, count = self._signature.check_data(data)
        rows = turns(order, count, batch_size, drop_last)
        return self._segments(given, rows, min(batch_size, len(rows)))

    def _segments(self, given: Mapping[str, Array], turns: Indices, size: int) -> Iterator[Segment]:
        inputs = self._signature.inputs
        batches = {
            name: aligned((size, *value.type.concrete(1)[1:]), value.type.dtype.numpy)
            for name, value in inputs.items()
            if has_samples(name, value)
        }
        if not batches:
            raise InputError("no input has a batch axis, so there are no minibatches", hint="call step()")
        constants = {name: converted(value, given[name]) for name, value in inputs.items() if name not in batches}
        first = 0
        while first < len(turns):
            began = perf_counter()
            planned = min(self._pace[1], self._longest) if self._pace[0] == size else 1
            order = turns[first : first + size * planned]
            steps = -(-len(order) // size)
            feeds = {name: feed(given[name], order, batch) for name, batch in batches.items()}
            if self._seen != Changes.last:
                self._bind()
            numbers = self._numbers(steps)
            try:
                results = self._driver.segment(feeds, constants, numbers, size, self.threads)
            finally:
                if done := self._driver.done:
                    self._advance(done)
            samples = np.full(done, size)
            if done * size > len(order):
                samples[-1] = len(order) - (done - 1) * size
            values = {n: r.astype(np.float64) for n, r in zip(self._names, results, strict=True)}
            seconds = max(perf_counter() - began, 1e-9)
            self._pace = size, max(1, min(8 * steps, int(steps * SEGMENT_SECONDS / seconds)))
            first += len(order)
            if done:
                yield Segment(values, samples)
            if done < steps:
                rows = order[done * size : (done + 1) * size]
                last = {name: converted(inputs[name], given[name][rows]) for name in batches}
                raise find_non_finite(self._traced, last | constants, len(rows), self.compiled)

    def _numbers(self, steps: int) -> Array:
        """What the next steps are fed: a row for each."""
        table = np.empty((steps, len(self._scalars)), self._dtype)
        given = self.optimizer.fed(np.arange(self._count + 1, self._count + 1 + steps))
        for position, name in enumerate(self._scalars):
            table[:, position] = given[name]
        return table

    def _bind(self) -> None:
        super()._bind()
        for holder, key in self._changed:
            holder.follow(key, self._clock)

    def _advance(self, done: int) -> None:
        """Count the steps that native code has taken, also when an interrupt arrives in between."""
        self._count += done
        change = self._clock.advance(done)
        if change == self._seen + 1:  # nobody else has changed a parameter meanwhile
            self._seen = change


class InferenceProgram(_Program):
    """The outputs as a function of the inputs. Parameters are read when it is called, so it follows training."""

    def __init__(self, compiled: Compiled, traced: Traced, kind: type, threads: int) -> None:
        super().__init__(compiled, traced, threads)
        self._kind = kind
        self._memories = compiled.executable.program.outputs

    def __call__(self, **arrays: Any) -> Any:
        """Compute the outputs. Raises InputError for arrays that do not fit."""
        checked, batch = self._signature.check(arrays)
        if self._seen != Changes.last:
            self._bind()
        results = self._executable.run_into(self._memories, checked, batch, self.threads)
        if issubclass(self._kind, Mapping):
            return dict(zip(self._traced.outputs, results, strict=True))
        return tuple(results) if self._kind is tuple else results[0]
