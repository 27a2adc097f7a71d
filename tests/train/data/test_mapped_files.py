import mmap

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import Normalisation, augmented, open_npy
from graphc.train.data.mapped import ROWS, mapping
from graphc.train.sources import source_of

COUNT = 3 * ROWS + 5


@pytest.fixture
def files(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 5), dtype=np.uint8)
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "y.npy", np.arange(COUNT))
    return tmp_path, rows


def epoch(source, *, start=0, shuffle=True):
    blocks = [b.arrays for b in source.blocks(16, seed=1, epoch=2, start=start, shuffle=shuffle)]
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("mapped_labels", [True, False])
def test_a_mapped_file_gives_what_the_same_array_in_memory_gives(files, shuffle, mapped_labels):
    directory, rows = files
    y = open_npy(directory / "y.npy") if mapped_labels else np.arange(COUNT)
    source = source_of(open_npy(directory / "x.npy"), y)
    (block,) = source_of(rows, np.arange(COUNT)).blocks(16, seed=1, epoch=2, start=32, shuffle=shuffle)
    samples = epoch(source, start=32, shuffle=shuffle)
    np.testing.assert_array_equal(samples["x"], rows[block.order])
    np.testing.assert_array_equal(samples["y"], block.order)
    assert type(samples["x"]) is np.ndarray


def test_pages_are_given_back_after_every_few_rows(files, monkeypatch):
    given_back = []

    class Watched(mmap.mmap):
        def madvise(self, option):
            given_back.append(option)

    monkeypatch.setattr(mmap, "mmap", Watched)
    source = source_of(open_npy(files[0] / "x.npy"), np.arange(COUNT))
    epoch(source)
    assert len(given_back) >= COUNT // ROWS
    assert set(given_back) == {mmap.MADV_DONTNEED}


def test_views_of_a_mapped_file_are_mapped_and_copies_are_not(files):
    array = np.load(files[0] / "x.npy", mmap_mode="r")
    assert mapping(array) is mapping(array[5:][::2]) is mapping(np.asarray(array)[1:]) is not None
    assert mapping(array[np.arange(3)]) is None
    assert mapping(np.array(array)) is None
    # changes of a copy-on-write mapping exist in memory alone, where giving pages back would lose them
    changed = np.load(files[0] / "x.npy", mmap_mode="c")
    assert mapping(changed) is mapping(np.asarray(changed)[1:]) is None


def test_bytes_become_normalised_floats_on_the_way(files):
    directory, rows = files
    x = open_npy(directory / "x.npy")
    fitted = Normalisation.fit(x)
    assert fitted.mean == pytest.approx(rows.mean())
    assert fitted.deviation == pytest.approx(rows.std())
    samples = epoch(source_of(augmented((x, np.arange(COUNT)), fitted)), shuffle=False)
    assert samples["x"].dtype == np.float32
    np.testing.assert_allclose(samples["x"], (rows - rows.mean()) / rows.std(), atol=1e-5)


def test_a_bad_number_in_a_file_is_named_by_its_place_there(tmp_path):
    rows = np.zeros((1000, 4), np.float32)
    rows[777, 2] = np.nan
    np.save(tmp_path / "x.npy", rows)
    source = source_of(open_npy(tmp_path / "x.npy"), np.arange(1000))
    with pytest.raises(DataError, match=r"x: sample 777 is nan at \[2\]"):
        epoch(source)


def test_files_of_another_byte_order_are_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6, dtype=">f4").reshape(3, 2))
    samples = epoch(source_of(open_npy(tmp_path / "x.npy"), np.arange(3)), shuffle=False)
    assert samples["x"].dtype == np.float32
    assert samples["x"].ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_files_that_cannot_be_mapped_say_why(tmp_path):
    with pytest.raises(DataError, match=r"none\.npy cannot be read: No such file"):
        open_npy(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(DataError, match=r"text\.npy is not a complete \.npy file"):
        open_npy(tmp_path / "text.npy")
    np.save(tmp_path / "cut.npy", np.zeros(1000))
    with open(tmp_path / "cut.npy", "r+b") as file:
        file.truncate(500)
    with pytest.raises(DataError, match=r"cut\.npy is not a complete \.npy file"):
        open_npy(tmp_path / "cut.npy")
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    with pytest.raises(DataError, match=r"several\.npz holds several arrays"):
        open_npy(tmp_path / "several.npz")
