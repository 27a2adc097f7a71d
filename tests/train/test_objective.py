"""Losses and metrics by name, for one output and for several; weights of classes; compiled, against torch and numpy."""

import re

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DataError, GraphcError, InputError
from graphc.train.objective import BY_CLASS, BY_ELEMENT, objective

GENERATOR = np.random.default_rng(7)


def classifier(dtype="float64", **options):
    x = gc.input("x", (gc.BATCH, 5), dtype)
    return gc.Model(gc.Dense(3, name="output")(x), **{"loss": "cross_entropy"} | options)


@pytest.fixture(scope="module")
def data():
    return GENERATOR.standard_normal((40, 5)), GENERATOR.integers(3, size=40)


@pytest.mark.parametrize("name", [*BY_CLASS, *BY_ELEMENT])
def test_every_named_loss_makes_a_scalar_of_outputs_and_a_target_of_its_own(name):
    outputs = gc.input("p", (gc.BATCH, 4, 6))
    found = objective(outputs, name, None)
    (target,) = found.targets
    assert found.loss.shape == ()
    if name in BY_CLASS:
        assert (target.name, target.shape, target.dtype.value) == ("labels", (gc.BATCH, 6), "int64")
        assert found.classes == 4
    else:
        assert (target.name, target.shape, target.dtype.value) == ("targets", (gc.BATCH, 4, 6), "float32")
        assert found.weighted is None


def test_names_that_are_not_known_are_answered_with_the_nearest():
    x = gc.input("x", (gc.BATCH, 4))
    with pytest.raises(GraphcError, match="there is no loss named 'crossentropy'") as caught:
        objective(x, "crossentropy", None)
    assert caught.value.hint == "did you mean 'cross_entropy'?"
    with pytest.raises(GraphcError, match="there is no metric named 'acuracy'"):
        objective(x, "cross_entropy", ["acuracy"])
    with pytest.raises(GraphcError, match=r"needs outputs \[n, classes, ...\], got shape"):
        objective(gc.input("x", (gc.BATCH,)), "cross_entropy", None)
    with pytest.raises(GraphcError, match="loss_weights needs a dict of losses"):
        objective(x, "mse", None, weights={"x": 1.0})
    with pytest.raises(GraphcError, match="loss names 'b', but there are a"):
        objective({"a": x}, {"b": "mse"}, None)
    with pytest.raises(GraphcError, match="metrics name 'b', which is no output"):
        objective({"a": x}, {"a": "mse"}, {"b": ["mae"]})


def test_a_function_is_given_outputs_and_target():
    x, y = gc.input("x", (gc.BATCH, 4)), gc.input("y", (gc.BATCH, 4))
    assert objective(x, lambda p, t: gc.square(p - t).mean(), None).targets[0].shape == (gc.BATCH, 4)
    assert objective(x, lambda p, t: gc.square(p - t).mean(), None, y).targets == ()


def weighted_cross_entropy(logits, labels, weights):
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return np.average(losses, weights=weights[labels])


def test_weights_of_classes_change_the_loss_and_what_is_learnt_without_compiling_again(data):
    torch = pytest.importorskip("torch")
    x, y = data
    model, programs = classifier(), []
    for weights in ([1.0, 2.0, 0.5], {1: 3.0}, "balanced", None):
        parameters = {name: p.value.copy() for name, p in model.parameters.items()}
        history = model.fit(
            x, y, epochs=1, batch_size=40, shuffle=False, class_weight=weights, verbose=0, threads=1,
            optimizer=None if programs else gc.SGD(0.5),
        )  # fmt: skip
        programs.append(model.program)
        expected = np.ones(3)
        match weights:
            case list():
                expected = np.array(weights)
            case dict():
                expected[1] = 3.0
            case "balanced":
                expected = 40 / (3 * np.bincount(y, minlength=3))
        logits = x @ parameters["output.weight"].T + parameters["output.bias"]
        assert history["loss"] == [pytest.approx(weighted_cross_entropy(logits, y, expected), rel=1e-12)]
        weight = torch.tensor(parameters["output.weight"], requires_grad=True)
        outputs = torch.tensor(x) @ weight.T + torch.tensor(parameters["output.bias"])
        torch.nn.functional.cross_entropy(outputs, torch.tensor(y), torch.tensor(expected)).backward()
        got = model.program.parameters["output.weight"].value
        np.testing.assert_allclose(got, weight.detach().numpy() - 0.5 * weight.grad.numpy(), rtol=1e-12)
    assert all(program is programs[0] for program in programs)
    # classes weigh in training alone
    logits = model.predict(x)
    assert model.evaluate(x, y)["loss"] == pytest.approx(weighted_cross_entropy(logits, y, np.ones(3)), rel=1e-12)
    assert "class_weight" not in model.state_dict()


