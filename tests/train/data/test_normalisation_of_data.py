import json
from dataclasses import asdict

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import Normalisation, Table, dataset, normalise
from graphc.train.data import normalisation as module

TABLE = np.random.default_rng(0).normal([1, -5, 100], [1, 0.1, 20], (200, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).uniform(2, 6, (20, 3, 4, 5)).astype(np.float32) * np.float32([1, 2, 3])[:, None, None]


def test_every_column_of_a_table_is_normalised_by_itself():
    fitted = Normalisation.fit(TABLE)
    np.testing.assert_allclose(fitted.mean, TABLE.astype(float).mean(0), rtol=1e-9)
    np.testing.assert_allclose(fitted.deviation, TABLE.astype(float).std(0), rtol=1e-9)
    np.testing.assert_allclose(fitted.apply(TABLE), (TABLE - TABLE.mean(0)) / TABLE.std(0), atol=1e-4)


def test_images_have_one_mean_or_one_for_each_channel():
    assert Normalisation.fit(IMAGES).mean == pytest.approx(IMAGES.mean(dtype=float))
    fitted = Normalisation.fit(IMAGES, per="channel")
    np.testing.assert_allclose(fitted.mean, IMAGES.mean((0, 2, 3), dtype=float), rtol=1e-9)
    result = fitted.apply(IMAGES)
    np.testing.assert_allclose(result.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std((0, 2, 3)), 1, rtol=1e-5)


def test_the_least_becomes_zero_and_the_largest_one():
    result = Normalisation.fit(TABLE, kind="minmax").apply(TABLE)
    np.testing.assert_allclose([result.min(0), result.max(0)], [[0] * 3, [1] * 3], atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
@pytest.mark.parametrize("data", [TABLE, IMAGES, TABLE.astype(float)])
def test_inverting_gives_the_values_of_before(kind, data):
    for per in ("all", "channel"):
        fitted = Normalisation.fit(data, per=per, kind=kind)
        result = fitted.apply(data)
        assert result.dtype == data.dtype
        np.testing.assert_allclose(fitted.invert(result), data, rtol=1e-5, atol=1e-5)


def test_the_numbers_are_the_same_whatever_parts_they_are_found_in(monkeypatch):
    whole = Normalisation.fit(IMAGES, per="channel")
    monkeypatch.setattr(module, "PIECE_BYTES", 3 * IMAGES[0].nbytes)
    parts = Normalisation.fit(IMAGES, per="channel")
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.deviation, whole.deviation, rtol=1e-12)


def test_a_column_that_is_constant_becomes_zero_and_stays_finite():
    data = np.column_stack([TABLE[:, 0], np.full(200, 7.0)])
    result = Normalisation.fit(data).apply(data)
    assert result[:, 1].tolist() == [0] * 200
    with pytest.raises(DataError, match="all values are equal"):
        Normalisation.fit(np.full((4, 2), 7.0))


def test_its_numbers_are_all_that_has_to_be_stored():
    for per in ("all", "channel"):
        fitted = Normalisation.fit(IMAGES, per=per)
        stored = json.loads(json.dumps(asdict(fitted)))
        np.testing.assert_array_equal(Normalisation(**stored).apply(IMAGES), fitted.apply(IMAGES))


def test_all_parts_are_normalised_by_what_the_training_part_says():
    table = Table("made up", TABLE, np.zeros(200, np.int64), ("a", "b", "c"))
    training, rest = normalise(table.take(np.arange(100)), table.take(np.arange(100, 200)))
    mean, deviation = TABLE[:100].mean(0), TABLE[:100].std(0)
    np.testing.assert_allclose(training.features, (TABLE[:100] - mean) / deviation, atol=1e-4)
    np.testing.assert_allclose(rest.features, (TABLE[100:] - mean) / deviation, atol=1e-4)
    images = dataset("made up", IMAGES, np.zeros(20, int), 1)
    (result,) = normalise(images, per="channel", kind="minmax")
    assert result.images.max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Normalisation.fit(IMAGES, per="pixel"), "per 'pixel' of kind 'standard' is unknown"),
        (lambda: Normalisation.fit(TABLE).apply(IMAGES[:, :2]), r"shape \(20, 2, 4, 5\), .* fitted to 3 channels"),
        (lambda: Normalisation.fit(np.float32([[1, 2], [np.nan, 3]])), r"sample 1 is nan at \[0\]"),
    ],
)
def test_what_cannot_be_normalised_is_refused(act, message):
    with pytest.raises(DataError, match=message):
        act()
