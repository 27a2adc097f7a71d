"""RNN, LSTM, GRU and their cells: values and gradients against torch, lengths against packed sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.autodiff.backward import gradients
from graphc.dsl.tensor import Tensor
from graphc.errors import GraphError, ShapeError
from graphc.graph.verifier import verify
from graphc.pipeline import SIMPLE, STABLE
from graphc.study.check import check_gradients
from tests.recurrent import evaluated

KINDS = ("RNN", "LSTM", "GRU")
SAMPLES, STEPS, FEATURES, HIDDEN = 3, 5, 4, 6


def tensors_of(result: Any) -> tuple[Tensor, ...]:
    """Output, h and c, or output and h, or the states of a cell."""
    flat: list[Tensor] = []
    for part in result if isinstance(result, tuple) else (result,):
        flat += part if isinstance(part, tuple) else (part,)
    return tuple(flat)


def weighted(results: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Σ cotangent · result, and the cotangents."""
    random = np.random.default_rng(5)
    cotangents = {f"cot{k}": random.normal(size=r.shape) for k, r in enumerate(results)}
    total = gc.zeros((), "float64")
    for (name, array), result in zip(cotangents.items(), results, strict=True):
        total = total + (result * gc.input(name, array.shape, "float64")).sum()
    return total, cotangents


