"""The layers of the catalogue."""

from graphc.dsl.layers import Layer
from graphc.dsl.nn import (
    activation,
    containers,
    convolution,
    linear,
    normalisation,
    pooling,
)
from graphc.dsl.nn.activation import *
from graphc.dsl.nn.containers import *
from graphc.dsl.nn.convolution import *
from graphc.dsl.nn.linear import *
from graphc.dsl.nn.normalisation import *
from graphc.dsl.nn.pooling import *

__all__ = [
    "Layer",
    *activation.__all__,
    *containers.__all__,
    *convolution.__all__,
    *linear.__all__,
    *normalisation.__all__,
    *pooling.__all__,
]
