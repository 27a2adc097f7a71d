"""One framework in a process of its own, answering one JSON line on stdout for each on stdin.

    {"do": "build", "task": "mlp64", "threads": 1}     -> {"modes": [...]}
    {"do": "check", "results": "file.npz"}             -> {"seconds": {...}}   numbers in the file
    {"do": "run", "mode": "train", "seconds": 0.12}    -> {"median": ..., "own": ..., ...}
    {"do": "memory"}                                   -> {"step": ..., "whole": ...}   bytes, on Linux

The first line says {"version": ...} as soon as the framework is imported. A failure is {"error": "its message"}.
Started by compare.py, which sets the number of threads in the environment and pins the process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.networks import Array, parameters
from benchmarks.tasks import BATCHES, CHECKED_STEPS, TASKS

WARM_UP = 0.04
"""Seconds of calls before a burst is timed."""

FRAMEWORKS: Mapping[str, tuple[str, dict[str, bool]]] = {
    "graphc": ("with_graphc", {}),
    "torch": ("with_torch", {}),
    "torch channels_last": ("with_torch", {"channels_last": True}),
    "torch.compile": ("with_torch", {"channels_last": True, "compiled": True}),
    "jax.jit": ("with_jax", {}),
    "onnxruntime": ("with_onnxruntime", {}),
}
"""The module of each framework and the options of its contender."""


class Contender(Protocol):
    """A framework with a task built; k counts batches."""

    modes: tuple[str, ...]

    def prepare(self, mode: str) -> None:
        """Make ready for calls in this mode; the first time it may compile."""

    def train(self, k: int) -> Any:
        """One training step, the loss as something that float() understands."""

    def infer(self, k: int) -> Any:
        """The result in whatever form the framework has it."""

    def logits(self, k: int) -> Array:
        """The result as an array in the common order of axes."""

    def parameters(self) -> dict[str, Array]:
        """Parameters and running averages by their common names, empty without training."""


def check(contender: Contender) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The numbers that all frameworks must share, and the seconds until the first result in each mode.

    Logits of the first batch, losses of the first steps, then the parameters and the logits after them.
    """
    seconds = dict.fromkeys(contender.modes, 0.0)

    def timed(mode: str, action: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = action(*arguments)
        seconds[mode] += time.perf_counter() - start
        return result

    for mode in contender.modes:  # training first: nothing that inference compiles is then known already
        timed(mode, contender.prepare, mode)
    results = {"logits": timed("infer", contender.logits, 0)}
    if "train" in contender.modes:
        contender.prepare("train")
        losses = [timed("train", lambda: float(contender.train(0)))]
        losses += [float(contender.train(k % BATCHES)) for k in range(1, CHECKED_STEPS)]
        results["losses"] = np.array(losses)
        results |= {f"parameter {name}": np.array(value) for name, value in contender.parameters().items()}
        contender.prepare("infer")
        results["logits afterwards"] = contender.logits(0)
    return results, seconds


def burst(call: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """Call after call for a while, each one timed; `own` are processor seconds of all threads and calls."""
    turns = cycle(range(BATCHES))
    own, end = time.process_time(), time.perf_counter() + WARM_UP
    call(next(turns))
    while time.perf_counter() < end:
        call(next(turns))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        k = next(turns)
        start = time.perf_counter()
        call(k)
        times.append(time.perf_counter() - start)
    return {
        "median": statistics.median(times),
        "fastest": min(times),
        "calls": len(times),
        "own": time.process_time() - own,
    }


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far, RssFile of them the code of libraries."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise OSError(f"the system does not tell {field}")


def memory(contender: Contender, imported: int) -> dict[str, int]:
    """How much the process grows at most: in training steps, and since the framework was imported.

    Code that is loaded during the steps does not count as theirs.
    """
    contender.prepare("train")
    gc.collect()
    compiling, before, code = resident("VmHWM"), resident("VmRSS"), resident("RssFile")
    Path("/proc/self/clear_refs").write_text("5")  # the maximum starts anew
    for k in range(CHECKED_STEPS):
        contender.train(k % BATCHES)
    stepping = resident("VmHWM")
    loaded = resident("RssFile") - code
    return {"step": stepping - before - loaded, "whole": max(compiling, stepping) - imported}


def main() -> None:
    """Serve requests until stdin ends."""
    module, options = FRAMEWORKS[sys.argv[1]]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up between the answers

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def fail(error: Exception) -> None:
        reply({"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]})

    try:
        framework = importlib.import_module(f"benchmarks.frameworks.{module}")
        framework.warm_up(**options)
    except Exception as error:
        return fail(error)
    reply({"version": framework.VERSION})
    imported = resident("VmRSS") if Path("/proc/self/status").exists() else 0
    contender: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "build":
                    task = TASKS[request["task"]]
                    given = parameters(task.network)
                    contender = framework.Contender(task, given, request["threads"], **options)
                    reply({"modes": contender.modes})
                case "check":
                    results, seconds = check(contender)
                    np.savez(request["results"], **results)
                    reply({"seconds": seconds})
                case "memory":
                    reply(memory(contender, imported))
                case _:
                    contender.prepare(request["mode"])
                    reply(burst(getattr(contender, request["mode"]), request["seconds"]))
        except Exception as error:
            traceback.print_exc()
            fail(error)


if __name__ == "__main__":
    main()
