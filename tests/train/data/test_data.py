import hashlib
import struct
from importlib import resources

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import Dataset, Normalisation, dataset, load, load_digits, named, normalise, split

COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_the_digits_are_the_file_that_its_readme_describes():
    directory = resources.files("graphc.data")
    checksum = hashlib.sha256(directory.joinpath("digits.csv.gz").read_bytes()).hexdigest()
    assert checksum == "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
    readme = directory.joinpath("README.md").read_text("utf-8")
    assert checksum in readme
    assert "CC BY 4.0" in readme


def test_the_digits_have_the_published_shape_range_and_counts(digits):
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == np.float32
    assert digits.labels.dtype == np.int32
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    assert np.bincount(digits.labels).tolist() == COUNTS
    assert (digits.image_shape, digits.classes, len(digits)) == ((1, 8, 8), 10, 1797)


def test_the_first_digit_is_the_known_zero(digits):
    assert digits.labels[0] == 0
    assert (digits.images[0, 0, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_a_split_takes_the_share_of_every_class_and_loses_nothing(digits):
    training, held_out = split(digits)
    assert np.bincount(held_out.labels).tolist() == [round(c / 3) for c in COUNTS]
    both = np.concatenate([training.images, held_out.images]).reshape(1797, 64)
    order, original = np.lexsort(both.T), digits.images.reshape(1797, 64)
    np.testing.assert_array_equal(both[order], original[np.lexsort(original.T)])


def test_a_split_keeps_every_image_with_its_label():
    numbers = np.arange(30)
    whole = dataset("numbers", np.float32(numbers).reshape(30, 1, 1, 1), numbers % 3, 3)
    for part in split(whole, 0.2, seed=4):
        np.testing.assert_array_equal(part.images.ravel() % 3, part.labels)


def test_a_split_depends_on_its_seed_alone(digits):
    first, again, other = (split(digits, seed=s)[1] for s in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_must_leave_something_on_both_sides(digits, share):
    with pytest.raises(DataError, match="between 0 and 1"):
        split(digits, share)


def test_a_set_too_small_to_split_is_refused():
    with pytest.raises(DataError, match="tiny has 1 images, too few"):
        split(dataset("tiny", np.zeros((1, 1, 2, 2)), [0], 1))


def test_normalisation_is_fitted_on_the_training_part_alone():
    low = dataset("low", np.float32([0, 2]).reshape(2, 1, 1, 1), [0, 1], 2)
    high = dataset("high", np.float32([10, 11]).reshape(2, 1, 1, 1), [0, 1], 2)
    assert Normalisation.fit(low) == Normalisation(1.0, 1.0)
    training, test = normalise(low, high)
    assert training.images.ravel().tolist() == [-1, 1]
    assert test.images.ravel().tolist() == [9, 10]
    assert training.images.dtype == np.float32


def test_equal_pixels_cannot_be_normalised():
    with pytest.raises(DataError, match=r"every pixel is 0\.5"):
        Normalisation.fit(dataset("grey", np.full((2, 1, 1, 1), 0.5), [0, 0], 1))


IMAGES, LABELS = np.zeros((3, 1, 2, 2), np.float32), np.zeros(3, np.int32)
NOT_A_NUMBER = IMAGES.copy()
NOT_A_NUMBER[1, 0, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:0], LABELS[:0], "is empty"),
        (IMAGES, LABELS[:2], "3 images but 2 labels"),
        (NOT_A_NUMBER, LABELS, r"image 1 is nan at \[0, 1, 1\], expected finite numbers"),
        (IMAGES, np.int32([0, 0, 2]), r"label 2 of sample 2 is not in 0\.\.1"),
        (IMAGES, np.int32([0, -1, 0]), r"label -1 of sample 1 is not in 0\.\.1"),
        (IMAGES[0], LABELS, r"expected images \[count, channels, height, width\]"),
    ],
)
def test_a_malformed_set_is_refused_with_the_reason(images, labels, message):
    with pytest.raises(DataError, match=message):
        Dataset("made up", images, labels, 2)


def test_labels_must_be_integers():
    with pytest.raises(DataError, match="labels must be integers, got float64"):
        dataset("made up", IMAGES, [0.0, 1.0, 1.5], 2)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown data set 'cifar'; choose one of digits, fashion-mnist, mnist"):
        load("cifar")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(directory, separator="-"):
    """Two training images and one test image of 28x28 pixels."""
    directory.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 2), ("t10k", 1)):
        write_idx(directory / f"{part}-images{separator}idx3-ubyte", np.full((count, 28, 28), 51 * count))
        write_idx(directory / f"{part}-labels{separator}idx1-ubyte", np.arange(count) + 7)


@pytest.mark.parametrize("where", ["", "mnist"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_a_set_of_idx_files_is_read_from_the_directory_given(tmp_path, where, separator):
    write_mnist(tmp_path / where, separator)
    training, test = load("mnist", tmp_path)
    assert training.images.shape == (2, 1, 28, 28)
    np.testing.assert_allclose(training.images, 0.4, rtol=1e-6)
    np.testing.assert_allclose(test.images, 0.2, rtol=1e-6)
    assert training.labels.tolist() == [7, 8]
    assert test.labels.tolist() == [7]


def test_the_environment_names_a_directory_of_several_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DATA", str(tmp_path))
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=str(tmp_path / "mnist")):
        load("mnist")
    write_mnist(tmp_path / "mnist")
    assert len(load("mnist")[0]) == 2


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_missing_set_says_in_one_sentence_how_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(named, "SYSTEM_DIRECTORIES", {})
    monkeypatch.delenv("GRAPHC_DATA", raising=False)
    with pytest.raises(DataError, match=f"data set {name} was not found: .*IDX files.* --data-dir DIR") as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert ("dataset-fashion-mnist" in str(caught.value)) == (name == "fashion-mnist")
    with pytest.raises(DataError, match=f"{tmp_path}$"):
        load(name, tmp_path)


def test_an_incomplete_set_says_which_file_is_missing(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks t10k-labels-idx1-ubyte"):
        load("mnist", tmp_path)


def test_images_in_place_of_labels_are_noticed(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros((2, 28, 28)))
    with pytest.raises(DataError, match="expected bytes of rank 1, got uint8 of rank 3"):
        load("mnist", tmp_path)


@pytest.mark.skipif(
    not named.SYSTEM_DIRECTORIES["fashion-mnist"].is_dir(),
    reason="package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_of_debian_has_the_published_sizes():
    training, test = load("fashion-mnist")
    assert (len(training), len(test)) == (60000, 10000)
    assert np.bincount(training.labels).tolist() == [6000] * 10
    assert training.images.mean() == pytest.approx(0.2860, abs=1e-4)
