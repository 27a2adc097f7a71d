"""What was built apart used together, as users of other libraries would: against torch, and bit for bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DataError, GraphcError, InputError
from graphc.train.sources import source_of

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 5)).astype(np.float32)
LABELS = (X.sum(1) > 0).astype(np.int64)
NUMBERS = X @ GENERATOR.normal(size=5).astype(np.float32)
IMAGES = GENERATOR.normal(size=(53, 1, 6, 6))
KINDS = GENERATOR.integers(0, 3, 53)


def classifier(dropout: float = 0.3) -> gc.Model:
    x = gc.input("x", (gc.BATCH, 5))
    layers = gc.Dense(6, "relu", name="a"), gc.BatchNorm1d(name="bn"), gc.Dropout(dropout), gc.Dense(2, name="b")
    return gc.Model(gc.Sequential(*layers)(x), loss="cross_entropy", metrics=["accuracy"])


def regressor() -> gc.Model:
    return gc.Model(gc.Dense(1)(gc.input("x", (gc.BATCH, 5))), loss="mse")


def fit(model: gc.Model, *data: Any, **options: Any) -> gc.Model:
    model.fit(*data, **{"epochs": 1, "batch_size": 8, "verbose": 0, "threads": 1} | options)
    return model


def bits(model: gc.Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.program.state_dict().items()}


# ------------------------------------------------------------------------------------------- against torch


def test_a_convolutional_network_with_everything_at_once_is_that_of_torch():
    torch = pytest.importorskip("torch")
    rate, decay, size, epochs, accumulate = 0.02, 0.03, 8, 3, 3
    x = gc.input("x", (gc.BATCH, 1, 6, 6), "float64")
    layers = (
        gc.Conv2d(4, 3, padding=1, bias=False, name="0"), gc.BatchNorm2d(name="1"), gc.ReLU(), gc.MaxPool2d(2),
        gc.Flatten(), gc.Dense(3, name="5"),
    )  # fmt: skip
    model = gc.Model(gc.Sequential(*layers)(x), loss="cross_entropy", metrics=["accuracy"])
    optimizer = gc.Adam(
        lambda t: rate * 0.9 ** (t - 1), weight_decay=decay, clip_value=0.2, clip_norm=0.4, accumulate=accumulate,
        groups=[gc.Group("*.bias", weight_decay=0.0, lr_factor=0.5)], amsgrad=True,
    )  # fmt: skip
    model.compile(optimizer, threads=1)

    peer = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(36, 3),
    ).double()  # fmt: skip
    with torch.no_grad():
        for path, parameter in model.parameters.items():
            theirs = peer.state_dict()[path]
            theirs.copy_(torch.tensor(parameter.value if theirs.shape == parameter.shape else parameter.value.T))
    biases = [p for n, p in peer.named_parameters() if n.endswith("bias")]
    groups = [
        {"params": [p for n, p in peer.named_parameters() if not n.endswith("bias")], "weight_decay": decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    theirs = torch.optim.Adam(groups, rate, amsgrad=True)

    history = model.fit(
        IMAGES, KINDS, epochs=epochs, batch_size=size, optimizer=optimizer, seed=5, threads=1, verbose=0,
    )  # fmt: skip
    losses, steps = [], 0
    for epoch in range(1, epochs + 1):
        order, total, count = gc.shuffled(len(KINDS), 5, epoch), 0.0, 0
        for rows in (order[k : k + size] for k in range(0, len(order), size)):
            loss = torch.nn.functional.cross_entropy(peer(torch.tensor(IMAGES[rows])), torch.tensor(KINDS[rows]))
            (loss / accumulate).backward()
            total, count, steps = total + loss.item() * len(rows), count + len(rows), steps + 1
            if steps % accumulate == 0:
                torch.nn.utils.clip_grad_value_(peer.parameters(), 0.2)
                torch.nn.utils.clip_grad_norm_(peer.parameters(), 0.4)
                for group, factor in zip(theirs.param_groups, (1, 0.5), strict=True):
                    group["lr"] = factor * rate * 0.9 ** (steps // accumulate - 1)
                theirs.step()
                theirs.zero_grad()
        losses.append(total / count)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)
    for path, parameter in model.parameters.items():
        value = peer.state_dict()[path].numpy()
        np.testing.assert_allclose(parameter.value, value if value.shape == parameter.shape else value.T, atol=1e-10)


def test_all_at_once_has_the_same_bits_for_any_number_of_threads():
    def trained(threads: int) -> tuple[Any, ...]:
        rates = gc.schedules.cosine(0.01)
        model = fit(
            classifier(), X, LABELS, epochs=3, batch_size=7, threads=threads, validation_split=0.2,
            class_weight="balanced", optimizer=gc.AdamW(rates, clip_norm=0.1, accumulate=2, ema=0.9),
        )  # fmt: skip
        return bits(model), model.history["loss"], model.history["val_loss"]

    assert trained(1) == trained(2) == trained(3)


# ------------------------------------------------------------------------------------------ several inputs


def two_inputs() -> gc.Model:
    a, b = gc.input("a", (gc.BATCH, 5)), gc.input("b", (gc.BATCH, 3))
    return gc.Model(gc.Dense(1, name="a")(a) + gc.Dense(1, name="b")(b), loss="mse")


B = X[:, 1:4].copy()
TARGETS = NUMBERS[:, None]


@pytest.mark.parametrize(
    "data",
    [
        ((X, B), NUMBERS),
        ([X, B], NUMBERS.tolist()),
        ({"b": B, "a": X}, NUMBERS),
        ({"b": B, "a": X, "targets": TARGETS},),
        (lambda: iter([((X, B), TARGETS)]),),
        (lambda: iter([({"a": X, "b": B}, TARGETS)]),),
    ],
    ids=["tuple", "list", "dict", "all", "nested", "named"],
)
def test_several_inputs_come_in_any_habit(data):
    model = fit(two_inputs(), *data, shuffle=False)
    assert bits(model) == bits(fit(two_inputs(), {"a": X, "b": B, "targets": TARGETS}, shuffle=False))
    assert model.predict([X, B]).tobytes() == model.predict({"a": X, "b": B}).tobytes()


def test_several_outputs_have_their_targets_in_any_habit():
    def trained(*data: Any) -> dict[str, bytes]:
        hidden = gc.Dense(4, "relu", name="h")(gc.input("x", (gc.BATCH, 5)))
        outputs = {"kind": gc.Dense(2, name="k")(hidden), "size": gc.Dense(1, name="s")(hidden)}
        losses = {"kind": "cross_entropy", "size": "mse"}
        return bits(fit(gc.Model(outputs, loss=losses), *data, shuffle=False))

    expected = trained(X, {"kind": LABELS, "size": NUMBERS})
    assert trained(X, (LABELS, NUMBERS)) == expected
    assert trained(lambda: iter([(X, (LABELS, TARGETS))])) == expected
    assert trained(lambda: iter([(X, {"size": TARGETS, "kind": LABELS})])) == expected


def test_one_array_for_several_inputs_and_one_name_for_two_are_refused():
    with pytest.raises(DataError, match="x is one array, expected a, b"):
        fit(two_inputs(), X, NUMBERS)
    outputs = {name: gc.Dense(1)(gc.input("x", (gc.BATCH, 5))) for name in "ab"}
    with pytest.raises(GraphcError, match="two inputs are called x"):
        gc.Model(outputs, loss={"a": "mse", "b": "mse"})


# ------------------------------------------------------------------------------------------- kinds of data


class Series:
    """An array of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


