"""The mathematics: the formula language, scalar functions and the catalogue of operators."""

from graphc.ops import (
    activations,
    convolution,
    elementwise,
    linear,
    losses,
    movement,
    pooling,
    reductions,
    scalars,
)
from graphc.ops.notation import Max, Min, Operand, Sum, axes, axis, extent
from graphc.ops.operator import OPERATORS, Definition, Operator, Sample, Statement, op

__all__ = [
    "OPERATORS",
    "Definition",
    "Max",
    "Min",
    "Operand",
    "Operator",
    "Sample",
    "Statement",
    "Sum",
    "activations",
    "axes",
    "axis",
    "convolution",
    "elementwise",
    "extent",
    "linear",
    "losses",
    "movement",
    "op",
    "pooling",
    "reductions",
    "scalars",
]
