"""The IDX file format of MNIST and its relatives: two zero bytes, a type code, a rank, extents, elements."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError

ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> npt.NDArray[Any]:
    """The array that an IDX file holds, in native byte order; gzip is recognised by its magic number.

    Raises DataError if the file cannot be read, is not IDX, or has more or fewer bytes than its header says.
    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", file formats.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    code, rank = content[2], content[3]
    if code not in ELEMENT_TYPES:
        known = ", ".join(f"0x{k:02x}" for k in ELEMENT_TYPES)
        raise DataError(f"{path}: IDX element type 0x{code:02x} is unknown; expected one of {known}")
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path} is truncated: its header needs {start} bytes, got {len(content)}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    dtype = np.dtype(ELEMENT_TYPES[code])
    expected = start + prod(shape) * dtype.itemsize
    if len(content) != expected:
        fault = "is truncated" if len(content) < expected else "has trailing bytes"
        raise DataError(
            f"{path} {fault}: shape {shape} of {dtype.newbyteorder('=').name} needs {expected} bytes, "
            f"got {len(content)}",
            hint="download the file again",
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not a complete gzip file: {error}", hint="download it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
