"""The normalisations against another framework: values and gradients of the compiled layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import ShapeError
from graphc.study.gradients import compile_gradients

torch = pytest.importorskip("torch")

nn = torch.nn
CASES = {
    "BatchNorm3d": (gc.BatchNorm3d, lambda: nn.BatchNorm3d(4), (3, 4, 2, 3, 2)),
    "GroupNorm": (lambda: gc.GroupNorm(2), lambda: nn.GroupNorm(2, 4), (3, 4, 3, 2)),
    "features": (lambda: gc.GroupNorm(2, affine=False), lambda: nn.GroupNorm(2, 6, affine=False), (3, 6)),
    "InstanceNorm1d": (gc.InstanceNorm1d, lambda: nn.InstanceNorm1d(4), (3, 4, 5)),
    "images": (lambda: gc.InstanceNorm2d(4, affine=True), lambda: nn.InstanceNorm2d(4, 1e-5, 0.1, True), (3, 4, 3, 2)),
    "volumes": (lambda: gc.InstanceNorm3d(affine=True), lambda: nn.InstanceNorm3d(4, 1e-5, 0.1, True), (2, 4, 2, 3, 2)),
    "LayerNorm": (gc.LayerNorm, lambda: nn.LayerNorm(5), (3, 4, 5)),
    "two axes": (lambda: gc.LayerNorm((4, 5), eps=1e-3), lambda: nn.LayerNorm((4, 5), eps=1e-3), (3, 4, 5)),
    "without bias": (lambda: gc.LayerNorm(5, bias=False), lambda: nn.LayerNorm(5, bias=False), (3, 5)),
    "alone": (lambda: gc.LayerNorm(5, 1e-5, False), lambda: nn.LayerNorm(5, 1e-5, False), (3, 5)),
    "RMSNorm": (gc.RMSNorm, lambda: nn.RMSNorm(5), (3, 4, 5)),
    "neighbours": (lambda: gc.LocalResponseNorm(3, 0.1), lambda: nn.LocalResponseNorm(3, 0.1), (2, 5, 3, 2)),
    "even": (lambda: gc.LocalResponseNorm(4, 0.5, 0.5, 2.0), lambda: nn.LocalResponseNorm(4, 0.5, 0.5, 2.0), (2, 5, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    make, other, shape = CASES[name]
    generator = np.random.default_rng(len(name))
    x, weights = generator.normal(1.0, 2.0, (2, *shape))
    module = other().double()
    values = {n: generator.normal(1.0, 0.5, tuple(p.shape)) for n, p in module.named_parameters()}
    module.load_state_dict({n: torch.tensor(v) for n, v in values.items()}, strict=False)
    theirs = torch.tensor(x, requires_grad=True)
    result = module(theirs)
    (result * torch.tensor(weights)).sum().backward()

    given, cotangent = (gc.input(n, (gc.BATCH, *shape[1:]), "float64") for n in ("x", "cotangent"))
    layer = make()
    layer.name = "norm"
    y = layer(given)
    layer.load_state_dict(values, strict=False)
    program = compile_gradients(y, cotangents=[cotangent], wrt=[given, *(p for p in layer.parameters() if p.trainable)])
    got, gradients = program(x=x, cotangent=weights)
    np.testing.assert_allclose(got, result.detach().numpy(), rtol=1e-10, atol=1e-12)
    expected: dict[str, Any] = {"x": theirs.grad} | {f"norm.{n}": p.grad for n, p in module.named_parameters()}
    assert gradients.keys() == expected.keys()
    for n, gradient in expected.items():
        np.testing.assert_allclose(gradients[n], gradient.numpy(), rtol=1e-9, atol=1e-10, err_msg=n)


def test_errors_say_what_fits() -> None:
    x = gc.input("x", (gc.BATCH, 6, 4))
    with pytest.raises(
        ShapeError, match=r"4 groups do not divide the 6 channels of \(N, 6, 4\)(?s:.)*1, 2, 3, 6 groups"
    ):
        gc.group_norm(x, 4)
    with pytest.raises(ShapeError, match=r"normalized_shape \(5,\) is not that of the last axes(?s:.)*\(4,\)"):
        gc.layer_norm(x, 5)
    with pytest.raises(ShapeError, match=r"InstanceNorm2d\(\) cannot normalise \(N, 6, 4\)(?s:.)*rank 4"):
        gc.InstanceNorm2d()(x)


def test_weight_norm_starts_as_the_plain_layer_and_trains_direction_and_length() -> None:
    generator = np.random.default_rng(0)
    x, weights = generator.normal(size=(4, 3)), generator.normal(size=(4, 5))
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 5).double())
    given, cotangent = gc.input("x", (gc.BATCH, 3), "float64"), gc.input("cotangent", (gc.BATCH, 5), "float64")
    layer = gc.weight_norm(gc.Dense(5, name="dense"))
    y = layer(given)
    state = layer.state_dict()
    np.testing.assert_allclose(state["weight_g"], np.linalg.norm(state["weight"], axis=1), rtol=1e-15)
    original = module.parametrizations.weight
    state = {
        "weight": original.original1.detach().numpy(),
        "weight_g": original.original0.detach().numpy()[:, 0] * 1.5,
        "bias": module.bias.detach().numpy(),
    }
    layer.load_state_dict(state)
    with torch.no_grad():
        original.original0 *= 1.5
    result = module(torch.tensor(x))
    (result * torch.tensor(weights)).sum().backward()
    got, gradients = compile_gradients(y, cotangents=[cotangent])(x=x, cotangent=weights)
    np.testing.assert_allclose(got, result.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradients["dense.weight"], original.original1.grad.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(gradients["dense.weight_g"], original.original0.grad.numpy()[:, 0], rtol=1e-11)


def test_batch_instance_norm_is_a_mixture_whose_gate_stays_between_both() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(1.0, 2.0, (3, 2, 4, 3))

    def standardised(axes: tuple[int, ...]) -> np.ndarray:
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)

    y = (layer := gc.BatchInstanceNorm2d(name="norm"))(gc.input("x", (gc.BATCH, 2, 4, 3), "float64"))
    layer.load_state_dict({"gate": np.array([0.25, 1.75]), "weight": np.array([2.0, 3.0])}, strict=False)
    (got,), gradients = compile_gradients([gc.sum(y * y)])(x=x)
    gate = np.array([0.25, 1.0])[:, None, None]
    mixed = gate * standardised((0, 2, 3)) + (1 - gate) * standardised((2, 3))
    scale = np.array([2.0, 3.0])[:, None, None]
    np.testing.assert_allclose(got, ((scale * mixed) ** 2).sum(), rtol=1e-11)
    expected = 2 * scale**2 * mixed * (standardised((0, 2, 3)) - standardised((2, 3)))
    np.testing.assert_allclose(gradients["norm.gate"], [expected[:, 0].sum(), 0.0], rtol=1e-9)


def test_switchable_norm_mixes_the_statistics_of_instance_layer_and_batch() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(1.0, 2.0, (3, 2, 4, 3))
    state = {"mean_weight": np.array([0.3, -0.5, 1.0]), "var_weight": np.array([1.0, 0.0, -1.0])}
    given = gc.input("x", (gc.BATCH, 2, 4, 3), "float64")
    y = (layer := gc.SwitchableNorm2d(affine=False, momentum=1.0, name="norm"))(given)
    layer.load_state_dict(state, strict=False)

    def expected(values: dict[str, np.ndarray], batch: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        sets = ((2, 3), (1, 2, 3), (0, 2, 3))
        p, q = (np.exp(values[n]) / np.exp(values[n]).sum() for n in ("mean_weight", "var_weight"))
        means, variances = ([f(axis=a, keepdims=True) for a in sets] for f in (x.mean, x.var))
        if batch is not None:
            means[2], variances[2] = batch
        mean, variance = (sum(a * b for a, b in zip(w, s, strict=True)) for w, s in ((p, means), (q, variances)))
        return (x - mean) / np.sqrt(variance + 1e-5)

    training = gc.compile_training((y * y * y).mean(), optimizer=gc.SGD(0.0))
    np.testing.assert_allclose(training.step(x=x)["loss"], (expected(state) ** 3).mean(), rtol=1e-11)
    usual = tuple(f(axis=(0, 2, 3)).reshape(1, 2, 1, 1) * s for f, s in ((x.mean, 1.0), (x.var, 36 / 35)))
    np.testing.assert_allclose(gc.compile_inference(y)(x=x), expected(state, usual), rtol=1e-10)  # type: ignore[arg-type]
    _, gradients = compile_gradients([(y * y * y).mean()])(x=x)
    for name, value in state.items():
        for k in range(3):
            step = np.eye(3)[k] * 1e-6
            ends = [(expected(state | {name: value + s}) ** 3).mean() for s in (step, -step)]
            np.testing.assert_allclose(gradients[f"norm.{name}"][k], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-9)
