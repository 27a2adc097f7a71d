"""Compiled gradients against central differences of the compiled loss, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.autodiff.backward import jvp, vjp
from graphc.dsl.expansion import Expansion, Part
from graphc.dsl.parameter import Parameter
from graphc.dsl.phase import Phased
from graphc.dsl.tensor import Input, Tensor
from graphc.dsl.trace import ordered, trace
from graphc.errors import DTypeError, GraphError
from graphc.graph.ir import Graph
from graphc.study.gradients import Array, Gradients, compile_derivative, compile_gradients, leaf_names
from graphc.types import DType, TensorType

__all__ = [
    "DotProduct",
    "Gradients",
    "Report",
    "Row",
    "check_dot_product",
    "check_gradients",
    "compile_gradients",
    "in_float64",
]

TOLERANCE = 1e-6
"""The largest relative error of a gradient that counts as right."""

NOISE = 32 * float(np.finfo(np.float64).eps)
"""How far a loss may be off, relatively, by the rounding of the sums in it."""


# --------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter: elements compared, elements left out because of a kink, and the worst of those compared."""

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    error: float
    worst: tuple[int, ...]
    compiled: float
    numeric: float

    def ok(self, tolerance: float) -> bool:
        """Whether something was compared and all of it agrees."""
        return self.checked > 0 and self.error <= tolerance


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison of all parameters, to be printed or asserted: `assert report.ok, report`."""

    loss: float
    rows: tuple[Row, ...]
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether every parameter's gradient agrees."""
        return bool(self.rows) and all(row.ok(self.tolerance) for row in self.rows)

    @property
    def errors(self) -> dict[str, float]:
        """The largest relative error of each parameter."""
        return {row.name: row.error for row in self.rows}

    def __str__(self) -> str:
        width = max([len("parameter"), *[len(row.name) for row in self.rows]])
        lines = [f"{'parameter':<{width}}  elements  kinks  relative error"]
        for row in self.rows:
            text = f"{row.name:<{width}}  {row.checked:>8}  {row.kinks:>5}  "
            if not row.checked:
                lines.append(f"{text}{'-':>14}  NOT CHECKED: a kink at every element that was tried")
                continue
            text += f"{row.error:>14.1e}"
            if not row.ok(self.tolerance):
                place = ",".join(map(str, row.worst))
                text += f"  WRONG at [{place}]: compiled {row.compiled:.9g}, differences {row.numeric:.9g}"
            lines.append(text)
        compared = sum(row.checked for row in self.rows)
        verdict = "gradients agree" if self.ok else "gradients DISAGREE"
        lines.append(
            f"{verdict} with central differences: loss {self.loss:.9g}, {compared} elements, "
            f"tolerance {self.tolerance:.0e}"
        )
        return "\n".join(lines)


# --------------------------------------------------------------------------------------- central differences


