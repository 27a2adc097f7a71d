"""Layers that normalise."""

from __future__ import annotations

from graphc.dsl import functional
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import count, fixed
from graphc.dsl.phase import phased
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import ShapeError
from graphc.ops.normalisation import DEFAULT_EPS, DEFAULT_MOMENTUM, running_mean, running_variance

__all__ = ["BatchNorm1d", "BatchNorm2d"]


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
        self.num_features = None if num_features is None else count(self, "num_features", num_features)

    def forward(self, x: Tensor) -> Tensor:
        features = fixed(self, x, 1, "channels")
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
