"""The layers of the catalogue."""

from graphc.dsl.layers import Layer
from graphc.dsl.nn import (
    activation,
    attention,
    containers,
    convolution,
    embedding,
    linear,
    loss,
    normalisation,
    padding,
    pooling,
    recurrent,
    regularisation,
    reparameterisation,
    transformer,
)
from graphc.dsl.nn.activation import *
from graphc.dsl.nn.attention import *
from graphc.dsl.nn.containers import *
from graphc.dsl.nn.convolution import *
from graphc.dsl.nn.embedding import *
from graphc.dsl.nn.linear import *
from graphc.dsl.nn.loss import *
from graphc.dsl.nn.normalisation import *
from graphc.dsl.nn.padding import *
from graphc.dsl.nn.pooling import *
from graphc.dsl.nn.recurrent import *
from graphc.dsl.nn.regularisation import *
from graphc.dsl.nn.reparameterisation import *
from graphc.dsl.nn.transformer import *

__all__ = [
    "Layer",
    *activation.__all__,
    *attention.__all__,
    *containers.__all__,
    *convolution.__all__,
    *embedding.__all__,
    *linear.__all__,
    *loss.__all__,
    *normalisation.__all__,
    *padding.__all__,
    *pooling.__all__,
    *recurrent.__all__,
    *regularisation.__all__,
    *reparameterisation.__all__,
    *transformer.__all__,
]
