"""A team of threads that runs native steps together, and the number of threads that this process may use."""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
import weakref
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

from graphc.codegen import barrier, team
from graphc.errors import InputError
from graphc.runtime.cache import open_cache
from graphc.runtime.jit import Native, compile_ir
from graphc.target import GENERIC

CAPACITY = 256
"""The largest number of threads."""

WATCH_SECONDS = 50e-6
"""How long an idle worker watches for the next job before it falls asleep: about as long as waking it would take.

A thread of another library that is woken on its processor meanwhile waits for so long at most. To give the processor
away while watching is worse: those threads watch too, without giving it back, and the next step waits for them.
"""


_TEAMS: weakref.WeakSet[Team] = weakref.WeakSet()


@lru_cache(maxsize=1)
def _code() -> Native:
    return compile_ir(team.TEAM, GENERIC, open_cache())


class Team:
    """Worker threads parked inside native code; `run` makes them run a step together with the caller.

    One process needs one team: see `shared_team()`. Concurrent callers take turns. Workers are started when
    first needed, watch for further jobs for a moment, then sleep.
    """

    def __init__(self) -> None:
        native = _code()
        c_void_p, c_int64 = ctypes.c_void_p, ctypes.c_int64
        self._run = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_int64, c_int64)(native.address("run"))
        self._serve = ctypes.CFUNCTYPE(None, c_void_p, c_int64)(native.address("serve"))
        self._dismiss = ctypes.CFUNCTYPE(None, c_void_p, c_int64)(native.address("dismiss"))
        pauses = ctypes.CFUNCTYPE(None, c_int64)(native.address("pauses"))
        self._patience = _pauses_per(WATCH_SECONDS, pauses)
        self._closed = False
        self._start_over()
        _TEAMS.add(self)
        atexit.register(self.close)

    def _start_over(self) -> None:
        """Fresh memory and no workers: the state of a new team, and of any team after a fork."""
        self._turn = threading.Lock()
        self._workers: list[threading.Thread] = []
        size = team.WORKERS + CAPACITY * team.WORKER_BYTES
        self._memory = ctypes.create_string_buffer(size + barrier.LINE)
        self._base = -(-ctypes.addressof(self._memory) // barrier.LINE) * barrier.LINE
        self._write(team.ACQUIRE, _address(ctypes.pythonapi.PyThread_acquire_lock))
        self._write(team.RELEASE, _address(ctypes.pythonapi.PyThread_release_lock))
        self._write(team.SPINS, self._patience)
        self._write(team.MEETING + barrier.YIELD, _yielding_function())

    def __len__(self) -> int:
        """The number of threads, the caller's own included."""
        return len(self._workers) + 1

    def run(self, entry: int, table: int, batch: int, threads: int) -> None:
        """Call entry(table, batch, thread, threads, barrier) for thread = 0 .. threads - 1 at the same time.

        `entry` and `table` are addresses. Thread 0 is the caller. Returns when all have finished.
        Raises InputError when `threads` is not between 1 and CAPACITY.
        """
        if threads == 1:
            self._run(self._base, entry, table, batch, 1)
            return
        with self._turn:
            if not 0 < threads <= len(self._workers) + 1:
                threads = self._grow(threads)
            self._run(self._base, entry, table, batch, threads)

    def close(self) -> None:
        """End the workers; later jobs run on the caller's thread alone."""
        with self._turn:
            self._closed = True
            self._dismiss(self._base, len(self._workers))
            for worker in self._workers:
                worker.join()
            self._workers.clear()
        _TEAMS.discard(self)
        atexit.unregister(self.close)

    def _grow(self, threads: int) -> int:
        """Start the workers that a job on so many threads needs; returns the number of threads for it."""
        if not 1 <= threads <= CAPACITY:
            raise InputError(f"threads is {threads}, expected a number from 1 to {CAPACITY}")
        if self._closed:
            return 1
        while len(self._workers) + 1 < threads:
            number = len(self._workers) + 1
            place = team.WORKERS + (number - 1) * team.WORKER_BYTES
            if not self._read(place + team.LOCK):
                self._write(place + team.LOCK, _locked())
            worker = threading.Thread(target=self._work, args=(number,), name=f"graphc-{number}", daemon=True)
            worker.start()
            # An interrupt right here starts a second thread for the same place next time; it leaves at once,
            # because a place has one owner.
            self._workers.append(worker)
        return threads

    def _work(self, number: int) -> None:
        """The life of a worker, which keeps the team and so its memory alive."""
        self._serve(self._base, number)

    def _write(self, offset: int, value: int) -> None:
        ctypes.c_int64.from_address(self._base + offset).value = value

    def _read(self, offset: int) -> int:
        return ctypes.c_int64.from_address(self._base + offset).value


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _locked() -> int:
    """A new lock of the interpreter, held: the first release lets the first sleeper go."""
    allocate = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
    acquire = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(
        ("PyThread_acquire_lock", ctypes.pythonapi)
    )
    lock: int | None = allocate()
    if lock is None:
        raise MemoryError("the interpreter has no more locks")
    acquire(lock, 1)
    return lock


def _yielding_function() -> int:
    """The address of the system's function that lets another thread run; 0 where there is none."""
    try:
        if os.name == "nt":
            return _address(ctypes.WinDLL("kernel32").SwitchToThread)  # type: ignore[attr-defined,unused-ignore]
        return _address(ctypes.CDLL(None).sched_yield)
    except (AttributeError, OSError):
        return 0


def _pauses_per(seconds: float, pauses: Any) -> int:
    """How many pauses take so long on this processor: the fastest of several measurements counts."""
    count, fastest = 1000, math.inf
    for _ in range(5):
        start = perf_counter()
        pauses(count)
        fastest = min(fastest, perf_counter() - start)
    return max(100, int(seconds * count / max(fastest, 1e-9)))


@lru_cache(maxsize=1)
def shared_team() -> Team:
    """The team of this process."""
    return Team()


def _after_fork() -> None:
    """Threads do not survive a fork: in the child every team starts over."""
    for survivor in tuple(_TEAMS):
        survivor._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ------------------------------------------------------------------------------------------ number of threads


def default_threads() -> int:
    """GRAPHC_NUM_THREADS, or one thread per processor core that this process may use, by affinity and quota.

    Raises InputError when GRAPHC_NUM_THREADS is not a positive number.
    """
    wanted = os.environ.get("GRAPHC_NUM_THREADS", "")
    if wanted:
        if not wanted.isdecimal() or not 1 <= int(wanted) <= CAPACITY:
            raise InputError(f"GRAPHC_NUM_THREADS is {wanted!r}, expected a number from 1 to {CAPACITY}")
        return int(wanted)
    available = cores(_affinity())
    quota = cpu_quota()
    if quota is not None:
        # Threads that wait for each other must run at the same time, so a part of a processor does not count.
        available = min(available, max(1, math.floor(quota)))
    return max(1, min(available, CAPACITY))


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cores(processors: Iterable[int], root: Path = Path("/sys/devices/system/cpu")) -> int:
    """The number of distinct cores behind logical processors: two on one core share its arithmetic units."""
    found = set()
    for processor in processors:
        try:
            siblings = (root / f"cpu{processor}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(processor)
        found.add(siblings)
    return len(found)


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors' worth of time that the control groups grant this process; None without a limit."""
    quotas = []
    folder = root
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    inner = next((line.split("::", 1)[1] for line in lines if line.startswith("0::")), "/")
    for part in ("", *(p for p in inner.split("/") if p not in ("", ".."))):
        folder = folder / part if part else folder
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(math.inf if quota == "max" else int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    try:  # the older version of control groups
        old = root / "cpu"
        quota_us = int((old / "cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            quotas.append(quota_us / int((old / "cpu.cfs_period_us").read_text()))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    limit = min(quotas, default=math.inf)
    return None if math.isinf(limit) else limit