def test_targets_of_any_kind_may_leave_out_an_axis_of_one_element(tmp_path):
    np.save(tmp_path / "y.npy", NUMBERS)
    expected = bits(fit(regressor(), X, TARGETS))
    for y in (NUMBERS, Series(NUMBERS), tuple(NUMBERS.tolist()), np.load(tmp_path / "y.npy", mmap_mode="r")):
        assert bits(fit(regressor(), Series(X), y)) == expected


def test_integers_and_truth_values_stand_for_the_numbers_of_a_loss():
    def trained(loss: str, outputs: int, y: Any) -> dict[str, bytes]:
        x = gc.input("x", (gc.BATCH, 5))
        return bits(fit(gc.Model(gc.Dense(outputs, name="d")(x), loss=loss), X, y))

    binary, classes = ("binary_cross_entropy_with_logits", 1), ("cross_entropy", 2)
    assert trained(*binary, LABELS) == trained(*binary, LABELS > 0) == trained(*binary, LABELS.astype(np.float32))
    assert trained(*classes, LABELS > 0) == trained(*classes, LABELS)


def test_mixed_targets_are_probabilities_that_are_declared():
    def made(**options: Any) -> gc.Model:
        x = gc.input("x", (gc.BATCH, 5))
        return gc.Model(gc.Dense(2, name="d")(x), loss="cross_entropy", **options)

    mixed = gc.data.augmented((X, LABELS), gc.augment.Mixup(0.2, classes=2))
    with pytest.raises(InputError, match=r"for probabilities declare y=gc.input\('labels', \(gc.BATCH, 2\)\)"):
        fit(made(), mixed)
    model = fit(made(y=gc.input("labels", (gc.BATCH, 2))), mixed)
    rows = np.eye(2, dtype=np.float32)[LABELS]
    log = (scores := model.predict(X)) - np.log(np.exp(scores).sum(1, keepdims=True))
    assert model.evaluate(X, rows)["loss"] == pytest.approx(-(rows * log).sum(1).mean(), rel=1e-5)


