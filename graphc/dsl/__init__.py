"""What users write: inputs, parameters, operators on tensors, layers, initialisers."""

from graphc.dsl import functional, initialisers, nn
from graphc.dsl.layers import Layer
from graphc.dsl.parameter import Parameter, seed
from graphc.dsl.tensor import Input, Tensor, input
from graphc.dsl.trace import Traced, trace

__all__ = [
    "Input",
    "Layer",
    "Parameter",
    "Tensor",
    "Traced",
    "functional",
    "initialisers",
    "input",
    "nn",
    "seed",
    "trace",
]
