"""Residual networks for small images (He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import graphc.dsl.functional as F
from graphc.dsl import nn
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.errors import GraphcError
from graphc.models.classifier import Classifier, classifier


class BasicBlock(Layer):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), two 3×3 convolutions.

    Where the shape changes, the shortcut takes every second pixel and gives new channels zeros (the paper's option A),
    or is a 1×1 convolution with batch normalisation (option B).
    """

    def __init__(self, channels: int, stride: int = 1, projection: bool = False) -> None:
        self.channels, self.stride, self.projection = channels, stride, projection
        self.conv1 = nn.Conv2d(channels, 3, stride=stride, padding=1, use_bias=False)
        self.bn1 = nn.BatchNorm2d()
        self.conv2 = nn.Conv2d(channels, 3, padding=1, use_bias=False)
        self.bn2 = nn.BatchNorm2d()
        if projection:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 1, stride=stride, use_bias=False), nn.BatchNorm2d())

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return F.relu(h + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.projection:
            return self.downsample(x)
        if self.stride == 1 and x.shape[1] == self.channels:
            return x
        return F.subsample(x, self.stride, self.channels)


class ResNet(Layer):
    """A 3×3 convolution, stages of blocks called layer1, layer2, ..., the mean over the image, a linear map."""

    def __init__(
        self, blocks: int, stem: int, widths: Sequence[int], strides: Sequence[int], classes: int, projection: bool
    ) -> None:
        self.conv1 = nn.Conv2d(stem, 3, padding=1, use_bias=False)
        self.bn1 = nn.BatchNorm2d()
        self._stages, inputs = [], stem
        for k, (channels, stride) in enumerate(zip(widths, strides, strict=True), start=1):
            changes = stride > 1 or channels != inputs
            first = BasicBlock(channels, stride, projection and changes)
            stage = nn.Sequential(first, *[BasicBlock(channels) for _ in range(blocks - 1)])
            setattr(self, f"layer{k}", stage)
            self._stages.append(stage)
            inputs = channels
        self.fc = nn.Dense(classes, weight_init="xavier")

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        for stage in self._stages:
            h = stage(h)
        return self.fc(F.global_avg_pool2d(h))


def resnet(
    blocks: int,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] | None = None,
    stem: int | None = None,
    projection: bool = False,
    dtype: str = "float32",
) -> Classifier:
    """The network with `blocks` blocks in each stage; with the paper's three stages 6·blocks + 2 layers.

    `widths` are the channels of the stages, `strides` those of their first blocks (2 but in the first stage, unless
    told otherwise), `stem` the channels of the first convolution (by default that of the first stage). Shortcuts are of
    option A, or with `projection` of option B. Raises GraphcError.
    """
    if strides is None:
        strides = [min(k + 1, 2) for k in range(len(widths))]
    if not widths or len(strides) != len(widths):
        raise GraphcError(
            f"resnet: expected widths and strides of as many stages, got {tuple(widths)} and {tuple(strides)}",
            hint=f"use strides={tuple(min(k + 1, 2) for k in range(max(len(widths), 1)))}",
        )
    network = ResNet(blocks, widths[0] if stem is None else stem, widths, strides, classes, projection)
    return classifier(f"resnet{2 * blocks * len(widths) + 2}", network, image_shape, dtype)


def resnet20(
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    projection: bool = False,
    dtype: str = "float32",
) -> Classifier:
    """ResNet-20: three blocks in each stage, 0.27 million parameters."""
    return resnet(3, image_shape, classes, projection=projection, dtype=dtype)
