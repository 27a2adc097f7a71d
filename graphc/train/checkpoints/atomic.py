"""Files that are there completely or not at all, also after a kill, a full disk or a power cut."""

from __future__ import annotations

import os
from contextlib import suppress
from glob import escape
from pathlib import Path

from graphc.errors import DataError

UNFINISHED = ".part"
"""How the names of temporary files end, after the number of the process that writes them."""


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another in one move: whoever reads sees the old one or the new one.

    The content goes to a temporary file in the same directory and on to the disk before the name changes, and the new
    name goes to the disk as well (see T. Pillai et al. 2014, "All File Systems Are Not Created Equal").
    Raises DataError if it cannot be written; the old file is as it was.
    """
    remove_unfinished(path.parent, escape(path.name))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _flush_directory(path.parent)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def made(directory: Path) -> Path:
    """A directory that is there from now on. Raises DataError if it cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"directory {directory} cannot be made: {error.strerror or error}") from None
    return directory


def remove_unfinished(directory: Path, name: str = "*") -> None:
    """Remove what killed processes have left of files of this name, which may hold `*`."""
    for left in directory.glob(f".{name}.*{UNFINISHED}"):
        process = left.name.removesuffix(UNFINISHED).rpartition(".")[2]
        if process.isdigit() and not _writes_still(int(process)):
            with suppress(OSError):
                left.unlink(missing_ok=True)


def _writes_still(process: int) -> bool:
    """Whether another process of this number lives; this one has left nothing unless it was another's number."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
