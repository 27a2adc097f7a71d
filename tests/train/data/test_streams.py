import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import Arrays, augmented
from graphc.train.sources import source_of


def batches(*sizes, first=0):
    """Batches (x, y) of these sizes, y counting the samples."""
    for size in sizes:
        y = np.arange(first, first + size)
        yield np.stack([y, -y], 1).astype(np.float32), y
        first += size


def read(source, batch_size=4, number=1, start=0):
    """(the numbers of the samples that an epoch gives, the lengths of its blocks)"""
    given, lengths = [], []
    for block in source.blocks(batch_size, seed=0, epoch=number, start=start):
        np.testing.assert_array_equal(block.arrays["x"][:, 0], block.arrays["y"])
        given += block.arrays["y"].tolist()
        lengths.append(len(block))
    return given, lengths


@pytest.mark.parametrize("sizes", [(4, 4, 4), (3, 3, 3, 3), (1, 10, 1), (12,), (5, 0, 7)])
def test_batches_of_any_size_become_whole_minibatches(sizes):
    given, lengths = read(source_of(list(batches(*sizes))))
    assert given == list(range(12))
    assert {n % 4 for n in lengths} == {0}


def test_batches_of_the_right_size_are_not_copied():
    pairs = list(batches(4, 4))
    blocks = source_of(pairs).blocks(4, seed=0, epoch=1)
    assert [block.arrays["x"] is x for block, (x, _) in zip(blocks, pairs, strict=True)] == [True, True]


def test_the_last_minibatch_of_an_epoch_may_be_smaller():
    source = source_of(list(batches(4, 4, 2)))
    assert source.samples is None
    assert read(source) == (list(range(10)), [4, 4, 2])
    assert source.samples == 10


class Loader:
    """What a torch DataLoader looks like from outside: it can be iterated again, and gives lists."""

    def __iter__(self):
        return (list(pair) for pair in batches(4, 4))


@pytest.mark.parametrize("again", [lambda: lambda: batches(4, 4), Loader, lambda: [*batches(4, 4)]])
def test_what_can_begin_anew_does_so_in_every_epoch(again):
    source = source_of(again())
    for number in (1, 2, 3):
        assert read(source, number=number)[0] == list(range(8))
    assert read(source, number=2, start=4)[0] == [4, 5, 6, 7]
    assert read(source, number=2, start=6)[0] == [6, 7]


def test_a_function_may_ask_for_the_number_of_the_epoch():
    source = source_of(lambda epoch: batches(4, first=100 * epoch))
    assert [read(source, number=n)[0][0] for n in (1, 2, 7)] == [100, 200, 700]


def test_dictionaries_of_inputs_are_batches_too():
    source = source_of(dict(x=x, y=y) for x, y in batches(3, 3))
    assert read(source, 2)[0] == list(range(6))
    nested = source_of([({"x": x}, y) for x, y in batches(3, 3)])
    assert read(nested, 2)[0] == list(range(6))


def test_a_generator_goes_on_where_the_last_epoch_ended_and_loses_nothing():
    asked = []

    def endless():
        for pair in batches(*[5] * 100):
            asked.append(len(pair[1]))
            yield pair

    source = source_of(endless(), limit=8)
    assert source.samples == 8
    assert [read(source, number=n)[0] for n in (1, 2, 3)] == [[*range(8)], [*range(8, 16)], [*range(16, 24)]]
    assert sum(asked) == 25  # no more than three epochs need


def test_a_new_generator_is_wound_forward_to_where_a_training_is_resumed():
    source = source_of(batches(*[5] * 100), limit=8)
    assert read(source, number=3, start=4)[0] == list(range(20, 24))
    assert read(source, number=4)[0] == list(range(24, 32))
    with pytest.raises(DataError, match="has given 32 samples and cannot go back to sample 0"):
        read(source, number=1)


