"""Each case of the oracle as an expression of the DSL: inputs and parameters by name in, outputs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc as gc
from graphc.dsl import functional as F
from graphc.dsl import initialisers
from graphc.dsl.layers import Layer
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Input, Tensor
from graphc.dsl.trace import trace
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


def reduce_max_prod(t: Tensors) -> tuple[Tensor, ...]:
    x = t["x"]
    return F.max(x, 1), F.min(x, (0, 2)), F.prod(x, 2), F.mean(x, (0, 1))


def gather_scatter(t: Tensors) -> tuple[Tensor, ...]:
    x, i = t["x"], t["i"]
    columns = _parameter("columns", np.array([0, 2, 2]), DType.INT64, trainable=False)
    return F.gather(x, 1, i), F.index_select(x, 1, columns), F.scatter_add(x * 0.0, 1, i, x[:, :3])


def recurrent(kind: type[Layer], size: int, **options: Any) -> Build:
    """h at all times, and the last h, or h and c; the layer's own parameters get the oracle's values."""

    def outputs(t: Tensors) -> tuple[Tensor, ...]:
        y, last = kind(4, size, name="layer", **options)(t["x"])
        return y, *(last if isinstance(last, tuple) else (last,))

    return outputs


def convolution(function: str = "conv2d", **options: int) -> Build:
    return lambda t: getattr(F, function)(t["x"], t["weight"], t["bias"], **options)


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
    "conv2d_groups2": convolution(padding=1, groups=2),
    "conv2d_depthwise_mult2_s2": convolution(stride=2, padding=1, groups=4),
    "conv2d_k7_s2_p3": convolution(stride=2, padding=3),
    "conv3d_s2_p1": convolution("conv3d", stride=2, padding=1),
    "convtranspose1d": convolution("conv_transpose1d", stride=2, padding=1),
    "convtranspose2d_k3": convolution("conv_transpose2d"),
    "convtranspose2d_k4_s2_p1": convolution("conv_transpose2d", stride=2, padding=1),
    "convtranspose2d_k3_s2_p1_op1": convolution("conv_transpose2d", stride=2, padding=1, output_padding=1),
    "maxpool1d": lambda t: F.max_pool1d(t["x"], 3, stride=2, padding=1),
    "maxpool2d_k2": lambda t: F.max_pool2d(t["x"], 2),
    "maxpool2d_k3_s2_p1": lambda t: F.max_pool2d(t["x"], 3, stride=2, padding=1),
    "maxpool2d_dil_ceil": lambda t: F.max_pool2d(t["x"], 3, stride=2, padding=1, dilation=2, ceil_mode=True),
    "avgpool2d_k2": lambda t: F.avg_pool2d(t["x"], 2),
    "avgpool2d_p1_incl": lambda t: F.avg_pool2d(t["x"], 3, stride=2, padding=1),
    "avgpool2d_p1_excl_ceil": lambda t: F.avg_pool2d(
        t["x"], 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False
    ),
    "adaptiveavgpool_3x2": lambda t: F.adaptive_avg_pool2d(t["x"], (3, 2)),
    "adaptivemaxpool_2": lambda t: F.adaptive_max_pool2d(t["x"], 2),
    "batchnorm2d_train": batch_norm(training=True),
    "batchnorm2d_noaffine_mom03_train": batch_norm(training=True),
    "batchnorm1d_eval": batch_norm(training=False),
    "batchnorm2d_eval": batch_norm(training=False),
    "layernorm": lambda t: F.layer_norm(t["x"], (6,), t["weight"], t["bias"]),
    "layernorm_2d": lambda t: F.layer_norm(t["x"], (4, 5), t["weight"], t["bias"], eps=1e-3),
    "groupnorm": lambda t: F.group_norm(t["x"], 2, t["weight"], t["bias"]),
    "instancenorm2d_affine": lambda t: F.instance_norm(t["x"], weight=t["weight"], bias=t["bias"]),
    "rmsnorm": lambda t: F.rms_norm(t["x"], (6,), t["weight"], eps=1e-5),
    "localresponsenorm": lambda t: F.local_response_norm(t["x"], 3, alpha=0.1, beta=0.75, k=1.0),
    "act_relu": lambda t: F.relu(t["x"]),
    "act_relu6": lambda t: F.relu6(t["x"]),
    "act_leakyrelu": lambda t: F.leaky_relu(t["x"], 0.1),
    "act_prelu": lambda t: F.prelu(t["x"], t["weight"]),
    "act_prelu_ch": lambda t: F.prelu(t["x"], t["weight"]),
    "act_gelu": lambda t: F.gelu(t["x"]),
    "act_softplus": lambda t: F.softplus(t["x"], 1.5),
    "act_softsign": lambda t: F.softsign(t["x"]),
    "act_tanh": lambda t: F.tanh(t["x"]),
    "act_sigmoid": lambda t: F.sigmoid(t["x"]),
    "act_hardtanh": lambda t: F.hardtanh(t["x"]),
    "act_hardsigmoid": lambda t: F.hardsigmoid(t["x"]),
    "act_logsigmoid": lambda t: F.log_sigmoid(t["x"]),
    "act_tanhshrink": lambda t: F.tanhshrink(t["x"]),
    "act_hardshrink": lambda t: F.hardshrink(t["x"], 0.3),
    "act_logsoftmax": lambda t: F.log_softmax(t["x"], axis=1),
    "act_glu": lambda t: F.glu(t["x"]),
    "softmax_large_logits": lambda t: F.log_softmax(t["x"], axis=1),
    "sigmoid_large": lambda t: F.log_sigmoid(t["x"]),
    "embedding": lambda t: F.embedding(t["idx"], t["weight"]),
    "shape_up_bilinear_ac": lambda t: F.interpolate(t["x"], size=(9, 7), mode="bilinear", align_corners=True),
    "shape_up_bicubic": lambda t: F.interpolate(t["x"], scale_factor=2, mode="bicubic"),
    "shape_reflectpad": lambda t: F.pad(t["x"], (1, 2, 2, 1), mode="reflect"),
    "shape_constpad": lambda t: F.pad(t["x"], (1, 0, 2, 1), value=0.5),
    "shape_circpad": lambda t: F.pad(t["x"], (1, 1, 1, 1), mode="circular"),
    "shape_pixelshuffle": lambda t: F.pixel_shuffle(t["x"], 2),
    "shape_unfold_im2col": lambda t: F.unfold(t["x"], 3, padding=1, stride=2),
    "rec_rnn_tanh": recurrent(gc.RNN, 5),
    "rec_rnn_relu": recurrent(gc.RNN, 5, nonlinearity="relu", batch_first=False),
    "rec_lstm": recurrent(gc.LSTM, 5),
    "rec_lstm_2layer_bi": recurrent(gc.LSTM, 3, num_layers=2, bidirectional=True, batch_first=False),
    "rec_gru_2layer_bi": recurrent(gc.GRU, 3, num_layers=2, bidirectional=True, batch_first=False),
    "attn_mha_cross": lambda t: gc.MultiheadAttention(8, 4, name="layer")(t["q"], t["kv"]),
    "attn_sdpa": lambda t: F.scaled_dot_product_attention(t["q"], t["k"], t["v"]),
    "loss_mse": lambda t: F.mse_loss(t["x"], t["y"]),
    "loss_l1": lambda t: F.l1_loss(t["x"], t["y"]),
    "loss_smoothl1": lambda t: F.smooth_l1_loss(t["x"], t["y"], beta=0.5),
    "loss_huber": lambda t: F.huber_loss(t["x"], t["y"], delta=0.7),
    "loss_ce": lambda t: F.cross_entropy(t["x"], t["y"]),
    "loss_ce_sum": lambda t: F.cross_entropy(t["x"], t["y"], reduction="sum"),
    "loss_ce_smooth": lambda t: F.cross_entropy(t["x"], t["y"], label_smoothing=0.1),
    "loss_ce_ignore": lambda t: F.cross_entropy(t["x"], t["y"], ignore_index=2),
    "loss_ce_spatial": lambda t: F.cross_entropy(t["x"], t["y"]),
    "loss_bcelogits": lambda t: F.binary_cross_entropy_with_logits(t["x"], t["y"]),
    "loss_bcelogits_large": lambda t: F.binary_cross_entropy_with_logits(t["x"], t["y"]),
    "loss_bcelogits_posweight": lambda t: F.binary_cross_entropy_with_logits(
        t["x"], t["y"], pos_weight=t["pos_weight"]
    ),
    "loss_poissonnll": lambda t: F.poisson_nll_loss(t["x"], t["y"]),
    "loss_gaussiannll": lambda t: F.gaussian_nll_loss(t["x"], t["y"], t["var"]),
    "loss_softmargin": lambda t: F.soft_margin_loss(t["x"], t["y"]),
    "loss_hingeembedding": lambda t: F.hinge_embedding_loss(t["x"], t["y"]),
    "loss_marginranking": lambda t: F.margin_ranking_loss(t["a"], t["b"], t["y"], margin=0.3),
    "loss_cosineembedding": lambda t: F.cosine_embedding_loss(t["a"], t["b"], t["y"]),
    "loss_triplet": lambda t: F.triplet_margin_loss(t["a"], t["p"], t["n"]),
    "fn_cumsum": lambda t: F.cumsum(t["x"], 1),
    "fn_matmul_broadcast": lambda t: t["a"] @ t["b"],
    "fn_minmax_where": minmax_where,
    "fn_reduce_max_prod": reduce_max_prod,
    "fn_gather_scatter": gather_scatter,
    "fn_transpose_reshape": transpose_reshape,
    "fn_l2_normalize": lambda t: F.normalize(t["x"]),
    "net_lenet": lenet,
}
"""Options that the index does not tell (a margin, the index to ignore) are those with which the values agree."""

PENDING: tuple[str, ...] = ()
"""Cases of layers that do not exist yet."""


ROUNDED = ("softmax_large_logits", "sigmoid_large", "loss_bcelogits", "loss_bcelogits_large", "act_hardsigmoid")
"""Cases whose expectations belong to the inputs before these were rounded to float32, or to 1/6 in float32."""


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
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for own, parameter in trace(outputs).parameters.items():
        layer, _, key = own.partition(".")
        if layer == "layer":
            parameter.value = case[f"param.{key}"]
            parameters[key] = parameter
    return Case(name, inputs, parameters, outputs, case)


def _parameter(name: str, value: np.ndarray, dtype: DType, trainable: bool = True) -> Parameter:
    parameter = Parameter(name, TensorType(value.shape, dtype), initialisers.zeros, trainable=trainable)
    parameter.value = value
    return parameter
