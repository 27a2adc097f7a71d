"""The base of layers: what holds parameters and other layers, and knows its place in the model.

    class Residual(gc.Layer):
        def __init__(self, channels):
            self.conv = gc.Conv2d(channels, 3, padding=1)

        def forward(self, x):
            return x + self.conv(x).relu()

Calling a layer builds graph. Its parameters are made by the first call, when the shapes are known; calling it
again shares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from graphc.dsl.initialisers import Initialiser
from graphc.dsl.parameter import Parameter
from graphc.dsl.scope import Root, Scope, current, settle
from graphc.dsl.tensor import Tensor, caller, declared
from graphc.dsl.trace import ordered
from graphc.errors import DataError, GraphError, ShapeError
from graphc.types import DType, Extent, Location, TensorType

_active: ContextVar[tuple[Layer, ...]] = ContextVar("graphc_layers", default=())


Rule = Callable[[Parameter], Tensor]
"""What a layer computes with in place of a parameter: its normalised value, its value with some connections dropped."""


class Layer:
    """Something with parameters that maps tensors to tensors. Subclasses define `forward`."""

    name: str | None
    _parameters: dict[str, Parameter]
    _inline: dict[str, Layer]
    _rules: dict[str, Rule]
    _root: Root | None
    _declared: Location | None

    def __new__(cls, *_: Any, **__: Any) -> Layer:
        # made here, so that subclasses need not call the constructor of the base
        layer = super().__new__(cls)
        layer.name, layer._parameters, layer._inline, layer._rules, layer._root = None, {}, {}, {}, None
        layer._declared = caller() if cls.__module__.startswith("graphc.dsl") else None
        return layer

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The result for these inputs. Subclasses define it."""
        raise GraphError(f"{type(self).__name__} does not define forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward` within the scope of this layer."""
        stack = _active.get()
        scope = current.get().child(stack[-1]._name_of(self)) if stack else self._outermost(inputs)
        active, place, line = _active.set((*stack, self)), current.set(scope), declared.set(self._declared)
        try:
            return self.forward(*inputs, **options)
        finally:
            declared.reset(line)
            current.reset(place)
            _active.reset(active)

    def __repr__(self) -> str:
        return f"<layer {self.name or self._stem()}: {type(self).__name__}>"

    def _stem(self) -> str:
        """The name of a layer that has none: its class in lower case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def _outermost(self, inputs: tuple[Any, ...]) -> Scope:
        if self._root is None:
            self._root = Root(self.name, self._stem(), anonymous=bool(self.children()))
            before = ordered(t for t in inputs if isinstance(t, Tensor))
            settle([*(t.place.root for t in before), self._root])
        return Scope(self._root)

    def _name_of(self, child: Layer) -> str:
        """The name of a layer within this one; one that is held nowhere is kept from now on."""
        for name, layer in self.children().items():
            if layer is child:
                return name
        name, k = child.name or child._stem(), 0
        while name in self.children():
            k += 1
            name = f"{child.name or child._stem()}_{k}"
        self._inline[name] = child
        return name

    # -------------------------------------------------------------------------------- parameters and parts

    def parameter(
        self,
        name: str,
        shape: tuple[Extent, ...],
        initialiser: str | float | Initialiser,
        dtype: DType = DType.FLOAT32,
        *,
        trainable: bool = True,
    ) -> Parameter:
        """The parameter of this name, made by the first call. Raises ShapeError where later calls differ.

        If the layer is `reparameterised`, the tensor that stands for it.
        """
        type = TensorType(shape, dtype)
        known = self._parameters.get(name)
        if known is None:
            known = self._parameters[name] = Parameter(
                name, type, initialiser, trainable=trainable, location=caller(), place=current.get()
            )
        if known.type != type:
            raise ShapeError(
                f"{name} was made as {known.type} by the first call, this call needs {type}",
                location=caller(),
                layer=str(current.get()),
                hint="a layer that is called again shares its parameters; make another layer for this shape",
            )
        rule = self._rules.get(name)
        return known if rule is None else cast(Parameter, rule(known))

    def reparameterise(self, name: str, rule: Rule) -> None:
        """From now on the layer computes with rule(parameter) in place of a parameter; earlier rules apply first."""
        before = self._rules.get(name)
        self._rules[name] = rule if before is None else lambda p: rule(cast(Parameter, before(p)))

    def children(self) -> dict[str, Layer]:
        """The layers directly inside: attributes, and items of lists, tuples and dictionaries of layers.

        Raises GraphError for two of the same name.
        """
        found: dict[str, Layer] = {}
        for attribute, value in vars(self).items():
            if attribute.startswith("_"):
                continue
            for name, layer in _layers(attribute, value):
                name = layer.name or name
                if found.setdefault(name, layer) is not layer:
                    raise GraphError(f"{type(self).__name__} holds two layers named {name}")
        return found | self._inline

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted name relative to this layer, parameter), shared ones once; none before the first call."""
        seen: set[int] = set()
        for name, parameter in self._all_parameters(""):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        own = self._parameters | {k: v for k, v in vars(self).items() if isinstance(v, Parameter)}
        for name, parameter in own.items():
            yield f"{prefix}{name}", parameter
        for name, layer in self.children().items():
            yield from layer._all_parameters(f"{prefix}{name}.")

    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, those of the layers inside included."""
        return tuple(p for _, p in self.named_parameters())

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all values by dotted name."""
        return {name: parameter.value.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], strict: bool = True) -> None:
        """Set all values by dotted name; nothing is changed if anything does not fit.

        Raises DataError naming what is missing, unexpected or misshapen; with strict=False only the last.
        """
        own = dict(self.named_parameters())
        missing = [n for n in own if n not in state]
        unexpected = [n for n in state if n not in own]
        misshapen = [
            f"{n}: expected {p.shape}, got {np.shape(state[n])}"
            for n, p in own.items()
            if n in state and np.shape(state[n]) != p.shape
        ]
        faults = [
            f"{title}: {', '.join(names)}"
            for title, names in (("missing", missing), ("unexpected", unexpected))
            if names and strict
        ] + misshapen
        if faults:
            hint = "call the layer once before loading" if not own else "strict=False ignores missing and unexpected"
            raise DataError("the state does not fit: " + "; ".join(faults), hint=hint)
        for name, parameter in own.items():
            if name in state:
                parameter.value = np.asarray(state[name])


def _layers(name: str, value: Any) -> Iterator[tuple[str, Layer]]:
    match value:
        case Layer():
            yield name, value
        case list() | tuple():
            for k, item in enumerate(value):
                yield from _layers(f"{name}.{k}", item)
        case dict():
            for key, item in value.items():
                yield from _layers(f"{name}.{key}", item)
