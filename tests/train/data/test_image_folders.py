import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import image_folder, split
from graphc.train.sources import source_of

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    """Two classes; the grey level of an image is its number times 10."""
    number = 0
    for kind, suffixes in (("cat", ["png", "ppm", "png"]), ("ant", ["png", "bmp"])):
        (tmp_path / kind).mkdir()
        for suffix in suffixes:
            Image.new("RGB", (5, 4), (10 * number, 0, 255)).save(tmp_path / kind / f"{number}.{suffix}")
            number += 1
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_the_class_is_the_name_of_the_directory(folder):
    images = image_folder(folder)
    assert images.classes == ("ant", "cat")
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert [f.name for f in images.files] == ["3.png", "4.bmp", "0.png", "1.ppm", "2.png"]
    assert (images.channels, images.size, len(images)) == (3, (4, 5), 5)
    data = images.load()
    assert data.images.shape == (5, 3, 4, 5)
    np.testing.assert_allclose(data.images[:, 0, 0, 0] * 255, [30, 40, 0, 10, 20], atol=1e-4)
    assert (data.images[:, 1].max(), data.images[:, 2].min()) == (0, 1)


def test_images_are_decoded_when_a_minibatch_needs_them(folder, monkeypatch):
    images = image_folder(folder)
    expected = images.load().images
    blocks = list(source_of(images, None, ("images", "labels")).blocks(2, seed=0, epoch=1, shuffle=False))
    np.testing.assert_array_equal(np.concatenate([b.arrays["images"] for b in blocks]), expected)
    assert np.concatenate([b.arrays["labels"] for b in blocks]).tolist() == [0, 0, 1, 1, 1]
    (folder / "cat" / "2.png").unlink()
    blocks = source_of(image_folder(folder), None, ("images", "labels")).blocks(2, seed=0, epoch=1)
    assert sum(map(len, blocks)) == 4


def test_parts_of_a_folder_are_folders(folder):
    training, held_out = split(image_folder(folder), 0.4)
    assert sorted([*training.files, *held_out.files]) == sorted(image_folder(folder).files)
    assert sorted(held_out.labels) == [0, 1]


def test_jpeg_grey_and_deep_images_become_what_is_asked_for(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8), 128).save(tmp_path / "a" / "1.jpeg")
    deep = np.full((8, 8), 128 * 257, np.uint16)
    Image.fromarray(deep).save(tmp_path / "a" / "2.png")
    grey = image_folder(tmp_path)
    assert grey.channels == 1
    np.testing.assert_allclose(grey.load().images, 128 / 255, atol=1e-3)
    colour = image_folder(tmp_path, channels=3).load().images
    assert colour.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(colour, 128 / 255, atol=1e-3)


def test_images_of_another_size_are_an_error_or_resized(folder):
    Image.new("RGB", (6, 6), (50, 0, 255)).save(folder / "cat" / "9.png")
    with pytest.raises(DataError, match=r"9\.png is 6 x 6 pixels, but 3\.png set 4 x 5\n.*size=\(4, 5\)"):
        image_folder(folder).load()
    assert image_folder(folder, size=(3, 7)).load().images.shape == (6, 3, 3, 7)
    assert image_folder(folder, size=2).load().images.shape == (6, 3, 2, 2)


def test_a_broken_image_is_named_while_reading_ahead(folder):
    (folder / "cat" / "9.png").write_bytes((folder / "cat" / "0.png").read_bytes()[:40])
    source = source_of(image_folder(folder))
    with pytest.raises(DataError, match=r"9\.png cannot be read as an image"):
        list(source.blocks(2, seed=0, epoch=1))


def test_directories_that_are_no_data_set_say_why(tmp_path):
    with pytest.raises(DataError, match="none is not a directory"):
        image_folder(tmp_path / "none")
    with pytest.raises(DataError, match="holds no directories"):
        image_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="cat holds no images"):
        image_folder(tmp_path)
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="channels is 2"):
        image_folder(tmp_path, channels=2)
