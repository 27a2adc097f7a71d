"""Functions under the names and with the arguments that users of PyTorch know: values and gradients in float64.

Every expression runs twice, once with graphc's functions and once with torch's. An axis stands in its place, for one
side calls it axis and the other dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.against_torch import Expression, agree

CONVOLUTIONS: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "conv1d": (lambda f, x, w, b: f.conv1d(x, w, b, 2, 1, 2), ((2, 3, 11), (4, 3, 3), (4,))),
    "conv1d same": (lambda f, x, w: f.conv1d(x, w, padding="same", dilation=2), ((2, 3, 8), (4, 3, 3))),
    "conv1d valid": (lambda f, x, w: f.conv1d(x, w, padding="valid"), ((2, 3, 8), (4, 3, 3))),
    "conv1d depthwise": (lambda f, x, w, b: f.conv1d(x, w, b, groups=3), ((2, 3, 8), (6, 1, 4), (6,))),
    "conv2d": (lambda f, x, w, b: f.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)), ((2, 3, 7, 6), (4, 3, 3, 2), (4,))),
    "conv2d same even": (lambda f, x, w: f.conv2d(x, w, padding="same"), ((1, 2, 5, 6), (3, 2, 4, 2))),
    "conv2d groups": (lambda f, x, w, b: f.conv2d(x, w, b, 2, 1, groups=2), ((2, 4, 6, 5), (6, 2, 3, 3), (6,))),
    "conv3d": (lambda f, x, w, b: f.conv3d(x, w, b, 2, 1), ((1, 2, 5, 4, 5), (3, 2, 3, 3, 3), (3,))),
    "conv3d groups": (
        lambda f, x, w: f.conv3d(x, w, padding=(0, 1, 0), dilation=(1, 1, 2), groups=2),
        ((1, 2, 3, 4, 5), (4, 1, 2, 3, 2)),
    ),
    "conv_transpose1d": (
        lambda f, x, w, b: f.conv_transpose1d(x, w, b, 3, 1, 2, 1, 2),
        ((2, 3, 5), (3, 2, 4), (2,)),
    ),
    "conv_transpose1d groups": (
        lambda f, x, w: f.conv_transpose1d(x, w, stride=2, groups=2),
        ((2, 4, 5), (4, 3, 3)),
    ),
    "conv_transpose2d": (
        lambda f, x, w, b: f.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2)),
        ((2, 3, 4, 3), (3, 2, 3, 3), (2,)),
    ),
    "conv_transpose2d groups": (
        lambda f, x, w, b: f.conv_transpose2d(x, w, b, 2, 1, 1, groups=2, dilation=2),
        ((1, 4, 4, 3), (4, 2, 3, 3), (4,)),
    ),
    "conv_transpose3d": (
        lambda f, x, w: f.conv_transpose3d(x, w, stride=2, padding=1),
        ((1, 2, 3, 2, 3), (2, 3, 3, 2, 3)),
    ),
    "unfold": (lambda f, x: f.unfold(x, (2, 3), (1, 2), (1, 0), (2, 1)), ((2, 3, 6, 7),)),
    "fold": (lambda f, x: f.fold(x, (4, 5), 3, padding=1, stride=2), ((2, 18, 6),)),
}

POOLS: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "max_pool1d": (lambda f, x: f.max_pool1d(x, 3, 2, 1, 2, True), ((2, 3, 12),)),
    "max_pool2d": (lambda f, x: f.max_pool2d(x, (3, 2), (2, 1), (1, 0)), ((2, 3, 7, 6),)),
    "max_pool2d ceil": (lambda f, x: f.max_pool2d(x, 3, 2, ceil_mode=True), ((2, 3, 8, 7),)),
    "max_pool3d": (lambda f, x: f.max_pool3d(x, 2, 1, 1, dilation=(1, 2, 1)), ((1, 2, 3, 4, 3),)),
    "max_pool2d indices": (lambda f, x: f.max_pool2d(x, 2, return_indices=True), ((2, 3, 5, 4),)),
    "avg_pool1d": (lambda f, x: f.avg_pool1d(x, 3, 2, 1, True, False), ((2, 3, 8),)),
    "avg_pool2d": (lambda f, x: f.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True), ((2, 3, 8, 7),)),
    "avg_pool2d divisor": (lambda f, x: f.avg_pool2d(x, 3, divisor_override=5), ((2, 3, 7, 6),)),
    "avg_pool3d": (lambda f, x: f.avg_pool3d(x, 2, padding=1, count_include_pad=False), ((1, 2, 4, 3, 5),)),
    "lp_pool1d": (lambda f, x: f.lp_pool1d(x, 3, 2), ((2, 3, 7),)),
    "lp_pool2d": (lambda f, x: f.lp_pool2d(x, 2.0, (2, 3), ceil_mode=True), ((2, 3, 5, 7),)),
    "adaptive_avg_pool1d": (lambda f, x: f.adaptive_avg_pool1d(x, 3), ((2, 3, 8),)),
    "adaptive_avg_pool2d": (lambda f, x: f.adaptive_avg_pool2d(x, (None, 2)), ((2, 3, 4, 5),)),
    "adaptive_avg_pool3d": (lambda f, x: f.adaptive_avg_pool3d(x, (2, 1, 3)), ((1, 2, 3, 4, 5),)),
    "adaptive_max_pool1d": (lambda f, x: f.adaptive_max_pool1d(x, 3), ((2, 3, 8),)),
    "adaptive_max_pool3d": (lambda f, x: f.adaptive_max_pool3d(x, 2), ((1, 2, 3, 4, 5),)),
    "max_unpool2d": (
        lambda f, x: f.max_unpool2d(*f.max_pool2d(x, 2, return_indices=True), 2, output_size=(5, 4)),
        ((2, 3, 5, 4),),
    ),
    "max_unpool1d": (lambda f, x: f.max_unpool1d(*f.max_pool1d(x, 2, return_indices=True), 2), ((2, 3, 6),)),
}

RESAMPLING: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "nearest": (lambda f, x: f.interpolate(x, scale_factor=2), ((2, 3, 4, 3),)),
    "nearest down": (lambda f, x: f.interpolate(x, (3, 2)), ((2, 3, 7, 5),)),
    "nearest-exact": (lambda f, x: f.interpolate(x, (3, 7), mode="nearest-exact"), ((2, 3, 7, 5),)),
    "linear": (lambda f, x: f.interpolate(x, 7, mode="linear"), ((2, 3, 4),)),
    "bilinear": (lambda f, x: f.interpolate(x, scale_factor=(1.5, 2), mode="bilinear"), ((2, 3, 4, 3),)),
    "bilinear corners": (lambda f, x: f.interpolate(x, (7, 3), mode="bilinear", align_corners=True), ((2, 1, 4, 5),)),
    "bicubic": (lambda f, x: f.interpolate(x, (7, 3), mode="bicubic"), ((2, 1, 4, 5),)),
    "bicubic corners": (lambda f, x: f.interpolate(x, (7, 9), mode="bicubic", align_corners=True), ((2, 1, 4, 5),)),
    "trilinear": (lambda f, x: f.interpolate(x, scale_factor=2, mode="trilinear"), ((1, 2, 2, 3, 2),)),
    "area": (lambda f, x: f.interpolate(x, (3, 2), mode="area"), ((2, 3, 6, 5),)),
    "pixel_shuffle": (lambda f, x: f.pixel_shuffle(x, 3), ((2, 18, 2, 3),)),
    "pixel_unshuffle": (lambda f, x: f.pixel_unshuffle(x, 2), ((2, 3, 4, 6),)),
    "channel_shuffle": (lambda f, x: f.channel_shuffle(x, 3), ((2, 6, 2, 3),)),
    "pad": (lambda f, x: f.pad(x, (1, 2, 0, 3), value=-0.5), ((2, 3, 4, 5),)),
    "pad crops": (lambda f, x: f.pad(x, (-1, 2, 1, -2)), ((2, 3, 4, 5),)),
    "pad reflect": (lambda f, x: f.pad(x, (2, 1), mode="reflect"), ((2, 3, 5),)),
    "pad replicate": (lambda f, x: f.pad(x, (2, 1, 0, 3, 1, 1), mode="replicate"), ((1, 2, 3, 4, 3),)),
    "pad circular": (lambda f, x: f.pad(x, (2, 1, 3, 0), mode="circular"), ((2, 1, 4, 3),)),
}

ACTIVATIONS: dict[str, Expression] = {
    "relu": lambda f, x: f.relu(x),
    "relu6": lambda f, x: f.relu6(4 * x),
    "leaky_relu": lambda f, x: f.leaky_relu(x, 0.2),
    "elu": lambda f, x: f.elu(x, 1.5),
    "selu": lambda f, x: f.selu(x),
    "celu": lambda f, x: f.celu(x, 0.5),
    "gelu": lambda f, x: f.gelu(x),
    "gelu tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x: f.silu(x),
    "mish": lambda f, x: f.mish(x),
    "softplus": lambda f, x: f.softplus(x, 2.0),
    "softsign": lambda f, x: f.softsign(x),
    "hardtanh": lambda f, x: f.hardtanh(x, -0.5, 0.8),
    "hardswish": lambda f, x: f.hardswish(3 * x),
    "hardshrink": lambda f, x: f.hardshrink(x, 0.4),
    "softshrink": lambda f, x: f.softshrink(x, 0.4),
    "tanhshrink": lambda f, x: f.tanhshrink(x),
    "threshold": lambda f, x: f.threshold(x, 0.1, 20.0),
    "glu": lambda f, x: f.glu(x, 1),
    "softmax": lambda f, x: f.softmax(x, 1),
    "softmin": lambda f, x: f.softmin(x, 2),
    "log_softmax": lambda f, x: f.log_softmax(x, 0),
    "normalize": lambda f, x: f.normalize(x, 3.0, 1),
}

ELEMENTS: dict[str, Expression] = {
    "exp expm1 exp2": lambda f, x: (f.exp(x), f.expm1(x), f.exp2(x)),
    "logarithms": lambda f, x: (f.log(x * x + 1), f.log1p(x * x), f.log2(x * x + 1), f.log10(x * x + 1)),
    "roots": lambda f, x: (f.sqrt(x * x + 1), f.rsqrt(x * x + 1), f.reciprocal(x * x + 1), f.square(x)),
    "circle": lambda f, x: (f.sin(x), f.cos(x), f.tan(x / 2)),
    "inverse": lambda f, x: (f.asin(x / 4), f.acos(x / 4), f.atan(x)),
    "hyperbolic": lambda f, x: (f.sinh(x), f.cosh(x), f.tanh(x), f.sigmoid(x)),
    "erf erfc": lambda f, x: (f.erf(x), f.erfc(x)),
    "abs sign": lambda f, x: (f.abs(x), f.sign(x)),
    "rounding": lambda f, x: (f.floor(3 * x), f.ceil(3 * x), f.round(3 * x), f.trunc(3 * x)),
    "clamp": lambda f, x: (f.clamp(x, -0.5, 0.7), f.clamp(x, min=0.1), f.clip(x, -1, 1)),
    "powers": lambda f, x: (x**3, (x * x + 1) ** 0.3, 2.0**x, (x * x + 1) ** x),
    "slices": lambda f, x: (x[1], x[:, 1:, ::2], x[..., -1], x[None, :, 0], x[:, :, 1:2]),
    "comparisons": lambda f, x: (f.where(x > 0.3, x, x * x), f.maximum(x, x * x), f.minimum(x, 0.5 * x)),
}

REDUCTIONS: dict[str, Expression] = {
    "sum": lambda f, x: (f.sum(x), f.sum(x, 1), f.sum(x, (0, 2)), f.sum(x, -1, True)),
    "mean": lambda f, x: (f.mean(x), f.mean(x, 1), f.mean(x, (0, 2), True)),
    "amax amin": lambda f, x: (f.amax(x, 1), f.amin(x, (0, 2)), f.amax(x, -1, True)),
    "prod": lambda f, x: (f.prod(x), f.prod(x, 1), f.prod(x, 2, True)),
    "var": lambda f, x: (f.var(x), f.var(x, 1), f.var(x, (0, 2), correction=0)),
    "std": lambda f, x: (f.std(x), f.std(x, 1), f.std(x, (0, 2), correction=0)),
    "norm": lambda f, x: (f.norm(x), f.norm(x, 1, 1), f.norm(x, 3, (0, 2)), f.norm(x, 2, 1, True)),
    "logsumexp": lambda f, x: (f.logsumexp(x, 1), f.logsumexp(x, (0, 2)), f.logsumexp(x, -1, True)),
    "positions": lambda f, x: (f.argmax(x, 1), f.argmin(x, 2), f.argmax(x, -1, True)),
    "cumulative": lambda f, x: (f.cumsum(x, 0), f.cumsum(x, 2), f.cumprod(x, 1)),
    "sort": lambda f, x: (*f.sort(x, 1), *f.sort(x, -1, True), f.argsort(x, 0)),
    "topk": lambda f, x: (*f.topk(x, 2), *f.topk(x, 2, 0, False)),
}

MOVEMENT: dict[str, Expression] = {
    "flip roll": lambda f, x: (f.flip(x, (0, 2)), f.roll(x, 2, 1), f.roll(x, (1, -2), (0, 2))),
    "tile": lambda f, x: (f.tile(x, (2, 1, 3)), f.repeat_interleave(x, 2, 1)),
    "squeeze": lambda f, x: (f.unsqueeze(x, 1), f.squeeze(f.unsqueeze(x, 0), 0)),
    "permute": lambda f, x: (f.permute(x, (2, 0, 1)), f.transpose(x, 0, 2), f.movedim(x, 0, 2), f.swapaxes(x, 0, 1)),
    "cat stack": lambda f, x: (f.cat([x, 2 * x], 1), f.stack([x, x * x], 1), f.cat([x[:1], x], 0)),
    "split": lambda f, x: (*f.split(x, 2, 1), *f.split(x, [1, 3], 1), *f.chunk(x, 2, 2), *f.unbind(x, 0)),
    "triangles": lambda f, x: (f.tril(x), f.triu(x, 1), f.tril(x, -1)),
    "diagonals": lambda f, x: (f.diagonal(x, 0, 1, 2), f.diag_embed(x), f.diag(x[0])),
    "reshape": lambda f, x: (f.reshape(x, (6, -1)), f.flatten(x, 1)),
}

PAIRS: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "matmul": (lambda f, a, b: f.matmul(a, b), ((2, 1, 3, 4), (5, 4, 2))),
    "matmul vectors": (lambda f, a, b: (f.matmul(a, b), f.matmul(b, a[0])), ((3, 4), (4,))),
    "einsum": (lambda f, a, b: f.einsum("bik,bkj->bij", a, b), ((2, 3, 4), (2, 4, 5))),
    "einsum trace": (lambda f, a, b: f.einsum("ii,kj->jk", a, b), ((3, 3), (2, 4))),
    "einsum ellipsis": (lambda f, a, b: f.einsum("...i,...i->...", a, b), ((2, 3, 4), (3, 4))),
    "outer dot": (lambda f, a, b: (f.outer(a, b), f.dot(a, a)), ((4,), (3,))),
    "kron": (lambda f, a, b: f.kron(a, b), ((2, 3), (4, 2))),
    "linear": (lambda f, x, w, b: f.linear(x, w, b), ((2, 3, 4), (5, 4), (5,))),
    "bilinear": (lambda f, x, y, w, b: f.bilinear(x, y, w, b), ((2, 3), (2, 4), (5, 3, 4), (5,))),
    "cdist": (lambda f, a, b: (f.cdist(a, b), f.cdist(a, b, 1.0), f.cdist(a, b, 3.0)), ((2, 3, 4), (2, 5, 4))),
    "cosine_similarity": (lambda f, a, b: f.cosine_similarity(a, b, 1), ((3, 4), (3, 4))),
    "pairwise_distance": (lambda f, a, b: f.pairwise_distance(a, b), ((3, 4), (3, 4))),
    "attention": (
        lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v),
        ((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)),
    ),
    "attention causal": (
        lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        ((2, 4, 3), (2, 4, 3), (2, 4, 5)),
    ),
    "attention bias": (
        lambda f, q, k, v, m: f.scaled_dot_product_attention(q, k, v, m),
        ((2, 3, 4), (2, 5, 4), (2, 5, 3), (3, 5)),
    ),
    "layer_norm": (lambda f, x, w, b: f.layer_norm(x, (4, 5), w, b), ((3, 4, 5), (4, 5), (4, 5))),
    "group_norm": (lambda f, x, w, b: f.group_norm(x, 2, w, b, 1e-3), ((3, 4, 2, 3), (4,), (4,))),
    "instance_norm": (lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b), ((3, 4, 2, 3), (4,), (4,))),
    "rms_norm": (lambda f, x, w: f.rms_norm(x, (5,), w), ((3, 4, 5), (5,))),
    "local_response_norm": (lambda f, x: f.local_response_norm(x, 4, 0.5, 0.6, 2.0), ((2, 7, 3),)),
    "prelu": (lambda f, x, w: f.prelu(x, w), ((2, 3, 4), (3,))),
    "batch_norm": (
        lambda f, x, m, v, w, b: f.batch_norm(x, m * 1.0, f.exp(v), w, b, False, eps=1e-3),
        ((4, 3, 5), ("fixed", (3,)), ("fixed", (3,)), (3,), (3,)),
    ),
}

LOSSES: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    f"{name} {reduction}": (lambda f, *t, e=expression, r=reduction: e(f, r, *t), shapes)
    for reduction in ("mean", "sum", "none")
    for name, (expression, shapes) in {
        "mse": (lambda f, r, x, y: f.mse_loss(x, y, reduction=r), ((3, 4), (3, 4))),
        "l1": (lambda f, r, x, y: f.l1_loss(x, y, reduction=r), ((3, 4), (3, 4))),
        "smooth l1": (lambda f, r, x, y: f.smooth_l1_loss(x, y, reduction=r, beta=0.4), ((3, 4), (3, 4))),
        "huber": (lambda f, r, x, y: f.huber_loss(x, y, reduction=r, delta=0.6), ((3, 4), (3, 4))),
        "bce": (lambda f, r, x, y: f.binary_cross_entropy(f.sigmoid(x), f.sigmoid(y), reduction=r), ((3, 4), (3, 4))),
        "bce weight": (
            lambda f, r, x, y, w: f.binary_cross_entropy(f.sigmoid(x), f.sigmoid(y), f.exp(w), reduction=r),
            ((3, 4), (3, 4), ("fixed", (3, 1))),
        ),
        "bce logits": (
            lambda f, r, x, y, w, p: f.binary_cross_entropy_with_logits(x, y, w, pos_weight=p, reduction=r),
            ((3, 4), (3, 4), ("fixed", (4,)), ("fixed", (4,))),
        ),
        "kl": (
            lambda f, r, x, y: f.kl_div(f.log_softmax(x, 1), f.softmax(y, 1), reduction=r),
            ((3, 4), (3, 4)),
        ),
        "kl logarithms": (
            lambda f, r, x, y: f.kl_div(f.log_softmax(x, 1), f.log_softmax(y, 1), reduction=r, log_target=True),
            ((3, 4), (3, 4)),
        ),
        "poisson": (lambda f, r, x, y: f.poisson_nll_loss(x, f.exp(y), reduction=r), ((3, 4), (3, 4))),
        "poisson full": (
            lambda f, r, x, y: f.poisson_nll_loss(f.exp(x), 3 * f.exp(y), log_input=False, full=True, reduction=r),
            ((3, 4), (3, 4)),
        ),
        "gaussian": (
            lambda f, r, x, y, v: f.gaussian_nll_loss(x, y, f.exp(v), full=True, reduction=r),
            ((3, 4), (3, 4), (3, 4)),
        ),
        "cross entropy": (
            lambda f, r, x, y: f.cross_entropy(x, y, reduction=r),
            ((5, 4), ("int", 4, (5,))),
        ),
        "cross entropy weights": (
            lambda f, r, x, y, w: f.cross_entropy(x, y, f.exp(w), reduction=r, ignore_index=1, label_smoothing=0.1),
            ((6, 4), ("int", 4, (6,)), ("fixed", (4,))),
        ),
        "cross entropy spatial": (
            lambda f, r, x, y, w: f.cross_entropy(x, y, f.exp(w), reduction=r),
            ((2, 4, 3, 2), ("int", 4, (2, 3, 2)), ("fixed", (4,))),
        ),
        "cross entropy dense": (
            lambda f, r, x, y: f.cross_entropy(x, f.softmax(y, 1), reduction=r, label_smoothing=0.2),
            ((5, 4), (5, 4)),
        ),
        "nll": (
            lambda f, r, x, y, w: f.nll_loss(f.log_softmax(x, 1), y, f.exp(w), reduction=r, ignore_index=2),
            ((6, 4), ("int", 4, (6,)), ("fixed", (4,))),
        ),
        "hinge embedding": (
            lambda f, r, x, y: f.hinge_embedding_loss(x, 2 * y - 1, 0.5, reduction=r),
            ((3, 4), ("int", 2, (3, 4))),
        ),
        "margin ranking": (
            lambda f, r, a, b, y: f.margin_ranking_loss(a, b, 2 * y - 1, 0.3, reduction=r),
            ((5,), (5,), ("int", 2, (5,))),
        ),
        "cosine embedding": (
            lambda f, r, a, b, y: f.cosine_embedding_loss(a, b, 2 * y - 1, 0.2, reduction=r),
            ((5, 4), (5, 4), ("int", 2, (5,))),
        ),
        "triplet": (
            lambda f, r, a, p, n: f.triplet_margin_loss(a, p, n, 0.7, 2.0, swap=True, reduction=r),
            ((5, 4), (5, 4), (5, 4)),
        ),
        "soft margin": (
            lambda f, r, x, y: f.soft_margin_loss(x, 2 * y - 1, reduction=r),
            ((3, 4), ("int", 2, (3, 4))),
        ),
        "multi margin": (
            lambda f, r, x, y, w: f.multi_margin_loss(x, y, p=2, margin=0.8, weight=f.exp(w), reduction=r),
            ((5, 4), ("int", 4, (5,)), ("fixed", (4,))),
        ),
        "multilabel soft margin": (
            lambda f, r, x, y, w: f.multilabel_soft_margin_loss(x, f.sigmoid(y), f.exp(w), reduction=r),
            ((3, 4), (3, 4), ("fixed", (4,))),
        ),
        "multilabel margin": (
            lambda f, r, x, y: f.multilabel_margin_loss(x, y, reduction=r),
            ((4, 5), np.array([[3, 0, -1, 1, 2], [4, -1, 0, 0, 0], [-1, 2, 3, 1, 0], [0, 1, 2, 3, 4]])),
        ),
    }.items()
}

SELECTION: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "embedding": (lambda f, i, w: f.embedding(i, w), (("int", 5, (2, 3)), (5, 4))),
    "embedding padding": (lambda f, i, w: f.embedding(i, w, 2), (("int", 5, (2, 3)), (5, 4))),
    "gather": (lambda f, x, i: f.gather(x, 1, i), ((3, 5), ("int", 5, (3, 4)))),
    "index_select": (lambda f, x, i: f.index_select(x, 2, i), ((2, 3, 5), ("int", 5, (4,)))),
    "scatter_add": (lambda f, x, i, s: f.scatter_add(x, 1, i, s), ((3, 5), ("int", 5, (3, 4)), (3, 4))),
    "one_hot": (lambda f, i: f.one_hot(i, 6), (("int", 6, (2, 3)),)),
    "where": (lambda f, i, a, b: f.where(i > 0, a, b), (("int", 2, (3, 4)), (3, 4), (3, 4))),
    "advanced index": (lambda f, x, i: x[:, i], ((3, 5), ("int", 5, (4,)))),
}

X = (2, 4, 6)
CASES: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    **CONVOLUTIONS, **POOLS, **RESAMPLING, **PAIRS, **LOSSES, **SELECTION,
    **{name: (e, (X,)) for table in (ACTIVATIONS, ELEMENTS, REDUCTIONS) for name, e in table.items()},
    **{name: (e, ((3, 4, 4),)) for name, e in MOVEMENT.items()},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_torch(name: str) -> None:
    expression, operands = CASES[name]
    random = np.random.default_rng(sum(map(ord, name)))
    fixed = [k for k, o in enumerate(operands) if isinstance(o, tuple) and o[0] == "fixed"]
    agree(expression, [array(o, random) for o in operands], fixed)


def array(operand: Any, random: np.random.Generator) -> np.ndarray:
    match operand:
        case np.ndarray():
            return operand
        case ("int", int(below), tuple() as shape):
            return random.integers(0, below, shape)
        case ("fixed", tuple() as shape) | shape:
            return random.normal(size=shape)
