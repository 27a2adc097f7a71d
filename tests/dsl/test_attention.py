"""Attention and transformer layers against torch in float64: values and every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import graphc as gc
from graphc.errors import GraphError, ShapeError

torch = pytest.importorskip("torch")
Array = npt.NDArray[Any]

VALUE, GRADIENT = 1e-10, 1e-9


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def compare(
    layer: gc.Layer, module: Any, inputs: dict[str, Array], forward: Any = None, theirs: Any = None, **masks: Array
) -> None:
    """The layer and torch's module with its values: results, gradients of inputs and of parameters."""
    ours = {k: gc.input(k, (gc.BATCH, *v.shape[1:]), v.dtype) for k, v in inputs.items()}
    of_samples = {"key_padding_mask"}
    fixed = {
        k: gc.input(k, (gc.BATCH, *v.shape[1:]) if k in of_samples else v.shape, v.dtype) for k, v in masks.items()
    }
    y = (forward or layer)(*ours.values(), **fixed)
    if module is not None:
        layer.load_state_dict({k: v.detach().numpy() for k, v in module.state_dict().items()})
    cotangent = normal(9, *[len(next(iter(inputs.values()))) if e is gc.BATCH else e for e in y.shape])
    seed = gc.input("cotangent", y.shape, "float64")
    wrt = [*ours.values(), *layer.parameters()]
    program = gc.compile_gradients(y, cotangents=[seed], wrt=wrt)
    value, grads = program(**inputs, **masks, cotangent=cotangent)
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in inputs.items()}
    flags = {k: torch.tensor(v if v.dtype.kind == "f" else v.astype(bool)) for k, v in masks.items()}
    expected = (theirs or module)(*tensors.values(), **flags)
    expected = expected[0] if isinstance(expected, tuple) else expected
    (expected * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), atol=VALUE, rtol=VALUE)
    for k, tensor in tensors.items():
        np.testing.assert_allclose(grads[k], tensor.grad.numpy(), atol=GRADIENT, rtol=GRADIENT, err_msg=k)
    if module is not None:
        named = dict(module.named_parameters())
        for k, parameter in layer.named_parameters():
            got = grads[parameter.name]
            np.testing.assert_allclose(got, named[k].grad.numpy(), atol=GRADIENT, rtol=GRADIENT, err_msg=k)