def test_a_classifier_of_the_house_takes_weights_of_classes():
    images, labels = GENERATOR.standard_normal((20, 1, 8, 8)), GENERATOR.integers(10, size=20)
    model = gc.Model(gc.models.perceptron((1, 8, 8), 10))
    logits = model.predict(images)
    weights = np.linspace(0.5, 2, 10)
    history = model.fit(images, labels, epochs=1, batch_size=20, class_weight=weights, verbose=0, threads=1)
    assert history["loss"] == [pytest.approx(weighted_cross_entropy(logits, labels, weights), rel=1e-5)]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({3: 1.0}, r"class 3, expected 0\.\.2"),
        ({"a": 1.0}, "class 'a'"),
        ([1.0, 2.0], r"has shape \(2,\), expected one weight for each of 3 classes"),
        ([1.0, -1.0, 1.0], "not negative"),
        ([0.0, 0.0, 0.0], "one above 0"),
        ("even", 'expected weights, or "balanced"'),
    ],
)
def test_weights_that_do_not_go_with_the_classes_are_refused(data, weights, message):
    with pytest.raises(GraphcError, match=message):
        classifier().fit(*data, class_weight=weights, verbose=0)


def test_a_loss_that_is_made_already_has_no_weights(data):
    x, y = gc.input("x", (gc.BATCH, 5)), gc.input("y", (gc.BATCH,), "int64")
    logits = gc.Dense(3)(x)
    with pytest.raises(GraphcError, match="class_weight needs a loss of class numbers that Model makes") as caught:
        gc.Model(logits, loss=gc.cross_entropy(logits, y)).fit(*data, class_weight={0: 2.0}, verbose=0)
    assert "gc.cross_entropy(logits, labels, weight=...)" in caught.value.hint


def test_several_losses_are_a_weighted_sum_whose_parts_are_reported(data):
    x, y = data
    place = gc.input("x", (gc.BATCH, 5), "float64")
    outputs = {"kind": gc.Dense(3, name="kind")(place), "size": gc.Dense(1, name="size")(place)}
    model = gc.Model(
        outputs, loss={"kind": "cross_entropy", "size": "huber"}, loss_weights={"size": 0.25},
        metrics={"kind": ["accuracy"], "size": "mae"},
    )  # fmt: skip
    assert (model.x, model.y) == (("x",), ("kind", "size"))
    sizes = x[:, 0] * 3
    predicted = model.predict(x)
    targets = {"kind": y, "size": sizes}
    history = model.fit(x, targets, epochs=1, batch_size=40, verbose=0, threads=1, validation_data=(x, targets))
    error = predicted["size"][:, 0] - sizes
    huber = np.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5).mean()
    entropy = weighted_cross_entropy(predicted["kind"], y, np.ones(3))
    assert history["kind_loss"] == [pytest.approx(entropy, rel=1e-12)]
    assert history["size_loss"] == [pytest.approx(huber, rel=1e-12)]
    assert history["loss"] == [pytest.approx(entropy + 0.25 * huber, rel=1e-12)]
    assert history["kind_accuracy"] == [pytest.approx(np.mean(predicted["kind"].argmax(axis=1) == y))]
    assert history["size_mae"] == [pytest.approx(abs(error).mean(), rel=1e-12)]
    assert history["val_loss"][0] < history["loss"][0]
    assert history["val_loss"] == [pytest.approx(history["val_kind_loss"][0] + history["val_size_loss"][0] / 4)]


def test_targets_may_have_axes_of_one_element_or_not(data):
    x, _ = data
    model = gc.Model(gc.Dense(1)(gc.input("x", (gc.BATCH, 5))), loss="mse", metrics=["r2"])
    flat = model.evaluate(x, x[:, 1], threads=1)
    assert flat == model.evaluate(x, x[:, 1:2], threads=1) == model.evaluate(x, x[:, 1].tolist(), threads=1)
    with pytest.raises(InputError, match="targets"):
        model.evaluate(x, x[:, :2], threads=1)


@pytest.mark.parametrize("held_out", [False, True])
def test_labels_out_of_range_are_found_before_the_first_step_with_their_place(data, held_out, tmp_path):
    x, y = data
    wrong = y.copy()
    wrong[17] = 3
    log = tmp_path / "log.csv"
    log.write_text("as it was")
    model = classifier()
    before = {name: p.value.copy() for name, p in model.parameters.items()}
    given = {"validation_data": (x, wrong)} if held_out else {}
    with pytest.raises(InputError, match=r"input labels is 3 at \[17\], expected 0\.\.2"):
        model.fit(x, y if held_out else wrong, verbose=0, threads=1, callbacks=[gc.CSVLogger(log)], **given)
    for name, parameter in model.parameters.items():
        np.testing.assert_array_equal(parameter.value, before[name])
    assert log.read_text() == "as it was"
    with pytest.raises(DataError, match="nan"):
        model.fit(np.where(x > 2, np.nan, x), y, verbose=0)


def test_a_loss_that_is_not_finite_ends_training_with_what_was_learnt_before_it(data):
    x, _ = data
    model = gc.Model(gc.Dense(1)(gc.input("x", (gc.BATCH, 5))), loss="mse")
    with pytest.raises(gc.errors.NonFiniteError) as caught:
        model.fit(x, x[:, 0], epochs=200, optimizer=gc.SGD(50.0), verbose=0, threads=1)
    assert re.search(
        r"NonFiniteError after \d+ steps, in epoch \d+; what was learnt is kept", caught.value.__notes__[0]
    )
    assert model.history.steps == model.program.steps > 0
    assert len(model.history) >= model.history.steps - 1
    assert all(np.isfinite(p.value).all() for p in model.parameters.values())
