import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import k_folds, split

X = np.arange(100, dtype=np.float32)[:, None]
CLASSES = (np.arange(100) % 10 == 0).astype(int)
"""Ten samples of class 1 and ninety of class 0."""


def test_several_shares_give_several_parts_each_with_all_classes():
    parts = split((X, CLASSES), (0.1, 0.3), seed=2)
    assert [len(y) for _, y in parts] == [60, 10, 30]
    assert [int(y.sum()) for _, y in parts] == [6, 1, 3]
    together = np.concatenate([x[:, 0] for x, _ in parts])
    np.testing.assert_array_equal(np.sort(together), np.arange(100))
    for x, y in parts:
        np.testing.assert_array_equal(x[:, 0] % 10 == 0, y == 1)
    again = split((X, CLASSES), (0.1, 0.3), seed=2)
    np.testing.assert_array_equal(again[0][0], parts[0][0])


@pytest.mark.parametrize(("y", "stratify"), [(X[:, 0], True), (CLASSES, False)])
def test_without_classes_shares_are_those_of_the_whole(y, stratify):
    training, held_out = split((X, y), 0.25, stratify=stratify)
    assert (len(training[0]), len(held_out[0])) == (75, 25)
    assert held_out[0][:, 0].tolist() != sorted(held_out[0][:, 0])


@pytest.mark.parametrize("k", [2, 3, 10])
def test_every_sample_is_held_out_once_and_classes_evenly(k):
    pairs = list(k_folds((X, CLASSES), k))
    assert len(pairs) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([h[0][:, 0] for _, h in pairs])), np.arange(100))
    for training, held_out in pairs:
        assert len(training[0]) + len(held_out[0]) == 100
        assert not set(training[0][:, 0]) & set(held_out[0][:, 0])
        assert 10 // k <= held_out[1].sum() <= -(-10 // k)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: split((X, CLASSES), (0.5, 0.5)), r"leave nothing to train on: they add up to 1"),
        (lambda: split((X[:3], CLASSES[:3]), 0.1), r"has 3 samples, too few to hold out a share of 0\.1\n.*10 samples"),
        (lambda: split((X, CLASSES[:99])), "x has 100, y has 99"),
        (lambda: k_folds((X, CLASSES), 1), r"cannot be held out in 1 folds\n.*k=2 to k=100"),
        (lambda: k_folds((X[:3], CLASSES[:3]), 4), r"3 samples cannot be held out in 4 folds"),
    ],
)
def test_parts_that_would_be_empty_are_refused(act, message):
    with pytest.raises(DataError, match=message):
        act()
