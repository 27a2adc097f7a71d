"""Random small graphs with matching arrays: every kind of node that networks are made of, batch symbolic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy as sp
from hypothesis import strategies as st

from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.ops.formula import FloorDiv, Mod, Where, ge, le
from graphc.ops.notation import Max, Sum, axes, axis, extent
from graphc.ops.operator import Operator, op
from graphc.ops.scalars import sigmoid, softplus, tanh
from graphc.types import BATCH, Batch, DType, TensorType

Array = npt.NDArray[Any]


@op
def dense(X, W):
    n, o, i = axes("n o i")
    return Sum(X[n, i] * W[o, i], over=i)


@op
def conv(X, W, *, stride=1, padding=1):
    n, k = axes("n k")
    height, width = ((e + 2 * padding - w) // stride + 1 for e, w in zip(X.shape[2:], W.shape[2:], strict=True))
    y, x = axis("y", height), axis("x", width)
    c, r, q = axes("c r q")
    taken = X[n, c, stride * y + r - padding, stride * x + q - padding]
    return Sum(taken * W[k, c, r, q], over=(c, r, q))


@op
def max_pool(X, *, size=2):
    n, c = axes("n c")
    y, x = axis("y", X.shape[2] // size), axis("x", X.shape[3] // size)
    r, q = axis("r", size), axis("q", size)
    return Max(X[n, c, size * y + r, size * x + q], over=(r, q))


@op
def mean_pool(X, *, size=3):
    """Overlapping windows of step one with one row and column of padding that does not count."""
    n, c = axes("n c")
    y, x = axis("y", X.shape[2]), axis("x", X.shape[3])
    r, q = axis("r", size), axis("q", size)
    inside = (ge(y + r - 1), ge(x + q - 1), ge(X.shape[2] - y - r), ge(X.shape[3] - x - q))
    return Sum(X[n, c, y + r - 1, x + q - 1], over=(r, q), where=inside) / size**2


@op
def add(A, B):
    return A[...] + B[...]


@op
def multiply(A, B):
    return A[...] * B[...]


@op
def relu(X):
    return Where(le(X[...], 0), sp.S.Zero, X[...])


@op
def logistic(X):
    return sigmoid(X[...])


@op
def hyperbolic(X):
    return tanh(X[...])


@op
def scaled(X, *, factor=2.0):
    return factor * X[...]


@op
def log_of(X):
    return sp.log(X[...])


@op
def soft_plus(X):
    return softplus(X[...])


@op
def copy(X):
    return 1 * X[...]


@op
def softmax(X):
    n, i, j, k = axes("n i j k")
    largest = Max(X[n, k], over=k)
    return sp.exp(X[n, i] - largest) / Sum(sp.exp(X[n, j] - largest), over=j)


@op
def plain_softmax(X):
    """Without the shift: overflows for large inputs until a pass repairs it."""
    n, i, j = axes("n i j")
    return sp.exp(X[n, i]) / Sum(sp.exp(X[n, j]), over=j)


@op
def row_mean(X):
    n, i = axes("n i")
    return Sum(X[n, i], over=i) / extent(i)


@op
def column_sum(X):
    n, i = axes("n i")
    return Sum(X[n, i], over=n)


@op
def transpose(X):
    a, b = axes("a b")
    return X[b, a]


@op
def swap_images(X):
    n, y, c, x = axes("n y c x")
    return X[n, c, y, x]


@op
def flatten(X):
    _, c, h, w = X.shape
    (n,) = axes("n")
    i = axis("i", c * h * w)
    return X[n, FloorDiv(i, h * w), Mod(FloorDiv(i, w), h), Mod(i, w)]


@op
def unflatten(X, *, channels=1, width=1):
    (n,) = axes("n")
    height = X.shape[1] // (channels * width)
    c, y, x = axis("c", channels), axis("y", height), axis("x", width)
    return X[n, width * height * c + width * y + x]


@op
def pad(X, *, before=1, after=1):
    (n,) = axes("n")
    i = axis("i", X.shape[1] + before + after)
    return X[n, i - before]


@op
def ones_like(X):
    for k, e in enumerate(X.shape):
        axis(f"i{k}", e)
    return sp.S.One


@op
def zeros_like(X):
    for k, e in enumerate(X.shape):
        axis(f"i{k}", e)
    return sp.S.Zero


@op
def complement(X):
    return 1 - X[...]


@op
def spread(X, *, width=3):
    (n,) = axes("n")
    axis("i", width)
    return X[n]


@dataclass(frozen=True)
class Case:
    """A graph, arrays for its inputs and parameters, and the batch size."""

    graph: Graph
    inputs: dict[str, Array]
    parameters: dict[str, Array]
    batch: int


POINTWISE = (relu, logistic, hyperbolic, scaled, soft_plus, copy, ones_like, zeros_like)
LOGARITHM_FITS = ("logistic", "softmax", "plain_softmax")


@st.composite
def graphs(draw: st.DrawFn, max_nodes: int = 8) -> Case:
    """A random graph of dense, convolution, pooling, pointwise, softmax, reduction and movement nodes."""
    builder = Builder()
    batch = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**16))
    pool = [
        builder.input("x", TensorType((BATCH, draw(st.integers(2, 6))), DType.FLOAT64)),
        builder.input("images", TensorType((BATCH, draw(st.integers(1, 2)), 4, 4), DType.FLOAT64)),
    ]
    for _ in range(draw(st.integers(1, max_nodes))):
        # later values more often than earlier ones, so that chains and shared operands both come about
        source = pool[-1 - min(draw(st.integers(0, 4)), len(pool) - 1)]
        grown = _grow(draw, builder, pool, source)
        pool.append(grown)
        if builder.nodes[-1].operator in LOGARITHM_FITS and draw(st.booleans()):
            chance = builder.apply(complement, (grown,)) if draw(st.booleans()) else grown
            pool.append(builder.apply(log_of, (chance,)))
    read = {v for node in builder.nodes for v in node.inputs}
    ends = [node.output for node in builder.nodes if node.output not in read]
    outputs = [v for v in ends if draw(st.integers(0, 4))] or ends
    graph = builder.graph(dict.fromkeys((*outputs, draw(st.sampled_from(pool)))))
    random = np.random.default_rng(seed)

    def arrays(values: tuple[Value, ...]) -> dict[str, Array]:
        return {v.name: random.uniform(-1, 1, v.type.concrete(batch)) for v in values}

    return Case(graph, arrays(graph.inputs), arrays(graph.parameters), batch)


def _grow(draw: st.DrawFn, builder: Builder, pool: list[Value], source: Value) -> Value:
    """One more application of an operator that fits the value."""
    shape = source.type.shape
    twins = [v for v in pool if v.type == source.type]
    choices: list[Operator] = [*POINTWISE, add, multiply]
    if len(shape) == 2 and isinstance(shape[0], Batch):
        choices += [dense, transpose, softmax, plain_softmax, row_mean, column_sum, pad, unflatten]
    elif len(shape) == 2:
        choices += [transpose]
    elif len(shape) == 1 and isinstance(shape[0], Batch):
        choices += [spread]
    elif len(shape) == 4:
        choices += [swap_images, flatten, mean_pool, conv]
        if min(shape[2], shape[3]) >= 2:
            choices.append(max_pool)
    operator = draw(st.sampled_from(choices))
    if operator in (add, multiply):
        return builder.apply(operator, (source, draw(st.sampled_from(twins))))
    if operator is dense:
        weight = _parameter(builder, (draw(st.integers(1, 4)), shape[1]))
        return builder.apply(dense, (source, weight))
    if operator is conv:
        weight = _parameter(builder, (draw(st.integers(1, 3)), shape[1], 3, 3))
        return builder.apply(conv, (source, weight), {"stride": draw(st.integers(1, 2))})
    if operator is unflatten:
        width = draw(st.sampled_from([w for w in (1, 2, 3, 4) if shape[1] % w == 0]))
        return builder.apply(unflatten, (source,), {"width": width})
    return builder.apply(operator, (source,))


def _parameter(builder: Builder, shape: tuple[int, ...]) -> Value:
    return builder.parameter(f"w{len(builder.parameters)}", TensorType(shape, DType.FLOAT64))
