"""Programs that users hold: a training step, an inference function. One native call each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.dsl.parameter import Parameter
from graphc.dsl.trace import Traced
from graphc.graph.ir import Value
from graphc.runtime.inputs import Signature, scalar_names
from graphc.schedule.arrange import arrange, restore
from graphc.study.diagnose import find_non_finite

if TYPE_CHECKING:
    from graphc.study.compiled import Compiled
    from graphc.train.optimisers import Optimizer


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

    def _holder(self, name: str, value: Value) -> Parameter:
        """The parameter behind a memory; optimiser state becomes one of its own."""
        if name in self.parameters:
            return self.parameters[name]
        return self._slots.setdefault(name, Parameter(name, value.type))

    def _bind(self) -> None:
        for name, holder, key, encode, decode in self._forms:
            self._executable.bind(name, holder.form(key, encode, decode))

    def __repr__(self) -> str:
        from graphc.study.explain import summary

        return summary(self.compiled, self.threads)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    def text(self, stage: str, scope: str | None = None) -> str:
        """A stage as text, for the whole program or for the layers whose path starts with `scope`.

        Stages: math, derivatives, graph, kernels, loops, llvm, asm, or the name of any pass.
        """
        from graphc.study.view import stage_text

        return stage_text(self.compiled, stage, scope)

    @property
    def stages(self) -> Any:
        """The intermediate language after each stage: `program.stages["fuse"]`."""
        return self.compiled.stages

    def explain(self) -> str:
        """Buffers, fusion and layout decisions with their reasons, flops, bytes, compile time by stage."""
        from graphc.study.explain import explain

        return explain(self.compiled, self.threads)

    @property
    def compile_seconds(self) -> float:
        """How long compilation took."""
        return self.compiled.seconds


class TrainingProgram(_Program):
    """Forward, backward, update, loss and metrics as one native call."""

    def __init__(
        self, compiled: Compiled, traced: Traced, names: tuple[str, ...], optimizer: Optimizer, threads: int
    ) -> None:
        super().__init__(compiled, traced, threads)
        self.optimizer, self._names, self._count = optimizer, names, 0
        outputs = compiled.executable.program.outputs
        parameters = {m.name for m, _ in self._bound}
        # a metric that is itself a parameter is read before the step overwrites it
        self._early = tuple((n, m) for n, m in zip(names, outputs, strict=True) if m in parameters)
        self._outputs = tuple(zip(names, outputs, strict=True))
        dtype = traced.graph.outputs[0].type.dtype.numpy
        self._scalar_names = scalar_names(optimizer.scalars(1), traced.graph)
        self._scalars = {own: np.zeros((), dtype) for own in self._scalar_names.values()}

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._count

    @property
    def state(self) -> dict[str, Parameter]:
        """The optimiser's state by name: "conv1.weight/velocity"."""
        return dict(self._slots)

    def step(self, **arrays: Any) -> dict[str, float]:
        """One update on one batch; returns the loss and the metrics of the parameters before it.

        Raises InputError for arrays that do not fit, NonFiniteError (naming the first layer) when the loss is not
        finite; the parameters then are as they were.
        """
        checked, batch = self._signature.check(arrays)
        for name, value in self.optimizer.scalars(self._count + 1).items():
            self._scalars[self._scalar_names[name]][...] = value
        self._bind()
        early = {name: self._executable.scalar(memory) for name, memory in self._early}
        self._executable.run(checked | self._scalars, batch, self.threads)
        results = {name: self._executable.scalar(memory) for name, memory in self._outputs} | early
        if not np.isfinite(results["loss"]):
            raise find_non_finite(self._traced, checked, batch)
        for _, holder, key, _, _ in self._forms:
            if holder.trainable:
                holder.written(key)
        self._count += 1
        return results


class InferenceProgram(_Program):
    """The outputs as a function of the inputs. Parameters are read when it is called, so it follows training."""

    def __init__(self, compiled: Compiled, traced: Traced, kind: type, threads: int) -> None:
        super().__init__(compiled, traced, threads)
        self._kind = kind
        self._memories = compiled.executable.program.outputs

    def __call__(self, **arrays: Any) -> Any:
        """Compute the outputs. Raises InputError for arrays that do not fit."""
        checked, batch = self._signature.check(arrays)
        self._bind()
        self._executable.run(checked, batch, self.threads)
        results = [self._executable.output(m, batch) for m in self._memories]
        if issubclass(self._kind, Mapping):
            return dict(zip(self._traced.outputs, results, strict=True))
        return tuple(results) if self._kind is tuple else results[0]
