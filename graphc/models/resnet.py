"""Residual networks for small images (He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2015)."""

from __future__ import annotations

import graphc.dsl.functional as F
from graphc.dsl import nn
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.models.classifier import Classifier, classifier

WIDTHS = (16, 32, 64)


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
    """A 3×3 convolution, three stages of blocks with 16, 32 and 64 channels, the mean over the image, a linear map."""

    def __init__(self, blocks: int, classes: int, projection: bool) -> None:
        self.conv1 = nn.Conv2d(WIDTHS[0], 3, padding=1, use_bias=False)
        self.bn1 = nn.BatchNorm2d()
        stages = []
        for k, channels in enumerate(WIDTHS):
            first = BasicBlock(channels, 2, projection) if k else BasicBlock(channels)
            stages.append(nn.Sequential(first, *[BasicBlock(channels) for _ in range(blocks - 1)]))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Dense(classes, weight_init="xavier")

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.layer3(self.layer2(self.layer1(h)))
        return self.fc(F.global_avg_pool2d(h))


def resnet(
    blocks: int,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    projection: bool = False,
    dtype: str = "float32",
) -> Classifier:
    """The network with 6·blocks + 2 layers; shortcuts of option A, or with `projection` of option B."""
    return classifier(f"resnet{6 * blocks + 2}", ResNet(blocks, classes, projection), image_shape, dtype)


def resnet20(
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    projection: bool = False,
    dtype: str = "float32",
) -> Classifier:
    """ResNet-20: three blocks in each stage, 0.27 million parameters."""
    return resnet(3, image_shape, classes, projection=projection, dtype=dtype)