def check_gradients(
    loss: Tensor,
    arrays: Mapping[str, Array],
    *,
    parameters: Sequence[Tensor] | None = None,
    epsilon: float = 1e-4,
    samples: int = 20,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare ∂loss/∂w with (4·D(h/2) - D(h)) / 3, where D(h) = (loss(w + h) - loss(w - h)) / 2h.

    For each of `parameters` (by default all trainable ones; floating-point inputs are allowed) `samples` random
    elements are compared, h being `epsilon` for values up to 1 and relative beyond. An element is replaced by
    another where the loss has a kink within h: there its second differences at h and h/2 do not shrink like
    those of a smooth function. Parameters are as before when it returns.
    Raises DTypeError unless the loss is float64.
    """
    if loss.dtype is not DType.FLOAT64:
        raise DTypeError(
            f"the loss is {loss.dtype.value}; central differences need float64", location=loss.location,
            hint='declare the model with dtype="float64", or check in_float64(loss)',
        )  # fmt: skip
    program = compile_gradients(loss, wrt=parameters)
    fed = {name: np.array(a) for name, a in arrays.items()}
    value, found = program(**fed)
    if not np.isfinite(value):
        raise GraphError(f"the loss is {float(value)}: there is no gradient to check", location=loss.location)
    generator = np.random.default_rng(seed)
    rows = []
    for name in program.wrt:
        evaluate, restore, start = _movable(program, fed, name)
        try:
            compare = _Comparison(evaluate, start, float(value), epsilon, tolerance)
            rows.append(compare.row(name, found[name], samples, generator))
        finally:
            restore()
    return Report(float(value), tuple(rows), tolerance)


def _movable(
    program: Gradients, arrays: dict[str, Array], name: str
) -> tuple[Callable[[Array], float], Callable[[], None], Array]:
    """The loss as a function of one parameter or input, what undoes its changes, and the value there is now."""
    parameter = program.program.parameters.get(name)
    if parameter is None:
        return lambda x: float(program(**{**arrays, name: x})[0]), lambda: None, arrays[name]
    start = parameter.value.copy()

    def evaluate(x: Array) -> float:
        parameter.value = x
        return float(program(**arrays)[0])

    def restore() -> None:
        parameter.value = start

    return evaluate, restore, start


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The loss along single elements of one tensor."""

    loss: Callable[[Array], float]
    start: Array
    value: float
    epsilon: float
    tolerance: float

    def row(self, name: str, gradient: Array, samples: int, generator: np.random.Generator) -> Row:
        """Random elements one after the other until enough were compared."""
        checked = kinks = 0
        worst: tuple[float, tuple[int, ...], float, float] = (0.0, (), 0.0, 0.0)
        for flat in generator.permutation(self.start.size)[: 4 * samples]:
            place = tuple(int(i) for i in np.unravel_index(flat, self.start.shape))
            numeric = self._slope(place)
            if numeric is None:
                kinks += 1
                continue
            compiled = float(gradient[place])
            error = abs(compiled - numeric) / max(abs(compiled), abs(numeric), self._floor(place))
            if not checked or not error <= worst[0]:
                worst = (error, place, compiled, numeric)
            checked += 1
            if checked == samples:
                break
        return Row(name, self.start.shape, checked, kinks, *worst)

    def _step(self, place: tuple[int, ...]) -> float:
        return self.epsilon * max(1.0, abs(float(self.start[place])))

    def _floor(self, place: tuple[int, ...]) -> float:
        """The slope below which the rounding of the loss exceeds the tolerance."""
        return NOISE * max(abs(self.value), 1.0) / (self._step(place) * self.tolerance)

    def _slope(self, place: tuple[int, ...]) -> float | None:
        """The derivative by one element, or None at a kink."""
        h = self._step(place)
        far_up, far_down = self._at(place, h), self._at(place, -h)
        up, down = self._at(place, h / 2), self._at(place, -h / 2)
        wide, narrow = (far_up - far_down) / (2 * h), (up - down) / h
        slope = (4 * narrow - wide) / 3
        # h²·f'' and a quarter of it, where f is smooth; a kink's own part shrinks with h or vanishes
        bend, half_bend = far_up - 2 * self.value + far_down, up - 2 * self.value + down
        off = abs(bend - 4 * half_bend) / (2 * h)
        return slope if off <= self.tolerance * max(abs(slope), 10 * self._floor(place)) else None

    def _at(self, place: tuple[int, ...], step: float) -> float:
        moved = np.array(self.start, dtype=np.float64)
        moved[place] += step
        return self.loss(moved)


def in_float64(tensor: Tensor) -> Tensor:
    """The same expression in float64, with inputs of the same names and parameters of its own with equal values.

    Where training and inference differ it is that of training.
    """
    copies: dict[Tensor, Tensor] = {}
    expansions: dict[Expansion, Expansion] = {}
    for t in ordered([tensor], training=True):
        wide = _widened(t)
        match t:
            case Phased():
                copies[t] = copies[t.training]
            case Input():
                copies[t] = Input(t.name, wide, t.location)
            case Parameter() if not t.dtype.is_float:
                copies[t] = t
            case Parameter():
                copies[t] = own = Parameter(
                    t.label, wide, t.initialiser, trainable=t.trainable, location=t.location, place=t.place
                )
                own.value = t.value.astype(np.float64)
            case Part():
                if t.expansion not in expansions:
                    expansions[t.expansion] = t.expansion.of(
                        [copies[o] for o in t.operands], map(_widened, t.expansion.parts)
                    )
                copies[t] = expansions[t.expansion].parts[t.index]
            case _:
                operands = [copies[o] for o in t.operands]
                attributes = t.attributes | ({"dtype": wide.dtype} if "dtype" in t.attributes else {})
                copies[t] = Tensor(wide, t.operator, operands, attributes, location=t.location, place=t.place)
    return copies[tensor]


def _widened(tensor: Tensor) -> TensorType:
    return TensorType(tensor.shape, DType.FLOAT64 if tensor.dtype.is_float else tensor.dtype)


# ---------------------------------------------------------------------------------------------- dot products


@dataclass(frozen=True, slots=True)
class DotProduct:
    """⟨J·v, w⟩ and ⟨v, Jᵀ·w⟩ for random v and w, which are one number."""

    forward: float
    backward: float
    tolerance: float = 1e-9

    @property
    def error(self) -> float:
        """The relative difference."""
        size = max(abs(self.forward), abs(self.backward))
        return abs(self.forward - self.backward) / size if size else 0.0

    @property
    def ok(self) -> bool:
        """Whether both agree."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        verdict = "agree" if self.ok else "DISAGREE"
        return (
            f"⟨Jv, w⟩ = {self.forward:.15g} and ⟨v, Jᵀw⟩ = {self.backward:.15g} {verdict}, "
            f"relative difference {self.error:.1e}"
        )


def check_dot_product(
    output: Tensor, arrays: Mapping[str, Array], *, wrt: Sequence[Tensor] | None = None, seed: int = 0
) -> DotProduct:
    """Compile J·v and Jᵀ·w of an output of any shape and compare ⟨J·v, w⟩ with ⟨v, Jᵀ·w⟩.

    J·v comes from differentiating Jᵀ·w once more, so this tests that derivatives of adjoints are right, not the
    adjoints themselves: that is what `check_gradients` does. Raises DTypeError unless the output is float64.
    """
    if output.dtype is not DType.FLOAT64:
        raise DTypeError(f"the output is {output.dtype.value}; this test needs float64", hint="in_float64(output)")
    leaves = trace([output], training=True).without_updates()
    if wrt is None:
        wrt = [p for p in leaves.parameters.values() if p.trainable]
    names = leaf_names(leaves, wrt)
    tangents = [Input(f"tangent of {n}", t.type) for n, t in zip(names, wrt, strict=True)]
    cotangent = Input("cotangent", output.type)
    everything = trace([output, cotangent, *tangents], training=True).without_updates()
    program = compile_derivative(everything, lambda graph: _both_products(graph, names))
    generator = np.random.default_rng(seed)
    # the value itself shows the batch size
    fed = {name: np.asarray(a) for name, a in arrays.items()}
    batch = next((fed[n].shape[0] for n, v in leaves.inputs.items() if v.type.per_sample()[1]), 1)
    v = {t.name: generator.standard_normal(t.type.concrete(batch)) for t in tangents}
    w = generator.standard_normal(output.type.concrete(batch))
    pushed, *pulled = program(**fed, **v, cotangent=w)
    backward = sum(float(np.vdot(g, t)) for g, t in zip(pulled, v.values(), strict=True))
    return DotProduct(float(np.vdot(pushed, w)), backward)


def _both_products(graph: Graph, names: tuple[str, ...]) -> Graph:
    """Outputs J·v, Jᵀ·w of a graph with outputs y, w and every v."""
    leaves = {v.name: v for v in (*graph.inputs, *graph.parameters)}
    wrt = tuple(leaves[n] for n in names)
    y, cotangent, *tangents = graph.outputs
    graph, pulled = vjp(graph, {y: cotangent}, wrt)
    graph, pushed = jvp(graph, (y,), dict(zip(wrt, tangents, strict=True)))
    return replace(graph, outputs=(*pushed, *pulled))
