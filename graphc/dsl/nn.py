"""The layers of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.dsl import functional
from graphc.dsl.initialisers import Initialiser
from graphc.dsl.layers import Layer
from graphc.dsl.phase import phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops.normalisation import DEFAULT_EPS, DEFAULT_MOMENTUM, running_mean, running_variance
from graphc.ops.window import Pair, pair
from graphc.types import Batch

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dense",
    "Flatten",
    "Function",
    "GlobalAveragePool2d",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]

Initial = str | float | Initialiser
Activation = str | Callable[[Tensor], Tensor] | None

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "identity": functional.identity,
    "leaky_relu": functional.leaky_relu,
    "linear": functional.identity,
    "log_softmax": functional.log_softmax,
    "relu": functional.relu,
    "sigmoid": functional.sigmoid,
    "silu": functional.silu,
    "softmax": functional.softmax,
    "softplus": functional.softplus,
    "tanh": functional.tanh,
}


def activation_function(spelling: Activation) -> Callable[[Tensor], Tensor] | None:
    """An activation by its name, or as a function or layer. Raises GraphError for an unknown name."""
    if not isinstance(spelling, str):
        return spelling
    if spelling not in ACTIVATIONS:
        raise GraphError(f'there is no activation "{spelling}"', hint=f"choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[spelling]


def _count(layer: Layer, what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ShapeError(f"{type(layer).__name__}: {what} must be a positive integer, got {value!r}", location=caller())
    return value


def _fixed(layer: Layer, x: Any, axis: int, what: str) -> int:
    """The extent of an axis from which a parameter's shape follows. Raises ShapeError."""
    if not isinstance(x, Tensor):
        raise GraphError(
            f"{layer!r} needs a tensor, got {type(x).__name__}", location=caller(), layer=str(current.get())
        )
    extent = x.shape[axis] if -x.ndim <= axis < x.ndim else None
    if extent is None or isinstance(extent, Batch):
        raise ShapeError(
            f"axis {axis} must hold the {what}, but the input is {x.type}",
            location=caller(),
            layer=str(current.get()),
        )
    return extent


class Dense(Layer):
    """activation(x · Wᵀ + b) for x [..., in]; weight [units, in], bias [units]. The first call tells `in`."""

    def __init__(
        self,
        units: int,
        activation: Activation = None,
        use_bias: bool = True,
        weight_init: Initial = "he",
        bias_init: Initial = "zeros",
        name: str | None = None,
    ) -> None:
        self.name, self.units, self.use_bias = name, _count(self, "units", units), use_bias
        self.weight_init, self.bias_init = weight_init, bias_init
        self.activation = activation_function(activation)
        self.in_features: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        features = _fixed(self, x, -1, "features")
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
        self.in_features = _count(self, "in_features", features[0]) if len(features) == 2 else None


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
        self.name, self.channels, self.use_bias = name, _count(self, "channels", channels), use_bias
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight_init, self.bias_init = weight_init, bias_init
        self.activation = activation_function(activation)

    def forward(self, x: Tensor) -> Tensor:
        inputs = _fixed(self, x, 1, "channels")
        shape = (self.channels, inputs, *self.kernel_size)
        weight = self.parameter("weight", shape, self.weight_init, x.dtype)
        bias = self.parameter("bias", (self.channels,), self.bias_init, x.dtype) if self.use_bias else None
        y = functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)
        return self.activation(y) if self.activation else y


class MaxPool2d(Layer):
    """The largest element of each window; the stride is the kernel size unless given."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool2d(Layer):
    """The mean of each window, padding counted as zeros; the stride is the kernel size unless given."""

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, name: str | None = None
    ) -> None:
        self.name, self.kernel_size, self.stride, self.padding = name, kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class GlobalAveragePool2d(Layer):
    """The mean of each channel of x [n, channels, h, w] as [n, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.global_avg_pool2d(x)


class AdaptiveAvgPool2d(Layer):
    """The means of equal windows, `output_size` of them: [n, channels, *output_size]."""

    def __init__(self, output_size: Pair, name: str | None = None) -> None:
        self.name, self.output_size = name, output_size

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, self.output_size)


class _BatchNorm(Layer):
    """What the batch normalisations share; they differ in the inputs that they accept."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = DEFAULT_EPS,
        momentum: float = DEFAULT_MOMENTUM,
        affine: bool = True,
        track_running_stats: bool = True,
        name: str | None = None,
    ) -> None:
        self.name, self.eps, self.momentum = name, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.num_features = None if num_features is None else _count(self, "num_features", num_features)

    def forward(self, x: Tensor) -> Tensor:
        features = _fixed(self, x, 1, "channels")
        if x.ndim not in self.ranks or self.num_features not in (None, features):
            raise ShapeError(
                f"{type(self).__name__}({self.num_features or ''}) cannot normalise {x.shape}",
                location=caller(),
                layer=str(current.get()),
                hint=f"it takes inputs of rank {' or '.join(map(str, self.ranks))}, here with {features} channels",
            )
        affine = [
            self.parameter(n, (features,), start, x.dtype)
            for n, start in (("weight", "ones"), ("bias", "zeros"))
            if self.affine
        ]
        weight, bias = affine or (None, None)
        normalised = functional.batch_norm(x, None, None, weight, bias, True, self.eps)
        if not self.track_running_stats:
            return normalised
        mean = self.parameter("running_mean", (features,), "zeros", x.dtype, trainable=False)
        variance = self.parameter("running_var", (features,), "ones", x.dtype, trainable=False)
        updates = [
            (mean, running_mean(mean, x, momentum=self.momentum)),
            (variance, running_variance(variance, x, momentum=self.momentum)),
        ]
        return phased(normalised, functional.batch_norm(x, mean, variance, weight, bias, False, self.eps), updates)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x [n, channels] or [n, channels, length] (Ioffe, Szegedy 2015).

    A training step normalises by mean and biased variance of the batch and moves running_mean and running_var (the
    unbiased variance) towards them by `momentum`; inference uses these. The first call tells the number of channels.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images x [n, channels, height, width]; otherwise as `BatchNorm1d`."""

    ranks = (4,)


class Flatten(Layer):
    """The axes from `start` on as one."""

    def __init__(self, start: int = 1, name: str | None = None) -> None:
        self.name, self.start = name, start

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start)


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


class ReLU(Layer):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, name: str | None = None) -> None:
        self.name, self.negative_slope = name, negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.negative_slope)


class Sigmoid(Layer):
    """1 / (1 + e^-x)"""

    def forward(self, x: Tensor) -> Tensor:
        return functional.sigmoid(x)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanh(x)


class Softplus(Layer):
    """log(1 + e^(beta·x)) / beta"""

    def __init__(self, beta: float = 1.0, name: str | None = None) -> None:
        self.name, self.beta = name, beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x, self.beta)


class Softmax(Layer):
    """e^(x/T) / Σ e^(x/T) along an axis."""

    def __init__(self, axis: int = -1, temperature: float = 1.0, name: str | None = None) -> None:
        self.name, self.axis, self.temperature = name, axis, temperature

    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(x, self.axis, self.temperature)


class LogSoftmax(Softmax):
    """log softmax(x) along an axis."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(x, self.axis, self.temperature)


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
