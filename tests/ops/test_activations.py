"""Activations and elementary functions against torch, natively; what they are at kinks, ends and NaN."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import graphc as gc
from graphc.types import DType
from tests.torch_cases import Case, largest_errors, torch

T = torch.nn.functional


def draw(*shape: int, low: float = -4.0, high: float = 4.0) -> np.ndarray:
    return np.random.default_rng((1, *shape)).uniform(low, high, shape)


X, IMAGES = draw(5, 6), draw(2, 4, 3, 2)


def case(name: str, ours: Any, theirs: Any, *arrays: np.ndarray) -> Case:
    return Case(name, ours, theirs, arrays or (X,))


ACTIVATIONS = [
    case("relu", gc.relu, T.relu),
    case("relu6", lambda x: gc.relu6(x * 2), lambda x: T.relu6(x * 2)),
    case("leaky_relu", lambda x: gc.leaky_relu(x, 0.2), lambda x: T.leaky_relu(x, 0.2)),
    case("elu", lambda x: gc.elu(x, 0.7), lambda x: T.elu(x, 0.7)),
    case("selu", gc.selu, T.selu),
    case("celu", lambda x: gc.celu(x, alpha=0.7), lambda x: torch.where(x > 0, x, 0.7 * torch.expm1(x / 0.7))),
    case("gelu", gc.gelu, T.gelu),
    case("gelu tanh", lambda x: gc.gelu(x, approximate="tanh"), lambda x: T.gelu(x, approximate="tanh")),
    case("silu", gc.silu, T.silu),
    case("swish", lambda x: gc.swish(x, 1.5), lambda x: x * torch.sigmoid(1.5 * x)),
    case("mish", gc.mish, T.mish),
    case("softplus", lambda x: gc.softplus(x, 1.5), lambda x: T.softplus(x, 1.5, threshold=1e9)),
    case("softsign", gc.softsign, T.softsign),
    case("hardtanh", lambda x: gc.hardtanh(x, -2, 1), lambda x: T.hardtanh(x, -2, 1)),
    # torch rounds the sixth of its own to float32
    case("hardsigmoid", gc.hardsigmoid, lambda x: (x + 3).clamp(0, 6) / 6),
    case("hardswish", gc.hardswish, T.hardswish),
    case("hardshrink", lambda x: gc.hardshrink(x, 0.9), lambda x: T.hardshrink(x, 0.9)),
    case("softshrink", lambda x: gc.softshrink(x, 0.9), lambda x: T.softshrink(x, 0.9)),
    case("tanhshrink", gc.tanhshrink, T.tanhshrink),
    case("threshold", lambda x: gc.threshold(x, 0.5, -2.0), lambda x: T.threshold(x, 0.5, -2.0)),
    case("log_sigmoid", gc.log_sigmoid, T.logsigmoid),
    case("prelu", gc.prelu, T.prelu, X, np.array([0.3])),
    case("prelu of channels", gc.prelu, T.prelu, IMAGES, np.array([0.3, -0.2, 0.1, 1.5])),
    case("prelu of a vector", gc.prelu, T.prelu, draw(5), np.array([0.3])),
    case("softmax", lambda x: gc.softmax(x, 1), lambda x: T.softmax(x, 1), IMAGES),
    case("softmax of the batch", lambda x: gc.softmax(x, 0, 2.5), lambda x: T.softmax(x / 2.5, 0)),
    case("log_softmax", lambda x: gc.log_softmax(x, -2), lambda x: T.log_softmax(x, -2), IMAGES),
    case("softmin", lambda x: gc.softmin(x, 1, 0.5), lambda x: T.softmin(x / 0.5, 1)),
    case("glu", gc.glu, T.glu),
    case("glu of channels", lambda x: gc.glu(x, 1), lambda x: T.glu(x, 1), IMAGES),
    case("swiglu", gc.swiglu, lambda x: T.silu(x[:, :3]) * x[:, 3:]),
    case("geglu", lambda x: gc.geglu(x, 1), lambda x: T.gelu(x[:, :2]) * x[:, 2:], IMAGES),
    case("maxout", lambda x: gc.maxout(x, 3), lambda x: x.reshape(5, 2, 3).amax(-1)),
    case("maxout of channels", lambda x: gc.maxout(x, axis=1), lambda x: x.reshape(2, 2, 2, 3, 2).amax(2), IMAGES),
]

INSIDE, POSITIVE, OTHER = draw(5, 6, low=-0.9, high=0.9), draw(5, 6, low=0.2), draw(6, low=-1.0, high=1.0)

FUNCTIONS = [
    case("erfc", gc.erfc, torch.erfc),
    case("normal_cdf", gc.normal_cdf, torch.special.ndtr),
    case("tan", gc.tan, torch.tan, INSIDE),
    case("asin", gc.asin, torch.asin, INSIDE),
    case("acos", gc.acos, torch.acos, INSIDE),
    case("atan", gc.atan, torch.atan),
    case("sinh", gc.sinh, torch.sinh),
    case("cosh", gc.cosh, torch.cosh),
    case("log_cosh", gc.log_cosh, lambda x: torch.log(torch.cosh(x))),
    case("log2", gc.log2, torch.log2, POSITIVE),
    case("log10", gc.log10, torch.log10, POSITIVE),
    case("exp2", gc.exp2, torch.exp2),
    case("rsqrt", gc.rsqrt, torch.rsqrt, POSITIVE),
    case("reciprocal", gc.reciprocal, torch.reciprocal, POSITIVE),
    case("floor", gc.floor, torch.floor),
    case("ceil", gc.ceil, torch.ceil),
    case("round", gc.round, torch.round),
    case("trunc", gc.trunc, torch.trunc),
    case("straight through", lambda x: gc.round(x, straight_through=True), lambda x: x + (x.round() - x).detach()),
    case("stop_gradient", lambda x: gc.stop_gradient(x) * x, lambda x: x.detach() * x),
    case("clip", lambda x: gc.clip(x, -1, 0.5), lambda x: x.clamp(-1, 0.5)),
    case("clip below", lambda x: gc.clip(x, min=-1), lambda x: x.clamp(min=-1)),
    case("clip above", lambda x: gc.clamp(x, max=0.5), lambda x: x.clamp(max=0.5)),
    case("clip by tensors", gc.clip, lambda x, a, b: torch.clamp(x, a, b), X, OTHER - 1, OTHER + 0.5),
]


@pytest.mark.parametrize("cases", [ACTIVATIONS, FUNCTIONS], ids=["activations", "functions"])
def test_values_and_gradients_are_those_of_torch(cases: list[Case]) -> None:
    errors = largest_errors(cases, DType.FLOAT64)
    assert {name: e for name, e in errors.items() if not e <= 1e-12} == {}


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "hardtanh", "hardshrink", "softshrink", "clip", "round", "gelu", "mish"]
)
def test_nan_stays_nan(name: str) -> None:
    x = gc.input("x", (1,))
    y = gc.clip(x, 0, 1) if name == "clip" else getattr(gc, name)(x)
    assert np.isnan(gc.compile_inference(y, threads=1)(x=np.array([np.nan], np.float32))).all()


def test_rounding_is_that_of_numpy_and_passes_gradients_straight_through() -> None:
    x = gc.input("x", (7,), "float64")
    array = np.array([-2.5, -1.5, -0.3, 0.5, 1.5, 2.5, 1e15 + 0.3])
    for name in ("floor", "ceil", "round", "trunc"):
        y = getattr(gc, name)(x, straight_through=True)
        values, found = gc.compile_gradients(y, cotangents=gc.input("c", (7,), "float64"), wrt=[x])(x=array, c=array)
        assert values.tolist() == getattr(np, name)(array).tolist()
        assert found["x"].tolist() == array.tolist()


@pytest.mark.parametrize(("dtype", "low", "allowed"), [("float32", -12.9, 1e-6), ("float64", -37.0, 2e-15)])
def test_gelu_keeps_its_digits_for_negative_arguments(dtype: str, low: float, allowed: float) -> None:
    x = np.linspace(low, 3, 301).astype(dtype)
    y = gc.compile_inference(gc.gelu(gc.input("x", (len(x),), dtype)), threads=1)(x=x)
    with mpmath.workdps(40):
        exact = [float(v * mpmath.ncdf(v)) for v in map(mpmath.mpf, x.tolist())]
    np.testing.assert_allclose(y, exact, rtol=allowed, atol=1e-300)


def test_one_plus_erf_is_accurate_in_formulas_of_users() -> None:
    @gc.op
    def tail(X: Any) -> Any:
        return 1 + gc.erf(X[...])

    array = np.array([-6.0, -20.0, 0.5])
    y = gc.compile_inference(tail(gc.input("x", (3,), "float64")), threads=1)(x=array)
    np.testing.assert_allclose(y, torch.erfc(torch.tensor(-array)), rtol=1e-13)
