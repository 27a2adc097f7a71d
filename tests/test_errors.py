"""Mistakes in what a program is given: the sentence that names them, and that nothing has changed afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import (
    DerivativeError,
    DTypeError,
    GraphcError,
    GraphError,
    InputError,
    NonFiniteError,
    ShapeError,
)

CLASSES = 4


def network(
    optimizer: Any = None, activation: str = "relu"
) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A small convolutional training program after two good steps, its next batch, and all of its memory."""
    images = gc.input("images", (gc.BATCH, 2, 6, 6))
    labels = gc.input("labels", (gc.BATCH,), "int64")
    logits = gc.Sequential(
        gc.Conv2d(3, 3, padding=1, activation=activation, name="conv"),
        gc.MaxPool2d(2),
        gc.Flatten(),
        gc.Dense(8, "tanh", name="hidden"),
        gc.Dense(CLASSES, name="output"),
    )(images)
    loss = gc.cross_entropy(logits, labels)
    program = gc.compile_training(
        loss, optimizer=optimizer or gc.SGD(0.05, momentum=0.9), metrics={"accuracy": gc.accuracy(logits, labels)},
        threads=1, seed=0,
    )  # fmt: skip
    random = np.random.default_rng(0)
    batch = {
        "images": random.normal(size=(5, 2, 6, 6)).astype(np.float32),
        "labels": random.integers(0, CLASSES, 5),
    }
    for _ in range(2):
        program.step(**batch)
    return program, batch, memory(program)


def memory(program: Any) -> dict[str, np.ndarray]:
    """Every parameter and every piece of optimiser state, as bits."""
    held = {**program.parameters, **program.state}
    return {name: p.value.copy().view(np.uint32) for name, p in held.items()}


@contextmanager
def unchanged(program: Any, before: dict[str, np.ndarray]) -> Iterator[None]:
    """Parameters, optimiser state and the number of steps are bit for bit what they were."""
    steps = program.steps
    yield
    after = memory(program)
    assert after.keys() == before.keys()
    assert [n for n in before if not np.array_equal(before[n], after[n])] == []
    assert program.steps == steps


BAD_BATCHES: dict[str, tuple[Any, str]] = {
    "wrong shape": (
        lambda b: b | {"images": b["images"][:, :, :5]},
        r"input images has shape \(5, 2, 5, 6\), expected \(N, 2, 6, 6\): axis 2 is 5",
    ),
    "one sample without its batch axis": (
        lambda b: b | {"images": b["images"][0]},
        r"input images has rank 3 \(shape \(2, 6, 6\)\), expected \(N, 2, 6, 6\)\n  hint: one sample still needs",
    ),
    "wrong rank": (lambda b: b | {"labels": b["labels"][:, None]}, r"input labels has rank 2 .* expected \(N\)"),
    "integer images": (
        lambda b: b | {"images": np.zeros((5, 2, 6, 6), np.uint8)},
        r"input images has dtype uint8, expected float32\n  hint: .*images.astype\('float32'\), pixels also / 255",
    ),
    "float labels": (
        lambda b: b | {"labels": b["labels"].astype(np.float64)},
        r"input labels has dtype float64, expected int64\n  hint: labels must be integers",
    ),
    "boolean images": (lambda b: b | {"images": b["images"] > 0}, "input images has dtype bool, expected float32"),
    "complex images": (lambda b: b | {"images": b["images"] * 1j}, "input images has dtype complex64"),
    "texts": (lambda b: b | {"images": [["a"]]}, "input images has dtype <U1"),
    "label too large": (
        lambda b: b | {"labels": np.array([0, 1, CLASSES, 1, 0])},
        r"input labels is 4 at \[2\], expected 0..3\n  hint: labels count from 0",
    ),
    "label far too large": (
        lambda b: b | {"labels": np.array([0, 1, 1, 1 << 40, 0])},
        rf"input labels is {1 << 40} at \[3\], expected 0..3",
    ),
    "negative label": (lambda b: b | {"labels": np.array([0, 1, 2, 3, -1])}, r"input labels is -1 at \[4\]"),
    "different batch sizes": (
        lambda b: b | {"labels": b["labels"][:4]},
        "input labels has 4 samples, but images has 5",
    ),
    "an empty batch": (
        lambda b: {k: v[:0] for k, v in b.items()},
        "the batch is empty: images has 0 samples\n  hint: a batch needs at least one sample",
    ),
    "a missing input": (
        lambda b: {"images": b["images"]},
        "input labels is missing\n  hint: the inputs are images, labels",
    ),
    "an unknown input": (
        lambda b: b | {"image": b["images"]},
        "there is no input named image\n  hint: the inputs are images, labels",
    ),
    "nothing": (lambda b: {}, "input images, labels is missing"),
    "a NaN": (
        lambda b: b | {"images": _with(b["images"], (3, 1, 2, 4), np.nan)},
        r"input images holds nan at \[3, 1, 2, 4\]",
    ),
    "an infinity": (
        lambda b: b | {"images": _with(b["images"], (0, 0, 0, 0), -np.inf)},
        r"input images holds -inf at \[0, 0, 0, 0\]",
    ),
}


