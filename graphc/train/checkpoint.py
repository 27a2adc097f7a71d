"""Parameters in a file: numpy's .npz, one array for each parameter under its dotted name."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError

Array = npt.NDArray[Any]


class Stored(Protocol):
    """A parameter, as far as files are concerned."""

    value: Any


def save(path: str | Path, parameters: Mapping[str, Stored], **extras: npt.ArrayLike) -> None:
    """Write all parameters, and extras such as the normalisation of the inputs, in one move.

    Whoever reads meanwhile sees the old file or the new one. Raises DataError if the place cannot be written.
    """
    path = Path(path)
    if clash := parameters.keys() & extras.keys():
        raise DataError(f"{path}: {', '.join(sorted(clash))} names a parameter and an extra array")
    arrays = {name: np.asarray(p.value) for name, p in parameters.items()}
    arrays |= {name: np.asarray(value) for name, value in extras.items()}
    unfinished: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            unfinished = Path(file.name)
            np.savez(file, **arrays)  # type: ignore[arg-type]
        unfinished.chmod(0o666 & ~_umask())
        os.replace(unfinished, path)
    except OSError as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror}") from None


def load(path: str | Path, parameters: Mapping[str, Stored]) -> dict[str, Array]:
    """Set all parameters to what a file holds; returns the extras.

    Raises DataError, before anything is changed, if a parameter is missing or has another shape.
    """
    path = Path(path)
    try:
        # numpy leaves a file open that it cannot make sense of
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{path} is not a file of arrays in numpy's .npz format") from None
    if missing := parameters.keys() - arrays.keys():
        raise DataError(
            f"{path} lacks {', '.join(sorted(missing))}",
            hint=f"it holds {', '.join(arrays) or 'nothing'}: was it saved from another model?",
        )
    for name, parameter in parameters.items():
        expected, got = np.shape(parameter.value), arrays[name].shape
        if expected != got:
            raise DataError(f"{path}: {name} has shape {got}, the model's has {expected}")
    for name, parameter in parameters.items():
        parameter.value = arrays.pop(name)
    return arrays


def _umask() -> int:
    """The mask of permissions, which the system tells only to those who set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
