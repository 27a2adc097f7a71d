"""Layers that normalise."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import count, fixed
from graphc.dsl.parameter import Parameter
from graphc.dsl.phase import phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import ShapeError
from graphc.ops.normalisation import DEFAULT_EPS, DEFAULT_MOMENTUM, running_mean, running_variance

__all__ = [
    "BatchInstanceNorm2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
    "SwitchableNorm2d",
]


class _ChannelNorm(Layer):
    """What the normalisations of channels share: weight and bias for each of them, and the inputs they accept."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self, num_features: int | None = None, eps: float = DEFAULT_EPS, affine: bool = True, name: str | None = None
    ) -> None:
        self.name, self.eps, self.affine = name, eps, affine
        self.num_features = None if num_features is None else count(self, "num_features", num_features)

    def _features(self, x: Tensor) -> int:
        """The number of channels. Raises ShapeError for inputs of another rank or number of channels."""
        features = fixed(self, x, 1, "channels")
        if (self.ranks and x.ndim not in self.ranks) or self.num_features not in (None, features):
            ranks = f"takes inputs of rank {' or '.join(map(str, self.ranks))}" if self.ranks else "takes any input"
            raise ShapeError(
                f"{type(self).__name__}({self.num_features or ''}) cannot normalise {x.shape}",
                location=caller(),
                layer=str(current.get()),
                hint=f"it {ranks}, here with {features} channels",
            )
        return features

    def _vector(self, name: str, x: Tensor, start: str | float, trainable: bool = True) -> Parameter:
        """A parameter with one number for each channel."""
        return self.parameter(name, (fixed(self, x, 1, "channels"),), start, x.dtype, trainable=trainable)

    def _scale(self, x: Tensor) -> tuple[Parameter | None, Parameter | None]:
        """weight and bias, if the layer has them."""
        return (self._vector("weight", x, "ones"), self._vector("bias", x, "zeros")) if self.affine else (None, None)


class _BatchNorm(_ChannelNorm):
    """What the batch normalisations share; they differ in the inputs that they accept."""

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = DEFAULT_EPS,
        momentum: float = DEFAULT_MOMENTUM,
        affine: bool = True,
        track_running_stats: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(num_features, eps, affine, name)
        self.momentum, self.track_running_stats = momentum, track_running_stats

    def forward(self, x: Tensor) -> Tensor:
        self._features(x)
        weight, bias = self._scale(x)
        normalised = functional.batch_norm(x, None, None, weight, bias, True, self.eps)
        if not self.track_running_stats:
            return normalised
        mean = self._vector("running_mean", x, "zeros", trainable=False)
        variance = self._vector("running_var", x, "ones", trainable=False)
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


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes x [n, channels, depth, height, width]; otherwise as `BatchNorm1d`."""

    ranks = (5,)


class _InstanceNorm(_ChannelNorm):
    """What the instance normalisations share."""

    def __init__(
        self, num_features: int | None = None, eps: float = DEFAULT_EPS, affine: bool = False, name: str | None = None
    ) -> None:
        super().__init__(num_features, eps, affine, name)

    def forward(self, x: Tensor) -> Tensor:
        self._features(x)
        return functional.instance_norm(x, *self._scale(x), eps=self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of x [n, channels, length]: statistics of each sample and channel, in both phases."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images x [n, channels, height, width] (Ulyanov, Vedaldi, Lempitsky 2016)."""

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes x [n, channels, depth, height, width]."""

    ranks = (5,)


class GroupNorm(_ChannelNorm):
    """Normalisation over groups of neighbouring channels and all positions of each sample (Wu, He 2018)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int | None = None,
        eps: float = DEFAULT_EPS,
        affine: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(num_channels, eps, affine, name)
        self.num_groups = count(self, "num_groups", num_groups)

    def forward(self, x: Tensor) -> Tensor:
        self._features(x)
        return functional.group_norm(x, self.num_groups, *self._scale(x), self.eps)


