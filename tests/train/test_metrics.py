"""Metrics that are compiled into training and evaluation, against scikit-learn on all samples at once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.train.metrics import Metric, Totals, statistics_of

CLASSES, SIZES = 4, (7, 5, 1, 9)
SAMPLES = sum(SIZES)

m = gc.metrics


def evaluated(metrics: dict[str, Metric], **data: np.ndarray) -> dict[str, Any]:
    """The values over batches of unequal size, by the inference program."""
    program = gc.compile_inference(statistics_of(metrics), threads=1)
    totals, start = Totals(metrics), 0
    for size in SIZES:
        totals.add(program(**{name: array[start : start + size] for name, array in data.items()}), size)
        start += size
    return totals.value


@pytest.fixture(scope="module")
def sk() -> Any:
    return pytest.importorskip("sklearn.metrics")


@pytest.fixture(scope="module")
def classes() -> dict[str, Any]:
    """Scores and labels with a class that nobody predicts, one that never is a label, and what is measured."""
    random = np.random.default_rng(0)
    x = random.normal(size=(SAMPLES, CLASSES + 1)).astype(np.float32)
    x[:, 1], labels = -9, random.choice([0, 1, 2, 4], SAMPLES)
    scores, y = gc.input("x", (gc.BATCH, CLASSES + 1)), gc.input("y", (gc.BATCH,), "int64")
    metrics = {
        name: m.named(name, scores, y)
        for name in ("accuracy", "balanced_accuracy", "matthews", "cohen_kappa", "top_2_accuracy", "log_loss")
    }
    for average in ("macro", "micro", "weighted", None):
        for f in (m.precision, m.recall, m.f1, m.mean_iou):
            metrics[f"{f.__name__} {average}"] = f(scores, y, average=average)
        metrics[f"fbeta {average}"] = m.fbeta(scores, y, beta=2, average=average)
    metrics["specificity"] = m.specificity(scores, y, average=None)
    for by in ("true", "pred", "all", None):
        metrics[f"matrix {by}"] = m.confusion_matrix(scores, y, normalize=by)
    return {"x": x, "labels": labels, "predicted": x.argmax(1), "got": evaluated(metrics, x=x, y=labels)}


def test_classifications(sk: Any, classes: dict[str, Any]) -> None:
    got, true, predicted = classes["got"], classes["labels"], classes["predicted"]
    assert got["accuracy"] == sk.accuracy_score(true, predicted)
    recalls = [np.mean(predicted[true == c] == c) for c in np.unique(true)]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-12)
    assert got["matthews"] == pytest.approx(sk.matthews_corrcoef(true, predicted), abs=1e-12)
    assert got["cohen_kappa"] == pytest.approx(sk.cohen_kappa_score(true, predicted), abs=1e-12)
    every = {"labels": range(CLASSES + 1)}
    assert got["top_2_accuracy"] == sk.top_k_accuracy_score(true, classes["x"], k=2, **every)
    shares = np.exp(classes["x"].astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    assert got["log_loss"] == pytest.approx(sk.log_loss(true, shares, **every), rel=1e-5)
    for by in ("true", "pred", "all", None):
        expected = np.nan_to_num(sk.confusion_matrix(true, predicted, normalize=by, **every))
        np.testing.assert_allclose(got[f"matrix {by}"], expected, atol=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_scores_of_classes(average: str | None, sk: Any, classes: dict[str, Any]) -> None:
    got, true, predicted = classes["got"], classes["labels"], classes["predicted"]
    # classes without a label or a prediction count for nobody, as when scikit-learn finds the labels itself
    options: dict[str, Any] = {"average": average, "zero_division": 0}
    if average is None:
        options["labels"] = range(CLASSES + 1)
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        np.testing.assert_allclose(got[f"{name} {average}"], score(true, predicted, **options), atol=1e-12)
    np.testing.assert_allclose(got[f"fbeta {average}"], sk.fbeta_score(true, predicted, beta=2, **options), atol=1e-12)
    np.testing.assert_allclose(got[f"mean_iou {average}"], sk.jaccard_score(true, predicted, **options), atol=1e-12)
    if average is None:
        others = [sk.recall_score(true != c, predicted != c) for c in range(CLASSES + 1)]
        np.testing.assert_allclose(got["specificity"], others, atol=1e-12)


def test_yes_or_no(sk: Any) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, SAMPLES).astype(np.float32)
    x = random.permutation(np.linspace(-3, 3, SAMPLES)).astype(np.float32) + 0.5
    x[labels == 1] += 1.003
    x[3] = x[8]  # a tie
    logits, y = gc.input("x", (gc.BATCH, 1)), gc.input("y")
    names = ("accuracy", "precision", "recall", "specificity", "f1", "matthews", "roc_auc", "average_precision")
    metrics = {name: m.named(name, logits, y) for name in (*names, "log_loss")}
    metrics |= {"above 1/2": m.precision(logits, y, threshold=0.5), "macro": m.f1(logits, y, average="macro")}
    metrics |= {"unseen": m.roc_auc(gc.sqrt(logits), y)}
    got = evaluated(metrics, x=x[:, None], y=labels)
    assert got["accuracy"] == sk.accuracy_score(labels, x > 0)
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert got[name] == pytest.approx(score(labels, x > 0), abs=1e-12)
    assert got["specificity"] == pytest.approx(sk.recall_score(1 - labels, x <= 0), abs=1e-12)
    assert got["matthews"] == pytest.approx(sk.matthews_corrcoef(labels, x > 0), abs=1e-12)
    assert got["above 1/2"] == pytest.approx(sk.precision_score(labels, x > 0.5), abs=1e-12)
    assert got["macro"] == pytest.approx(sk.f1_score(labels, x > 0, average="macro"), abs=1e-12)
    # with 1024 bins no two of these scores share one, but for the tie
    assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, x), abs=1e-12)
    assert got["average_precision"] == pytest.approx(sk.average_precision_score(labels, x), abs=1e-12)
    assert got["log_loss"] == pytest.approx(sk.log_loss(labels, 1 / (1 + np.exp(-x.astype(np.float64)))), rel=1e-5)
    assert np.isnan(got["unseen"]), "a score that is NaN has no rank"


def test_segmentation_without_the_places_that_are_ignored(sk: Any) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(SAMPLES, 3, 4, 5)).astype(np.float32)
    labels = random.integers(0, 3, (SAMPLES, 4, 5))
    labels[random.random(labels.shape) < 0.3] = 255
    scores, y = gc.input("x", (gc.BATCH, 3, 4, 5)), gc.input("y", (gc.BATCH, 4, 5), "int64")
    names = ("accuracy", "mean_iou", "dice", "confusion_matrix", "log_loss", "perplexity", "top_k_accuracy")
    extra: dict[str, Any] = {"top_k_accuracy": {"k": 2}}
    metrics = {n: getattr(m, n)(scores, y, ignore_index=255, **extra.get(n, {})) for n in names}
    got = evaluated(metrics, x=x, y=labels)
    kept = labels != 255
    true, rows = labels[kept], np.moveaxis(x, 1, -1)[kept].astype(np.float64)
    predicted = rows.argmax(1)
    assert got["accuracy"] == sk.accuracy_score(true, predicted)
    assert got["mean_iou"] == pytest.approx(sk.jaccard_score(true, predicted, average="macro"), abs=1e-12)
    assert got["dice"] == pytest.approx(sk.f1_score(true, predicted, average="macro"), abs=1e-12)
    assert got["top_k_accuracy"] == sk.top_k_accuracy_score(true, rows, k=2)
    np.testing.assert_array_equal(got["confusion_matrix"], sk.confusion_matrix(true, predicted))
    shares = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    assert got["log_loss"] == pytest.approx(sk.log_loss(true, shares), rel=1e-5)
    assert got["perplexity"] == pytest.approx(np.exp(sk.log_loss(true, shares)), rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_regressions_far_from_zero_too(offset: float, columns: tuple[int, ...], sk: Any) -> None:
    random = np.random.default_rng(3)
    t = (random.normal(size=(SAMPLES, *columns)) + offset).astype(np.float32)
    y = (t + 0.5 * random.normal(size=t.shape) + 0.25).astype(np.float32)
    outputs, targets = gc.input("y", (gc.BATCH, *columns)), gc.input("t", (gc.BATCH, *columns))
    names = ("mse", "rmse", "mae", "mape", "r2", "explained_variance")
    metrics = {name: m.named(name, outputs, targets) for name in names}
    metrics |= {"each": m.r2(outputs, targets, average=False)}
    got, t, y = evaluated(metrics, y=y, t=t), t.astype(np.float64), y.astype(np.float64)
    assert got["mse"] == pytest.approx(sk.mean_squared_error(t, y), rel=1e-5)
    assert got["rmse"] == pytest.approx(np.sqrt(np.mean((t - y) ** 2)), rel=1e-5)
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(t, y), rel=1e-5)
    assert got["mape"] == pytest.approx(sk.mean_absolute_percentage_error(t, y), rel=1e-5)
    assert got["r2"] == pytest.approx(sk.r2_score(t, y), abs=1e-5)
    assert got["explained_variance"] == pytest.approx(sk.explained_variance_score(t, y), abs=1e-5)
    np.testing.assert_allclose(got["each"], sk.r2_score(t, y, multioutput="raw_values"), atol=1e-5)


def test_a_target_that_is_constant_is_explained_if_there_is_no_error(sk: Any) -> None:
    outputs, targets = gc.input("y", (gc.BATCH, 2)), gc.input("t", (gc.BATCH, 2))
    t = np.full((SAMPLES, 2), 3, np.float32)
    y = t + np.array([0, 1], np.float32)
    got = evaluated({"r2": m.r2(outputs, targets, average=False)}, y=y, t=t)
    assert got["r2"].tolist() == sk.r2_score(t, y, multioutput="raw_values").tolist() == [1, 0]


def test_scores_that_are_not_numbers_are_wrong() -> None:
    scores, y = gc.input("x", (gc.BATCH, 3)), gc.input("y", (gc.BATCH,), "int64")
    x, labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0] * 6][:SAMPLES], np.array([0, 1, 2, 0] * 6)[:SAMPLES]
    x[0, 2] = np.nan
    names = ("accuracy", "confusion_matrix", "recall")
    got = evaluated({name: m.named(name, scores, y) for name in names}, x=x, y=labels)
    assert got["accuracy"] == 1 - 1 / SAMPLES
    assert got["confusion_matrix"].sum() == SAMPLES - 1
    assert got["recall"] == pytest.approx((1 - 1 / np.sum(labels == 0) + 2) / 3)


# --------------------------------------------------------------------------------------- inside of a step


@pytest.fixture(scope="module")
def training() -> dict[str, Any]:
    """A step with metrics, whose rate is 0 so that all batches see the same parameters."""
    x, y = gc.input("x", (gc.BATCH, 6)), gc.input("y", (gc.BATCH,), "int64")
    logits = gc.Dense(CLASSES, name="output")(x)
    loss = gc.cross_entropy(logits, y)
    metrics = {
        "accuracy": m.accuracy(logits, y), "f1": m.f1(logits, y), "plain": gc.accuracy(logits, y),
        "matrix": m.confusion_matrix(logits, y), "logits": logits.mean(axis=0),
    }  # fmt: skip
    random = np.random.default_rng(4)
    data = {"x": random.normal(size=(37, 6)).astype(np.float32), "y": random.integers(0, CLASSES, 37)}
    program = gc.compile_training(loss, optimizer=gc.SGD(0.0), metrics=metrics, threads=2, seed=0)
    return {"program": program, "metrics": metrics, "data": data, "logits": gc.compile_inference(logits, threads=1)}


def test_statistics_of_a_step_are_those_of_its_batch(training: dict[str, Any], sk: Any) -> None:
    data = training["data"]
    logits = training["logits"](x=data["x"])
    got, predicted = training["program"].step(**data), logits.argmax(1)
    assert list(got) == ["loss", *training["metrics"]]
    assert isinstance(got["loss"], float)
    assert isinstance(got["accuracy"], float)
    assert got["accuracy"] == sk.accuracy_score(data["y"], predicted)
    assert got["f1"] == pytest.approx(sk.f1_score(data["y"], predicted, average="macro"))
    np.testing.assert_array_equal(got["matrix"], sk.confusion_matrix(data["y"], predicted))
    np.testing.assert_allclose(got["logits"], logits.mean(0), rtol=1e-5, atol=1e-6)


def test_epochs_add_up_to_the_whole(training: dict[str, Any]) -> None:
    program, data, metrics = training["program"], training["data"], training["metrics"]
    whole = program.step(**data)
    by_segment, by_step = Totals(metrics), Totals(metrics)
    for segment in program.segments(data, 5):
        assert segment.values["matrix/counts"].shape == (len(segment), CLASSES, CLASSES + 1)
        by_segment.add(segment.values, segment.samples)
    for k in range(0, 37, 5):
        part = {name: array[k : k + 5] for name, array in data.items()}
        program.step(**part)
        by_step.add(program.results, len(part["x"]))
    got, same = by_segment.value, by_step.value
    for name, value in whole.items():
        np.testing.assert_array_equal(got[name], same[name])
        np.testing.assert_allclose(got[name], value, rtol=1e-6, atol=1e-7)
    assert got["f1"] == whole["f1"]
    assert got["accuracy"] == whole["accuracy"] == pytest.approx(got["plain"])


def test_arrays_in_any_layout_are_those_before_each_update() -> None:
    x = gc.input("x", (gc.BATCH, 30))
    first, second = gc.Dense(50, "relu", name="first"), gc.Dense(20, name="second")
    loss = gc.square(second(first(x))).mean()
    held = {"first": first.parameters()[0], "second": second.parameters()[0]}
    program = gc.compile_training(loss, optimizer=gc.SGD(0.1), metrics=held, threads=2, seed=0)
    rows = {"x": np.random.default_rng(6).normal(size=(12, 30)).astype(np.float32)}
    start = {name: p.value for name, p in held.items()}
    epoch = program.epoch(rows, 4)
    end = {name: p.value for name, p in held.items()}
    step = program.step(**rows)
    for name, p in held.items():
        assert epoch[name].shape == (3, *p.shape)
        np.testing.assert_array_equal(epoch[name][0], start[name])
        assert np.abs(np.diff(epoch[name], axis=0)).max() > 0
        np.testing.assert_array_equal(step[name], end[name])


def test_totals_go_on_from_their_state(training: dict[str, Any]) -> None:
    program, data, metrics = training["program"], training["data"], training["metrics"]
    y, t = gc.input("y", (gc.BATCH, 2)), gc.input("t", (gc.BATCH, 2))
    r2 = {"r2": m.r2(y, t)}
    rows = np.random.default_rng(5).normal(size=(10, 2)).astype(np.float32) + 100
    program_r2 = gc.compile_inference(statistics_of(r2), threads=1)
    for totals, parts in (
        ((Totals(metrics), Totals(metrics)), [(s.values, s.samples) for s in program.segments(data, 4)]),
        ((Totals(r2), Totals(r2)), [(program_r2(y=rows[k] + 1, t=rows[k]), len(rows[k])) for k in ([0, 1], [2, 3, 4])]),
    ):
        whole, halves = totals
        for results, samples in parts:
            whole.add(results, samples)
            state = json.loads(json.dumps(halves.state()))
            halves = Totals(metrics if "loss" in results else r2)
            halves.restore(state)
            halves.add(results, samples)
        assert json.dumps(whole.state()) == json.dumps(halves.state())
        assert whole.value["loss" if "loss" in results else "r2"] == halves.value["loss" if "loss" in results else "r2"]


def test_a_metric_of_ones_own() -> None:
    x = gc.input("x", (gc.BATCH, 2))
    spread = Metric({"squares": (x**2).sum(axis=0)}, lambda s: np.sqrt(s["squares"] / s["samples"]))
    rows = np.arange(2 * SAMPLES, dtype=np.float32).reshape(-1, 2)
    got = evaluated({"rms": spread}, x=rows)
    np.testing.assert_allclose(got["rms"], np.sqrt((rows.astype(np.float64) ** 2).mean(0)), rtol=1e-6)


# ----------------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_named_with_what_to_do() -> None:
    scores, y = gc.input("x", (gc.BATCH, 3)), gc.input("y", (gc.BATCH,), "int64")
    with pytest.raises(ShapeError, match=r"accuracy: outputs \(N, 3\) and labels \(N, 2\).*\n.*labels of shape \(N,\)"):
        m.accuracy(scores, gc.input("z", (gc.BATCH, 2), "int64"))
    with pytest.raises(DTypeError, match=r'f1: labels are float32.*\n.*"int64"'):
        m.f1(scores, gc.input("z"))
    with pytest.raises(GraphcError, match=r"top_k_accuracy: k must lie in 1\.\.3"):
        m.top_k_accuracy(scores, y)
    with pytest.raises(GraphcError, match="recall: average is 'mean', expected one of 'auto', 'macro'"):
        m.recall(scores, y, average="mean")
    with pytest.raises(GraphcError, match='f1: average="binary" needs 2 classes, got 3'):
        m.f1(scores, y, average="binary")
    with pytest.raises(ShapeError, match=r"roc_auc: .*\n.*logits\[:, 1\] - logits\[:, 0\]"):
        m.roc_auc(scores, y)
    with pytest.raises(ShapeError, match=r"r2: outputs \(N, 3\) and targets \(N,\) differ"):
        m.r2(scores, gc.input("z"))
    with pytest.raises(GraphcError, match=r"no metric named 'acuracy'\n.*did you mean 'accuracy'"):
        m.named("acuracy", scores, y)
    with pytest.raises(GraphError, match=r"statistic right of hits must be a scalar, got shape \(N,\)"):
        Metric({"right": scores.sum(axis=1)}, float, "hits")
    with pytest.raises(GraphError, match="two metrics have the same name"):
        statistics_of({"a": Metric({"b": scores.sum()}, float), "a/b": scores.sum()})
