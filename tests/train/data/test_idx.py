import gzip
import struct

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.data.idx import read_idx

ARRAYS = [
    (0x08, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
    (0x09, np.array([-3, 0, 127], np.int8)),
    (0x0B, np.array([[-300, 32767]], np.int16)),
    (0x0C, np.array([-70000, 2**31 - 1], np.int32)),
    (0x0D, np.array([[1.5], [-2.25]], np.float32)),
    (0x0E, np.array([np.pi, -1e300])),
]


def encoded(code, array):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(("code", "array"), ARRAYS, ids=lambda a: getattr(a, "dtype", a))
@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "raw"])
def test_an_array_comes_back_whatever_its_type(tmp_path, code, array, compress):
    path = tmp_path / "file"
    path.write_bytes(compress(encoded(code, array)))
    got = read_idx(path)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)


def test_an_empty_array_keeps_its_shape(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(encoded(0x08, np.zeros((0, 28, 28), np.uint8)))
    assert read_idx(path).shape == (0, 28, 28)


WHOLE = encoded(0x08, np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"<html>", "not an IDX file: it begins with 3c 68 74 6d"),
        (b"\0\0\x07\x01", "element type 0x07 is unknown"),
        (WHOLE[:9], "truncated: its header needs 12 bytes, got 9"),
        (WHOLE[:-1], r"truncated: shape \(2, 3\) of uint8 needs 18 bytes, got 17"),
        (WHOLE + b"x", "trailing bytes: .* needs 18 bytes, got 19"),
        (gzip.compress(WHOLE)[:-9], "not a complete gzip file"),
        (gzip.compress(WHOLE)[:12] + b"garbage" * 4, "not a complete gzip file"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_idx(tmp_path / "absent")
