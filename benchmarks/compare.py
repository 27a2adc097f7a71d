"""graphc against eager torch on this machine: `python benchmarks/compare.py --threads 1 2`.

For every task both frameworks get the same parameters and the same batches. They must first compute the same
numbers: logits, the losses of five training steps, and the parameters after them. Then they are timed in
processes of their own that take turns in short bursts, on the same processors and with the same number of
threads; a burst that others disturbed is repeated. torch has to be installed: `pip install ".[bench]"`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.machine import (  # noqa: E402
    choose_processors,
    description,
    disturbance,
    usage,
    wait_until_quiet,
)
from benchmarks.report import summary, table, write  # noqa: E402
from benchmarks.tasks import MODES, TASKS, Task  # noqa: E402

TOLERANCE = 1e-4
BURST = 0.15
REST = 0.02
"""Seconds between bursts: idle threads of the one framework have then stopped watching for work."""

DISTURBED = 0.08
"""The share of the processors that others may use during a burst."""


@dataclass(slots=True)
class Row:
    """One task in one mode with so many threads: bursts by framework, in seconds."""

    task: Task
    mode: str
    threads: int
    compile_seconds: float
    medians: dict[str, list[float]] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)
    disturbed: int = 0

    def add(self, framework: str, burst: dict[str, float]) -> None:
        """Count one burst."""
        self.medians.setdefault(framework, []).append(burst["median"])
        self.fastest[framework] = min(burst["fastest"], self.fastest.get(framework, float("inf")))

    def median(self, framework: str) -> float:
        """The median of the bursts' medians."""
        return statistics.median(self.medians[framework])

    @property
    def others(self) -> list[str]:
        """Everything that graphc is compared with."""
        return [f for f in self.medians if f != "graphc"]

    @property
    def ratio(self) -> float:
        """How many times longer the faster torch takes: the median over the rounds."""
        best = min(self.others, key=self.median)
        pairs = zip(self.medians[best], self.medians["graphc"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    @property
    def ratio_of_fastest(self) -> float:
        """The same of the fastest calls, which others disturb least."""
        return min(self.fastest[f] for f in self.others) / self.fastest["graphc"]


class Worker:
    """A framework in a process of its own; see worker.py for the requests."""

    def __init__(self, framework: str, threads: int) -> None:
        self.framework = framework
        self.processors = processors = choose_processors(threads)
        numbers = {v: str(threads) for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), framework, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | numbers,
            preexec_fn=lambda: os.sched_setaffinity(0, processors),
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises RuntimeError when the worker died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the worker of {self.framework} ended; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def differences(results: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Where a framework does not compute the numbers of graphc: `torch: losses differ by 0.01`."""
    found = []
    ours = results["graphc"]
    for framework, theirs in results.items():
        if theirs.keys() != ours.keys():
            found.append(f"{framework}: has {sorted(theirs)}, graphc has {sorted(ours)}")
            continue
        for name, a in ours.items():
            b = theirs[name]
            gap = float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")
            if not gap <= TOLERANCE * max(1.0, float(np.abs(a).max())):
                found.append(f"{framework}: {name} differ by {gap:.3g}")
    return found


def measure(task: Task, threads: int, rounds: int, patience: float) -> tuple[list[Row], list[str]]:
    """The rows of one task and the versions. Raises SystemExit when the numbers differ."""
    frameworks = ["graphc", "torch", *(["torch channels_last"] if task.has_images else [])]
    workers = {f: Worker(f, threads) for f in frameworks}
    try:
        with tempfile.TemporaryDirectory() as folder:
            parameters = f"{folder}/parameters.npz"
            built = {f: w.ask(do="build", task=task.name, parameters=parameters) for f, w in workers.items()}
            results = {}
            for f, w in workers.items():
                file = f"{folder}/{f}.npz"
                w.ask(do="check", results=file)
                with np.load(file) as stored:
                    results[f] = dict(stored)
        wrong = differences(results)
        if wrong:
            raise SystemExit(f"{task.name}: not the same numbers\n  " + "\n  ".join(wrong))
        print(f"{task.name}, threads {threads}: the same numbers within {TOLERANCE:g}", file=sys.stderr)
        compile_seconds = built["graphc"]["seconds"]
        rows = [Row(task, mode, threads, compile_seconds[mode]) for mode in MODES]
        for _ in range(rounds):
            for row in rows:
                for f, w in workers.items():
                    row.add(f, _undisturbed(w, row, patience))
        versions = list(dict.fromkeys(b["version"] for b in built.values()))
        return rows, versions
    finally:
        for w in workers.values():
            w.close()


def _undisturbed(worker: Worker, row: Row, patience: float) -> dict[str, float]:
    """One burst on a quiet machine, or within `patience` seconds the one that was disturbed least."""
    end = time.monotonic() + patience
    least, best = float("inf"), {}
    while True:
        wait_until_quiet(worker.processors, max(0.0, end - time.monotonic()))
        before = usage(worker.processors)
        burst = worker.ask(do="run", what=row.mode, seconds=BURST)
        disturbed = disturbance(before, usage(worker.processors), burst["own"])
        time.sleep(REST)
        if disturbed < least:
            least, best = disturbed, burst
        if least <= DISTURBED or time.monotonic() > end:
            row.disturbed += least > DISTURBED
            return best


def main() -> None:
    """Measure, print, and with --write put the table into docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("tasks", nargs="*", default=["mlp64", "lenet64"], help=f"of {', '.join(TASKS)}")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    unknown = [t for t in options.tasks if t not in TASKS]
    if unknown:
        parser.error(f"there is no task {', '.join(unknown)}; there are {', '.join(TASKS)}")
    most = len(choose_processors(1 << 10))
    if max(options.threads) > most:
        parser.error(f"{max(options.threads)} threads need as many cores, this process may use {most}")
    rows: list[Row] = []
    versions: list[str] = []
    for threads in options.threads:
        for name in options.tasks:
            measured, versions = measure(TASKS[name], threads, options.rounds, options.patience)
            rows += measured
    text = f"{summary(rows, versions, description(), options.rounds)}\n\n{table(rows)}"
    print(text)
    if options.write:
        write(HERE.parent / "docs" / "performance.md", "compare", text)


if __name__ == "__main__":
    main()
