"""Running averages of the weights in the place of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from graphc.dsl.parameter import Parameter
from graphc.errors import GraphcError
from graphc.train.optimisers.updating import AVERAGE


class Averaging(Protocol):
    """A training program, as far as this is concerned."""

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...
    @property
    def state(self) -> Mapping[str, Parameter]: ...
    @property
    def steps(self) -> int: ...


@contextmanager
def averaged(program: Averaging) -> Iterator[None]:
    """Inside, each parameter that has an average holds it; afterwards it holds its own value again.

    Raises GraphcError for a program without averages, and if it was trained inside: these steps are lost.
    """
    averages = {name.rpartition("/")[0]: a for name, a in program.state.items() if name.endswith(f"/{AVERAGE}")}
    if not averages:
        raise GraphcError("this program keeps no averages of its weights", hint="compile it with Adam(..., ema=0.999)")
    own = {name: program.parameters[name].value for name in averages}
    steps = program.steps
    for name, average in averages.items():
        program.parameters[name].value = average.value
    try:
        yield
    finally:
        for name, value in own.items():
            program.parameters[name].value = value
    if program.steps != steps:
        raise GraphcError(
            f"{program.steps - steps} steps were taken from averaged weights and are lost",
            hint="train outside of `with program.averaged()`",
        )
