"""Layers made of layers and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError

__all__ = ["Flatten", "Function", "Identity", "Sequential", "Unflatten"]


class Flatten(Layer):
    """The axes from `start` on as one."""

    def __init__(self, start: int = 1, name: str | None = None) -> None:
        self.name, self.start = name, start

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start)


class Unflatten(Layer):
    """One axis as several; one of their sizes may be -1."""

    def __init__(self, axis: int, sizes: tuple[int, ...], name: str | None = None) -> None:
        self.name, self.axis, self.sizes = name, axis, tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return functional.unflatten(x, self.axis, self.sizes)


class Function(Layer):
    """A function of tensors as a layer: Function(lambda x: x * 2)."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.name, self.function = name, function
        self._declared = None  # what it builds belongs to the lines of the function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class Identity(Layer):
    """x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Sequential(Layer):
    """Layers and functions one after the other, named by position or by the keys of a dictionary."""

    def __init__(self, *layers: Any, name: str | None = None) -> None:
        self.name = name
        named: Mapping[str, Any]
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = layers[0]
        else:
            if len(layers) == 1 and isinstance(layers[0], list | tuple):
                layers = tuple(layers[0])
            named = {(isinstance(v, Layer) and v.name) or str(k): v for k, v in enumerate(layers)}
            if len(named) != len(layers):
                raise GraphError("Sequential holds two layers of the same name", location=caller())
        for key, layer in named.items():
            if not callable(layer):
                raise GraphError(f"Sequential: {key} is no layer but {type(layer).__name__}", location=caller())
        self._layers = {key: v if isinstance(v, Layer) else Function(v) for key, v in named.items()}

    def children(self) -> dict[str, Layer]:
        return dict(self._layers)

    def __iter__(self) -> Any:
        return iter(self._layers.values())

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, position: int | str) -> Layer:
        return self._layers[position] if isinstance(position, str) else list(self._layers.values())[position]

    def forward(self, x: Any) -> Any:
        for layer in self._layers.values():
            x = layer(x)
        return x