class LayerNorm(Layer):
    """Normalisation over the last axes of each sample (Ba, Kiros, Hinton 2016); over the last one unless given.

    weight and bias have the shape of the axes that are normalised.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | None = None,
        eps: float = DEFAULT_EPS,
        elementwise_affine: bool = True,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        self.name, self.eps, self.elementwise_affine, self.bias = name, eps, elementwise_affine, bias
        self.normalized_shape = normalized_shape

    def _shape(self, x: Tensor) -> tuple[int, ...]:
        match self.normalized_shape:
            case None:
                return (fixed(self, x, -1, "features"),)
            case int(size):
                return (size,)
            case shape:
                return tuple(shape)

    def _weight(self, name: str, x: Tensor, start: str) -> Parameter | None:
        """A parameter of the shape that is normalised, if the layer is to have it."""
        return self.parameter(name, self._shape(x), start, x.dtype) if self.elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        bias = self._weight("bias", x, "zeros") if self.bias else None
        return functional.layer_norm(x, self._shape(x), self._weight("weight", x, "ones"), bias, self.eps)


class RMSNorm(LayerNorm):
    """x / √(mean of x² + eps) over the last axes (Zhang, Sennrich 2019); no mean is taken off, there is no bias."""

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...] | None = None,
        eps: float | None = None,
        elementwise_affine: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(normalized_shape, DEFAULT_EPS, elementwise_affine, False, name)
        self.rms_eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self._shape(x), self._weight("weight", x, "ones"), self.rms_eps)


class LocalResponseNorm(Layer):
    """x / (k + alpha/size · Σ x² over `size` neighbouring channels)^beta (Krizhevsky, Sutskever, Hinton 2012)."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, name: str | None = None
    ) -> None:
        self.name, self.size, self.alpha, self.beta, self.k = name, count(self, "size", size), alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return functional.local_response_norm(x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k)


class BatchInstanceNorm2d(BatchNorm2d):
    """(ρ · batch-normalised + (1 - ρ) · instance-normalised) · weight + bias, ρ in [0, 1] for each channel.

    `gate` holds ρ, which starts at 1 and is limited where it is used (Nam, Kim: Batch-instance normalization, 2018).
    """

    def forward(self, x: Tensor) -> Tensor:
        affine, self.affine = self.affine, False
        try:
            batch = super().forward(x)
        finally:
            self.affine = affine
        instance = functional.instance_norm(x, eps=self.eps)
        gate = functional.minimum(functional.maximum(self._vector("gate", x, "ones"), 0.0), 1.0)
        mixed = instance + functional.channel_affine(batch - instance, gate)
        weight, bias = self._scale(x)
        return mixed if weight is None else functional.channel_affine(mixed, weight, bias)


class SwitchableNorm2d(_ChannelNorm):
    """(x - Σ_k p_k · mean_k) / √(Σ_k q_k · variance_k + eps) · weight + bias, k being instance, layer and batch.

    p = softmax(mean_weight) and q = softmax(var_weight); inference takes the batch's statistics from running_mean and
    running_var (Luo et al.: Differentiable learning-to-normalize via switchable normalization, 2019).
    """

    ranks = (4,)

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = DEFAULT_EPS,
        momentum: float = DEFAULT_MOMENTUM,
        affine: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(num_features, eps, affine, name)
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        features = self._features(x)
        usual_mean = self._vector("running_mean", x, "zeros", trainable=False)
        usual_var = self._vector("running_var", x, "ones", trainable=False)
        means, variances = [], []
        for axis in ((2, 3), (1, 2, 3), (0, 2, 3)):
            means.append(x.mean(axis, keepdims=True))
            variances.append(functional.square(x - means[-1]).mean(axis, keepdims=True))
        moved_mean = running_mean(usual_mean, x, momentum=self.momentum)
        moved_var = running_variance(usual_var, x, momentum=self.momentum)
        shape = (1, features, 1, 1)
        means[2] = phased(means[2], usual_mean.reshape(shape), [(usual_mean, moved_mean)])
        variances[2] = phased(variances[2], usual_var.reshape(shape), [(usual_var, moved_var)])
        mean, variance = self._mixed("mean_weight", means), self._mixed("var_weight", variances)
        y = (x - mean) / functional.sqrt(variance + self.eps)
        weight, bias = self._scale(x)
        return y if weight is None else functional.channel_affine(y, weight, bias)

    def _mixed(self, name: str, statistics: list[Tensor]) -> Tensor:
        """Σ_k softmax(weights)_k · statistic_k"""
        shares = functional.softmax(self.parameter(name, (3,), "ones", statistics[0].dtype))
        first, second, third = (shares[k] * s for k, s in enumerate(statistics))
        return first + second + third
