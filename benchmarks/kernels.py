"""Where the time of a program goes, kernel by kernel: `python benchmarks/kernels.py lenet5 --threads 1`.

`program.profile()` on random images, on processors of its own and when others leave them alone. Its steps have run
before they are measured, so every page of memory that they touch has been written.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import graphc  # noqa: E402
from benchmarks.machine import choose_processors, description, wait_until_quiet  # noqa: E402
from benchmarks.report import write  # noqa: E402
from graphc.schedule.printer import kernel_text  # noqa: E402
from graphc.study.profile import Profile  # noqa: E402
from graphc.study.scopes import unit_name  # noqa: E402

ROUNDS = 5
"""Profiles of which the fastest counts: neighbours only ever slow down."""


def compiled(model: str, inference: bool, threads: int) -> Any:
    """The training or inference program of a model of graphc.models."""
    m = getattr(graphc.models, model)()
    if inference:
        return graphc.compile_inference(m.logits, threads=threads)
    return graphc.compile_training(m.loss, optimizer=graphc.SGD(1e-3, momentum=0.9), threads=threads)


def measure(program: Any, batch: int, threads: int, repeats: int) -> Profile:
    """The fastest of some profiles."""
    processors, arrays = choose_processors(threads), program.noise(batch)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processors)
    found = []
    for _ in range(ROUNDS):
        wait_until_quiet(processors, 0.3)
        found.append(program.profile(repeats=repeats, **arrays))
    return min(found, key=lambda p: p.seconds)


def main() -> None:
    """Measure and print; with --write into docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", default="lenet5", help="a model of graphc.models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--inference", action="store_true", help="the inference program")
    parser.add_argument("--repeats", type=int, default=20, help="steps in each of the profiles")
    parser.add_argument("--top", type=int, default=30, help="how many kernels to print")
    parser.add_argument("--kernel", help="print the schedule and the loops of these kernels too, such as k3 or k8-k10")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    title = f"{options.model}, {description()}"
    program = compiled(options.model, options.inference, options.threads)
    text = measure(program, options.batch, options.threads, options.repeats).text(options.top)
    print(f"{title}\n\n{text}")
    if options.kernel:
        print(f"\n{listing(program, options.kernel)}")
    if options.write:
        write(HERE.parent / "docs" / "performance.md", "kernels", f"{title}:\n\n```\n{text}\n```")


def listing(program: Any, name: str) -> str:
    """The schedule and the loops of a unit of kernels. Raises KeyError where there is none of this name."""
    functions = {f.name: f for f in program.stages["vectorise"].functions}
    units = {unit_name(unit): (unit, call) for unit, call in program.compiled.units}
    unit, call = units[name]
    texts = [*map(kernel_text, unit), str(replace(functions[call.function], scope=call.scope))]
    return "\n\n".join(texts)


if __name__ == "__main__":
    main()
