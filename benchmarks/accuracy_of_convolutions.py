"""How exact 3x3 convolutions are: `python benchmarks/accuracy_of_convolutions.py`.

Errors in single precision relative to torch in double precision, of the forward pass and both gradients, divided by
those of the most exact peer for the same numbers. Channels and images are those of residual networks; filters are
normal with the variance of He's initialisation. The best peer is chosen anew for every row and for each of the two
measures, the largest error and the root mean square: the mean over kinds of images and seeds, in brackets the worst.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graphc.autodiff.backward import gradients
from graphc.codegen.target import host
from graphc.graph.builder import Builder
from graphc.ops.operator import OPERATORS
from graphc.passes import History, run
from graphc.pipeline import SIMPLE, lowering_passes, verify
from graphc.runtime.executable import Executable
from graphc.runtime.jit import compile_ir
from graphc.schedule.arrange import arrange
from graphc.train.data import load_digits
from graphc.types import BATCH, TensorType

Array = np.ndarray
Results = list[Array]
POLICIES = ("auto", "fast", "off")
PASSES = ("forward", "by the images", "by the filter")
SHAPES = ((16, 32, 8), (32, 28, 8), (64, 56, 4), (128, 28, 4), (256, 14, 4))
"""Channels, height and width, batch."""


def digits(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Pictures of handwritten digits, magnified; every channel is a random mixture of some, then rectified."""
    count, channels, size, _ = shape
    pictures = load_digits().images.reshape(-1, 8, 8)
    times = -(-size // 8)
    drawn = pictures[random.integers(0, len(pictures), (count, 4))].repeat(times, 2).repeat(times, 3)[..., :size, :size]
    mixed = np.einsum("cm,nmyx->ncyx", random.standard_normal((channels, 4)), drawn)
    return np.maximum(mixed, 0)


IMAGES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "rectified": lambda random, shape: np.maximum(random.standard_normal(shape), 0),
    "uniform": lambda random, shape: random.uniform(0, 1, shape),
    "digits": digits,
}


def by_graphc(policy: str, channels: int, size: int) -> Callable[[Array, Array, Array], Results]:
    """Forward and both gradients as one native program; the cotangent is an input."""
    b = Builder()
    images = b.input("x", TensorType((BATCH, channels, size, size)))
    cotangent = b.input("g", TensorType((BATCH, channels, size, size)))
    weight = b.parameter("w", TensorType((channels, channels, 3, 3)))
    y = b.apply(OPERATORS["conv2d"], (images, weight), {"padding": 1})
    graph, found = gradients(b.graph((y,)), y, (images, weight), cotangent)
    graph, target, history = replace(graph, outputs=(y, *found)), host(), History()
    text = run((*SIMPLE, *lowering_passes(target, policy)), graph, verify, (history,))
    program = history["assign_buffers"]
    executable = Executable(program, history["expand_transcendentals"], compile_ir(text, target))

    def results(x: Array, w: Array, g: Array) -> Results:
        memory = program.memory("w")
        executable.bind("w", arrange(w, memory.layout, memory.value.type))
        executable.run({"x": x, "g": g}, len(x), 1)
        return [executable.output(name, len(x)).copy() for name in program.outputs]

    return results


def by_torch(
    layout: torch.memory_format, dtype: torch.dtype = torch.float32
) -> Callable[[Array, Array, Array], Results]:
    """Forward and both gradients by torch."""

    def results(x: Array, w: Array, g: Array) -> Results:
        given = [torch.tensor(a, dtype=dtype).to(memory_format=layout) for a in (x, w)]
        images, weight = (t.requires_grad_() for t in given)
        y = torch.nn.functional.conv2d(images, weight, padding=1)
        y.backward(torch.tensor(g, dtype=dtype).to(memory_format=layout))
        assert images.grad is not None
        assert weight.grad is not None
        return [t.detach().numpy() for t in (y, images.grad, weight.grad)]

    return results


@jax.jit
def _by_jax(x: Any, w: Any, g: Any) -> Any:
    def convolved(x: Any, w: Any) -> Any:
        return jax.lax.conv(x, w, (1, 1), "SAME")

    y, pull = jax.vjp(convolved, x, w)
    return (y, *pull(g))


def by_jax(x: Array, w: Array, g: Array) -> Results:
    """Forward and both gradients by jax."""
    return [np.asarray(a) for a in _by_jax(x, w, g)]


def by_onnxruntime(x: Array, w: Array, g: Array) -> Results:
    """Forward alone."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    tensors = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in zip("xwy", (x, w, g), strict=True)
    ]
    model = helper.make_model(
        helper.make_graph([node], "convolution", tensors[:2], tensors[2:]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(a) for a in session.run(None, {"x": x, "w": w})]


PEERS: Mapping[str, Callable[[Array, Array, Array], Results]] = {
    "torch": by_torch(torch.contiguous_format),
    "torch channels last": by_torch(torch.channels_last),
    "jax": by_jax,
    "onnxruntime": by_onnxruntime,
}


def errors(got: Array, exact: Array) -> Array:
    """(largest, root mean square) of the differences."""
    off = got.astype(np.float64) - exact
    return np.array([np.abs(off).max(), np.sqrt(np.mean(off**2))])


def ratios(shape: tuple[int, int, int], kinds: Sequence[str], seeds: int) -> Mapping[tuple[str, str], Array]:
    """(pass, policy) -> for each kind of images and seed the errors divided by those of the best peer."""
    channels, size, batch = shape
    programs = {policy: by_graphc(policy, channels, size) for policy in POLICIES}
    found: dict[tuple[str, str], list[Array]] = {}
    for kind, seed in product(kinds, range(seeds)):
        random = np.random.default_rng(seed)
        x = IMAGES[kind](random, (batch, channels, size, size)).astype(np.float32)
        w = (random.standard_normal((channels, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(np.float32)
        g = random.standard_normal(x.shape).astype(np.float32)
        exact = by_torch(torch.contiguous_format, torch.float64)(x, w, g)
        peers = [[errors(a, e) for a, e in zip(p(x, w, g), exact, strict=False)] for p in PEERS.values()]
        for policy, program in programs.items():
            for k, (a, e) in enumerate(zip(program(x, w, g), exact, strict=True)):
                best = np.min([p[k] for p in peers if k < len(p)], axis=0)
                found.setdefault((PASSES[k], policy), []).append(errors(a, e) / best)
    return {key: np.array(rows) for key, rows in found.items()}


def main() -> None:
    """A table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--channels", type=int, nargs="*", default=[shape[0] for shape in SHAPES])
    parser.add_argument("--images", choices=[*IMAGES], nargs="*", default=[*IMAGES])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| 3×3 taps | " + " | ".join(f"{p}: largest | rms" for p in POLICIES) + " |")
    print("|---|" + "---|---|" * len(POLICIES))
    for shape in (s for s in SHAPES if s[0] in options.channels):
        measured = ratios(shape, options.images, options.seeds)
        for name in PASSES:
            each = [measured[name, policy] for policy in POLICIES]
            cells = [f"{m:.1f} ({w:.1f})" for rows in each for m, w in zip(rows.mean(0), rows.max(0), strict=True)]
            print(f"| {name}, {shape[0]} channels, {shape[1]}×{shape[1]} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