def test_mapped_files_are_split_and_weighed_as_arrays_are(tmp_path):
    def mapped(name: str, array: np.ndarray) -> np.ndarray:
        np.save(tmp_path / name, array)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    options: dict[str, Any] = {"validation_split": 0.25, "class_weight": "balanced"}
    expected = fit(classifier(), X, LABELS, **options)
    model = fit(classifier(), mapped("x", X), mapped("y", LABELS), **options)
    assert bits(model) == bits(expected)
    assert model.history["val_loss"] == expected.history["val_loss"]


def test_an_endless_generator_lasts_for_thousands_of_epochs():
    def batches() -> Iterator[Any]:
        for k in range(10**6):
            yield np.full(3, k), np.full(3, k)

    source = source_of(batches(), None, ("x", "y"), limit=2)
    for epoch in range(1, 2000):
        (block,) = source.blocks(2, seed=0, epoch=epoch)
        assert block.arrays["x"].tolist() == [(2 * epoch - 2) // 3, (2 * epoch - 1) // 3]


def test_a_generator_that_was_at_work_when_training_ended_can_be_used_again():
    def slowly() -> Iterator[Any]:
        while True:
            time.sleep(0.05)
            yield X[:8], LABELS[:8]

    batches = slowly()
    stopping = gc.LambdaCallback(on_batch=lambda run, segment: run.stop("enough"))
    model = fit(classifier(), batches, steps_per_epoch=5, callbacks=stopping)
    assert fit(model, batches, steps_per_epoch=2).history["loss"] != []


def test_targets_that_come_with_samples_do_not_matter_for_a_prediction():
    model = classifier(0)
    expected = model.predict(X)
    assert np.array_equal(model.predict((X[k : k + 8], LABELS[k : k + 8]) for k in range(0, 40, 8)), expected)
    assert np.array_equal(model.predict(X[k : k + 8] for k in range(0, 40, 8)), expected)


def test_validation_data_may_be_a_list_of_two():
    first, second = (fit(classifier(), X, LABELS, validation_data=d) for d in ([X, LABELS], (X, LABELS)))
    assert first.history["val_loss"] == second.history["val_loss"]


# ------------------------------------------------------------------------------------------- one fit after another


def test_looking_for_a_rate_leaves_no_trace():
    model, other = (fit(classifier(), X, LABELS, optimizer=gc.Adam(0.01), guard="gradients") for _ in range(2))
    program, history, before = model.program, model.history, bits(model)
    gc.find_learning_rate(model, X, LABELS, optimizer=gc.SGD(), steps=20)
    gc.find_learning_rate(model, X, LABELS, steps=20)
    assert (model.program, model.history, bits(model)) == (program, history, before)
    assert bits(fit(model, X, LABELS, guard="gradients")) == bits(fit(other, X, LABELS, guard="gradients"))


def test_looking_for_a_rate_at_first_leaves_parameters_to_be_drawn():
    model = classifier()
    gc.find_learning_rate(model, X, LABELS, steps=20)
    assert bits(fit(model, X, LABELS, seed=3)) == bits(fit(classifier(), X, LABELS, seed=3))


def test_a_fit_that_is_refused_changes_nothing():
    model, other = fit(classifier(), X, LABELS), fit(classifier(), X, LABELS)
    program = model.program
    nobody = gc.SGD(groups=[gc.Group("nobody")])
    for refused in ({"callbacks": [print]}, {"optimizer": nobody}, {"validation_data": (X, LABELS + 5)}):
        with pytest.raises(GraphcError):
            fit(model, X, LABELS, class_weight={0: 2.0}, **refused)
    model.step(x=X, labels=LABELS)
    other.step(x=X, labels=LABELS)
    assert model.program is program
    assert bits(fit(model, X, LABELS)) == bits(fit(other, X, LABELS))


def test_the_common_seed_is_that_of_a_fit_without_one():
    gc.seed(9)
    try:
        common = fit(classifier(), X, LABELS)
    finally:
        gc.seed(0)
    assert bits(common) == bits(fit(classifier(), X, LABELS, seed=9)) != bits(fit(classifier(), X, LABELS))


def test_the_best_weights_in_a_file_are_those_that_are_put_back(tmp_path: Path):
    callbacks = [
        gc.EarlyStopping("val_loss", patience=2, restore_best=True), gc.Checkpoint(tmp_path / "run", best="val_loss"),
    ]  # fmt: skip
    model = fit(
        classifier(), X, LABELS, epochs=12, optimizer=gc.Adam(0.1, ema=0.9), validation_split=0.2, callbacks=callbacks
    )
    assert model.history.best_epoch < len(model.history)
    best = classifier()
    best.load(tmp_path / "run" / "best.safetensors")
    assert {n: a.tobytes() for n, a in best.state_dict().items()} == {
        n: a.tobytes() for n, a in model.state_dict().items()
    }


# ------------------------------------------------------------------------------------------------- sentences


ONE_HOT = r"rows with a one for the class become class numbers with labels.argmax\(axis=1\)"


@pytest.mark.parametrize(
    ("data", "options", "error", "sentence"),
    [
        ((X, np.eye(2)[LABELS]), {}, InputError, ONE_HOT),
        ((X, np.eye(2, dtype=int)[LABELS]), {}, InputError, ONE_HOT),
        ((X, LABELS), {"validation_data": (X, LABELS + 1)}, InputError, "validation_data: input labels is 2 at"),
        ((X, LABELS), {"validation_data": (X, LABELS[1:])}, DataError, "validation_data: expected one target"),
        ((X, LABELS), {"validation_data": iter([(X, LABELS)]), "epochs": 2}, DataError, "there are 2 epochs"),
        ((X, LABELS), {"batch_size": 8.0}, GraphcError, "batch_size must be a whole number, got 8.0\n  hint: .*=8$"),
        ((X, LABELS), {"epochs": 1.5}, GraphcError, "epochs must be a whole number, got 1.5"),
        ((X, LABELS), {"seed": -1}, GraphcError, "seed must be at least 0, got -1"),
        ((X, LABELS), {"optimizer": "adam"}, GraphcError, r"optimizer is 'adam'.*\n  hint: optimizer=gc.Adam\(1e-3\)"),
        ((X, LABELS), {"optimizer": gc.Adam}, GraphcError, "expected an Optimizer"),
        ((X, LABELS), {"callbacks": [gc.EarlyStopping]}, GraphcError, "EarlyStopping is a class, expected a callback"),
        (
            (X, LABELS), {"callbacks": gc.EarlyStopping("val_acc"), "validation_split": 0.2}, GraphcError,
            "did you mean 'val_accuracy'?",
        ),
        (("x.npy", LABELS), {}, DataError, "x.npy is the name of a file"),
        ((np.ma.masked_greater(X, 2), LABELS), {}, DataError, "x is a masked array: [1-9]"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_where_and_the_fix(data, options, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(classifier(), *data, **options)


def test_weights_alone_are_no_checkpoint(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    regressor().save(path)
    with pytest.raises(DataError, match=r"holds tensors alone.*\n  hint: .*model.load\("):
        fit(regressor(), X, NUMBERS, resume=path)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (lambda: classifier().evaluate(X, LABELS, batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: classifier().predict(X, batch_size=-3), "batch_size must be at least 1, got -3"),
        (lambda: gc.Adam("0.1"), "lr must be a number, got '0.1'"),
        (lambda: gc.Adam([0.1]), r"lr must be a number or a schedule, got \[0.1\]"),
        (lambda: fit(regressor(), lambda: iter([(X, NUMBERS)])), r"targets\[:, None\]"),
        (
            lambda: fit(gc.Model((o := gc.Dense(5)(x := gc.input("x", (gc.BATCH, 5)))), loss=gc.mse_loss(o, x)), X, X),
            "there is a y, but outputs and loss read x alone",
        ),
    ],
)
def test_so_do_those_of_other_requests(request_, sentence):
    with pytest.raises(GraphcError, match=sentence):
        request_()


def test_no_callbacks_and_the_verbosity_of_keras_are_understood(capsys):
    fit(classifier(), X, LABELS, callbacks=None, verbose="auto")
    assert "epoch 1/1" in capsys.readouterr().out
