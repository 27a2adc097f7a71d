"""Compiled code that outlives the process: a directory of verified files, bounded in size, shared by processes.

    GRAPHC_CACHE=0          no cache
    GRAPHC_CACHE_DIR        the directory; else $XDG_CACHE_HOME/graphc, else ~/.cache/graphc
    GRAPHC_CACHE_MB         the bound in megabytes, 1024 unless given; what was not used for longest goes first

An entry is written to a file of its own and then renamed, so readers see a whole entry or none, and the last of
several writers wins. Its first line holds a digest of its name and content: an entry that is truncated, damaged or
belongs to another name is removed and counts as missing.

The code that is loaded runs with the rights of the process. Digests protect against accidents, not against somebody
who may write into the directory; so it is made for its owner alone (mode 700), and one that belongs to somebody
else, or that others may write to, is not used. Entries are native code and plain data; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graphc.errors import InputError

MAGIC = b"graphc cache 1 "
TEMPORARY = ".graphc-"
KINDS = ("program", "object")
ENTRY = re.compile(rf"[0-9a-f]{{64}}\.({'|'.join(KINDS)})")
"""The names of entries; other files of the directory are left alone."""

ABANDONED_SECONDS = 3600.0
"""Unfinished files of processes that ended are removed after this time."""

DEFAULT_MB = 1024
_LOADED = time.time()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cache: its kind, its size in bytes, and when it was used last, in seconds since 1970."""

    path: Path
    kind: str
    size: int
    used: float


class Cache:
    """Bytes by key and kind. It never raises: where it cannot work, `problem` says why and nothing is found."""

    def __init__(self, directory: Path | None, limit: int = DEFAULT_MB << 20, problem: str = "") -> None:
        self.directory, self.limit, self.problem = directory, limit, problem

    @property
    def enabled(self) -> bool:
        """Whether entries can be looked up."""
        return self.directory is not None and not self.problem

    def get(self, key: str, kind: str) -> bytes | None:
        """The content of an entry, or None; an entry that is not what it was is removed."""
        if self.directory is None or self.problem:
            return None
        path = self.directory / f"{key}.{kind}"
        try:
            line, _, content = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if line != _seal(path.name, content):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def put(self, key: str, kind: str, content: bytes) -> None:
        """Keep an entry. On a full or read-only disk nothing is kept, and `problem` says so."""
        if self.directory is None or self.problem or len(content) > self.limit:
            return
        path = self.directory / f"{key}.{kind}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self.directory)
            try:
                with open(handle, "wb") as file:
                    file.write(_seal(path.name, content) + b"\n" + content)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            self._trim()
        except OSError as error:
            self.problem = f"nothing can be kept in {self.directory}: {error.strerror or error}"

    def entries(self) -> tuple[Entry, ...]:
        """All entries, the one that was used last first."""
        return tuple(sorted((e for e in self._files() if e.kind), key=lambda e: (-e.used, e.path)))

    def clear(self) -> int:
        """Remove all entries; returns how many there were."""
        entries = self._files()
        for entry in entries:
            with suppress(OSError):
                entry.path.unlink()
        return sum(bool(e.kind) for e in entries)

    def _files(self) -> list[Entry]:
        """Entries, and unfinished files, which have no kind."""
        found: list[Entry] = []
        if self.directory is None:
            return found
        with suppress(OSError):
            for file in os.scandir(self.directory):
                named = ENTRY.fullmatch(file.name)
                if named or file.name.startswith(TEMPORARY):
                    with suppress(OSError):
                        status = file.stat(follow_symlinks=False)
                        kind = named[1] if named else ""
                        found.append(Entry(Path(file.path), kind, status.st_size, status.st_mtime))
        return found

    def _trim(self) -> None:
        files = self._files()
        size = sum(f.size for f in files)
        for file in sorted(files, key=lambda f: f.used):
            abandoned = not file.kind and file.used < time.time() - ABANDONED_SECONDS
            if abandoned or (file.kind and size > self.limit):
                with suppress(OSError):
                    file.path.unlink()
                    size -= file.size


def _seal(name: str, content: bytes) -> bytes:
    """The first line of an entry."""
    return MAGIC + hashlib.sha256(name.encode() + b"\n" + content).hexdigest().encode()


def open_cache() -> Cache:
    """The cache that the environment asks for. Raises InputError when GRAPHC_CACHE_MB is not a number."""
    if os.environ.get("GRAPHC_CACHE", "").strip().lower() in ("0", "off", "no", "false"):
        return Cache(None)
    wanted = os.environ.get("GRAPHC_CACHE_MB", str(DEFAULT_MB))
    if not wanted.isdecimal():
        raise InputError(f"GRAPHC_CACHE_MB is {wanted!r}, expected a number of megabytes")
    try:
        directory = cache_directory()
        return Cache(directory, int(wanted) << 20, _refusal(directory))
    except (RuntimeError, OSError) as error:
        return Cache(None, problem=f"no directory for the cache: {error}")


def cache_directory() -> Path:
    """Where the cache is, or would be. Raises RuntimeError when the user has no home."""
    named = os.environ.get("GRAPHC_CACHE_DIR")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else Path.home() / ".cache") / "graphc"


def _refusal(directory: Path) -> str:
    """Why a directory is not to be trusted; empty if it is, or if it does not exist yet."""
    try:
        status = directory.stat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is not a directory"
    if hasattr(os, "geteuid"):
        if status.st_uid != os.geteuid():
            return f"{directory} belongs to another user"
        if status.st_mode & 0o022:
            return f"others may write to {directory} (chmod 700 makes it private)"
    return ""


@lru_cache(maxsize=1)
def compiler_digest(package: Path = Path(__file__).parent.parent) -> str:
    """The digest of the compiler's own source, so that code of another compiler is never found.

    Empty where the source cannot be read, or has changed since it was imported: then nothing may be kept.
    """
    digest = hashlib.sha256()
    files = sorted(package.rglob("*.py"))
    for file in files:
        try:
            if file.stat().st_mtime > _LOADED:
                return ""
            content = file.read_bytes()
        except OSError:
            return ""
        digest.update(f"{file.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest() if files else ""
