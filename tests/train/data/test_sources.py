import threading

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import Arrays, Dataset, augmented
from graphc.train.data.background import ahead, iterated_ahead
from graphc.train.data.blocks import Limited, Source, shuffled
from graphc.train.data.gathered import Gathered
from graphc.train.sources import source_of

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def epoch(source, batch_size=4, *, seed=0, number=1, start=0, shuffle=True):
    """All samples of an epoch in the order of their turns, by input name, and how many each block has."""
    blocks = list(source.blocks(batch_size, seed=seed, epoch=number, start=start, shuffle=shuffle))
    rows = [{n: a if b.order is None else a[b.order] for n, a in b.arrays.items()} for b in blocks]
    return {n: np.concatenate([r[n] for r in rows]) for n in rows[0]}, [len(b) for b in blocks]


def test_arrays_in_memory_are_one_block_without_a_copy():
    source = source_of(X, Y, ("images", "labels"))
    (block,) = source.blocks(4, seed=3, epoch=2)
    assert block.arrays["images"] is X
    assert block.arrays["labels"] is Y
    np.testing.assert_array_equal(block.order, shuffled(10, 3, 2))
    (rest,) = source.blocks(4, seed=3, epoch=2, start=8)
    np.testing.assert_array_equal(rest.order, shuffled(10, 3, 2)[8:])
    assert list(source.blocks(4, seed=3, epoch=2, start=10)) == []


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        ((X, Y), None),
        ({"images": X, "labels": Y}, None),
        ({"images": X}, Y),
        (X.tolist(), Y.tolist()),
        (Arrays({"images": X, "labels": Y}), None),
    ],
)
def test_arrays_come_under_the_names_of_the_inputs(given):
    source = source_of(*given, ("images", "labels"))
    assert isinstance(source, Source)
    assert source.samples == 10
    samples, _ = epoch(source, shuffle=False)
    np.testing.assert_array_equal(samples["images"], X)
    np.testing.assert_array_equal(samples["labels"], Y)


def test_a_data_set_is_a_source_of_its_images_and_labels():
    data = Dataset("made up", np.ones((3, 1, 2, 2), np.float32), np.int32([0, 1, 0]), 2)
    samples, _ = epoch(source_of(data, None, ("x", "digit")), shuffle=False)
    assert samples["x"] is not None
    assert samples["digit"].tolist() == [0, 1, 0]


def test_a_limit_ends_every_epoch_and_is_what_a_resumed_one_ends_at():
    source = source_of(X, Y, limit=6)
    assert source.samples == 6
    whole, _ = epoch(source, 2)
    rest, _ = epoch(source, 2, start=4)
    assert whole["y"].tolist() == shuffled(10, 0, 1)[:6].tolist()
    assert rest["y"].tolist() == whole["y"][4:].tolist()
    with pytest.raises(DataError, match=r"10 samples, 5 minibatches of 2, but 6 were asked for\n.*steps_per_epoch=5"):
        epoch(source_of(X, Y, limit=12), 2)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:7], r"different lengths: x has 10, y has 7\n.*the first 7 of each"),
        (X[:0], Y[:0], "the data set is empty"),
        (np.array([["a", "b"]] * 10), Y, r"x has dtype <U1, expected numbers: x\[0, 0\] is 'a'"),
        (X, np.array(["cat"] * 10), r"y\[0\] is .*cat.*\n.*categories\(y\)"),
        (np.array([1.0, None] * 5, object), Y, r"x has dtype object, expected numbers: x\[1\] is None"),
        ([[1.0], [2.0, 3.0]], [0, 1], "x is not an array: .*inhomogeneous"),
        (3.0, Y, "x is the single number 3.0"),
        (np.array([1j] * 10), Y, "x has dtype complex128"),
        (iter([X]), Y, "y must be left out"),
        ((X, Y, Y), None, "got 3 arrays for the inputs x, y"),
        ("digits.csv", None, r"digits\.csv is the name of a file, expected what it holds\n.*read_csv"),
        (7, None, "int is not data to train on"),
    ],
)
def test_what_is_not_data_is_refused_with_the_reason(x, y, message):
    with pytest.raises(DataError, match=message):
        source_of(x, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_named_with_its_place(value):
    images = np.zeros((5, 1, 4, 4), np.float32)
    images[3, 0, 1, 2] = value
    with pytest.raises(DataError, match=rf"images: sample 3 is {value} at \[0, 1, 2\], expected finite numbers"):
        source_of(images, np.arange(5), ("images", "labels"))


def test_a_sum_that_overflows_is_no_reason_to_refuse_its_elements():
    assert source_of(np.full((4, 4), 3e38, np.float32), np.arange(4)).samples == 4


def test_samples_gathered_in_the_background_are_those_of_the_arrays():
    table = Gathered(Arrays({"x": X, "y": Y}))
    samples, lengths = epoch(table, 4, seed=5, number=3)
    assert samples["y"].tolist() == shuffled(10, 5, 3).tolist()
    np.testing.assert_array_equal(samples["x"], X[shuffled(10, 5, 3)])
    assert sum(lengths) == 10
    assert epoch(Limited(table, 8), 4)[1] == [4, 4]


def test_blocks_are_whole_minibatches_whatever_their_size():
    wide = np.zeros((100, 1 << 17), np.float32)
    _, lengths = epoch(Gathered(Arrays({"x": wide, "y": np.arange(100)})), 6)
    assert len(lengths) > 5
    assert {n % 6 for n in lengths[:-1]} == {0}


def test_work_is_done_ahead_but_no_further_than_asked():
    begun, going = [], threading.Event()

    def work(k):
        begun.append(k)
        if len(begun) == 4:
            going.set()
        return k

    results = ahead(((lambda k=k: work(k)) for k in range(20)), depth=3)
    assert next(results) == 0
    assert going.wait(10)
    assert len(begun) <= 4
    results.close()


def test_several_workers_keep_the_order():
    results = list(ahead(((lambda k=k: k * k) for k in range(50)), workers=4, depth=6))
    assert results == [k * k for k in range(50)]


def test_an_error_in_the_background_comes_in_its_turn_with_its_own_traceback():
    def faulty():
        yield 1
        yield 2
        raise ZeroDivisionError("in the user's code")

    items = iterated_ahead(faulty())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="in the user's code") as caught:
        next(items)
    assert "faulty" in [entry.name for entry in caught.traceback]


def test_a_reader_that_leaves_early_ends_the_thread():
    before = set(threading.enumerate())
    items = iterated_ahead(iter(range(1000)))
    next(items)
    started = set(threading.enumerate()) - before
    assert started
    items.close()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_augmented_data_are_read_by_name_too():
    samples, _ = epoch(source_of(augmented((X, Y), lambda x, draws: 2 * x), None, ("a", "b")), shuffle=False)
    np.testing.assert_array_equal(samples["a"], 2 * X)
    np.testing.assert_array_equal(samples["b"], Y)


def test_a_step_for_an_array_that_is_not_there_says_which_are():
    source = source_of(augmented((X, Y), lambda x, draws: x, on="mask"), None, ("image", "label"))
    with pytest.raises(DataError, match=r"no array named mask to transform\n.*image, label"):
        epoch(source)
