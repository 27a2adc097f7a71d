"""Numbered checkpoints in a directory: two files each, the second of which makes it complete.

    checkpoint-000007.safetensors    all arrays
    checkpoint-000007.json           the rest, and size and checksum of the other file; written last

    {"format": "graphc training", "version": 1, "sha256": that of the content,
     "content": {"arrays": {"file": ..., "bytes": ..., "sha256": ...}, "state": ...}}

Each file appears in one move (`atomic`), and older checkpoints are removed once the new one is complete. So a process
may be killed at any moment: what is there is complete, or has no .json yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from graphc.errors import DataError
from graphc.train.checkpoints.arrays import packed, read_bytes, unpacked
from graphc.train.checkpoints.atomic import made, remove_unfinished, replace_file
from graphc.train.checkpoints.tree import Array, decoded, encoded, text

FORMAT, VERSION = "graphc training", 1
STEM = "checkpoint-"
TENSORS = ".safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A checkpoint that was read and is intact: named arrays, and the rest."""

    path: Path
    state: dict[str, Any]
    arrays: dict[str, Array]


def checkpoints(directory: Path) -> list[Path]:
    """The .json files of the checkpoints in a directory, the oldest first; none if it does not exist."""
    found = [p for p in directory.glob(f"{STEM}*.json") if re.fullmatch(STEM + r"\d+", p.stem)]
    return sorted(found, key=_number)


def write(
    directory: Path, state: Mapping[str, Any], arrays: Mapping[str, Array], *, keep: int = 2, origin: Path | None = None
) -> Path:
    """A new checkpoint; returns its .json file.

    Arrays inside of the state go to the others, under names that begin with a slash. When it is complete, all but the
    last `keep` are removed, and those that are newer than the one that the training went on from, its `origin`.
    Raises DataError if it cannot be written; the older ones are as they were then.
    """
    remove_unfinished(made(directory), f"{STEM}*")
    older = checkpoints(directory)
    path = directory / f"{STEM}{_number(older[-1]) + 1 if older else 1:06}.json"
    apart: dict[str, Array] = {}
    encoded_state = encoded(state, "", apart)
    tensors = packed({**arrays, **apart})
    described = {"file": path.with_suffix(TENSORS).name, "bytes": len(tensors), "sha256": _sum(tensors)}
    content = {"arrays": described, "state": encoded_state}
    whole = {"format": FORMAT, "version": VERSION, "sha256": _sum(text(content).encode()), "content": content}
    try:
        replace_file(path.with_suffix(TENSORS), tensors)
        replace_file(path, text(whole).encode())
    except DataError as error:
        error.hint = _intact_among(older, "is as it was")
        raise
    _remove_old(directory, path, keep, origin)
    return path


def _remove_old(directory: Path, newest: Path, keep: int, origin: Path | None) -> None:
    """Remove all but the newest and the `keep` - 1 before it, and the arrays of those that never became complete."""
    before = [p for p in checkpoints(directory) if p != newest]
    if origin is not None and origin.parent.resolve() == directory.resolve():
        before = [p for p in before if _number(p) <= _number(origin)]
    kept = {newest, *before[len(before) - min(len(before), keep - 1) :]}
    with suppress(OSError):
        for path in checkpoints(directory):
            if path not in kept:
                path.unlink(missing_ok=True)
        for path in directory.glob(f"{STEM}*{TENSORS}"):
            if path.with_suffix(".json") not in kept:
                path.unlink(missing_ok=True)


def read(where: Path) -> Saved | None:
    """A checkpoint: that of a file, or the newest of a directory; None if the directory holds none, or is not there.

    Raises DataError if it is not intact, and names another that is.
    """
    if where.suffix in (".json", TENSORS):
        path = where.with_suffix(".json")
        if where.exists() and not path.exists():
            raise DataError(
                f"{where} holds tensors alone, expected a checkpoint: there is no {path.name} beside it",
                hint=f"to begin a training with its weights: model.load({str(where)!r})",
            )
        others = [p for p in checkpoints(where.parent) if p != path]
    else:
        others = checkpoints(where)
        if not others:
            if where.exists() and not where.is_dir():
                raise DataError(f"{where} is not a checkpoint, nor a directory of checkpoints")
            return None
        path = others.pop()
    try:
        return read_one(path)
    except DataError as error:
        error.hint = error.hint or _intact_among(others, "is intact: resume={!r}")
        raise


def read_one(path: Path) -> Saved:
    """The checkpoint of a .json file. Raises DataError that says what is wrong with it."""
    try:
        whole = json.loads(read_bytes(path))
        described, content, version = whole["format"], whole["content"], whole["version"]
        checksum, arrays = whole["sha256"], content["arrays"]
        name, size, sum_of_arrays, state = arrays["file"], arrays["bytes"], arrays["sha256"], content["state"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is damaged, or not a checkpoint ({told})") from None
    if described != FORMAT:
        raise DataError(f"{path} is not a checkpoint: its format is {described!r}, expected {FORMAT!r}")
    if version != VERSION:
        raise DataError(
            f"{path} has version {version} of the format, expected {VERSION}",
            hint="it was written by another version of graphc: use that one",
        )
    if checksum != _sum(text(content).encode()):
        raise DataError(f"{path} is damaged: its content does not have the checksum that it names")
    tensors = path.with_suffix(TENSORS)
    if name != tensors.name:
        raise DataError(f"{path} belongs to {name}: it was renamed", hint=f"call it {Path(name).stem}.json again")
    packed_arrays = read_bytes(tensors)
    if len(packed_arrays) != size:
        raise DataError(f"{tensors} is damaged: it has {len(packed_arrays):,} bytes, expected {size:,}")
    if _sum(packed_arrays) != sum_of_arrays:
        raise DataError(f"{tensors} is damaged: its {size:,} bytes do not have the checksum in {path.name}")
    found = unpacked(tensors, packed_arrays)
    own = {name: array for name, array in found.items() if name not in _names_of_arrays(state)}
    return Saved(path, decoded(state, found), own)


def _names_of_arrays(value: Any) -> set[str]:
    """The names of the arrays inside of an encoded state."""
    match value:
        case {"array": str(name), **rest} if not rest:
            return {name}
        case dict():
            return set().union(*map(_names_of_arrays, value.values()))
        case list():
            return set().union(*map(_names_of_arrays, value))
    return set()


def _intact_among(paths: list[Path], then: str) -> str:
    """What is said about the newest intact checkpoint of several."""
    for path in reversed(paths):
        with suppress(DataError):
            read_one(path)
            return f"{path} {then.format(str(path))}"
    return "there is no other checkpoint that is intact" if paths else ""


def _number(path: Path) -> int:
    return int(path.stem.removeprefix(STEM))


def _sum(content: bytes) -> str:
    return sha256(content).hexdigest()
