"""The machine under the benchmark: its processors, and who else uses them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds since the start of the machine: all, and those that somebody used."""

    total: float
    busy: float


def usage(processors: Collection[int]) -> Usage | None:
    """Of some logical processors together; None where the system does not tell."""
    ticks = 1.0 / os.sysconf("SC_CLK_TCK")
    total = busy = 0.0
    try:
        for line in STAT.read_text().splitlines():
            name, *counts = line.split()
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in processors:
                user, nice, system, idle, waiting, *rest = map(int, counts[:8])
                used = user + nice + system + sum(rest)
                busy += used * ticks
                total += (used + idle + waiting) * ticks
    except (OSError, ValueError):
        return None
    return Usage(total, busy)


def disturbance(before: Usage | None, after: Usage | None, own: float = 0.0) -> float:
    """The share of the processors that others used in between; `own` are seconds that do not count."""
    if before is None or after is None or after.total <= before.total:
        return 0.0
    return max(0.0, (after.busy - before.busy - own) / (after.total - before.total))


def wait_until_quiet(processors: Collection[int], patience: float, limit: float = 0.1, sample: float = 0.06) -> bool:
    """Whether others left the processors alone for a moment within `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        before = usage(processors)
        time.sleep(sample)
        if disturbance(before, usage(processors)) < limit:
            return True
        if time.monotonic() > end:
            return False


def choose_processors(count: int) -> tuple[int, ...]:
    """Logical processors on `count` distinct cores, the highest numbers first; fewer if there are fewer."""
    available = sorted(os.sched_getaffinity(0), reverse=True)
    cores: dict[str, int] = {}
    for processor in available:
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(processor), processor)
    return tuple(cores.values())[:count]


def description() -> str:
    """`AMD EPYC, 2 processors, Linux 6.1`"""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    count = len(os.sched_getaffinity(0))
    return f"{name}, {count} processor{'s' if count > 1 else ''}, {platform.system()}"
