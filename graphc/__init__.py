"""graphc: a symbolic, graph-compiled deep-learning engine. Every operator is one index-notation formula.

import graphc as gc

images = gc.input("images", (gc.BATCH, 1, 28, 28))
labels = gc.input("labels", (gc.BATCH,), "int64")
logits = gc.Sequential(gc.Flatten(), gc.Dense(128, "relu"), gc.Dense(10))(images)
training = gc.compile_training(gc.cross_entropy(logits, labels), optimizer=gc.SGD(0.1, momentum=0.9))
training.step(images=x, labels=y)
predict = gc.compile_inference(logits)
"""

from graphc import data, errors, models
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
from graphc.study.curvature import curvature
from graphc.study.statistics import layer_statistics
from graphc.train import callbacks, metrics, optimisers, schedules, second_order
from graphc.train.callbacks import *
from graphc.train.checkpoints.callback import Checkpoint
from graphc.train.data import augment, shuffled
from graphc.train.optimisers import *
from graphc.train.rate_finder import find_learning_rate
from graphc.train.second_order import *
from graphc.train.trainer import Model
from graphc.types import BATCH, DType

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The estimators, for which alone scikit-learn is needed."""
    if name not in ("GraphClassifier", "GraphRegressor"):
        raise AttributeError(f"module graphc has no attribute {name}")
    try:
        from graphc.train import estimators
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise ImportError(f"graphc.{name} needs scikit-learn: pip install graphc[sklearn]") from None
    return getattr(estimators, name)


__all__ = [
    *derivatives.__all__,
    *functional.__all__,
    *nn.__all__,
    *callbacks.__all__,
    *optimisers.__all__,
    *second_order.__all__,
    *(
        [
            "BATCH",
            "Checkpoint",
            "DType",
            "GraphcError",
            "Layer",
            "Max",
            "Min",
            "Model",
            "OPERATORS",
            "Parameter",
            "Product",
            "Sample",
            "Sum",
            "Tensor",
        ]
    ),
    *(
        [
            "augment",
            "axes",
            "axis",
            "callbacks",
            "check_gradients",
            "choose",
            "compile_gradients",
            "compile_inference",
            "compile_training",
            "curvature",
            "data",
            "equals",
            "errors",
            "extent",
            "find_learning_rate",
            "functional",
            "initialisers",
            "layer_statistics",
        ]
    ),
    *(["input", "metrics", "models", "nn", "op", "random", "scalars", "scan", "schedules", "seed", "shuffled"]),
    "trace",
]