def _with(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.fixture(scope="module")
def trained() -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    return network()


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_bad_batch_is_refused_with_a_sentence_and_changes_nothing(name: str, trained: Any) -> None:
    program, batch, before = trained
    change, sentence = BAD_BATCHES[name]
    with unchanged(program, before), pytest.raises(InputError, match=sentence):
        program.step(**change(batch))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", [gc.SGD(0.05, momentum=0.9), gc.Adam(1e-2)], ids=["sgd", "adam"])
def test_after_a_refused_step_the_next_one_is_as_if_it_had_not_been(optimizer: Any, threads: int) -> None:
    program, batch, before = network(optimizer)
    twin, _, _ = network(optimizer)
    program.threads = threads
    with unchanged(program, before):
        for name in ("a NaN", "an infinity", "label too large", "an empty batch"):
            with pytest.raises(InputError):
                program.step(**BAD_BATCHES[name][0](batch))
    for _ in range(3):
        assert program.step(**batch) == twin.step(**batch)
    mine, theirs = memory(program), memory(twin)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_parameter_that_is_not_finite_is_named_and_can_be_mended() -> None:
    program, batch, _ = network()
    weight = program.parameters["hidden.weight"]
    good = weight.value.copy()
    weight.value = _with(good, (7, 26), np.nan)
    before = memory(program)
    sentence = r"hidden: parameter hidden.weight holds nan at \[7, 26\]\n  hint: an earlier update overflowed"
    with unchanged(program, before), pytest.raises(NonFiniteError, match=sentence):
        program.step(**batch)
    weight.value = good
    assert np.isfinite(program.step(**batch)["loss"])


def middle(x: Any) -> Any:
    return gc.log(x)  # the place that the message names


def test_a_nan_made_in_a_middle_layer_is_located() -> None:
    x, y = gc.input("x", (gc.BATCH, 3)), gc.input("y", (gc.BATCH, 2))
    first = gc.Dense(3, weight_init=1.0, use_bias=False, name="first")
    strange = gc.Sequential({"logarithm": middle, "last": gc.Dense(2)}, name="strange")
    program = gc.compile_training(gc.mse_loss(strange(first(x)), y), optimizer=gc.SGD(0.01), threads=1)
    good = {"x": np.ones((2, 3), np.float32), "y": np.zeros((2, 2), np.float32)}
    program.step(**good)
    before = memory(program)
    with unchanged(program, before), pytest.raises(NonFiniteError) as caught:
        program.step(**good | {"x": -good["x"]})
    line = middle.__code__.co_firstlineno + 1
    assert re.search(rf"test_errors\.py:{line}: .*logarithm.*log .*first output that is not finite: nan at \[0, 0\]",
                     str(caught.value))  # fmt: skip
    assert caught.value.location.line == line
    assert "lower the learning rate" in caught.value.hint
    assert np.isfinite(program.step(**good)["loss"])


def test_a_loss_that_overflows_is_refused() -> None:
    x = gc.input("x", (gc.BATCH, 2))
    w = gc.Parameter("w", (2,), 1.0)
    program = gc.compile_training(gc.mean(gc.exp(x * w)), optimizer=gc.SGD(0.01), threads=1)
    before = memory(program)
    with unchanged(program, before), pytest.raises(NonFiniteError, match=r"exp is the first output.*inf at \[1, 0\]"):
        program.step(x=np.array([[1, 1], [100, 1]], np.float32))
    assert np.isfinite(program.step(x=np.ones((3, 2), np.float32))["loss"])


def test_inference_checks_its_inputs_too() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    double = gc.compile_inference(x * 2.0, threads=1)
    with pytest.raises(InputError, match=r"input x has shape \(2, 4\), expected \(N, 3\): axis 1 is 4"):
        double(x=np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="the batch is empty"):
        double(x=np.zeros((0, 3), np.float32))
    assert np.isnan(double(x=np.full((1, 3), np.nan, np.float32))).all()


def test_integers_and_floats_of_other_widths_are_converted() -> None:
    program, batch, _ = network()
    twin, _, _ = network()
    other = {"images": batch["images"].astype(np.float64), "labels": batch["labels"].astype(np.int8)}
    assert program.step(**other) == twin.step(**batch)
    fortran = {"images": np.asfortranarray(batch["images"]), "labels": batch["labels"].tolist()}
    assert program.step(**fortran) == twin.step(**batch)


# ------------------------------------------------------------------------------------ mistakes before compiling


def line_of(error: GraphcError) -> int:
    assert error.location is not None
    assert error.location.file == __file__
    return error.location.line


def here(offset: int = 0) -> int:
    import sys

    return sys._getframe(1).f_lineno + offset


def test_a_loss_must_be_a_scalar_tensor_of_trainable_parameters() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    with pytest.raises(GraphError, match=r"loss must be a scalar, got shape \(N, 3\)\n  hint: reduce it with .mean"):
        gc.compile_training(x * 2.0)
    with pytest.raises(GraphError, match="the loss depends on no trainable parameter"):
        gc.compile_training(x.mean())
    frozen = gc.Parameter("w", (3,), 1.0, trainable=False)
    with pytest.raises(GraphError, match="the loss depends on no trainable parameter"):
        gc.compile_training((x * frozen).mean())
    w = gc.Parameter("w", (3,), 1.0)
    with pytest.raises(GraphError, match='a metric cannot be named "loss"'):
        gc.compile_training((x * w).mean(), metrics={"loss": x.mean()})
    with pytest.raises(GraphError, match=r"spread must be a scalar, got shape \(N, 3\)"):
        gc.compile_training((x * w).mean(), metrics={"spread": x})


def test_shapes_that_do_not_fit_name_line_layer_and_shapes() -> None:
    x = gc.input("x", (gc.BATCH, 3, 4, 4))
    with pytest.raises(ShapeError, match="conv2d") as caught:
        gc.conv2d(x, gc.Parameter("w", (2, 5, 3, 3)))
    assert line_of(caught.value) == here(-1)
    assert "5" in str(caught.value)
    assert "3" in str(caught.value)
    model = gc.Sequential({"body": gc.Sequential({"shrink": gc.MaxPool2d(9)})}, name="net")
    with pytest.raises(ShapeError) as caught:
        model(x)
    assert "body/shrink" in caught.value.layer
    with pytest.raises(ShapeError, match="do not broadcast") as caught:
        x + gc.input("y", (gc.BATCH, 3, 4, 5))
    assert line_of(caught.value) == here(-1)


def test_dtypes_that_do_not_fit() -> None:
    x, i = gc.input("x", (gc.BATCH, 3)), gc.input("i", (gc.BATCH,), "int64")
    with pytest.raises(DTypeError, match="mix float32 and float64"):
        x + gc.input("y", (gc.BATCH, 3), "float64")
    with pytest.raises(DTypeError, match="float16 is not supported; choose one of float32, float64, int32, int64"):
        gc.input("h", (gc.BATCH,), "float16")
    with pytest.raises(GraphcError):
        gc.cross_entropy(i, i)


def test_the_same_name_twice_is_refused() -> None:
    a, b = gc.input("x", (gc.BATCH, 3)), gc.input("x", (gc.BATCH, 1))
    with pytest.raises(GraphError, match="x"):
        gc.compile_inference(a + b)
    w = gc.Parameter("w", (3,))
    with pytest.raises(GraphError, match="w"):
        gc.compile_inference(a * w + gc.Parameter("w", (3,)))
    with pytest.raises(GraphError, match="x"):
        gc.compile_inference(a * gc.Parameter("x", (3,)))


def test_an_unknown_stage_is_answered_with_the_known_ones() -> None:
    x = gc.input("x", (gc.BATCH, 3))
    with pytest.raises(GraphError, match=r"there is no stage tile\n  hint: stages are trace, .*fuse.*native"):
        gc.compile_inference(x * 2.0, stop_after="tile")


def test_a_program_refuses_an_impossible_number_of_threads() -> None:
    program, batch, before = network()
    program.threads = 100000
    with unchanged(program, before), pytest.raises(InputError, match="threads is 100000, expected a number from 1"):
        program.step(**batch)


def test_integers_have_no_derivative() -> None:
    with pytest.raises((DerivativeError, GraphcError)):
        gc.compile_training(gc.Parameter("w", (3,), "zeros", "int64").sum())
