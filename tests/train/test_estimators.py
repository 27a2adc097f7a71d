"""The estimators keep scikit-learn's conventions, and find what its own exact methods find."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
import graphc.train

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

CHECK = """
import json, sys, warnings
import graphc as gc
from sklearn.utils.estimator_checks import check_estimator
warnings.simplefilter("ignore")
results = check_estimator(getattr(gc, sys.argv[1])(threads=1), on_fail=None, on_skip=None)
print(json.dumps([(r["check_name"], r["status"], repr(r["exception"])) for r in results]))
"""


@pytest.mark.parametrize("name", ["GraphClassifier", "GraphRegressor"])
def test_all_checks_of_scikit_learn_pass(name: str) -> None:
    # scipy asks for the variable when it is imported; without it a check would be skipped
    variables = {"SCIPY_ARRAY_API": "1", "GRAPHC_NUM_THREADS": "1", "PYTHONPATH": str(Path(gc.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, name], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) > 50
    missing = [r for r in results if r[1] == "skipped" and "pandas is not installed" in r[2]]
    assert [r for r in results if r[1] != "passed" and r not in missing] == []


def blobs(count: int = 120, classes: int = 3, spread: float = 1.0, seed: int = 0) -> tuple[Any, Any]:
    """Points around as many centres as there are classes."""
    random = np.random.default_rng(seed)
    centres, y = random.standard_normal((classes, 4)), random.integers(classes, size=count)
    return centres[y] + spread * random.standard_normal((count, 4)), y


def classifier(**options: Any) -> Any:
    return gc.GraphClassifier(**{"hidden_layer_sizes": (8,), "random_state": 0, "threads": 1, "tol": None} | options)


def test_without_hidden_layers_it_is_logistic_regression() -> None:
    x, y = blobs()
    mine = classifier(hidden_layer_sizes=(), optimizer=gc.SGD(0.5, momentum=0.9), max_iter=600).fit(x, y)
    exact = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(mine.predict_proba(x), exact.predict_proba(x), atol=1e-4)
    assert mine.score(x, y) == exact.score(x, y)


def test_weights_of_samples_and_classes_count_as_those_of_logistic_regression() -> None:
    x, y = blobs(60, 2)
    weight = np.random.default_rng(1).uniform(0, 3, len(x))
    options = {"hidden_layer_sizes": (), "optimizer": gc.SGD(0.5, momentum=0.9), "max_iter": 400}
    mine = classifier(class_weight={0: 5.0}, **options).fit(x, y, sample_weight=weight)
    exact = LogisticRegression(C=np.inf, class_weight={0: 5.0}, tol=1e-10, max_iter=10_000).fit(x, y, weight)
    np.testing.assert_allclose(mine.predict_proba(x), exact.predict_proba(x), atol=1e-4)


def test_without_hidden_layers_a_regressor_is_least_squares() -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((80, 4)), random.standard_normal((80, 2))
    mine = gc.GraphRegressor(
        hidden_layer_sizes=(), optimizer=gc.SGD(0.3, momentum=0.8), max_iter=300, tol=None, threads=1, random_state=0
    ).fit(x, y)
    exact = LinearRegression().fit(x, y)
    np.testing.assert_allclose(mine.predict(x), exact.predict(x), atol=1e-9)
    np.testing.assert_allclose(mine.weights_["output.weight"], exact.coef_, atol=1e-9)
    assert mine.predict(x.astype("float32")).dtype == np.float64


def test_float32_stays_float32() -> None:
    x, y = blobs()
    fitted = classifier(max_iter=2).fit(x.astype("float32"), y)
    assert fitted.predict_proba(x).dtype == np.float32
    assert {w.dtype for w in fitted.weights_.values()} == {np.dtype("float32")}


def test_in_a_pipeline_under_a_search_and_under_cross_validation() -> None:
    x, y = blobs()
    names = np.array(["one", "two", "three"])[y]
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=20, learning_rate=0.03))
    search = GridSearchCV(pipeline, {"graphclassifier__learning_rate": [1e-6, 0.03]}, cv=2, n_jobs=1).fit(x, names)
    assert search.best_params_ == {"graphclassifier__learning_rate": 0.03}
    assert search.best_score_ > 0.6
    assert list(search.classes_) == sorted(set(names))
    assert cross_val_score(pipeline, x, names, cv=2).mean() == pytest.approx(search.best_score_)


def test_the_same_random_state_gives_the_same_bits() -> None:
    x, y = blobs()
    first, again, other = (classifier(max_iter=3, batch_size=32, random_state=s).fit(x, y) for s in (1, 1, 2))
    assert np.array_equal(first.predict_proba(x), again.predict_proba(x))
    assert not np.array_equal(first.predict_proba(x), other.predict_proba(x))
    assert first.loss_curve_ == clone(first).fit(x, y).loss_curve_


def test_a_pickle_holds_numbers_and_goes_on() -> None:
    x, y = blobs()
    fitted = classifier(max_iter=3).fit(x, y)
    state = fitted.__getstate__()
    assert all(type(v).__module__.split(".")[0] != "graphc" for v in state.values())
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.predict_proba(x), fitted.predict_proba(x))
    copy.partial_fit(x, y)
    assert copy.n_iter_ == 4
    assert not np.array_equal(copy.predict_proba(x), fitted.predict_proba(x))


def test_partial_fit_is_fit_one_pass_at_a_time() -> None:
    x, y = blobs()
    parts, whole = classifier(batch_size=50), classifier(batch_size=50, max_iter=4)
    for _ in range(4):
        parts.partial_fit(x, y, classes=[0, 1, 2])
    whole.fit(x, y)
    assert parts.loss_curve_ == whole.loss_curve_
    assert np.array_equal(parts.predict_proba(x), whole.predict_proba(x))


def test_partial_fit_needs_the_classes_and_keeps_them() -> None:
    x, y = blobs()
    with pytest.raises(ValueError, match="first call of partial_fit needs classes="):
        classifier().partial_fit(x, y)
    fitted = classifier().partial_fit(x, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="y holds 7, the classes are"):
        fitted.partial_fit(x, np.full(len(x), 7))
    with pytest.raises(ValueError, match="classes is"):
        fitted.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(ValueError, match="balanced"):
        classifier(class_weight="balanced").partial_fit(x, y, classes=[0, 1, 2])


def test_warm_start_goes_on_from_the_weights() -> None:
    x, y = blobs()
    warm = classifier(max_iter=10, warm_start=True).fit(x, y)
    first = warm.loss_curve_
    assert warm.fit(x, y).loss_curve_[0] < first[-1]
    cold = classifier(max_iter=10).fit(x, y)
    assert cold.fit(x, y).loss_curve_ == first


def test_early_stopping_keeps_the_best_weights() -> None:
    x, y = blobs(spread=3.0)
    fitted = classifier(
        hidden_layer_sizes=(32,), learning_rate=0.1, early_stopping=True, validation_fraction=0.3, tol=0.0,
        n_iter_no_change=5,
    ).fit(x, y)  # fmt: skip
    assert fitted.n_iter_ == np.argmin(fitted.loss_curve_) + 1 + 5 < fitted.max_iter
    whole = clone(fitted).set_params(tol=None, max_iter=20).fit(x, y)  # to the end, with the best weights all the same
    assert whole.n_iter_ == 20
    for each in (fitted, whole):
        _, held_out = train_test_split(np.arange(len(x)), test_size=0.3, random_state=each._seed, stratify=y)
        assert log_loss(y[held_out], each.predict_proba(x[held_out])) == pytest.approx(min(each.loss_curve_))


def test_who_wants_convergence_is_told_that_there_is_none() -> None:
    x, y = blobs()
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        classifier(max_iter=2, tol=1e-4).fit(x, y)


def test_any_network() -> None:
    digits, _ = gc.data.load("digits")
    x, y = digits.images[:300].reshape(-1, 64), digits.labels[:300]
    fitted = classifier(
        network=lambda outputs: gc.Sequential(
            gc.Unflatten(1, (1, 8, 8)), gc.Conv2d(8, 3, activation="relu", name="conv"), gc.MaxPool2d(2), gc.Flatten(),
            gc.Dropout(0.1), gc.Dense(outputs, name="output"),
        ), max_iter=20, batch_size=32, learning_rate=gc.schedules.cosine(0.01),
    ).fit(x, y)  # fmt: skip
    assert fitted.score(x, y) > 0.9
    assert fitted.weights_["conv.weight"].shape == (8, 1, 3, 3)


def test_errors_say_what_to_do() -> None:
    x, y = blobs()
    with pytest.raises(gc.errors.ShapeError, match=r"expected \(N, 3\)") as error:
        classifier(network=lambda _: gc.Dense(5)).fit(x, y)
    assert "gc.Dense(3)" in error.value.hint
    with pytest.raises(gc.GraphcError, match="unknown optimizer 'adma'") as error:
        classifier(optimizer="adma").fit(x, y)
    assert "adam" in error.value.hint
    with pytest.raises(ValueError, match="not be negative, nor all zero"):
        classifier().fit(x, y, sample_weight=-np.ones(len(x)))
    with pytest.raises(NotFittedError):
        classifier().predict(x)


def test_without_scikit_learn_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "sklearn.base"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "graphc.train.estimators", raising=False)
    monkeypatch.delattr(graphc.train, "estimators", raising=False)
    with pytest.raises(ImportError, match=r"pip install graphc\[sklearn\]"):
        _ = gc.GraphRegressor
    with pytest.raises(AttributeError, match="GraphCluster"):
        _ = gc.GraphCluster