def test_a_generator_that_ends_early_is_an_error_after_its_samples_were_used():
    source = source_of(batches(4, 4, 2), limit=20)
    seen = []
    with pytest.raises(DataError, match=r"ended after 2\.5 of 5 minibatches of epoch 1 \(10 of 20 samples\)") as caught:
        seen.extend(block.arrays["y"] for block in source.blocks(4, seed=0, epoch=1))
    assert np.concatenate(seen).tolist() == list(range(10))
    assert "steps_per_epoch=2" in str(caught.value)


@pytest.mark.parametrize("limit", [None, 8])
def test_a_generator_without_samples_for_another_epoch_is_an_error(limit):
    source = source_of(batches(4, 4), limit=limit)
    assert read(source)[0] == list(range(8))
    with pytest.raises(DataError, match=r"its batches ended in epoch 1, so epoch 2 has none\n.*lambda: batches\(\)"):
        read(source, number=2)


def test_a_generator_that_was_used_before_is_an_error():
    used = batches(4)
    list(used)
    with pytest.raises(DataError, match=r"the generator gave no samples for epoch 1\n.*can be used once"):
        read(source_of(used))


def test_what_a_generator_raises_comes_with_its_own_traceback():
    def faulty():
        yield from batches(4, 4)
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        seen.extend(len(block) for block in source_of(faulty()).blocks(4, seed=0, epoch=1))
    assert seen == [4, 4]
    assert "faulty" in [entry.name for entry in caught.traceback]


GOOD = (np.zeros((4, 2), np.float32), np.zeros(4, int))
NAN = (np.array([[0, 1], [np.nan, 1]], np.float32), np.zeros(2, int))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((4, 2)), r"batch 2 of the generator is a ndarray, expected \(x, y\) or a dict"),
        ((GOOD[0], GOOD[1], GOOD[1]), "batch 2 of the generator is a tuple of 3"),
        ((GOOD[0], GOOD[1][:3]), "batch 2 of the generator: expected one target for each sample, got {'x': 4, 'y': 3}"),
        ((GOOD[0][:, :1], GOOD[1]), r"batch 2 of the generator has x of shape \(4, 1\), but the first batch has .*2\)"),
        (NAN, r"batch 2 of the generator: x: sample 1 is nan at \[0\]"),
        ((GOOD[0], ["a", "b", "c", "d"]), r"batch 2 of the generator: y has dtype <U1"),
    ],
)
def test_a_malformed_batch_is_named(item, message):
    with pytest.raises(DataError, match=message):
        read(source_of(pair for pair in (GOOD, item)))


def test_a_function_that_returns_no_batches_is_an_error():
    with pytest.raises(DataError, match="returned int, expected an iterator"):
        read(source_of(lambda: 3))


def test_a_torch_loader_works():
    torch = pytest.importorskip("torch")
    y = torch.arange(10)
    data = torch.utils.data.TensorDataset(torch.stack([y, -y], 1).float(), y)
    assert read(source_of(torch.utils.data.DataLoader(data, 3)))[0] == list(range(10))


def test_steps_apply_to_streams_by_the_turns_of_the_samples():
    def noisy(limit, sizes, start=0):
        source = source_of(augmented(lambda: batches(*sizes), lambda x, draws: x + draws.uniform(2)), limit=limit)
        blocks = source.blocks(4, seed=1, epoch=1, start=start)
        return np.concatenate([block.arrays["x"] for block in blocks])

    whole = noisy(None, (4, 4, 4))
    assert len(np.unique(whole[:, 0] - np.arange(12))) == 12
    np.testing.assert_array_equal(noisy(None, (6, 6)), whole)
    np.testing.assert_array_equal(noisy(8, (12,)), whole[:8])
    np.testing.assert_array_equal(noisy(None, (4, 4, 4), start=8), whole[8:])


def test_a_step_that_mixes_samples_refuses_a_stream():
    from graphc.train.data.augment import Mixup

    with pytest.raises(DataError, match="Mixup needs samples in any order, but Stream gives them in its own"):
        source_of(augmented(lambda: batches(4), Mixup(0.2, 10)))
    x, y = next(batches(4))
    assert source_of(augmented(Arrays({"x": x, "y": y}), Mixup(0.2, 10))).samples == 4