def compare(
    torch: Any, layer: gc.Layer, other: Any, arrays: dict[str, np.ndarray], results: tuple[Tensor, ...], run: Any
) -> None:
    """Values, and gradients for all inputs that are floating-point and all parameters, against torch."""
    loss, cotangents = weighted(results)
    traced = gc.trace([*results, loss])
    graph = traced.graph
    for step in (*STABLE, *SIMPLE):
        graph = step(graph)
    leaves = {v.name: v for v in (*graph.inputs, *graph.parameters)}
    own = dict(layer.named_parameters())
    other = other.double()
    other.load_state_dict({name: torch.tensor(p.value) for name, p in own.items()})
    given = {n: torch.tensor(a, requires_grad=a.dtype.kind == "f") for n, a in arrays.items()}
    expected = run(other, **given)
    wrt = [n for n, a in arrays.items() if a.dtype.kind == "f"]
    places = (*(leaves[n] for n in wrt), *(leaves[p.name] for p in own.values()))
    graph, found = gradients(graph, graph.outputs[-1], places)
    graph = replace(graph, outputs=(*graph.outputs, *found))
    for step in (*STABLE, *SIMPLE):
        graph = step(graph)
        verify(graph, step.__name__)
    got = evaluated(graph, arrays | cotangents | {p.name: p.value for p in own.values()})
    for a, b in zip(got, expected, strict=False):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10, atol=1e-12)
    sum((b * torch.tensor(c)).sum() for b, c in zip(expected, cotangents.values(), strict=True)).backward()
    slopes = [given[n].grad for n in wrt] + [dict(other.named_parameters())[n].grad for n in own]
    for name, a, b in zip((*wrt, *own), got[len(expected) + 1 :], slopes, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


def declared(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {n: gc.input(n, a.shape, "float64" if a.dtype.kind == "f" else "int64") for n, a in arrays.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": False}],
    ids=["plain", "stacked", "unbiased"],
)
def test_layers_are_those_of_torch(kind: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    lead = (SAMPLES, STEPS) if options.get("batch_first", True) else (STEPS, SAMPLES)
    layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    names = ("h", "c") if kind == "LSTM" else ("h",)
    arrays = {"x": data(*lead, FEATURES)} | {n: data(layers, SAMPLES, HIDDEN) for n in names}
    inputs = declared(arrays)
    layer = getattr(gc, kind)(FEATURES, HIDDEN, **options)
    states = tuple(inputs[n] for n in names)
    results = tensors_of(layer(inputs["x"], states if kind == "LSTM" else states[0]))
    other = getattr(torch.nn, kind)(FEATURES, HIDDEN, **{"batch_first": True, **options})

    def run(other: Any, x: Any, h: Any, c: Any = None) -> tuple[Any, ...]:
        return tensors_of(other(x, h if c is None else (h, c)))

    compare(torch, layer, other, arrays, results, run)


@pytest.mark.parametrize(
    ("kind", "options"), [("LSTM", {"proj_size": 2, "bidirectional": True}), ("RNN", {"nonlinearity": "relu"})]
)
def test_options_of_single_kinds(kind: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"x": data(SAMPLES, STEPS, FEATURES)}
    layer = getattr(gc, kind)(HIDDEN, **options)
    results = tensors_of(layer(declared(arrays)["x"]))
    other = getattr(torch.nn, kind)(FEATURES, HIDDEN, batch_first=True, **options)
    compare(torch, layer, other, arrays, results, lambda other, x: tensors_of(other(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_packed_sequences(kind: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    arrays = {"x": data(SAMPLES, STEPS, FEATURES), "lengths": np.array([2, 5, 1])}
    inputs = declared(arrays)
    layer = getattr(gc, kind)(HIDDEN, num_layers=2, bidirectional=True)
    results = tensors_of(layer(inputs["x"], lengths=inputs["lengths"]))
    other = getattr(torch.nn, kind)(FEATURES, HIDDEN, 2, batch_first=True, bidirectional=True)

    def run(other: Any, x: Any, lengths: Any) -> tuple[Any, ...]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, states = other(packed)
        return tensors_of((pad_packed_sequence(y, batch_first=True)[0], states))

    compare(torch, layer, other, arrays, results, run)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_those_of_torch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    names = ("h", "c") if kind == "LSTM" else ("h",)
    arrays = {"x": data(SAMPLES, FEATURES)} | {n: data(SAMPLES, HIDDEN) for n in names}
    inputs = declared(arrays)
    layer = getattr(gc, f"{kind}Cell")(FEATURES, HIDDEN)
    states = tuple(inputs[n] for n in names)
    results = tensors_of(layer(inputs["x"], states if kind == "LSTM" else states[0]))
    other = getattr(torch.nn, f"{kind}Cell")(FEATURES, HIDDEN)

    def run(other: Any, x: Any, h: Any, c: Any = None) -> tuple[Any, ...]:
        return tensors_of(other(x, h if c is None else (h, c)))

    compare(torch, layer, other, arrays, results, run)
    zero = getattr(torch.nn, f"{kind}Cell")(FEATURES, HIDDEN)
    compare(torch, layer, zero, {"x": arrays["x"]}, tensors_of(layer(inputs["x"])), lambda o, x: tensors_of(o(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_a_scan_of_its_cell(kind: str) -> None:
    x = gc.input("x", (gc.BATCH, STEPS, FEATURES), "float64")
    layer, cell = getattr(gc, kind)(HIDDEN, name="layer"), getattr(gc, f"{kind}Cell")(HIDDEN, name="cell")
    y, _ = layer(x)
    state = gc.zeros((gc.BATCH, HIDDEN), "float64")

    def step(carry: Any, x: Tensor) -> tuple[Any, Tensor]:
        carry = cell(x, carry)
        return carry, carry[0] if kind == "LSTM" else carry

    ys, _ = gc.scan(step, (state, state) if kind == "LSTM" else state, x)
    for name, p in cell.named_parameters():
        p.value = dict(layer.named_parameters())[f"{name}_l0"].value
    arrays = {p.name: p.value for made in (layer, cell) for p in made.parameters()}
    for steps in (y, ys):
        verify(gc.trace(steps).graph)
    a, b = (evaluated(gc.trace(t).graph, arrays | {"x": data(2, STEPS, FEATURES)}) for t in (y, ys))
    np.testing.assert_allclose(a[0], b[0], rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_native_training_of_a_character_model(steps: int) -> None:
    """Values and compiled gradients, within a chain of layers."""
    torch = pytest.importorskip("torch")
    x, labels = gc.input("x", (gc.BATCH, steps, FEATURES), "float64"), gc.input("labels", (gc.BATCH,), "int64")
    model = gc.Sequential(gc.LSTM(HIDDEN), gc.Function(lambda result: result[0][:, -1]), gc.Dense(3))
    loss = gc.cross_entropy(model(x), labels)
    array, target = data(4, steps, FEATURES), np.array([0, 2, 1, 1])
    training = gc.compile_training(loss, optimizer=gc.SGD(0.1), threads=2, seed=1)
    lstm, dense = torch.nn.LSTM(FEATURES, HIDDEN, batch_first=True).double(), torch.nn.Linear(HIDDEN, 3).double()
    others = (*lstm.parameters(), *dense.parameters())
    for p, v in zip(others, in_order_of_torch(model), strict=True):
        p.data = torch.tensor(v)
    optimiser = torch.optim.SGD(others, 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        expected = torch.nn.functional.cross_entropy(dense(lstm(torch.tensor(array))[0][:, -1]), torch.tensor(target))
        expected.backward()
        optimiser.step()
        got = training.step(x=array, labels=target)["loss"]
        np.testing.assert_allclose(got, expected.item(), rtol=1e-12)
    for p, v in zip(others, in_order_of_torch(model), strict=True):
        np.testing.assert_allclose(v, p.detach().numpy(), rtol=1e-10, atol=1e-14)


def in_order_of_torch(model: gc.Layer) -> list[np.ndarray]:
    """The values of an LSTM and a dense layer, weights before biases."""
    named = {name.rpartition(".")[2]: p.value for name, p in model.named_parameters()}
    return [named[n] for n in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight", "bias")]


def test_compiled_gradients_against_differences() -> None:
    x = gc.input("x", (2, 3, 2), "float64")
    y, h = gc.GRU(3, bidirectional=True)(x)
    report = check_gradients((y * y).sum() + gc.tanh(h).sum(), {"x": data(2, 3, 2)})
    assert report.ok, report


def test_dropout_between_layers_acts_in_training_alone() -> None:
    x = gc.input("x", (gc.BATCH, STEPS, FEATURES))
    y, _ = gc.GRU(HIDDEN, num_layers=2, dropout=0.5)(x)
    operators = [{n.operator for n in gc.trace(y, training=t).graph.nodes} for t in (False, True)]
    assert [("dropout" in found) for found in operators] == [False, True]


def test_parameters_are_made_once_and_start_as_in_torch() -> None:
    layer = gc.LSTM(FEATURES, HIDDEN, 2)
    x = gc.input("x", (gc.BATCH, STEPS, FEATURES))
    layer(x), layer(x)
    shapes = {n: p.shape for n, p in layer.named_parameters()}
    assert shapes["weight_ih_l0"] == (4 * HIDDEN, FEATURES)
    assert shapes["weight_ih_l1"] == (4 * HIDDEN, HIDDEN)
    assert len(shapes) == 8
    values = np.concatenate([p.value.ravel() for p in layer.parameters()])
    assert np.abs(values).max() <= 1 / np.sqrt(HIDDEN)
    assert values.std() == pytest.approx(1 / np.sqrt(3 * HIDDEN), rel=0.1)


def test_errors() -> None:
    x, two = (gc.input("x", (n, STEPS, FEATURES)) for n in (gc.BATCH, 2))
    with pytest.raises(ShapeError, match=r"expected an input \[n, time, features\], got f32\[N,4\]"):
        gc.RNN(HIDDEN)(gc.input("flat", (gc.BATCH, FEATURES)))
    with pytest.raises(ShapeError, match=r"declared for 7 input features, but the input .* has 4"):
        gc.GRU(7, HIDDEN)(x)
    with pytest.raises(ShapeError, match=r"the first h must be f32\[1,N,6\], got f32\[1,2,6\]"):
        gc.GRU(HIDDEN)(x, gc.input("h", (1, 2, HIDDEN)))
    with pytest.raises(GraphError, match=r"LSTM starts with \(h, c\), got 1 tensors"):
        gc.LSTM(HIDDEN)(two, gc.input("h", (1, 2, HIDDEN)))
    with pytest.raises(ShapeError, match=r"proj_size must be smaller than hidden_size=6, got 6"):
        gc.LSTM(HIDDEN, proj_size=HIDDEN)
    with pytest.raises(GraphError, match=r'RNN: there is no nonlinearity "elu"\n  hint: choose one of tanh, relu'):
        gc.RNN(HIDDEN, nonlinearity="elu")
    with pytest.raises(ShapeError, match="num_layers must be a positive integer, got 0"):
        gc.RNN(HIDDEN, num_layers=0)
    with pytest.raises(GraphError, match="RNN takes hidden_size, or input_size and hidden_size; got 4 sizes"):
        gc.RNN(1, 2, 3, 4)
