"""Layers of convolutions."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.activation import activation_function
from graphc.dsl.nn.arguments import Activation, Initial, count, fixed
from graphc.dsl.tensor import Tensor
from graphc.ops.window import Pair, pair

__all__ = ["Conv2d"]


class Conv2d(Layer):
    """activation(conv2d(x, W) + b) for x [n, in, h, w]; weight [channels, in, kh, kw], bias [channels].

    `channels` counts the results; the number of input channels follows from the first call.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        activation: Activation = None,
        use_bias: bool = True,
        weight_init: Initial = "he",
        bias_init: Initial = "zeros",
        name: str | None = None,
    ) -> None:
        self.name, self.channels, self.use_bias = name, count(self, "channels", channels), use_bias
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight_init, self.bias_init = weight_init, bias_init
        self.activation = activation_function(activation)

    def forward(self, x: Tensor) -> Tensor:
        inputs = fixed(self, x, 1, "channels")
        shape = (self.channels, inputs, *self.kernel_size)
        weight = self.parameter("weight", shape, self.weight_init, x.dtype)
        bias = self.parameter("bias", (self.channels,), self.bias_init, x.dtype) if self.use_bias else None
        y = functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)
        return self.activation(y) if self.activation else y
