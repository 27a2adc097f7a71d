import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data import categories, read_csv, read_npz, split

FLOWERS = """length,width,colour,species
5.1,3.5,white,setosa
4.9,3.0,"red, dark",virginica
7,3.2,white,setosa

6.3,3.3,blue,versicolor
"""


@pytest.fixture
def written(tmp_path):
    def write(content, name="flowers.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


def test_a_table_has_numbers_categories_and_classes(written):
    table = read_csv(written(FLOWERS), "species")
    assert table.columns == ("length", "width", "colour")
    assert table.features.dtype == np.float32
    np.testing.assert_allclose(table.features[:, :2], [[5.1, 3.5], [4.9, 3.0], [7, 3.2], [6.3, 3.3]], rtol=1e-6)
    assert table.categories == {"colour": ("blue", "red, dark", "white")}
    assert table.features[:, 2].tolist() == [2, 1, 2, 0]
    assert table.classes == ("setosa", "versicolor", "virginica")
    assert table.labels.tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize(
    ("content", "labels", "classes"),
    [
        ("1,0\n2,1\n3,1\n", [0, 1, 1], ("0", "1")),
        ("1,3\n2,7\n3,3\n", [0, 1, 0], ("3", "7")),
        ("1,3.5\n2,7\n3,3e1\n", [3.5, 7, 30], ()),
    ],
)
def test_whole_numbers_are_classes_and_others_quantities(written, content, labels, classes):
    table = read_csv(written(content), header=False)
    assert table.columns == ("0",)
    assert table.labels.tolist() == labels
    assert table.classes == classes
    assert table.labels.dtype == (np.int64 if classes else np.float32)


def test_columns_and_the_target_are_chosen_by_name_or_number(written):
    path = written("a;b;c\n1;2;3\n4;5;6\n")
    table = read_csv(path, 0, delimiter=";", columns=["c"])
    assert (table.columns, table.features.tolist(), table.classes) == (("c",), [[3], [6]], ("1", "4"))


@pytest.mark.parametrize("word", ["", "?", "NA", " nan", "NULL"])
def test_a_missing_value_is_named_by_line_and_column(written, word):
    path = written(f"a,b,kind\n1,2,x\n\n3,{word},y\n5,6,x\n")
    with pytest.raises(DataError, match=r"flowers\.csv, line 4, column 'b': the value is missing .*\n.*\"drop\""):
        read_csv(path)
    assert read_csv(path, missing="drop").features.tolist() == [[1, 2], [5, 6]]
    assert len(read_csv(path, columns=["a"])) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("a,b\n1,2\n1,2,3\n", r"line 3: 3 values, expected 2\n.*delimiter"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n1,\n", r"line 2, column 'b': the value is missing"),
        ("a,b\n1,inf\n2,3\n", "column 'b': inf is not a finite number"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", r"is not text in UTF-8: byte 6 is 0xff"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(written, content, message):
    with pytest.raises(DataError, match=message):
        read_csv(written(content), target="a" if b"inf" in str(content).encode() else -1)


def test_an_unknown_column_lists_those_that_are_there(written):
    with pytest.raises(DataError, match=r"no column 'kind'\n.*length, width, colour, species"):
        read_csv(written(FLOWERS), "kind")
    with pytest.raises(DataError, match="no column 9"):
        read_csv(written(FLOWERS), 9)
    with pytest.raises(DataError, match=r"none\.csv cannot be read: No such file"):
        read_csv("none.csv")


def test_a_table_of_another_editor_is_read(written):
    assert read_csv(written("﻿a,b\r\n1,2\r\n3,4\r\n")).columns == ("a",)


def test_tables_are_split_by_class(written):
    rows = "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40))
    training, held_out = split(read_csv(written("n,kind\n" + rows)), 0.25)
    assert np.bincount(held_out.labels).tolist() == [5, 5]
    np.testing.assert_array_equal(training.features[:, 0] % 2, training.labels)


def test_categories_count_in_alphabetical_order():
    numbers, names = categories(["cat", "ant", "cat", "bee"])
    assert numbers.tolist() == [2, 0, 2, 1]
    assert names == ("ant", "bee", "cat")


def test_archives_give_their_arrays_by_name(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x=np.arange(4).reshape(2, 2), y=[0, 1])
    arrays = read_npz(tmp_path / "set.npz")
    assert arrays["x"].tolist() == [[0, 1], [2, 3]]
    assert list(arrays) == ["x", "y"]


def test_broken_and_foreign_archives_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([print], object))
    with pytest.raises(DataError, match=r"objects\.npz is not a complete \.npz archive of numbers: Object arrays"):
        read_npz(tmp_path / "objects.npz")
    np.savez(tmp_path / "set.npz", x=np.zeros(1000))
    content = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(content[:500])
    with pytest.raises(DataError, match=r"set\.npz is not a complete"):
        read_npz(tmp_path / "set.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"one\.npy holds one array, not an archive\n.*open_npy"):
        read_npz(tmp_path / "one.npy")
    with pytest.raises(DataError, match=r"none\.npz cannot be read: No such file"):
        read_npz(tmp_path / "none.npz")
