"""jax.jit: plain functions of channels-last images; one compiled function for a whole training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.networks import (
    AVERAGING,
    BUFFERS,
    EPSILON,
    Array,
    BatchNorm,
    Conv,
    Dense,
    Encoder,
    Flatten,
    GlobalAverage,
    Layer,
    MaxPool,
    Offset,
    Recurrent,
    ReLU,
    Residual,
)
from benchmarks.tasks import LEARNING_RATE, MODES, MOMENTUM, Task, batches

VERSION = f"jax {jax.__version__}"

Values = dict[str, Any]


def is_weight(name: str) -> bool:
    """Whether a parameter is multiplied by, not added."""
    return "weight" in name.rpartition(".")[2]


def own_order(name: str, value: Array) -> Array:
    """A parameter in the order that XLA prefers: dense [inputs, units], filters [y, x, inputs, channels]."""
    match is_weight(name), value.ndim:
        case True, 2:
            return value.T
        case True, 4:
            return value.transpose(2, 3, 1, 0)
        case False, 3:  # of images
            return value.ravel()
        case _:
            return value


def common_order(name: str, value: Array, shape: tuple[int, ...]) -> Array:
    """The inverse, for a parameter of this shape."""
    match is_weight(name), len(shape):
        case True, 2:
            return value.T
        case True, 4:
            return value.transpose(3, 2, 0, 1)
        case _:
            return value.reshape(shape)


def standardised(own: str, values: Values, x: Any) -> Any:
    """Layer normalisation over the features."""
    centred = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return centred * scale * values[own + "weight"] + values[own + "bias"]


def encoder(layer: Encoder, own: str, values: Values, x: Any) -> Any:
    """A transformer's encoder layer, norm first."""
    h = standardised(f"{own}norm1.", values, x)
    together = h @ values[own + "self_attn.in_proj_weight"] + values[own + "self_attn.in_proj_bias"]
    q, k, v = jnp.split(together.reshape(*x.shape[:2], 3 * layer.heads, -1), 3, 2)
    mixed = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
    x = x + mixed @ values[own + "self_attn.out_proj.weight"] + values[own + "self_attn.out_proj.bias"]
    h = standardised(f"{own}norm2.", values, x)
    h = jax.nn.gelu(h @ values[own + "linear1.weight"] + values[own + "linear1.bias"], approximate=False)
    return x + h @ values[own + "linear2.weight"] + values[own + "linear2.bias"]


def states(layer: Recurrent, own: str, values: Values, x: Any) -> Any:
    """The states of an LSTM at all steps; the products with its inputs in front of the loop."""
    inputs = x @ values[own + "weight_ih_l0"] + (values[own + "bias_ih_l0"] + values[own + "bias_hh_l0"])

    def step(carry: Any, z: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ values[own + "weight_hh_l0"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((len(x), layer.hidden), x.dtype)
    return lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))[1].swapaxes(0, 1)


def run(layers: tuple[Layer, ...], path: str, values: Values, x: Any, training: bool) -> tuple[Any, Values]:
    """The result, and the new running averages when training."""
    averages: Values = {}
    for layer in layers:
        own = f"{path}{layer.name}."
        match layer:
            case Dense():
                x = x @ values[own + "weight"] + values[own + "bias"]
            case Conv():
                edges = ((layer.padding, layer.padding),) * 2
                x = lax.conv_general_dilated(
                    x, values[own + "weight"], (layer.stride, layer.stride), edges,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )  # fmt: skip
                x = x + values[own + "bias"] if layer.bias else x
            case BatchNorm():
                mean, variance = values[own + "running_mean"], values[own + "running_var"]
                if training:
                    count = x.size // layer.channels
                    batch_mean = x.mean((0, 1, 2))
                    batch_variance = ((x - batch_mean) ** 2).mean((0, 1, 2))
                    averages[own + "running_mean"] = (1 - AVERAGING) * mean + AVERAGING * batch_mean
                    unbiased = batch_variance * (count / (count - 1))
                    averages[own + "running_var"] = (1 - AVERAGING) * variance + AVERAGING * unbiased
                    mean, variance = batch_mean, batch_variance
                scale = lax.rsqrt(variance + EPSILON) * values[own + "weight"]
                x = (x - mean) * scale + values[own + "bias"]
            case Offset():
                x = x + values[own + "bias"]
            case Residual():
                y, inner = run(layer.body, own, values, x, training)
                averages |= inner
                x = x[:, :: layer.stride, :: layer.stride]
                x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, layer.channels - layer.inputs)))
                x = jax.nn.relu(x + y)
            case Encoder():
                x = encoder(layer, own, values, x)
            case Recurrent():
                x = states(layer, own, values, x)
            case MaxPool():
                window = (1, layer.size, layer.size, 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            case ReLU():
                x = jax.nn.relu(x)
            case Flatten():
                x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
            case GlobalAverage():
                x = x.mean((1, 2))
    return x, averages


class Contender:
    """A training step whose parameters are donated, and an inference function."""

    modes = MODES

    def __init__(self, task: Task, parameters: Mapping[str, Array], threads: int) -> None:
        network, self.given = task.network, parameters
        values = {name: jnp.asarray(own_order(name, value)) for name, value in parameters.items()}
        self.averages = {n: v for n, v in values.items() if n.rpartition(".")[2] in BUFFERS}
        self.weights = {n: v for n, v in values.items() if n not in self.averages}
        self.velocity = jax.tree.map(jnp.zeros_like, self.weights)
        inputs = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x, _ in batches(task)]
        self.images = [jnp.asarray(np.ascontiguousarray(x)) for x in inputs]
        self.labels = [jnp.asarray(y) for _, y in batches(task)]

        def loss(weights: Values, averages: Values, x: Any, y: Any) -> tuple[Any, Values]:
            result, new = run(network.layers, "", weights | averages, x, True)
            if not network.labelled:
                return (result * result).mean(), new
            chosen = jnp.take_along_axis(jax.nn.log_softmax(result), y[:, None], 1)
            return -chosen.mean(), new

        def step(weights: Values, velocity: Values, averages: Values, x: Any, y: Any) -> Any:
            (value, averages), gradients = jax.value_and_grad(loss, has_aux=True)(weights, averages, x, y)
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
            weights = jax.tree.map(lambda w, v: w - LEARNING_RATE * v, weights, velocity)
            return weights, velocity, averages, value

        self.step = jax.jit(step, donate_argnums=(0, 1, 2))
        self.forward = jax.jit(lambda w, a, x: run(network.layers, "", w | a, x, False)[0])

    def prepare(self, mode: str) -> None:
        """Nothing: the first call compiles."""

    def train(self, k: int) -> Any:
        self.weights, self.velocity, self.averages, loss = self.step(
            self.weights, self.velocity, self.averages, self.images[k], self.labels[k]
        )
        return loss.block_until_ready()

    def infer(self, k: int) -> Any:
        return self.forward(self.weights, self.averages, self.images[k]).block_until_ready()

    def logits(self, k: int) -> Array:
        result = np.asarray(self.infer(k))
        return result.transpose(0, 3, 1, 2) if result.ndim == 4 else result

    def parameters(self) -> dict[str, Array]:
        own = self.weights | self.averages
        return {name: common_order(name, np.asarray(own[name]), value.shape) for name, value in self.given.items()}


def warm_up() -> None:
    """What the first use of the compiler costs once."""
    jax.jit(lambda x: x + 1)(jnp.zeros(4)).block_until_ready()
