"""Functions of the catalogue as layers: options when the layer is made, tensors when it is called."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np

from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops.operator import Operator
from graphc.ops.pointwise import Pointwise


class Applied(Layer):
    """`function(*tensors, **options)`. Subclasses name the function; its options are those of the constructor.

    Operands of the function that are in `held` are given to the constructor as well, as tensors or as numbers, which
    become parameters that are not trained. Raises GraphError for an option that the function does not have.
    """

    function: ClassVar[Any]
    held: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        known = {**dict.fromkeys(cls.held), **_options(cls.function), "name": None}
        kinds = inspect.Parameter
        parameters = [kinds(n, kinds.POSITIONAL_OR_KEYWORD, default=d) for n, d in known.items()]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        cls.__doc__ = cls.__doc__ or cls.function.__doc__

    def __init__(self, *positional: Any, **named: Any) -> None:
        signature: inspect.Signature = type(self).__signature__  # type: ignore[attr-defined]
        try:
            options = signature.bind(*positional, **named).arguments
        except TypeError as error:
            known = ", ".join(n for n in signature.parameters if n != "name")
            raise GraphError(f"{type(self).__name__}: {error}", location=caller(), hint=f"options: {known}") from None
        self.name = options.pop("name", None)
        self.operands = {n: options.pop(n) for n in self.held if options.get(n) is not None}
        self.options = {n: v for n, v in options.items() if n not in self.held}

    def forward(self, *tensors: Tensor) -> Any:
        operands = {n: self._held(n, v, tensors) for n, v in self.operands.items()}
        return type(self).function(*tensors, **operands, **self.options)

    def _held(self, name: str, value: Any, tensors: tuple[Tensor, ...]) -> Tensor:
        """A tensor as it is, numbers as a parameter of the dtype of the first tensor."""
        if isinstance(value, Tensor):
            return value
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise ShapeError(f"{type(self).__name__}: {name} must be numbers, got {value!r}", location=caller())
        held = self.parameter(name, array.shape, "zeros", tensors[0].dtype, trainable=False)
        held.value = array.astype(tensors[0].dtype.numpy)
        return held


def _options(function: Any) -> dict[str, Any]:
    """The options of a function with their defaults: those of an operator, or the keywords of a Python function."""
    match function:
        case Operator():
            return function.attributes
        case Pointwise():
            return function.options
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: p.default for p in parameters
        if p.default is not p.empty and not (p.default is None and "Tensor" in str(p.annotation))
    }  # fmt: skip
