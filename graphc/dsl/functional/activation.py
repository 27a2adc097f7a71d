"""Activation functions."""

from __future__ import annotations

from typing import Any

from graphc.dsl.tensor import Tensor
from graphc.ops import activations
from graphc.ops import scalars as _scalars
from graphc.ops.activations import gelu, identity, relu, relu6, silu

__all__ = [
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "log_softmax",
    "relu",
    "relu6",
    "silu",
    "softmax",
    "softplus",
]


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope · x."""
    return activations.leaky_relu(x, slope=negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha · (e^x - 1)."""
    return activations.elu(x, alpha=alpha)


def softplus(x: Any, beta: float = 1.0) -> Any:
    """log(1 + e^(beta·x)) / beta"""
    if not isinstance(x, Tensor):
        return _scalars.softplus(beta * x) / beta
    return activations.softplus(x, beta=beta)


def softmax(x: Tensor, axis: int = -1, temperature: float = 1.0) -> Tensor:
    """e^(x/T) / Σ e^(x/T) along an axis."""
    return activations.softmax(x, axis=axis, temperature=temperature)


def log_softmax(x: Tensor, axis: int = -1, temperature: float = 1.0) -> Tensor:
    """log softmax(x) along an axis, without taking a logarithm of a small number."""
    return activations.log_softmax(x, axis=axis, temperature=temperature)
