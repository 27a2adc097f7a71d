"""Initial values: moments, bounds, orthogonality, and the rules of torch and Keras."""

from __future__ import annotations

from math import erf, exp, pi, sqrt

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.initialisers import (
    dirac,
    fans,
    for_activation,
    gain,
    he_normal,
    identity,
    initialiser,
    lecun_normal,
    orthogonal,
    sparse,
    truncated_normal,
    variance_scaling,
    xavier_uniform,
)  # fmt: skip
from graphc.dsl.parameter import generator_for
from graphc.errors import GraphcError


def drawn(chosen, shape=(200, 300), name="w", seed=0) -> np.ndarray:
    return initialiser(chosen)(shape, generator_for(seed, name))


# ---------------------------------------------------------------------------------------------- truncated normal


def moments(low: float, high: float) -> tuple[float, float]:
    """Mean and variance of N(0, 1) within [low, high], as the books have them."""
    density = [exp(-x * x / 2) / sqrt(2 * pi) for x in (low, high)]
    mass = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2
    mean = (density[0] - density[1]) / mass
    return mean, 1 + (low * density[0] - high * density[1]) / mass - mean**2


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-0.5, 3.0), (1.0, 1.5), (-3.0, -2.0)])
def test_truncated_normal_numbers_have_their_moments(low: float, high: float) -> None:
    values = (drawn(truncated_normal(5.0, 0.1, 5 + 0.1 * low, 5 + 0.1 * high)) - 5) / 0.1
    mean, variance = moments(low, high)
    assert low - 1e-12 <= values.min() < values.max() <= high + 1e-12
    assert values.mean() == pytest.approx(mean, abs=4 * sqrt(variance / values.size))
    assert values.var() == pytest.approx(variance, rel=0.03)


def test_truncated_normal_numbers_are_the_quantiles_of_uniform_ones() -> None:
    special = pytest.importorskip("scipy.special")
    uniform = generator_for(0, "w").uniform(special.ndtr(-2.0), special.ndtr(2.0), 1000)
    np.testing.assert_allclose(drawn(truncated_normal(), (10, 100)).ravel(), special.ndtri(uniform), rtol=1e-12)


def test_far_tails_are_exact() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = drawn(truncated_normal(0.0, 1.0, 9.0, 10.0), (5000,))
    mirrored = drawn(truncated_normal(0.0, 1.0, -10.0, -9.0), (5000,))
    assert (values >= 9).all()
    assert len(np.unique(values)) == values.size, "1 - Φ(9) has few digits, Φ(-9) has all"
    assert stats.kstest(values, stats.truncnorm(9, 10).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(np.sort(values), np.sort(-mirrored))


def test_scaled_truncated_numbers_have_the_wanted_variance() -> None:
    values = drawn(variance_scaling(2.0, "fan_in", "truncated_normal"))
    assert values.var() == pytest.approx(2 / 300, rel=0.03)
    # Keras divides by the same number: scipy.stats.truncnorm.std(-2, 2)
    assert abs(values).max() <= 2 * sqrt(2 / 300) / 0.87962566103423978
    assert abs(values).max() > 1.99 * sqrt(2 / 300) / 0.87962566103423978


# ----------------------------------------------------------------------------------------------- scaled variances


@pytest.mark.parametrize(
    ("mode", "fan"), [("fan_in", 6 * 25), ("fan_out", 64 * 25), ("fan_avg", (6 * 25 + 64 * 25) / 2)]
)
@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
def test_variance_scaling_is_that_of_keras(mode: str, fan: float, distribution: str) -> None:
    values = drawn(variance_scaling(0.7, mode, distribution), (64, 6, 5, 5))
    assert values.var() == pytest.approx(0.7 / fan, rel=0.07)
    assert abs(values.mean()) < 4 * sqrt(0.7 / fan / values.size)
    if distribution == "uniform":
        assert 0.999 * sqrt(3 * 0.7 / fan) < abs(values).max() <= sqrt(3 * 0.7 / fan)


@pytest.mark.parametrize("shape", [(10, 20), (16, 6, 5, 5), (8, 3, 7), (4, 3, 2, 3, 2)])
def test_fans_and_bounds_are_those_of_torch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.empty(shape)
    assert fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(weight)
    many = (2000, *shape)
    for ours, theirs in [
        ("he_uniform", lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        ("xavier_uniform", torch.nn.init.xavier_uniform_),
    ]:
        own = np.stack([drawn(ours, shape, f"{k}") for k in range(many[0] // 20)])
        peer = np.stack([theirs(weight).numpy().copy() for _ in range(many[0] // 20)])
        assert abs(own).max() == pytest.approx(abs(peer).max(), rel=0.01)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_those_of_torch(name: str) -> None:
    init = pytest.importorskip("torch").nn.init
    assert gain(name) == pytest.approx(init.calculate_gain(name), rel=1e-15)
    if name == "leaky_relu":
        assert gain(name, 0.2) == pytest.approx(init.calculate_gain(name, 0.2), rel=1e-15)


# -------------------------------------------------------------------------------------------------- matrices


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (9, 4), (8, 3, 3, 3), (40, 3, 3, 3), (6, 2, 5)])
def test_orthogonal_weights_are_orthonormal(shape: tuple[int, ...]) -> None:
    matrix = drawn(orthogonal(1.5), shape).reshape(shape[0], -1)
    product = matrix @ matrix.T if shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 2.25 * np.eye(len(product)), atol=1e-14)


def test_orthogonal_matrices_are_uniform() -> None:
    # without the signs of R the diagonal would be biased; E[trace²] = 1 for the uniform distribution
    traces = np.array([np.trace(drawn("orthogonal", (3, 3), f"{k}")) for k in range(3000)])
    assert abs(traces.mean()) < 4 / sqrt(traces.size)
    assert (traces**2).mean() == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_identity_matrices(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(drawn("identity", shape), np.eye(*shape))
    np.testing.assert_array_equal(drawn(identity(0.5), shape), 0.5 * np.eye(*shape))


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 4, 3), 1), ((3, 5, 3, 3), 1), ((6, 2, 3, 5), 3), ((6, 2, 4, 4), 2), ((2, 2, 3, 3, 3), 1)]
)
def test_dirac_is_that_of_torch(shape: tuple[int, ...], groups: int) -> None:
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(drawn(dirac(groups), shape), expected)


def test_sparse_columns_have_their_share_of_zeros() -> None:
    weight = drawn(sparse(0.33, 2.0), (10, 400))
    assert ((weight == 0).sum(axis=0) == 4).all(), "a third of ten, rounded up"
    assert weight[weight != 0].std() == pytest.approx(2, rel=0.05)
    assert (weight == 0).mean(axis=1) == pytest.approx(0.4, abs=0.15)


# ---------------------------------------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        *[(a, he_normal) for a in (None, "relu", "leaky_relu", "gelu", "silu", gc.relu, gc.ReLU())],
        *[(a, xavier_uniform) for a in ("tanh", "sigmoid", "linear", "hardtanh", gc.tanh, gc.Tanh(), gc.LogSigmoid())],
        *[(a, lecun_normal) for a in ("selu", gc.selu, gc.SELU())],
    ],
)
def test_layers_choose_by_their_activation(activation, expected) -> None:
    assert gc.Dense(3, activation).weight_init == expected
    assert gc.Conv2d(3, 3, activation=activation).weight_init == expected
    assert gc.Dense(3, activation, weight_init="orthogonal").weight_init == "orthogonal"


