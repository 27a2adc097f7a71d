"""The program of a minimiser: native evaluations, and between them the method that asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.dsl.parameter import Parameter
from graphc.dsl.state import take, values_of
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import Traced, trace
from graphc.errors import GraphError
from graphc.programs import COUNT, Segment, _Program
from graphc.runtime.inputs import converted, has_samples, turns
from graphc.runtime.threads import default_threads
from graphc.schedule.arrange import Array
from graphc.study.diagnose import find_non_finite
from graphc.train.metrics.metric import Measured, Totals, check_result, statistics_of
from graphc.train.optimisers.trainable import Patterns, trained
from graphc.train.second_order.function import Arrays, Evaluation, Product
from graphc.train.second_order.minimiser import Minimiser, Objective, Point
from graphc.train.second_order.vectors import Space, State, Vector

Outputs: TypeAlias = "Tensor | Mapping[str, Tensor] | Sequence[Tensor] | None"
"""What a loss is a function of."""


def compile_minimisation(
    loss: Tensor,
    optimizer: Minimiser,
    *,
    outputs: Outputs = None,
    metrics: Mapping[str, Measured] | None = None,
    threads: int | None = None,
    seed: int | None = None,
    trainable: Patterns = None,
    stop_after: str | None = None,
) -> MinimisingProgram:
    """Compile what a minimiser evaluates. Raises GraphError for what it cannot minimise, and for `stop_after`."""
    if stop_after is not None:
        raise GraphError(
            f"{type(optimizer).__name__} has several programs, so compilation cannot stop after {stop_after}",
            hint=f'read the stages of the loss and its gradient afterwards: program.text("{stop_after}")',
        )
    objective = optimizer.objective(loss, _tensors(outputs))
    measured: dict[str, Measured] = {"loss": objective.loss, **(metrics or {})}
    if metrics and "loss" in metrics:
        raise GraphError('a metric cannot be named "loss"')
    wanted = statistics_of(measured)
    for name, tensor in wanted.items():
        check_result(name, tensor)
    traced = trace(wanted, training=True)
    names = trained(traced, trainable, loss)
    for parameter in traced.parameters.values():
        parameter.initialise(seed)
    return MinimisingProgram(traced, measured, objective, optimizer, names, threads or default_threads())


class MinimisingProgram(_Program):
    """A step is some iterations of a minimiser on one batch, each of which evaluates the loss as often as it has to."""

    def __init__(
        self, traced: Traced, metrics: Mapping[str, Measured], objective: Objective, optimizer: Minimiser,
        trained: Sequence[str], threads: int,
    ) -> None:  # fmt: skip
        began = perf_counter()
        self.trained = tuple(trained)
        """The names of the parameters that the minimiser changes."""
        self._space = Space([traced.parameters[name] for name in trained])
        self._evaluation = Evaluation(traced, self._space, threads)
        self._product = Product(objective, self._space, threads) if objective.outputs else None
        self._native = [part.program for part in (self._evaluation, self._product) if part is not None]
        super().__init__(self._evaluation.program.compiled, traced.without_updates(), threads)
        self.metrics, self.optimizer = metrics, optimizer
        self._memory: State = optimizer.start(self._space.size)
        self._count, self._iterations, self._evaluations, self._products = 0, 0, 0, 0
        self._reason, self._results = "", dict[str, Any]()
        self._seconds = perf_counter() - began

    @property
    def compile_seconds(self) -> float:
        """How long compilation took, of all programs together."""
        return self._seconds

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self._count

    @property
    def iterations(self) -> int:
        """How many iterations these steps had, since the program was compiled."""
        return self._iterations

    @property
    def evaluations(self) -> int:
        """How often the loss and its gradient were computed."""
        return self._evaluations

    @property
    def products(self) -> int:
        """How many products with the Gauss-Newton matrix were computed."""
        return self._products

    @property
    def converged(self) -> str:
        """Why the last step needs no other one after it, if so; otherwise empty."""
        return self._reason

    @property
    def state(self) -> dict[str, Parameter]:
        """What the minimiser remembers, by name: copies."""
        return {f"/{name}": _holding(f"/{name}", value) for name, value in self._memory.items()}

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that decides about further steps: parameters, memory ("/damping"), steps ("/steps")."""
        return values_of({**self.parameters, **self.state, COUNT: _holding(COUNT, np.array(self._count))})

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], *, what: str = "the state") -> None:
        """Go on from a state, bit for bit. Raises DataError unless it fits exactly; nothing is changed then."""
        memory, count = self.state, _holding(COUNT, np.array(self._count))
        take({**self.parameters, **memory, COUNT: count}, state, exact=True, what=what)
        self._memory = {name: memory[f"/{name}"].value for name in self._memory}
        self._count, self._reason = int(count.value), ""

    @property
    def results(self) -> dict[str, Any]:
        """What the last step computed, as `Totals.add` takes it: statistics where `step` gives values."""
        return dict(self._results)

    def step(self, **arrays: Any) -> dict[str, Any]:
        """The optimiser's iterations on one batch; returns the loss and the metrics of the parameters before them.

        Raises InputError for arrays that do not fit, NonFiniteError (naming the first layer) when the loss is not
        finite before the first iteration; the parameters then are as they were.
        """
        checked, batch = self._signature.check(arrays)
        self._minimise(checked, batch)
        return Totals(self.metrics).add(self._results, batch).value

    def epoch(
        self, data: Mapping[str, npt.ArrayLike], batch_size: int, *, order: npt.ArrayLike | None = None,
        drop_last: bool = False,
    ) -> dict[str, npt.NDArray[np.float64]]:  # fmt: skip
        """A step on each minibatch of `data`, every input by name; returns the results of each step, see Segment."""
        parts = list(self.segments(data, batch_size, order=order, drop_last=drop_last))
        return {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}

    def segments(
        self, data: Mapping[str, npt.ArrayLike], batch_size: int, *, order: npt.ArrayLike | None = None,
        drop_last: bool = False,
    ) -> Iterator[Segment]:  # fmt: skip
        """The same as `epoch`, a step at a time. A batch of all samples is taken as it is, whatever their order.

        Raises InputError and NonFiniteError as `step`.
        """
        given, count = self._signature.check_data(data)
        rows = turns(order, count, batch_size, drop_last)
        whole = len(rows) == count <= batch_size and np.array_equal(np.sort(rows), np.arange(count))
        return self._segments(given, [None] if whole else list(_batches(rows, batch_size)), count)

    def _segments(
        self, given: Mapping[str, Array], batches: Sequence[npt.NDArray[np.int64] | None], count: int
    ) -> Iterator[Segment]:
        inputs = self._signature.inputs
        constant = [name for name, value in inputs.items() if not has_samples(name, value)]
        for rows in batches:
            taken = {name: array if rows is None or name in constant else array[rows] for name, array in given.items()}
            batch = {name: converted(value, taken[name]) for name, value in inputs.items()}
            size = count if rows is None else len(rows)
            self._minimise(batch, size)
            values = {name: np.asarray(value, np.float64)[None] for name, value in self._results.items()}
            yield Segment(values, np.array([size]))

    def _minimise(self, arrays: Arrays, batch: int) -> None:
        """Iterations on one batch. Whatever happens, the parameters are those of the last one that was completed."""
        for program in self._native:
            program.threads = self.threads
        function = _OnBatch(self, arrays)
        point = function(self._space.read())
        if not point.finite:
            raise find_non_finite(self._traced, arrays, batch)
        self._results = {name: point.others[name] for name in self._evaluation.names}
        try:
            for _ in range(self.optimizer.iterations):
                done = self.optimizer.iterate(function, point, self._memory)
                point, self._memory, self._reason = done.point, done.state, done.converged
                self._iterations += 1
                if self._reason:
                    break
        finally:
            self._space.write(point.x)
        self._settle(point)
        self._count += 1

    def _settle(self, point: Point) -> None:
        """What a training step updates besides the weights: running averages, the step of random numbers."""
        for name in self._evaluation.updated:
            for program in (self, *self._native):
                if name in program.parameters:
                    program.parameters[name].value = point.others[name]


class _OnBatch:
    """The loss of a program on one batch, as a function of a vector."""

    def __init__(self, program: MinimisingProgram, arrays: Arrays) -> None:
        self._program, self._arrays = program, arrays
        self._at: Vector | None = None
        self.eps = program._space.eps

    def __call__(self, x: Vector) -> Point:
        program = self._program
        program._evaluations += 1
        x = self._at = program._space.write(x)
        return program._evaluation(x, self._arrays)

    def product(self, x: Vector, v: Vector) -> tuple[Vector, float]:
        program = self._program
        assert program._product is not None
        program._products += 1
        if self._at is not x:
            program._space.write(x)
            self._at = x
        return program._product(v, self._arrays)


def _tensors(outputs: Outputs) -> tuple[Tensor, ...]:
    match outputs:
        case None:
            return ()
        case Tensor():
            return (outputs,)
        case Mapping():
            return tuple(outputs.values())
        case _:
            return tuple(outputs)


def _holding(name: str, value: Array) -> Parameter:
    """A value as a parameter of that name."""
    holder = Parameter(name, value.shape, "zeros", value.dtype, trainable=False)
    holder.value = value
    return holder


def _batches(turns: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    return (turns[first : first + size] for first in range(0, len(turns), size))
