"""One expression in two frameworks: `f.conv2d(x, w, stride=2)` with f = graphc.functional and with f = torch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from graphc.autodiff.backward import vjp
from graphc.dsl import functional
from graphc.dsl.tensor import Input
from graphc.dsl.trace import trace
from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.verifier import verify
from graphc.types import DType, TensorType

Array = np.ndarray
Expression = Callable[..., Any]


def torch_functions() -> Any:
    """Everything that torch has under one name."""
    torch = pytest.importorskip("torch")
    return SimpleNamespace(**{**vars(torch), **vars(torch.nn.functional)})


def agree(expression: Expression, arrays: Sequence[Array], fixed: Sequence[int] = ()) -> None:
    """Values, and the gradients of Σ c·y for random c, of an expression over arrays agree.

    To 1e-9 in float64, to 1e-4 if one of the arrays is float32. The positions `fixed` are of arrays by which the
    expression is not differentiated.
    """
    torch, known = pytest.importorskip("torch"), torch_functions()
    narrow = any(a.dtype == np.float32 for a in arrays)
    dtype, rtol = (np.float32, 1e-4) if narrow else (np.float64, 1e-9)
    moving = [a.dtype.kind == "f" and k not in fixed for k, a in enumerate(arrays)]
    operands = [torch.tensor(a, requires_grad=moves) for a, moves in zip(arrays, moving, strict=True)]
    expected = _several(expression(known, *operands))
    random = np.random.default_rng(len(arrays))
    cotangents = [random.normal(size=y.shape).astype(dtype) for y in expected]
    loss = sum((torch.tensor(c) * y).sum() for c, y in zip(cotangents, expected, strict=True) if y.requires_grad)
    if isinstance(loss, torch.Tensor):
        loss.backward()
    results, slopes = _ours(expression, arrays, moving, cotangents)
    for got, y in zip(results, expected, strict=True):
        assert got.shape == tuple(y.shape)
        np.testing.assert_allclose(got, y.detach().numpy(), rtol=rtol, atol=rtol * 0.1, err_msg="value")
    for k, (got, x) in enumerate(zip(slopes, [x for x in operands if x.requires_grad], strict=True)):
        wanted = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * scale, err_msg=f"gradient {k}")


def _ours(
    expression: Expression, arrays: Sequence[Array], moving: Sequence[bool], cotangents: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """The values and the gradients by the interpreter."""
    leaves = [Input(f"x{k}", TensorType(a.shape, DType.of(a.dtype))) for k, a in enumerate(arrays)]
    outputs = _several(expression(functional, *leaves))
    graph = trace([*outputs, *leaves]).graph
    results, operands = graph.outputs[: len(outputs)], graph.outputs[len(outputs) :]
    builder = Builder(graph)
    seeds = [(y, builder.input(f"c{k}", y.type)) for k, y in enumerate(results) if y.type.dtype.is_float]
    graph, slopes = vjp(
        builder.graph(results), seeds, tuple(v for v, moves in zip(operands, moving, strict=True) if moves)
    )
    graph = Builder(graph).graph((*results, *slopes))
    verify(graph)
    given = {f"x{k}": a for k, a in enumerate(arrays)} | {f"c{k}": c for k, c in enumerate(cotangents)}
    found = interpret(graph, {v.name: given[v.name] for v in graph.inputs}).outputs
    return list(found[: len(results)]), list(found[len(results) :])


def _several(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)