class Attention(gc.Layer):
    """The function as a layer without parameters."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def forward(self, query: gc.Tensor, key: gc.Tensor, value: gc.Tensor, **masks: gc.Tensor) -> gc.Tensor:
        return gc.scaled_dot_product_attention(query, key, value, **masks, **self.options)


KEEP = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0]])
HEADS = {"query": normal(1, 2, 2, 4, 5), "key": normal(2, 2, 2, 6, 5), "value": normal(3, 2, 2, 6, 3)}


@pytest.mark.parametrize(
    "masks",
    [{}, {"attn_mask": KEEP}, {"attn_mask": np.where(KEEP, normal(4, 4, 6), -np.inf)}],
    ids=["none", "kept, one query without keys", "added"],
)
def test_scaled_dot_product_attention(masks: dict[str, Array]) -> None:
    theirs = torch.nn.functional.scaled_dot_product_attention
    compare(Attention(), None, HEADS, None, theirs, **masks)


def test_causal_attention_with_a_scale() -> None:
    def theirs(*tensors: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True, scale=0.3)

    compare(Attention(is_causal=True, scale=0.3), None, HEADS, None, theirs)


def test_large_scores_stay_finite() -> None:
    q, k, v = (gc.input(n, (1, 2, 4)) for n in "qkv")
    program = gc.compile_gradients(gc.scaled_dot_product_attention(q, k, v), cotangents=[v], wrt=[q, k, v])
    big = np.array([[[1e4, 0, 0, 0], [0, -1e4, 0, 0]]], np.float32)
    value, grads = program(q=big, k=big, v=big)
    np.testing.assert_allclose(value[0], [[1e4, 0, 0, 0], [0, -1e4, 0, 0]])
    assert all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize("bias", [True, False])
def test_self_attention(bias: bool) -> None:
    module = torch.nn.MultiheadAttention(6, 2, bias=bias, batch_first=True, dtype=torch.float64)
    layer = gc.MultiheadAttention(6, 2, bias=bias)

    def theirs(x: Any, **masks: Any) -> Any:
        return module(x, x, x, need_weights=False, **masks)

    padding = np.array([[0, 0, 1, 0], [0, 1, 1, 1]])
    compare(layer, module, {"x": normal(5, 2, 4, 6)}, lambda x, **m: layer(x, **m), theirs, key_padding_mask=padding)


def test_cross_attention_with_other_widths() -> None:
    module = torch.nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True, dtype=torch.float64)
    inputs = {"q": normal(5, 2, 3, 6), "k": normal(6, 2, 4, 4), "v": normal(7, 2, 4, 5)}
    ignored = np.array([[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
    compare(gc.MultiheadAttention(6, 3, kdim=4, vdim=5), module, inputs, attn_mask=ignored)


def test_weights_are_the_mean_over_the_heads() -> None:
    module = torch.nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)
    layer, x = gc.MultiheadAttention(6, 2), normal(5, 2, 4, 6)
    outputs = layer(gc.input("x", (gc.BATCH, 4, 6), "float64"), need_weights=True)
    layer.load_state_dict({k: v.detach().numpy() for k, v in module.state_dict().items()})
    tensor = torch.tensor(x)
    for ours, expected in zip(gc.compile_inference(outputs)(x=x), module(tensor, tensor, tensor), strict=True):
        np.testing.assert_allclose(ours, expected.detach().numpy(), atol=VALUE)


@pytest.mark.parametrize(("norm_first", "activation"), [(True, "gelu"), (False, "relu")])
def test_encoder_layer(norm_first: bool, activation: str) -> None:
    options = {"activation": activation, "norm_first": norm_first, "dropout": 0.0, "layer_norm_eps": 1e-6}
    module = torch.nn.TransformerEncoderLayer(6, 2, 8, **options, batch_first=True, dtype=torch.float64)
    compare(gc.TransformerEncoderLayer(6, 2, 8, **options), module, {"x": normal(5, 2, 4, 6)})


def test_decoder_stack() -> None:
    def make() -> Any:
        return torch.nn.TransformerDecoderLayer(6, 2, 8, 0.0, batch_first=True, norm_first=True, dtype=torch.float64)

    module = torch.nn.TransformerDecoder(make(), 2, torch.nn.LayerNorm(6, dtype=torch.float64))
    layer = gc.TransformerDecoder(lambda: gc.TransformerDecoderLayer(6, 2, 8, 0.0, norm_first=True), 2, gc.LayerNorm(6))
    later = np.triu(np.ones((3, 3), np.int64), 1)
    inputs = {"x": normal(5, 2, 3, 6), "memory": normal(6, 2, 4, 6)}
    compare(layer, module, inputs, tgt_mask=later)


def rotated(x: Array, base: float, interleaved: bool) -> Array:
    """Each pair of features as a complex number, turned."""
    half = x.shape[-1] // 2
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    angle = np.arange(x.shape[-2])[:, None] * base ** (-np.arange(half) / half)
    z = (a + 1j * b) * np.exp(1j * angle)
    if interleaved:
        return np.stack([z.real, z.imag], -1).reshape(x.shape)
    return np.concatenate([z.real, z.imag], -1)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_positions_turn_pairs_and_keep_lengths(interleaved: bool) -> None:
    x = normal(5, 2, 2, 7, 6)
    layer = gc.RotaryPositions(100.0, interleaved)
    program = gc.compile_inference(layer(gc.input("x", (gc.BATCH, 2, 7, 6), "float64")))
    got = program(x=x)
    np.testing.assert_allclose(got, rotated(x, 100.0, interleaved), atol=1e-12)
    np.testing.assert_allclose((got**2).sum(-1), (x**2).sum(-1), atol=1e-12)


def test_sinusoidal_positions() -> None:
    length, dim = 50, 8
    program = gc.compile_inference(gc.SinusoidalPositions()(gc.input("x", (gc.BATCH, length, dim), "float64")))
    expected = np.zeros((length, dim))
    for t in range(length):
        for i in range(dim // 2):
            angle = t / 10000 ** (2 * i / dim)
            expected[t, 2 * i : 2 * i + 2] = np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(program(x=np.zeros((1, length, dim)))[0], expected, atol=1e-12)


def test_a_vision_transformer_learns() -> None:
    model = gc.models.vision_transformer((1, 8, 8), 4, depth=1, embed_dim=8, num_heads=2, dim_feedforward=16)
    names = [n for n, _ in model.network.named_parameters()]
    assert {"encoder.layers.0.self_attn.in_proj_weight", "patch_embed.proj.weight"} <= set(names)
    training = gc.compile_training(model.loss, optimizer=gc.Adam(0.01))
    images, labels = normal(1, 8, 1, 8, 8).astype(np.float32), np.arange(8) % 4
    losses = [training.step(images=images, labels=labels)["loss"] for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]


def test_errors_say_what_fits() -> None:
    with pytest.raises(ShapeError, match=r"(?s)3 heads do not divide embed_dim=8.*embed_dim=9"):
        gc.MultiheadAttention(8, 3)
    with pytest.raises(GraphError, match="batch_first=True"):
        gc.MultiheadAttention(8, 2, batch_first=False)
    q, k = gc.input("q", (2, 3, 4)), gc.input("k", (2, 5, 6))
    with pytest.raises(ShapeError, match=r"the query \(2, 3, 4\) has 4 features, the key \(2, 5, 6\) has 6"):
        gc.scaled_dot_product_attention(q, k, k)
    mask = gc.input("mask", (5, 3), "int64")
    with pytest.raises(ShapeError, match=r"(?s)keep has shape \(5, 3\), the scores are \(2, 3, 3\).*use \(3, 3\)"):
        gc.scaled_dot_product_attention(q, q, q, mask)
    with pytest.raises(ShapeError, match="sides that are multiples of 4"):
        gc.PatchEmbedding(8, 4)(gc.input("x", (gc.BATCH, 3, 10, 8)))
    with pytest.raises(ShapeError, match="with pairs of features"):
        gc.rotary_positions(gc.input("x", (gc.BATCH, 3, 5)))
    positions = gc.LearnedPositions(4)
    with pytest.raises(ShapeError, match="use max_length=5"):
        positions(gc.input("x", (gc.BATCH, 5, 3)))
    with pytest.raises(GraphError, match="lambda: TransformerEncoderLayer"):
        gc.TransformerEncoder(gc.TransformerEncoderLayer(8, 2), 2)


def test_a_comparison_is_a_mask_of_what_counts_and_is_not_added() -> None:
    x = gc.input("x", (gc.BATCH, 3, 4), "float64")
    padding = gc.input("padding", (gc.BATCH, 3), "float64")
    below = gc.tril(gc.ones((3, 3), "float64")) > 0
    layer = gc.MultiheadAttention(4, 2, name="attention")
    outputs = (
        gc.scaled_dot_product_attention(x, x, x, attn_mask=below),
        gc.scaled_dot_product_attention(x, x, x, is_causal=True),
        layer(x, x, x, key_padding_mask=padding > 0.5),
        layer(x, x, x, key_padding_mask=padding.astype("int64")),
    )
    generator = np.random.default_rng(4)
    masked, causal, compared, given = gc.compile_inference(outputs)(
        x=generator.standard_normal((2, 3, 4)), padding=np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    )
    np.testing.assert_allclose(masked, causal, rtol=1e-14)
    np.testing.assert_allclose(compared, given, rtol=1e-14)
    assert np.abs(masked[:, 0] - masked[:, 1]).max() > 0.1
