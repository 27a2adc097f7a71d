"""graphc against its peers on this machine: `python benchmarks/compare.py --threads 1 2`.

The peers are eager torch in both axis orders of images, torch.compile, jax.jit and, for inference, onnxruntime. For
every task all frameworks get the same parameters and the same batches. They must first compute the same numbers:
logits, the losses of five training steps, the parameters and logits after them. Then they are timed in processes of
their own that take turns in short bursts, on the same processors and with the same number of threads; a burst that
others disturbed is repeated. `pip install ".[bench]"` installs them; what is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.chart import chart  # noqa: E402
from benchmarks.machine import choose_processors, description, disturbance, usage, wait_until_quiet  # noqa: E402
from benchmarks.measurements import OURS, Comparison, Row  # noqa: E402
from benchmarks.products import peak  # noqa: E402
from benchmarks.report import report, table, write  # noqa: E402
from benchmarks.tasks import MODES, TASKS, Task  # noqa: E402
from benchmarks.worker import FRAMEWORKS  # noqa: E402

TOLERANCE = 1e-4
BURST = 0.15
REST = 0.02
"""Seconds between bursts: idle threads of the one framework have then stopped watching for work."""

DISTURBED = 0.08
"""The share of the processors that others may use during a burst."""

KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
"""glibc keeps memory that was freed: peers that allocate in every step are then faster, and steadier."""

PRODUCTS = "products"
"""Named like a task: the table that products.py prints."""

MEMORY_TASK = "resnet20_32"
MEASURED_MEMORY = (OURS, "torch", "torch channels_last")


class Failure(Exception):
    """A framework could not do what it was asked for."""


class Worker:
    """A framework in a process of its own; see worker.py for the requests."""

    def __init__(self, framework: str, threads: int, caches: str, allocator: Mapping[str, str] = KEEP_MEMORY) -> None:
        self.framework, self.threads = framework, threads
        self.processors = processors = choose_processors(threads)
        numbers = {v: str(threads) for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        own = {"GRAPHC_CACHE_DIR": caches, "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **numbers, **own, **allocator},
            preexec_fn=lambda: os.sched_setaffinity(0, processors),
        )

    def answer(self) -> dict[str, Any]:
        """The next line that the process writes. Raises Failure."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended; the message is above"}
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises Failure."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failure("its process ended; the message is above") from None
        return self.answer()

    def build(self, task: Task) -> tuple[str, ...]:
        """Make the task; returns the modes that the framework has."""
        return tuple(self.ask(do="build", task=task.name, threads=self.threads)["modes"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def differences(results: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Where a framework does not compute the numbers of graphc: `torch: losses differ by 0.01`."""
    found = []
    ours = results[OURS]
    for framework, theirs in results.items():
        wanted = [name for name in ours if name == "logits" or "losses" in theirs]
        if sorted(theirs) != sorted(wanted):
            found.append(f"{framework}: has {sorted(theirs)}, expected {sorted(wanted)}")
            continue
        for name in wanted:
            a, b = ours[name], theirs[name]
            gap = float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")
            if not gap <= TOLERANCE * max(1.0, float(np.abs(a).max())):
                found.append(f"{framework}: {name} differ by {gap:.3g}")
    return found


def measure(found: Comparison, task: Task, threads: int, frameworks: Collection[str], patience: float) -> list[Row]:
    """The rows of one task. Raises SystemExit when graphc fails or the numbers differ."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = [f for f in frameworks if f not in found.left_out and (task.has_images or f != "torch channels_last")]
        starting = {f: Worker(f, threads, folder) for f in wanted}
        workers: dict[str, Worker] = {}
        modes: dict[str, tuple[str, ...]] = {}
        results: dict[str, Mapping[str, np.ndarray]] = {}
        try:
            for f, w in starting.items():
                try:
                    found.versions[f] = w.answer()["version"]
                except Failure as failure:
                    _leave_out(found, f, str(failure))
                else:
                    workers[f] = w
            for f, w in tuple(workers.items()):  # one after the other, so that compile times are undisturbed
                try:
                    modes[f] = w.build(task)
                    seconds, results[f] = _check(w, folder)
                except Failure as failure:
                    _leave_out(found, f"{f} for {task.name}", str(failure))
                    del workers[f]
                    continue
                for mode in seconds:
                    found.seconds.setdefault((task.name, mode), {}).setdefault(f, seconds[mode])
            if wrong := differences(results):
                raise SystemExit(f"{task.name}: not the same numbers\n  " + "\n  ".join(wrong))
            print(f"{task.name}, threads {threads}: the same numbers within {TOLERANCE:g}", file=sys.stderr)
            _compile_again(found, task, threads, folder)
            rows = [Row(task, mode, threads) for mode in MODES]
            for _ in range(found.rounds):
                for row in rows:
                    for f, w in workers.items():
                        if row.mode in modes[f]:
                            row.add(f, _undisturbed(w, row, patience))
            return rows
        finally:
            for w in starting.values():
                w.close()


def _leave_out(found: Comparison, what: str, reason: str) -> None:
    """Note that a framework is missing; without graphc there is nothing to compare."""
    if what.split(" for ")[0] == OURS:
        raise SystemExit(f"{what} fails: {reason}")
    found.left_out[what] = reason
    print(f"{what} is left out: {reason}", file=sys.stderr)


def _check(worker: Worker, folder: str) -> tuple[dict[str, float], Mapping[str, np.ndarray]]:
    """Seconds until the first results, and the results. Raises Failure."""
    file = f"{folder}/results.npz"
    seconds = worker.ask(do="check", results=file)["seconds"]
    with np.load(file) as stored:
        return seconds, dict(stored)


def _compile_again(found: Comparison, task: Task, threads: int, folder: str) -> None:
    """The same once more in a process that finds what the first has left in the cache."""
    if all((task.name, mode) in found.again for mode in MODES):
        return
    worker = Worker(OURS, threads, folder)
    try:
        worker.answer()
        worker.build(task)
        seconds, _ = _check(worker, folder)
    finally:
        worker.close()
    found.again |= {(task.name, mode): seconds[mode] for mode in seconds}


def _undisturbed(worker: Worker, row: Row, patience: float) -> dict[str, float]:
    """One burst on a quiet machine, or within `patience` seconds the one that was disturbed least."""
    end = time.monotonic() + patience
    least, best = float("inf"), {}
    while True:
        wait_until_quiet(worker.processors, max(0.0, end - time.monotonic()))
        before = usage(worker.processors)
        burst = worker.ask(do="run", mode=row.mode, seconds=BURST)
        disturbed = disturbance(before, usage(worker.processors), burst["own"])
        time.sleep(REST)
        if disturbed < least:
            least, best = disturbed, burst
        if least <= DISTURBED or time.monotonic() > end:
            row.disturbed += least > DISTURBED
            return best


def measure_memory(found: Comparison, frameworks: Collection[str], threads: int) -> None:
    """How much memory a training step takes, each framework in a fresh process."""
    for f in MEASURED_MEMORY:
        if f not in frameworks or f in found.left_out:
            continue
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(f, threads, folder, allocator={})
            try:
                worker.answer()
                worker.build(TASKS[MEMORY_TASK])
                found.memory[f] = worker.ask(do="memory")
            except Failure as failure:
                print(f"the memory of {f} is unknown: {failure}", file=sys.stderr)
            finally:
                worker.close()


def measure_products(found: Comparison, threads: Collection[int]) -> None:
    """Single products against torch.mm, as products.py prints them."""
    command = [sys.executable, str(HERE / "products.py"), "--threads", *map(str, threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        _leave_out(found, PRODUCTS, "products.py failed; its message is above")
    else:
        found.products = done.stdout.strip()


def main() -> None:
    """Measure, print, and with --write put report and chart into docs/."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    known_tasks = [*TASKS, PRODUCTS]
    parser.add_argument("tasks", nargs="*", default=known_tasks, help=f"of {', '.join(known_tasks)}; all unless given")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=[f for f in FRAMEWORKS if f != OURS], metavar="PEER",
                        help=f"of {', '.join(repr(f) for f in FRAMEWORKS if f != OURS)}; all unless given")  # fmt: skip
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--quick", action="store_true", help="two rounds without waiting: does everything work?")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md and its chart")
    options = parser.parse_args()
    for kind, given, known in (("task", options.tasks, known_tasks), ("peer", options.peers, FRAMEWORKS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"there is no {kind} {', '.join(unknown)}; there are {', '.join(known)}")
    most = len(choose_processors(1 << 10))
    if max(options.threads) > most:
        parser.error(f"{max(options.threads)} threads need as many cores, this process may use {most}")
    if options.quick:
        options.rounds, options.patience = 2, 0.0
    frameworks = [OURS, *options.peers]
    found = Comparison(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)  # of this run alone, so that it compiles everything
        for threads in options.threads:
            for task in (TASKS[name] for name in options.tasks if name != PRODUCTS):
                found.peak = max(found.peak, peak())
                rows = measure(found, task, threads, frameworks, options.patience)
                print(table(rows, found.peak), file=sys.stderr)
                found.rows += rows
    if MEMORY_TASK in options.tasks:
        measure_memory(found, frameworks, options.threads[0])
    if PRODUCTS in options.tasks:
        measure_products(found, options.threads)
    text = report(found, description())
    print(text)
    if options.write:
        docs = HERE.parent / "docs"
        (docs / "performance.svg").write_text(chart(found.rows), encoding="utf-8")
        write(docs / "performance.md", "compare", text)


if __name__ == "__main__":
    main()
