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
from typing import Any, Self, cast

import numpy.typing as npt

from graphc.dsl.initialisers import Initialiser
from graphc.dsl.parameter import Parameter
from graphc.dsl.scope import Root, Scope, current, settle
from graphc.dsl.state import Patterns, Rename, Taken, take, values_of
from graphc.dsl.tensor import Tensor, caller, declared
from graphc.dsl.trace import ordered
from graphc.errors import GraphError, ShapeError
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
    _frozen: bool

    def __new__(cls, *_: Any, **__: Any) -> Layer:
        # made here, so that subclasses need not call the constructor of the base
        layer = super().__new__(cls)
        layer.name, layer._parameters, layer._inline, layer._rules, layer._root = None, {}, {}, {}, None
        layer._frozen = False
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
        if self._frozen:
            child.freeze()
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
            if self._frozen:
                known.freeze()
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

    def freeze(self) -> Self:
        """Train none of the parameters from now on, those of the layers inside and those still to be made included.

        It holds for programs that are compiled afterwards; they have no backward code for what is frozen. Running
        averages, as of batch normalisation, go on.
        """
        return self._set_frozen(True)

    def unfreeze(self) -> Self:
        """Train again what was made to be trained."""
        return self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> Self:
        self._frozen = frozen
        for value in (*self._parameters.values(), *vars(self).values()):
            if isinstance(value, Parameter):
                value.freeze() if frozen else value.unfreeze()
        for layer in self.children().values():
            layer._set_frozen(frozen)
        return self

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all values by dotted name."""
        return values_of(dict(self.named_parameters()))

    def load_state_dict(
        self, state: Mapping[str, npt.ArrayLike], strict: bool = True, *, only: Patterns = None,
        rename: Rename | None = None,
    ) -> Taken:  # fmt: skip
        """Set all values by dotted name, see `graphc.dsl.state.take`; nothing is changed if anything does not fit.

        Raises DataError naming what is missing, unexpected or misshapen; with strict=False only the last.
        """
        return take(dict(self.named_parameters()), state, strict=strict, only=only, rename=rename)


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
