"""The search for a learning rate: what it suggests, and that it leaves no trace."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import GraphcError
from graphc.train.rate_finder import LearningRates


@pytest.fixture(scope="module")
def fitted():
    """A line that has been fitted for an epoch, and its data."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((256, 4))
    model = gc.Model(gc.Dense(1)(gc.input("x", (gc.BATCH, 4), "float64")), loss="mse")
    y = x @ [1.0, -2.0, 3.0, 4.0]
    model.fit(x, y, epochs=1, batch_size=32, optimizer=gc.Adam(0.01), verbose=0, threads=1)
    return model, x, y


def test_parameters_state_rate_and_history_are_what_they_were(fitted):
    model, x, y = fitted
    before, history, rate = model.program.state_dict(), model.history, model.program.optimizer.lr
    found = gc.find_learning_rate(model, x, y, steps=40, batch_size=32, threads=1)
    after = model.program.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert model.history is history
    assert (model.program.optimizer.lr, model.epochs, model.program.steps) == (rate, 1, 8)
    assert 1e-4 < found.suggestion < 10
    assert len(found.rates) == len(found.losses) <= 40


def test_rates_grow_by_one_factor_and_losses_are_averages_of_those_of_the_steps(fitted):
    model, x, y = fitted
    found = gc.find_learning_rate(
        model, x, y, optimizer=gc.SGD(), start=1e-6, end=1e-2, steps=5, batch_size=64, smoothing=0.5, threads=1, seed=3
    )
    np.testing.assert_allclose(found.rates, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2], rtol=1e-12)
    w = model.parameters["dense.weight"].value.copy()
    b = model.parameters["dense.bias"].value.copy()
    order = np.concatenate([gc.shuffled(256, 3, epoch) for epoch in (1, 2)])
    average, expected = 0.0, []
    for k, rate in enumerate(found.rates):
        rows = order[64 * k : 64 * k + 64]
        error = x[rows] @ w[0] + b[0] - y[rows]
        average = 0.5 * average + 0.5 * np.mean(error**2)
        expected.append(average / (1 - 0.5 ** (k + 1)))
        w = w - rate * 2 * error @ x[rows] / 64
        b = b - rate * 2 * error.mean()
    np.testing.assert_allclose(found.losses, expected, rtol=1e-10)


def test_it_ends_when_the_loss_diverges(fitted):
    model, x, y = fitted
    found = gc.find_learning_rate(model, x, y, optimizer=gc.SGD(), end=1e30, steps=200, batch_size=32, threads=1)
    assert 10 < len(found.rates) < 200
    assert np.isfinite(found.losses).all()
    assert 1e-4 < found.suggestion < 1
    assert all(np.isfinite(p.value).all() for p in model.parameters.values())


def test_the_steepest_descent_is_suggested():
    rates = np.logspace(-6, 0, 61)
    losses = 2 - np.tanh((np.log10(rates) + 3) * 2)  # falls fastest at 1e-3
    found = LearningRates(rates, losses)
    assert found.suggestion == pytest.approx(1e-3, rel=1e-6)
    assert repr(found) == "<suggestion 1.0e-03 of 61 rates from 1.0e-06 to 1.0e+00: loss 3 .. 1>"


def test_the_picture_shows_losses_and_suggestion():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    rates = np.logspace(-6, 0, 61)
    figure = LearningRates(rates, -np.log(rates)).plot()
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    np.testing.assert_array_equal(panel.get_lines()[0].get_xdata(), rates)
    matplotlib.pyplot.close(figure)


@pytest.mark.parametrize("options", [{"start": 0.0}, {"start": 1.0, "end": 0.1}, {"steps": 1}, {"smoothing": 1.0}])
def test_senseless_bounds_are_refused(fitted, options):
    with pytest.raises(GraphcError, match="expected 0 < start < end"):
        gc.find_learning_rate(*fitted, **options)
