"""graphc: a symbolic, graph-compiled deep-learning engine. Every operator is one index-notation formula.

import graphc as gc

images = gc.input("images", (gc.BATCH, 1, 28, 28))
labels = gc.input("labels", (gc.BATCH,), "int64")
logits = gc.Sequential(gc.Flatten(), gc.Dense(128, "relu"), gc.Dense(10))(images)
training = gc.compile_training(gc.cross_entropy(logits, labels), optimizer=gc.SGD(0.1, momentum=0.9))
training.step(images=x, labels=y)
predict = gc.compile_inference(logits)
"""

from graphc import errors, models
from graphc.dsl import derivatives, functional, initialisers, nn, random
from graphc.dsl.derivatives import *
from graphc.dsl.functional import *
from graphc.dsl.layers import Layer
from graphc.dsl.nn import *
from graphc.dsl.parameter import Parameter, seed
from graphc.dsl.scan import scan
from graphc.dsl.tensor import Tensor, input
from graphc.dsl.trace import trace
from graphc.errors import GraphcError
from graphc.ops import scalars
from graphc.ops.formula import eq as equals
from graphc.ops.formula import where as choose
from graphc.ops.notation import Max, Min, Product, Sum, axes, axis, extent
from graphc.ops.operator import OPERATORS, Sample, op
from graphc.pipeline import compile_inference, compile_training
from graphc.study.check import check_gradients, compile_gradients
from graphc.train.data import shuffled
from graphc.train.optimisers import SGD, Adam, AdamW, Momentum
from graphc.train.trainer import Model
from graphc.types import BATCH, DType

__version__ = "0.1.0"

__all__ = [
    *derivatives.__all__,
    *functional.__all__,
    *nn.__all__,
    *(
        [
            "BATCH",
            "DType",
            "GraphcError",
            "Layer",
            "Max",
            "Min",
            "Model",
            "OPERATORS",
            "Parameter",
            "Product",
            "SGD",
            "Adam",
            "AdamW",
            "Momentum",
            "Sample",
            "Sum",
            "Tensor",
        ]
    ),
    *(
        [
            "axes",
            "axis",
            "check_gradients",
            "choose",
            "compile_gradients",
            "compile_inference",
            "compile_training",
            "equals",
            "errors",
            "extent",
            "functional",
            "initialisers",
        ]
    ),
    *(["input", "models", "nn", "op", "random", "scalars", "scan", "seed", "shuffled", "trace"]),
]
