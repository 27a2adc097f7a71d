"""Losses and activations as layers and functions: torch's names and arguments, and errors with their remedies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.dsl import functional, nn
from graphc.errors import DTypeError, GraphcError, InputError, ShapeError

torch = pytest.importorskip("torch")
RANDOM = np.random.default_rng(0)

X, ROWS, LABELS = gc.input("x", (gc.BATCH, 3)), gc.input("rows", (gc.BATCH,)), gc.input("labels", (gc.BATCH,), "int64")
IMAGES, OTHER = gc.input("images", (2, 3, 4, 4)), gc.input("other", (gc.BATCH, 4))


ACTIVATIONS = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax2d",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
]


def test_activations_have_the_names_and_defaults_of_torch() -> None:
    x = gc.input("x", (2, 4, 3, 6))
    program = gc.compile_inference({name: getattr(nn, name)()(x) for name in ACTIVATIONS}, threads=1)
    array = RANDOM.normal(size=(2, 4, 3, 6)).astype(np.float32) * 3
    for name, got in program(x=array).items():
        expected = getattr(torch.nn, name)()(torch.tensor(array)).detach().numpy()
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_options_are_given_by_position_or_name_and_are_those_of_the_function() -> None:
    assert repr(nn.Hardtanh(-2, max_val=3)(X)) == repr(functional.hardtanh(X, -2, 3)).replace(")>", ", hardtanh)>")
    with pytest.raises(GraphcError, match="ELU: got an unexpected keyword argument 'beta'\n  hint: options: alpha"):
        nn.ELU(beta=1)
    with pytest.raises(GraphcError, match="too many positional arguments"):
        nn.Softsign(1, 2)
    with pytest.raises(GraphcError, match=r"elu takes the operands a and the options alpha; got 1, gamma"):
        gc.elu(X, gamma=1)


def test_prelu_learns_its_weights() -> None:
    layer = nn.PReLU(3)
    report = gc.check_gradients(
        (layer(gc.input("x", (2, 3, 2), "float64")) ** 2).mean(), {"x": RANDOM.normal(size=(2, 3, 2))}
    )
    assert report.ok, report
    (weight,) = [p for _, p in layer.named_parameters()]
    assert weight.value.tolist() == [0.25] * 3


def test_rrelu_draws_its_slopes_in_training_only() -> None:
    x = gc.Parameter("x", (1, 1000), -1.0)
    y = nn.RReLU(0.25, 0.75)(x)
    assert gc.compile_inference(y)().tolist() == [[-0.5] * 1000]
    loss = (nn.RReLU(0.25, 0.75)(x) + 0).mean()
    (_, found) = gc.compile_gradients(loss)()
    slopes = found["x"] * 1000
    assert 0.25 <= slopes.min() < 0.3
    assert 0.7 < slopes.max() <= 0.75
    assert abs(slopes.mean() - 0.5) < 0.02


def test_losses_hold_their_weights() -> None:
    layer = nn.CrossEntropyLoss(weight=[1, 2, 4], label_smoothing=0.1, ignore_index=-100)
    scores, labels = RANDOM.normal(size=(4, 3)).astype(np.float32), np.array([0, 2, -100, 1])
    got = gc.compile_inference(layer(X, LABELS), threads=1)(x=scores, labels=labels)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2, 4]), label_smoothing=0.1)
    assert got == pytest.approx(float(theirs(torch.tensor(scores), torch.tensor(labels))), rel=1e-6)
    assert [name for name, p in layer.named_parameters() if not p.trainable] == ["weight"]


def test_a_marked_label_does_not_count_and_others_are_refused() -> None:
    program = gc.compile_inference(gc.cross_entropy(X, LABELS, ignore_index=-100), threads=1)
    scores = np.eye(3, dtype=np.float32)
    first = program(x=scores, labels=np.array([0, -100, -100]))
    assert first == pytest.approx(np.log(np.e + 2) - 1, rel=1e-6)
    assert program(x=scores, labels=np.array([-100, -100, -100])) == 0
    with pytest.raises(InputError, match=r"input labels is -7 at \[1\], expected 0..2\n.*ignore_index=-7"):
        program(x=scores, labels=np.array([0, -7, -100]))
    with pytest.raises(InputError, match=r"input labels is 3 at \[2\], expected 0..2"):
        program(x=scores, labels=np.array([0, -100, 3]))


def test_no_gradient_of_an_ignored_label() -> None:
    program = gc.compile_gradients(gc.cross_entropy(X, LABELS, ignore_index=-100), wrt=[X], threads=1)
    _, found = program(x=np.eye(3, dtype=np.float32), labels=np.array([0, -100, 1]))
    assert found["x"][1].tolist() == [0, 0, 0]
    assert np.abs(found["x"][[0, 2]]).min() > 0


def test_top_k_accuracy() -> None:
    scores = np.array([[3, 2, 1], [1, 1, 1], [0, 1, 2], [np.nan, 0, 1]], np.float32)
    program = gc.compile_inference({str(k): gc.top_k_accuracy(X, LABELS, k) for k in (1, 2, 3)}, threads=1)
    # places of the labels: 1, 2 (equal, but later), 3, and never
    assert program(x=scores, labels=np.array([0, 1, 0, 0])) == {"1": 0.25, "2": 0.5, "3": 0.75}


BATCHED = gc.input("batched", (gc.BATCH, 5))
BOXES, BAD_BOXES = gc.input("boxes", (gc.BATCH, 4)), gc.input("bad", (gc.BATCH, 5))


@pytest.mark.parametrize(
    ("apply", "error", "sentence"),
    [
        (lambda: gc.cross_entropy(X, gc.input("l", (5,), "int64")), ShapeError,
         r"logits of shape \(N, 3\) need labels of shape \(N,\), got \(5,\)\n  hint: axis 1 of the logits holds"),
        (lambda: gc.cross_entropy(X, gc.input("l", (gc.BATCH, 3), "int64")), ShapeError,
         r"hint: one probability for each class has a floating-point dtype: labels.astype\('float32'\)"),
        (lambda: gc.cross_entropy(X, ROWS), ShapeError, r"hint: class numbers have an integer dtype: labels.astype"),
        (lambda: gc.cross_entropy(X, X, ignore_index=0), DTypeError, "hint: give the samples to ignore a"),
        (lambda: gc.cross_entropy(X, LABELS, OTHER), ShapeError,
         r"weight has shape \(N, 4\), but there are 3 classes\n  hint: use one number for each class: shape \(3,\)"),
        (lambda: gc.cross_entropy(X, LABELS, label_smoothing=1.0), GraphcError, "0 <= label_smoothing < 1, got 1.0"),
        (lambda: gc.cross_entropy(X, LABELS, temperature=0.0), GraphcError, "temperature must be positive, got 0.0"),
        (lambda: gc.cross_entropy(X, LABELS, reduction="avg"), GraphcError, '"mean", "sum" or "none", got \'avg\''),
        (lambda: gc.cross_entropy(ROWS, LABELS), ShapeError, r"need the axes \(batch, classes\), got \(N,\)"),
        (lambda: gc.cross_entropy(X, LABELS, sample_weight=X), ShapeError,
         r"sample_weight of shape \(N, 3\) does not broadcast to \(N,\)\n  hint: use the shape \(N,\)"),
        (lambda: gc.nll_loss(X, ROWS), DTypeError, "labels must have an integer dtype, got float32"),
        (lambda: gc.mse_loss(X, ROWS), ShapeError, r"hint: losses do not broadcast; reshape target to \(N, 3\)"),
        (lambda: gc.l1_loss(X, X, OTHER), ShapeError, r"weight of shape \(N, 4\) does not broadcast to \(N, 3\)"),
        (lambda: gc.huber_loss(X, X, delta=0), GraphcError, "huber_loss: delta must be positive, got 0"),
        (lambda: gc.focal_loss(X, LABELS, gamma=-1), GraphcError, "focal_loss: gamma must not be negative, got -1"),
        (lambda: gc.multi_margin_loss(X, LABELS, p=3), GraphcError, "p must be 1 or 2, got 3"),
        (lambda: gc.info_nce(X, X), ShapeError, r"the batch must be known, got \(N, 3\)\n  hint: declare it"),
        (lambda: gc.cosine_similarity(X, X, axis=2), ShapeError, "axis 2 does not exist"),
        (lambda: gc.triplet_margin_loss(X, X, OTHER), ShapeError, r"anchor has shape \(N, 3\) but negative has shape"),
        (lambda: gc.contrastive_loss(X, X, X), ShapeError, r"embeddings \(N, 3\) need a same of shape \(N,\)"),
        (lambda: gc.large_margin_logits(X, OTHER, LABELS), ShapeError, r"expected features \[n, d\] and"),
        (lambda: gc.large_margin_logits(X, X, LABELS, margin=9), GraphcError, "an integer in 1..8, got 9"),
        (lambda: gc.box_iou(BOXES, BAD_BOXES), ShapeError, r"second must be \[..., 4\], got \(N, 5\)"),
        (lambda: gc.top_k_accuracy(X, LABELS, 4), GraphcError, "k must lie in 1..3, the number of classes, got 4"),
        (lambda: gc.ctc_loss(X, LABELS, None, LABELS), ShapeError, r"expected log probabilities \[n, time"),
        (lambda: gc.glu(X), ShapeError, r"axis 1 of \(N, 3\) is split in halves, .*\n  hint: use 2 or 4"),
        (lambda: gc.maxout(BATCHED, 2), ShapeError, "pieces=2\n  hint: the divisors of 5 are 1, 5"),
        (lambda: gc.prelu(X, OTHER), ShapeError, r"takes 1 or 3 weights, got \(N, 4\)\n  hint: use .* \(3,\)"),
        (lambda: gc.gelu(X, "exact"), GraphcError, '"none" or "tanh", got \'exact\''),
        (lambda: gc.hardtanh(X, 1, 1), GraphcError, "min_val must be below max_val, got 1 and 1"),
        (lambda: gc.softshrink(X, -1), GraphcError, "lambd must not be negative, got -1"),
        (lambda: gc.softmin(X, temperature=-1), GraphcError, "temperature must be positive, got -1"),
        (lambda: gc.clip(X), GraphcError, "clip needs min, max or both"),
        (lambda: nn.Softmax2d()(X), ShapeError, r"expected images .*, got \(N, 3\)\n  hint: .* use Softmax"),
    ],
)  # fmt: skip
def test_bad_arguments(apply: Callable[[], Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        apply()
