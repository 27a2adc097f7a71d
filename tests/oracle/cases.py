"""Each case of the oracle as an expression of the DSL: inputs and parameters by name in, outputs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphc.dsl import functional as F
from graphc.dsl import initialisers
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Input, Tensor
from graphc.types import DType, TensorType
from tests.oracle.load import arrays, group

Tensors = Mapping[str, Tensor]
Build = Callable[[Tensors], Tensor | tuple[Tensor, ...]]


def lenet(t: Tensors) -> Tensor:
    h = F.relu(F.conv2d(t["x"], t["0.weight"], t["0.bias"], padding=2))
    h = F.max_pool2d(h, 2)
    h = F.relu(F.conv2d(h, t["3.weight"], t["3.bias"]))
    h = F.max_pool2d(h, 2).flatten()
    h = F.relu(F.linear(h, t["7.weight"], t["7.bias"]))
    return F.cross_entropy(F.linear(h, t["9.weight"], t["9.bias"]), t["y"])


def transpose_reshape(t: Tensors) -> Tensor:
    y = t["x"].transpose(2, 0, 1).reshape(4, 6)
    return y @ y.T


def minmax_where(t: Tensors) -> tuple[Tensor, ...]:
    a, b = t["a"], t["b"]
    clipped = F.minimum(F.maximum(a, -0.5), 0.5)
    return F.maximum(a, b), F.minimum(a, b * b), F.where(a > 0, b, a * b), clipped


def convolution(**options: int) -> Build:
    return lambda t: F.conv2d(t["x"], t["weight"], t["bias"], **options)


def batch_norm(training: bool) -> Build:
    names = ("running_mean", "running_var", "weight", "bias")
    return lambda t: F.batch_norm(t["x"], *[t.get(name) for name in names], training=training)


CASES: dict[str, Build] = {
    "linear": lambda t: F.linear(t["x"], t["weight"], t["bias"]),
    "linear_nobias": lambda t: F.linear(t["x"], t["weight"]),
    "conv2d_k3": convolution(),
    "conv2d_k3_p1": convolution(padding=1),
    "conv2d_k3_s2_p1": convolution(stride=2, padding=1),
    "conv2d_k3_d2": convolution(dilation=2),
    "conv2d_k3_d2_p2_s2": convolution(dilation=2, padding=2, stride=2),
    "conv2d_k7_s2_p3": convolution(stride=2, padding=3),
    "maxpool2d_k2": lambda t: F.max_pool2d(t["x"], 2),
    "maxpool2d_k3_s2_p1": lambda t: F.max_pool2d(t["x"], 3, stride=2, padding=1),
    "avgpool2d_k2": lambda t: F.avg_pool2d(t["x"], 2),
    "avgpool2d_p1_incl": lambda t: F.avg_pool2d(t["x"], 3, stride=2, padding=1),
    "batchnorm2d_train": batch_norm(training=True),
    "batchnorm2d_noaffine_mom03_train": batch_norm(training=True),
    "batchnorm1d_eval": batch_norm(training=False),
    "batchnorm2d_eval": batch_norm(training=False),
    "act_relu": lambda t: F.relu(t["x"]),
    "act_relu6": lambda t: F.relu6(t["x"]),
    "act_gelu": lambda t: F.gelu(t["x"]),
    "act_leakyrelu": lambda t: F.leaky_relu(t["x"], 0.1),
    "act_sigmoid": lambda t: F.sigmoid(t["x"]),
    "act_tanh": lambda t: F.tanh(t["x"]),
    "act_logsigmoid": lambda t: F.log_sigmoid(t["x"]),
    "act_softplus": lambda t: F.softplus(t["x"], 1.5),
    "act_logsoftmax": lambda t: F.log_softmax(t["x"], axis=1),
    "softmax_large_logits": lambda t: F.log_softmax(t["x"], axis=1),
    "sigmoid_large": lambda t: F.log_sigmoid(t["x"]),
    "loss_mse": lambda t: F.mse_loss(t["x"], t["y"]),
    "loss_l1": lambda t: F.l1_loss(t["x"], t["y"]),
    "loss_ce": lambda t: F.cross_entropy(t["x"], t["y"]),
    "loss_ce_sum": lambda t: F.cross_entropy(t["x"], t["y"], "sum"),
    "loss_ce_spatial": lambda t: F.cross_entropy(t["x"], t["y"]),
    "loss_bcelogits": lambda t: F.binary_cross_entropy_with_logits(t["x"], t["y"]),
    "loss_bcelogits_large": lambda t: F.binary_cross_entropy_with_logits(t["x"], t["y"]),
    "fn_matmul_broadcast": lambda t: t["a"] @ t["b"],
    "fn_transpose_reshape": transpose_reshape,
    "fn_minmax_where": minmax_where,
    "net_lenet": lenet,
}


ROUNDED = ("softmax_large_logits", "sigmoid_large", "loss_bcelogits", "loss_bcelogits_large")
"""Cases whose expectations belong to the inputs before these were rounded to float32."""


def tolerances(name: str, dtype: DType) -> dict[str, float]:
    """Fair tolerances of a case, as arguments of numpy's assert_allclose."""
    if dtype is DType.FLOAT32:
        return {"rtol": 1e-4, "atol": 1e-5}
    return {"rtol": 1e-6, "atol": 1e-5} if name in ROUNDED else {"rtol": 1e-9, "atol": 1e-12}


@dataclass(frozen=True, slots=True)
class Case:
    """A case built: its leaves by name, its outputs, and the arrays that belong to them."""

    name: str
    inputs: dict[str, Input]
    parameters: dict[str, Parameter]
    outputs: tuple[Tensor, ...]
    arrays: dict[str, np.ndarray]

    @property
    def weighted_sum(self) -> Tensor:
        """L = Σ_k Σ cot_k · y_k, whose gradients the oracle holds; cotangents are untrained parameters."""
        total: Tensor | None = None
        for k, y in enumerate(self.outputs):
            cotangent = _parameter(f"cot.{k}", self.arrays[f"cot.{k}"], y.dtype, trainable=False)
            term = (y * cotangent).sum() if y.ndim else y * cotangent
            total = term if total is None else total + term
        assert total is not None
        return total


def build(name: str, dtype: DType = DType.FLOAT64) -> Case:
    """The case as an expression over inputs and parameters that hold the oracle's values."""
    case = arrays(name)
    inputs = {
        key: Input(key, TensorType(a.shape, dtype if a.dtype.kind == "f" else DType.of(a.dtype)))
        for key, a in group(case, "in.").items()
    }
    parameters = {key: _parameter(key, a, dtype) for key, a in group(case, "param.").items()}
    buffers = {
        key: _parameter(key, a, dtype, trainable=False) for key, a in group(case, "buf.").items() if a.dtype.kind == "f"
    }
    outputs = CASES[name]({**inputs, **parameters, **buffers})
    return Case(name, inputs, parameters, outputs if isinstance(outputs, tuple) else (outputs,), case)


def _parameter(name: str, value: np.ndarray, dtype: DType, trainable: bool = True) -> Parameter:
    parameter = Parameter(name, TensorType(value.shape, dtype), initialisers.zeros, trainable=trainable)
    parameter.value = value
    return parameter
