"""Layers of linear maps."""

from __future__ import annotations

from typing import Any

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.activation import activation_function
from graphc.dsl.nn.arguments import AUTO, Activation, Initial, count, fixed, weights_for
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError

__all__ = ["Bilinear", "Dense", "Linear"]


class Dense(Layer):
    """activation(x · Wᵀ + b) for x [..., in]; weight [units, in], bias [units]. The first call tells `in`.

    Weights suit the activation unless told otherwise, see `initialisers.for_activation`.
    """

    def __init__(
        self,
        units: int,
        activation: Activation = None,
        use_bias: bool = True,
        weight_init: Initial = AUTO,
        bias_init: Initial = "zeros",
        name: str | None = None,
    ) -> None:
        self.name, self.units, self.use_bias = name, count(self, "units", units), use_bias
        self.weight_init, self.bias_init = weights_for(activation, weight_init), bias_init
        self.activation = activation_function(activation)
        self.in_features: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        features = fixed(self, x, -1, "features")
        if self.in_features not in (None, features):
            raise ShapeError(
                f"declared for {self.in_features} input features, but the input {x.shape} has {features}",
                location=caller(),
                layer=str(current.get()),
                hint=f"write {type(self).__name__}({self.units}), which takes the number from its input",
            )
        weight = self.parameter("weight", (self.units, features), self.weight_init, x.dtype)
        bias = self.parameter("bias", (self.units,), self.bias_init, x.dtype) if self.use_bias else None
        y = functional.dense(x, weight, bias)
        return self.activation(y) if self.activation else y


class Linear(Dense):
    """`Dense` with torch's spelling: Linear(units), or Linear(in_features, units), which checks the input."""

    def __init__(self, *features: int, **options: Any) -> None:
        if len(features) not in (1, 2):
            raise GraphError("Linear takes the number of units, or the numbers of input features and units")
        super().__init__(features[-1], **options)
        self.in_features = count(self, "in_features", features[0]) if len(features) == 2 else None


class Bilinear(Layer):
    """x · W_o · z + b_o for each output o; weight [out, in1, in2], bias [out], for x [..., in1] and z [..., in2].

    Bilinear(out_features), or Bilinear(in1_features, in2_features, out_features), which checks the inputs.
    """

    def __init__(
        self,
        *features: int,
        bias: bool = True,
        weight_init: Initial = "lecun_uniform",
        bias_init: Initial = "zeros",
        name: str | None = None,
    ) -> None:
        if len(features) not in (1, 3):
            raise GraphError("Bilinear takes the number of outputs, or the numbers of both inputs and of outputs")
        self.name, self.bias, self.weight_init, self.bias_init = name, bias, weight_init, bias_init
        self.in_features = tuple(count(self, "in_features", f) for f in features[:-1])
        self.out_features = count(self, "out_features", features[-1])

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        found = fixed(self, x, -1, "features"), fixed(self, z, -1, "features")
        if self.in_features not in ((), found):
            raise ShapeError(
                f"declared for {self.in_features} input features, but the inputs have {found}",
                location=caller(), layer=str(current.get()), hint=f"write Bilinear({self.out_features})",
            )  # fmt: skip
        weight = self.parameter("weight", (self.out_features, *found), self.weight_init, x.dtype)
        bias = self.parameter("bias", (self.out_features,), self.bias_init, x.dtype) if self.bias else None
        y: Tensor = functional.bilinear(x, z, weight, bias)
        return y
