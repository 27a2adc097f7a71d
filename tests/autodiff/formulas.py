"""Operators under test, each stated as one formula."""

from __future__ import annotations

import sympy as sp

from graphc.autodiff.application import Application, applied
from graphc.ops.formula import FloorDiv, Mod, ge
from graphc.ops.notation import Max, Sum, axes, axis, extent
from graphc.ops.operator import Operator, op
from graphc.ops.scalars import maximum, sigmoid, softplus, tanh
from graphc.types import DType, TensorType

F64, I32 = DType.FLOAT64, DType.INT32


def tensor(*shape) -> TensorType:
    return TensorType(shape, F64)


def application(operator: Operator, *types: TensorType, **attributes) -> Application:
    return applied(operator.define(types, attributes), zip(operator.tensors, types, strict=True))


@op
def dense(X, W):
    n, o, i = axes("n o i")
    return Sum(X[n, i] * W[o, i], over=i)


@op
def conv2d(X, W, *, stride=1, padding=0, dilation=1):
    n, k, c, r, q = axes("n k c r q")
    reach = dilation * (W.shape[2] - 1) + 1
    y = axis("y", (X.shape[2] + 2 * padding - reach) // stride + 1)
    x = axis("x", (X.shape[3] + 2 * padding - reach) // stride + 1)
    row, column = stride * y + dilation * r - padding, stride * x + dilation * q - padding
    return Sum(X[n, c, row, column] * W[k, c, r, q], over=(c, r, q))


def windows(X, kernel, stride, padding):
    n, c = axes("n c")
    y = axis("y", (X.shape[2] + 2 * padding - kernel) // stride + 1)
    x = axis("x", (X.shape[3] + 2 * padding - kernel) // stride + 1)
    r, q = axis("r", kernel), axis("q", kernel)
    return (n, c, stride * y + r - padding, stride * x + q - padding), (r, q)


@op
def max_pool(X, *, kernel=2, stride=2, padding=0):
    (n, c, row, column), over = windows(X, kernel, stride, padding)
    inside = (ge(row), ge(X.shape[2] - 1 - row), ge(column), ge(X.shape[3] - 1 - column)) if padding else ()
    return Max(X[n, c, row, column], over=over, where=inside)


@op
def avg_pool(X, *, kernel=2, stride=2, padding=0):
    index, over = windows(X, kernel, stride, padding)
    return Sum(X[index] / kernel**2, over=over)


@op
def softmax(X):
    n, i, j = axes("n i j")
    m = Max(X[n, j], over=j)
    return sp.exp(X[n, i] - m) / Sum(sp.exp(X[n, j] - m), over=j)


@op
def log_softmax(X):
    n, i, j = axes("n i j")
    m = Max(X[n, j], over=j)
    return X[n, i] - m - sp.log(Sum(sp.exp(X[n, j] - m), over=j))


@op(integer="L")
def sparse_cross_entropy(X, L):
    n, j = axes("n j")
    m = Max(X[n, j], over=j)
    return Sum(m + sp.log(Sum(sp.exp(X[n, j] - m), over=j)) - X[n, L[n]], over=n) / extent(n)


@op
def cross_entropy(X, T):
    n, j, k = axes("n j k")
    m = Max(X[n, j], over=j)
    log_p = X[n, k] - m - sp.log(Sum(sp.exp(X[n, j] - m), over=j))
    return -Sum(T[n, k] * log_p, over=(n, k)) / extent(n)


@op
def batch_norm(X, g, b):
    n, c, m = axes("n c m")
    size = sp.Symbol("N", integer=True, positive=True)
    mean = Sum(X[m, c], over=m) / size
    variance = Sum((X[m, c] - mean) ** 2, over=m) / size
    return (X[n, c] - mean) / sp.sqrt(variance + sp.Rational(1, 1000)) * g[c] + b[c]


@op
def layer_norm(X, g, b):
    n, i, j = axes("n i j")
    size = X.shape[1]
    mean = Sum(X[n, j], over=j) / size
    variance = Sum((X[n, j] - mean) ** 2, over=j) / size
    return (X[n, i] - mean) / sp.sqrt(variance + sp.Rational(1, 1000)) * g[i] + b[i]


@op
def attention(Q, K, V):
    b, i, d, j, e = axes("b i d j e")
    score = Sum(Q[b, i, e] * K[b, j, e], over=e) / 2
    m = Max(score, over=j)
    z = Sum(sp.exp(score - m), over=j)
    return Sum(sp.exp(score - m) / z * V[b, j, d], over=j)


@op
def add(A, B):
    return A[...] + B[...]


@op
def multiply(A, B):
    return A[...] * B[...]


@op
def logistic(X):
    return sigmoid(X[...])


@op
def hyperbolic(X):
    return tanh(X[...])


@op
def silu(X):
    return X[...] * sigmoid(X[...])


@op
def soft_plus(X):
    return softplus(X[...])


@op
def relu(X):
    return maximum(X[...], 0)


@op
def root(X):
    return sp.sqrt(X[...])


@op
def flatten(X):
    c, h, w = X.shape[1:]
    n, j = axis("n", X.shape[0]), axis("j", c * h * w)
    return X[
        n,
        FloorDiv(j, sp.Integer(h * w)),
        Mod(FloorDiv(j, sp.Integer(w)), sp.Integer(h)),
        Mod(j, sp.Integer(w)),
    ]


@op
def transpose(X):
    j, i = axes("j i")
    return X[i, j]


@op(integer="L")
def gather(E, L):
    n, t, d = axes("n t d")
    return E[L[n, t], d]


@op
def concatenate(A, B):
    # B first: an axis that stands alone in a tensor takes its extent from that
    n, j = axis("n", A.shape[0]), axis("j", A.shape[1] + B.shape[1])
    backwards = A.shape[1] + B.shape[1] - 1 - j
    return A[n, A.shape[1] - 1 - j] + B[n, backwards]


@op
def upsample(X):
    n, c = axes("n c")
    y, x = axis("y", 2 * X.shape[2]), axis("x", 2 * X.shape[3])
    return X[n, c, FloorDiv(y, sp.Integer(2)), FloorDiv(x, sp.Integer(2))]


@op
def squared_norm(X):
    n, i = axes("n i")
    return Sum(X[n, i] ** 2, over=(n, i))


@op
def total(X):
    index = axes(" ".join(f"i{k}" for k in range(X.rank)))
    return Sum(X[index], over=index)
