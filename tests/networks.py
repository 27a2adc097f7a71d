"""Random networks of layers: all that convolutions, windows, normalisation, movement and dense chains can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.ops.notation import axes, axis
from graphc.ops.operator import op
from graphc.types import Extent, TensorType
from tests.strategies import flatten as flatten_images

Step = tuple[Any, ...]


@op
def shifted(X, *, before=(1, 0), after=(0, 1)):
    """Images with rows and columns of zeros at their ends, or cut there where the numbers are negative."""
    n, c = axes("n c")
    height, width = (e + b + a for e, b, a in zip(X.shape[2:], before, after, strict=True))
    y, x = axis("y", height), axis("x", width)
    return X[n, c, y - before[0], x - before[1]]


@dataclass(frozen=True)
class Network:
    """An input and what is applied to it, one step after another."""

    shape: tuple[Extent, ...]
    steps: tuple[Step, ...]
    dtype: str = "float64"

    def build(self) -> Tensor:
        """The result; parameters hold random numbers that follow from their shapes."""
        values = [gc.input("x", self.shape, self.dtype)]
        for number, (kind, *options) in enumerate(self.steps):
            parameters = _Parameters(number, self.dtype)
            values.append(STEPS[kind](values, parameters, *options))
        return values[-1]


@dataclass
class _Parameters:
    """Parameters of one step."""

    step: int
    dtype: str
    count: int = 0

    def __call__(self, *shape: int, positive: bool = False) -> Parameter:
        parameter = Parameter(f"p{self.step}_{self.count}", shape, dtype=self.dtype)
        self.count += 1
        random = np.random.default_rng((self.step, self.count, *shape))
        fan = max(1, prod(shape[1:]))
        value = random.normal(size=shape) / np.sqrt(fan)
        parameter.value = (np.abs(value) + 0.5 if positive else value).astype(self.dtype)
        return parameter


def _conv(values: list[Tensor], p: _Parameters, features: int, kernel: Any, stride: Any, padding: Any, dilation: Any,
          bias: bool) -> Tensor:  # fmt: skip
    weight = p(features, values[-1].shape[1], *kernel)
    return gc.conv2d(values[-1], weight, p(features) if bias else None, stride, padding, dilation)


def _batch_norm(values: list[Tensor], p: _Parameters, affine: bool) -> Tensor:
    c = values[-1].shape[1]
    scale = (p(c, positive=True), p(c)) if affine else ()
    return gc.batch_norm(values[-1], None, None, *scale, training=True, eps=0.1)


def _channel_norm(values: list[Tensor], p: _Parameters) -> Tensor:
    c = values[-1].shape[1]
    return gc.batch_norm(values[-1], p(c), p(c, positive=True), p(c, positive=True), p(c))


def _pool(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda v, p, kernel, stride, padding: function(v[-1], kernel, stride, padding)


def _reflected(values: list[Tensor], p: _Parameters) -> Tensor:
    x = values[-1]
    return gc.matmul(x, gc.transpose(x)) if len(x.shape) > 2 else x * x


def _scan(values: list[Tensor], p: _Parameters, along: int, reverse: bool, collected: bool) -> Tensor:
    """h' = tanh(x + U·h) along an axis: all h, or the last."""
    x = values[-1]
    features = x.shape[-1] if along < x.ndim - 1 else x.shape[-2]
    u = p(features, features)
    start = TensorType((*x.shape[:along], *x.shape[along + 1 :]), x.dtype)
    ys, last = gc.scan(lambda h, x: (gc.tanh(x + gc.dense(h, u)),) * 2, start, x, reverse=reverse, axis=along)
    return ys if collected else last


STEPS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "batch_norm": _batch_norm,
    "channel_norm": _channel_norm,
    "max_pool": _pool(gc.max_pool2d),
    "avg_pool": _pool(gc.avg_pool2d),
    "global_pool": lambda v, p: gc.global_avg_pool2d(v[-1]),
    "subsample": lambda v, p, stride, channels: gc.subsample(v[-1], stride, channels),
    "shifted": lambda v, p, before, after: shifted(v[-1], before=before, after=after),
    "relu": lambda v, p: gc.relu(v[-1]),
    "leaky_relu": lambda v, p: gc.leaky_relu(v[-1], 0.1),
    "tanh": lambda v, p: gc.tanh(v[-1]),
    "sigmoid": lambda v, p: gc.sigmoid(v[-1]),
    "softplus": lambda v, p: gc.softplus(v[-1]),
    "add": lambda v, p, other: v[-1] + v[other],
    "multiply": lambda v, p, other: v[-1] * v[other],
    "scale": lambda v, p, shape: v[-1] * p(*shape) + p(*shape),
    "transpose": lambda v, p, order: v[-1].transpose(*order),
    "reshape": lambda v, p, shape: v[-1].reshape(*shape),
    "flatten": lambda v, p: v[-1].flatten(),
    "flatten_images": lambda v, p: flatten_images(v[-1]),
    "dense": lambda v, p, outputs, bias: gc.dense(v[-1], p(outputs, v[-1].shape[-1]), p(outputs) if bias else None),
    "softmax": lambda v, p, along: gc.softmax(v[-1], axis=along),
    "log_softmax": lambda v, p, along: gc.log_softmax(v[-1], axis=along),
    "sum": lambda v, p, along: v[-1].sum(along),
    "mean": lambda v, p, along: v[-1].mean(along),
    "max": lambda v, p, along: v[-1].max(along),
    "gram": _reflected,
    "scan": _scan,
}

