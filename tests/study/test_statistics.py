"""Statistics of layers against numpy, and what they say about networks that are made to fail."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError, GraphError

SAMPLES, WIDTH = 16, 12


def network(activation: str | None, depth: int, scale: float, bias: float = 0.0) -> tuple[Any, list[str]]:
    """Equal dense layers whose weights are normal with a deviation of scale/√width, and a last one; the loss."""
    x, y = gc.input("x", (gc.BATCH, WIDTH)), gc.input("y", (gc.BATCH,), "int64")
    random, names = np.random.default_rng(0), []
    h = x
    for k in range(depth):
        layer = gc.Dense(WIDTH, activation, name=f"layer{k}")
        h = layer(h)
        parameters = dict(layer.named_parameters())
        parameters["weight"].value = (scale / WIDTH**0.5 * random.normal(size=(WIDTH, WIDTH))).astype(np.float32)
        parameters["bias"].value = np.full(WIDTH, bias, np.float32)
        names.append(f"layer{k}")
    return gc.cross_entropy(gc.Dense(3, name="last")(h), y), [*names, "last"]


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(SAMPLES, WIDTH)).astype(np.float32)
    return {"x": x, "y": random.integers(0, 3, SAMPLES)}


def by_hand(loss: Any, names: list[str], data: dict[str, np.ndarray], act: Any, slope: Any) -> list[dict[str, Any]]:
    """Forward and backward in float64: output and its gradient for every layer, and the gradient of its weight."""
    held = {t.name: t.value.astype(np.float64) for t in gc.trace(loss).parameters.values()}
    h, before, sums = data["x"].astype(np.float64), [], []
    for name in names:
        before.append(h)
        sums.append(h @ held[f"{name}.weight"].T + held[f"{name}.bias"])
        h = act(sums[-1]) if name != "last" else sums[-1]
    chances = np.exp(h - h.max(1, keepdims=True))
    gradient = chances / chances.sum(1, keepdims=True)
    gradient[np.arange(SAMPLES), data["y"]] -= 1
    gradient /= SAMPLES
    found = []
    for name, z, x in zip(reversed(names), reversed(sums), reversed(before), strict=True):
        local = gradient * slope(z) if name != "last" else gradient
        output = act(z) if name != "last" else z
        found.append(
            {"output": output, "gradient": gradient, "weight": held[f"{name}.weight"], "z": z, "slopes": local.T @ x}
        )
        gradient = local @ held[f"{name}.weight"]
    return found[::-1]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def test_deep_sigmoids_with_small_weights_vanish(data: dict[str, np.ndarray]) -> None:
    loss, names = network("sigmoid", 7, 0.5)
    report = gc.layer_statistics(loss, data, threads=1)
    assert list(report.layers) == names
    assert report.samples == SAMPLES
    truth = by_hand(loss, names, data, sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)))
    for layer, true in zip(report.layers.values(), truth, strict=True):
        output = true["output"]
        assert layer.shape == output.shape[1:]
        got = [layer.mean, layer.std, layer.rms, layer.largest, layer.zeros, layer.gradient, layer.gradient_norm]
        gradient = true["gradient"]
        expected = [output.mean(), output.std(), rms(output), np.abs(output).max(), 0, rms(gradient)]
        np.testing.assert_allclose(got, [*expected, np.linalg.norm(gradient)], rtol=2e-4, atol=1e-12)
        weight = next(p for name, p in layer.parameters.items() if name.endswith("weight"))
        np.testing.assert_allclose(
            [weight.weight, weight.gradient], [rms(true["weight"]), rms(true["slopes"])], rtol=2e-4
        )
        assert weight.ratio is None
    assert report["layer0"].gradient < 1e-7  # its square is no number of float32
    vanishing = [name for name, flow in report.flow.items() if flow < 1e-3]
    assert vanishing[0] == "layer0"
    assert any(w.startswith("gradients vanish at layer0") and "xavier" in w for w in report.warnings)
    assert not any("explode" in w for w in report.warnings)


def test_large_weights_explode(data: dict[str, np.ndarray]) -> None:
    loss, names = network(None, 7, 6.0)
    report = gc.layer_statistics(loss, data, threads=1)
    truth = by_hand(loss, names, data, lambda z: z, np.ones_like)
    for layer, true in zip(report.layers.values(), truth, strict=True):
        np.testing.assert_allclose([layer.rms, layer.gradient], [rms(true["output"]), rms(true["gradient"])], rtol=1e-3)
        assert layer.saturated is None
        assert not layer.units
    assert any(w.startswith("activations explode at") for w in report.warnings)
    assert any(w.startswith("gradients explode at layer0") for w in report.warnings)


def test_dead_units_are_counted_and_named(data: dict[str, np.ndarray]) -> None:
    loss, _ = network("relu", 2, 1.0)
    bias = next(t for t in gc.trace(loss).parameters.values() if t.name == "layer1.bias")
    bias.value = np.where(np.arange(WIDTH) < 8, -100, 0).astype(np.float32)
    report = gc.layer_statistics(loss, data, threads=1)
    layer = report["layer1"]
    assert layer.dead[:8] == tuple(range(8))
    assert layer.units == WIDTH
    assert layer.zeros >= 8 / WIDTH
    assert not report["layer0"].dead
    (warning,) = (w for w in report.warnings if "dead" in w)
    assert warning.startswith(f"layer1: {len(layer.dead)} of 12 units are dead, 0 for all 16 samples (0, 1, 2, 3")
    assert "layer1" in repr(report)
    assert "<table>" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict()))["layers"]["layer1"]["dead"] == list(layer.dead)


def test_dead_channels_of_images() -> None:
    x = gc.input("x", (gc.BATCH, 2, 5, 6))
    conv = gc.Conv2d(4, 3, name="conv")
    loss = gc.relu(conv(x)).mean()  # a function outside of the layer belongs to it
    next(p for p in conv.parameters() if p.name.endswith("bias")).value = np.array([0, -100, 0, -100], np.float32)
    rows = np.random.default_rng(2).normal(size=(3, 2, 5, 6)).astype(np.float32)
    report = gc.layer_statistics(loss, {"x": rows}, threads=1)
    assert report["conv"].dead == (1, 3)


def test_saturated_layers(data: dict[str, np.ndarray]) -> None:
    loss, names = network("tanh", 1, 12.0)
    report = gc.layer_statistics(loss, data, threads=1)
    (first, _) = by_hand(loss, names, data, np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    share = np.mean(1 - np.tanh(first["z"]) ** 2 <= 0.05)
    assert report["layer0"].saturated == pytest.approx(share, abs=1e-6)
    assert share > 0.5
    assert any(w.startswith("layer0: ") and "saturated" in w for w in report.warnings)


def test_gradients_through_time(data: dict[str, np.ndarray]) -> None:
    steps, size = 9, 5
    x, y = gc.input("x", (gc.BATCH, steps, 3)), gc.input("y", (gc.BATCH, size))
    layer = gc.RNN(3, size, name="rnn")
    outputs, _ = layer(x)
    loss = gc.square(outputs[:, -1] - y).mean()
    gc.trace(loss)
    held = {p.name.rpartition(".")[2]: p for p in layer.parameters()}
    held["weight_hh_l0"].value = (0.3 * np.eye(size)).astype(np.float32)
    random = np.random.default_rng(3)
    rows = {"x": random.normal(size=(4, steps, 3)), "y": random.normal(size=(4, size))}
    rows = {name: array.astype(np.float32) for name, array in rows.items()}
    report = gc.layer_statistics(loss, rows, threads=1)
    w = {name: p.value.astype(np.float64) for name, p in held.items()}
    states = [np.zeros((4, size))]
    for t in range(steps):
        z = rows["x"][:, t] @ w["weight_ih_l0"].T + states[-1] @ w["weight_hh_l0"].T
        states.append(np.tanh(z + w["bias_ih_l0"] + w["bias_hh_l0"]))
    gradient, expected = 2 * (states[-1] - rows["y"]) / rows["y"].size, []
    for state in reversed(states[1:]):
        expected.append(rms(gradient))
        gradient = gradient * (1 - state**2) @ w["weight_hh_l0"]
    np.testing.assert_allclose(report["rnn"].gradient_by_time, expected[::-1], rtol=1e-4)
    assert any(w.startswith("rnn: gradients vanish through time") for w in report.warnings)


def test_a_model_is_told_its_next_update_and_stays_as_it_is(data: dict[str, np.ndarray]) -> None:
    loss, _ = network("relu", 1, 1.0)
    program = gc.compile_training(loss, optimizer=gc.SGD(0.5), threads=1)
    before = program.state_dict()
    report = gc.layer_statistics(program, data, threads=1)
    for name, value in program.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert program.steps == 0
    for name, p in report["last"].parameters.items():
        assert p.update == pytest.approx(0.5 * p.gradient, rel=1e-3)
        assert p.ratio == (pytest.approx(p.update / p.weight) if before[name].any() else None)


def test_they_are_recorded_in_the_history(data: dict[str, np.ndarray]) -> None:
    loss, names = network("tanh", 1, 1.0)
    model, listener = gc.Model(loss, loss=loss, x="x", y="y"), gc.callbacks.LayerStatistics(every=2, samples=5)
    options: dict[str, Any] = {"optimizer": gc.SGD(0.1), "verbose": 0, "threads": 1}
    history = model.fit(data["x"], data["y"], epochs=3, batch_size=8, callbacks=[listener], **options)
    assert list(listener.reports) == [2]
    assert listener.layers == tuple(names)
    assert [np.isnan(row).all() for row in history["layer_rms"]] == [True, False, True]
    report = listener.reports[2]
    assert history["layer_gradient"][1].tolist() == [layer.gradient_norm for layer in report.layers.values()]
    assert report.samples == 5
    plain = network("tanh", 1, 1.0)[0]
    gc.Model(plain, loss=plain, x="x", y="y").fit(data["x"], data["y"], epochs=3, batch_size=8, **options)
    for name, parameter in gc.trace(plain).parameters.items():
        np.testing.assert_array_equal(parameter.value, gc.trace(loss).parameters[name].value)


def test_mistakes(data: dict[str, np.ndarray]) -> None:
    x = gc.input("x", (gc.BATCH, WIDTH))
    with pytest.raises(GraphError, match="no layers to look at"):
        gc.layer_statistics((x * gc.Parameter("w", (WIDTH,))).sum(), data)
    with pytest.raises(GraphError, match=r"the loss has shape \(N, 2\)"):
        gc.layer_statistics(gc.Dense(2)(x), data)
    with pytest.raises(GraphError, match="needs a loss, a Model or a training program, got str"):
        gc.layer_statistics("loss", data)
    with pytest.raises(GraphcError, match="every and samples must be at least 1, got 0"):
        gc.callbacks.LayerStatistics(every=0)