def test_every_name_of_the_rule_is_an_activation() -> None:
    from graphc.dsl.initialisers import UNRECTIFIED
    from graphc.dsl.nn.activation import ACTIVATIONS

    assert {name.replace("_", "") for name in ACTIVATIONS} >= UNRECTIFIED
    assert for_activation("") == he_normal


@pytest.mark.parametrize(("activation", "least", "most"), [("relu", 0.4, 1.6), ("selu", 0.6, 1.4), ("tanh", 0.1, 1.0)])
def test_signals_neither_vanish_nor_explode(activation: str, least: float, most: float) -> None:
    functions = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    }
    x = np.random.default_rng(0).normal(size=(256, 200))
    first = x.std()
    for k in range(15):
        weight = drawn(gc.Dense(200, activation).weight_init, (200, 200), f"layer{k}")
        x = functions[activation](x @ weight.T)
    assert least < sqrt((x**2).mean()) / first < most


def test_recurrent_matrices_take_an_initialiser_and_biases_start_at_zero() -> None:
    lstm = gc.LSTM(4, weight_init="orthogonal")
    lstm(gc.input("x", (gc.BATCH, 3, 5)))
    values = lstm.state_dict()
    np.testing.assert_allclose(values["weight_hh_l0"].T @ values["weight_hh_l0"], np.eye(4), atol=1e-6)
    assert not values["bias_ih_l0"].any()
    plain = gc.LSTM(4)
    plain(gc.input("x", (gc.BATCH, 3, 5)))
    assert 0.4 < abs(plain.state_dict()["bias_ih_l0"]).max() <= 0.5


@pytest.mark.parametrize("name", ["he", "truncated_normal", "orthogonal", variance_scaling(), sparse(0.5)])
def test_values_depend_on_seed_and_name_alone(name) -> None:
    np.testing.assert_array_equal(drawn(name, (6, 5), "a.w", 3), drawn(name, (6, 5), "a.w", 3))
    assert (drawn(name, (6, 5), "a.w", 3) != drawn(name, (6, 5), "a.v", 3)).any()
    assert (drawn(name, (6, 5), "a.w", 3) != drawn(name, (6, 5), "a.w", 4)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: drawn("orthogonal", (3,)), r"orthogonal: expected a weight .*got shape \(3,\).*\n.*\"zeros\""),
        (lambda: drawn(dirac(4), (6, 2, 3)), "6 outputs cannot be divided into 4 groups"),
        (lambda: truncated_normal(0, 1, 2, -2), r"low < high, got 1, 2 and -2\n.*low=-2, high=2"),
        (lambda: sparse(1.5), "between 0 and 1, got 1.5"),
        (lambda: variance_scaling(0), "positive scale, got 0"),
        (lambda: variance_scaling(1, "fan"), r'no mode is called "fan"\n.*fan_in or fan_out or fan_avg'),
        (lambda: variance_scaling(1, "fan_in", "cauchy"), 'no distribution is called "cauchy"'),
        (lambda: gain("swish"), r'no gain for "swish"\n.*relu'),
    ],
)
def test_errors_say_what_to_do(make, message: str) -> None:
    with pytest.raises(GraphcError, match=message):
        make()