CHANNELS = st.one_of(st.integers(1, 20), st.sampled_from((1, 2, 4, 8, 16, 32)))
WORK = 200_000
"""Multiplications for each sample that a step may take."""


@st.composite
def networks(draw: st.DrawFn, most: int = 6, dtype: str | None = None) -> Network:
    """A random network on images or on vectors, the batch symbolic or fixed."""
    batch: Extent = draw(st.sampled_from((*[gc.BATCH] * 5, 1, 3, 4)))
    side = st.integers(1, 9)
    shape = (batch, draw(CHANNELS), draw(side), draw(side)) if draw(st.integers(0, 5)) else (batch, draw(CHANNELS))
    network = Network(shape, (), dtype or draw(st.sampled_from(("float64", "float64", "float32"))))
    shapes = [shape]
    for _ in range(draw(st.integers(1, most))):
        step = _step(draw, shapes)
        grown = Network(shape, (*network.steps, step), network.dtype)
        result = grown.build().shape
        if prod(e for e in result if isinstance(e, int)) <= 20_000:
            network, shapes = grown, [*shapes, result]
    return network


IMAGES = (
    *["conv"] * 12, "max_pool", "avg_pool", "batch_norm", "batch_norm", "channel_norm",
    "subsample", "shifted", "flatten", "flatten_images", "global_pool", "permute",
)  # fmt: skip
ANY = ("relu", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "add", "add", "multiply", "scale")


def _step(draw: st.DrawFn, shapes: list[tuple[Extent, ...]]) -> Step:
    """A step that fits the last value."""
    shape = shapes[-1]
    rank = len(shape)
    fixed = all(isinstance(e, int) for e in shape[1:])
    twins = [k for k, s in enumerate(shapes) if s == shape]
    kinds = [*ANY, "reduce"] if rank else list(ANY)
    if rank == 4 and fixed:
        kinds += IMAGES
    if rank >= 2:
        kinds += ["permute", "softmax", "log_softmax"]
    if rank >= 3 and fixed:
        kinds += ["scan"]
    if rank >= 2 and isinstance(shape[-1], int):
        kinds += ["dense", "dense", "dense"]
    if rank == 2 and fixed:
        kinds += ["dense", "batch_norm", "reshape"]
    if rank == 3 and fixed:
        kinds += ["gram", "reshape"]
    kind = draw(st.sampled_from(kinds))
    pair = st.tuples
    match kind:
        case "conv":
            channels, *size = (int(e) for e in shape[1:])
            dilation = draw(st.sampled_from(((1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (2, 2))))
            kernel = draw(st.sampled_from(((3, 3), (3, 3), (1, 1), (5, 5), (2, 2), None)))
            kernel = kernel or draw(pair(st.integers(1, 5), st.integers(1, 5)))
            stride = draw(st.sampled_from(((1, 1), (1, 1), (1, 1), (2, 2), (1, 2), (2, 1), (3, 2))))
            reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
            least = [max(0, -(-(r - s) // 2)) for r, s in zip(reach, size, strict=True)]
            padding: Any = "same"
            if draw(st.integers(0, 3)):
                padding = tuple(draw(st.integers(low, low + 2)) for low in least)
            places = prod(-(-(s + 4) // t) for s, t in zip(size, stride, strict=True))
            each = places * channels * prod(kernel)
            features = min(draw(CHANNELS), max(1, WORK // each))
            return "conv", features, kernel, stride, padding, dilation, draw(st.booleans())
        case "max_pool" | "avg_pool":
            kernel = tuple(draw(st.integers(1, min(3, int(e)))) for e in shape[2:])
            stride = draw(st.sampled_from((None, (1, 1), (2, 2), (1, 2))))
            padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
            return kind, kernel, stride, padding
        case "subsample":
            stride = draw(st.sampled_from(((2, 2), (1, 2), (3, 1))))
            return kind, stride, int(shape[1]) + draw(st.integers(0, 5))
        case "shifted":
            before = tuple(draw(st.sampled_from((1, 2, -1) if int(e) > 2 else (1, 2))) for e in shape[2:])
            after = tuple(draw(st.integers(-1 if int(e) > 2 else 0, 2)) for e in shape[2:])
            return kind, before, after
        case "batch_norm":
            return kind, draw(st.booleans())
        case "add" | "multiply":
            return kind, draw(st.sampled_from(twins))
        case "scale":
            known = [e if isinstance(e, int) and k else 1 for k, e in enumerate(shape)]
            return kind, tuple(e if draw(st.booleans()) else 1 for e in known) if rank else ()
        case "permute":
            return "transpose", tuple(
                draw(st.permutations(range(rank)))
                if draw(st.booleans())
                else (0, *draw(st.permutations(range(1, rank))))
            )
        case "reshape":
            sizes = [int(e) for e in shape[1:]]
            total = prod(sizes)
            first = draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
            rest = total // first
            second = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
            return kind, (shape[0], first, second, rest // second)
        case "dense":
            rows = prod(int(e) for e in shape[:-1] if isinstance(e, int))
            most = max(1, WORK // (rows * int(shape[-1])))
            return kind, min(most, draw(st.one_of(CHANNELS, st.integers(1, 70)))), draw(st.booleans())
        case "scan":
            return kind, draw(st.integers(1, rank - 1)), draw(st.booleans()), bool(draw(st.integers(0, 3)))
        case "softmax" | "log_softmax":
            return kind, draw(st.integers(1, rank - 1))
        case "reduce":
            along = tuple(sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1))))
            return draw(st.sampled_from(("sum", "mean", "max"))), along
        case _:
            return (kind,)
