"""What is read makes no difference to what is learnt."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import DataError, InputError

IMAGES = np.random.default_rng(0).random((50, 1, 4, 4), np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 50)


def network():
    gc.seed(0)
    images, labels = gc.input("images", (gc.BATCH, 1, 4, 4)), gc.input("labels", (gc.BATCH,), "int64")
    logits = gc.Sequential(gc.Flatten(), gc.Dense(3))(images)
    return gc.Model(logits, loss=gc.cross_entropy(logits, labels), x="images", y="labels")


def learnt(data, y=None, **options):
    """(the parameters after two epochs, the history)"""
    model = network()
    history = model.fit(
        data, y, **{"epochs": 2, "batch_size": 8, "optimizer": gc.Adam(0.05), "threads": 1, "verbose": 0} | options
    )
    return np.concatenate([np.ravel(p.value) for p in model.program.parameters.values()]), history


@pytest.fixture(scope="module")
def expected():
    return learnt(IMAGES, LABELS)


def test_a_mapped_file_a_data_set_and_gathered_samples_teach_the_same(expected, tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    sources = [
        (gc.data.open_npy(tmp_path / "x.npy"), LABELS),
        (gc.data.dataset("made up", IMAGES, LABELS, 3), None),
        (gc.data.augmented((IMAGES, LABELS)), None),
    ]
    for x, y in sources:
        parameters, history = learnt(x, y)
        np.testing.assert_array_equal(parameters, expected[0])
        assert history["loss"] == expected[1]["loss"]


def test_batches_teach_the_same_as_the_arrays_they_come_from():
    def batches():
        for start in range(0, 50, 7):
            yield IMAGES[start : start + 7], LABELS[start : start + 7]

    wanted, _ = learnt(IMAGES, LABELS, shuffle=False)
    np.testing.assert_array_equal(learnt(batches)[0], wanted)
    np.testing.assert_array_equal(learnt(list(batches()))[0], wanted)


def test_a_generator_may_give_as_many_steps_as_are_asked_for():
    def endless():
        while True:
            yield IMAGES[:8], LABELS[:8]

    _, history = learnt(endless(), steps_per_epoch=5)
    assert [epoch.samples for epoch in history.epochs] == [40, 40]


def test_augmented_images_are_others_in_every_epoch_and_the_same_in_every_run():
    data = gc.data.augmented((IMAGES, LABELS), gc.augment.RandomCrop(1), gc.augment.Flip())
    first, again = learnt(data)[0], learnt(data)[0]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, learnt(data, seed=1)[0])


def test_soft_labels_train_a_classifier():
    images, labels = gc.input("images", (gc.BATCH, 1, 4, 4)), gc.input("labels", (gc.BATCH, 3))
    logits = gc.Sequential(gc.Flatten(), gc.Dense(3))(images)
    model = gc.Model(logits, loss=gc.cross_entropy(logits, labels), x="images", y="labels")
    data = gc.data.augmented((IMAGES, LABELS), gc.augment.Mixup(0.4, classes=3))
    history = model.fit(data, epochs=8, batch_size=8, optimizer=gc.Adam(0.05), threads=1, verbose=0)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.where(IMAGES > 0.99, np.nan, IMAGES), LABELS, DataError, r"images: sample \d+ is nan at \[0, \d, \d\]"),
        (IMAGES, LABELS + 1, InputError, r"input labels is 3 at \[\d+\], expected 0\.\.2"),
        (IMAGES, LABELS[:-1], DataError, "images has 50, labels has 49"),
        (IMAGES, LABELS.astype(str), DataError, "labels has dtype <U21, expected numbers"),
        ((IMAGES * 255).astype(np.uint8), LABELS, InputError, r"images has dtype uint8.*\n.*/ 255"),
    ],
)
def test_bad_data_are_refused_before_anything_is_learnt(x, y, error, message):
    with pytest.raises(error, match=message):
        learnt(x, y)


def test_what_a_generator_taught_before_it_failed_is_kept():
    def faulty():
        for _ in range(3):
            yield IMAGES[:8], LABELS[:8]
        raise OSError("the disk is gone")

    model = network()
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(faulty(), epochs=1, batch_size=8, optimizer=gc.Adam(0.05), threads=1, verbose=0)
    assert model.program.steps == 3
