"""Named arrays in files: .safetensors (the library of that name), .npz (numpy). Reading never runs code of the file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from graphc.errors import DataError
from graphc.train.checkpoints.atomic import replace_file

Array = npt.NDArray[Any]

FORMATS = (".safetensors", ".npz")

TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""numpy's spelling of the element types of .safetensors; BF16, which it lacks, is the upper half of F32."""

PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write arrays in one move, in the format that the name ends with. Raises DataError."""
    match path.suffix:
        case ".safetensors":
            content = packed(arrays)
        case ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # type: ignore[arg-type]
            content = buffer.getvalue()
        case _:
            raise DataError(f"{path} must end in {' or '.join(FORMATS)}", hint=f"{path.stem}{FORMATS[0]}")
    replace_file(path, content)


def packed(arrays: Mapping[str, npt.ArrayLike]) -> bytes:
    """The content of a .safetensors file."""
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file, whatever its name ends with. Raises DataError."""
    content = read_bytes(path)
    if zipfile.is_zipfile(io.BytesIO(content)):
        return _unzipped(path, content)
    if content.startswith(PICKLES):
        raise _pickle(path)
    return unpacked(path, content)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def unpacked(path: Path, content: bytes) -> dict[str, Array]:
    """The arrays of the content of a .safetensors file. Raises DataError."""
    try:
        tensors = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise DataError(f"{path} is not a file of arrays ({error})", hint=f"expected {' or '.join(FORMATS)}") from None
    return {name: _array(path, name, t["dtype"], t["shape"], t["data"]) for name, t in tensors.items()}


def _array(path: Path, name: str, dtype: str, shape: list[int], data: Any) -> Array:
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in TYPES:
        raise DataError(f"{path}: {name} holds {dtype}, expected one of {', '.join(TYPES)}, BF16")
    return np.frombuffer(data, TYPES[dtype]).reshape(shape)


def _unzipped(path: Path, content: bytes) -> dict[str, Array]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if any(name.endswith(".pkl") for name in archive.files):
                raise _pickle(path)
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a file of arrays in numpy's .npz format ({error})") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path} is not a file of arrays: {name} is none")
    return arrays


def _pickle(path: Path) -> DataError:
    return DataError(
        f"{path} is a pickle, which may run any code when it is read",
        hint="where it comes from: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
    )
