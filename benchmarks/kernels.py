"""Where the time of a program goes, kernel by kernel: `python benchmarks/kernels.py lenet5 --threads 1`.

Each kernel is linked into a step of its own that runs it again and again over the same memories, so its
operands are as near as the caches allow. In a whole step they can be further away: compare the sum with the
time of the whole step in the last line.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import graphc  # noqa: E402
from benchmarks.machine import choose_processors, description, wait_until_quiet  # noqa: E402
from benchmarks.report import write  # noqa: E402
from graphc.codegen.llvm import emit  # noqa: E402
from graphc.loops.ir import Barrier, Call, Step  # noqa: E402
from graphc.ops.cost import formula_cost  # noqa: E402
from graphc.runtime.executable import Executable  # noqa: E402
from graphc.runtime.jit import compile_ir  # noqa: E402
from graphc.schedule.arrange import arrange  # noqa: E402
from graphc.schedule.printer import kernel_text  # noqa: E402
from graphc.schedule.program import Kernel, Memory, Program  # noqa: E402
from graphc.schedule.tiling import choose_tile  # noqa: E402

REPEATS = 16
"""Runs of a short kernel in one native call, so that the call itself does not count."""

SHORT = 100e-6
"""Longer kernels run once in a call: a call that lasts is likelier to be interrupted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel: seconds of a run, floating-point operations."""

    kernel: Kernel
    seconds: float
    flops: float
    tile: str


def compiled(model: str, inference: bool, threads: int) -> Any:
    """The training or inference program of a model of graphc.models."""
    m = getattr(graphc.models, model)()
    if inference:
        return graphc.compile_inference(m.logits, threads=threads)
    return graphc.compile_training(m.loss, optimizer=graphc.SGD(1e-3, momentum=0.9), threads=threads)


def arguments(program: Any, batch: int) -> dict[str, np.ndarray]:
    """Normal noise for the program's inputs, classes in turn for labels, zero for its scalars."""
    generator = np.random.default_rng(0)
    arrays = {}
    for memory in program.compiled.executable.program.memories:
        if memory.role != "input":
            continue
        shape, dtype = memory.value.type.concrete(batch), memory.value.type.dtype.numpy
        if not shape:
            arrays[memory.name] = np.zeros((), dtype)
        elif memory.value.type.dtype.is_float:
            arrays[memory.name] = generator.standard_normal(shape).astype(dtype)
        else:
            arrays[memory.name] = (np.arange(np.prod(shape)) % 10).reshape(shape).astype(dtype)
    return arrays


def flops(kernel: Kernel, program: Program, batch: int) -> float:
    """The floating-point operations of the kernel's formulas, padding not counted."""
    types = {m.name: m.value.type for m in program.memories}
    types |= {s.name: s.value.type for s in kernel.stages}
    total = 0.0
    for position, stage in enumerate(kernel.stages):
        operands = [types[o] for o in stage.formula.operands]
        cost = formula_cost(stage.formula, operands, stage.value.type).flops(batch)
        # the formula of partial sums states the whole range for each part
        total += cost / kernel.axes[0].extent if kernel.split and position == 0 else cost
    return total


def fastest(call: Callable[[], Any], seconds: float) -> float:
    """The shortest of many calls."""
    best, end = float("inf"), time.perf_counter() + seconds
    call()
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def arranged(program: Any, memory: Memory) -> np.ndarray:
    """A parameter in its physical arrangement; optimiser state is zero."""
    holder, type = program.parameters.get(memory.name), memory.value.type
    value = holder.value if holder is not None else np.zeros(type.shape, type.dtype.numpy)
    return arrange(value, memory.layout, type)


def measure(program: Any, batch: int, threads: int, seconds: float) -> tuple[list[Row], float, float]:
    """A row for each kernel in order, then the seconds of a whole step and of a barrier between kernels."""
    target, schedule = program.compiled.target, program.compiled.executable.program
    step: Step = program.compiled.executable.step
    arrays = arguments(program, batch)
    parameters = {m.name: arranged(program, m) for m in schedule.memories if m.role == "parameter"}
    processors = choose_processors(threads)

    def timed(body: tuple[Any, ...], repeats: int) -> float:
        names = {c.function for c in body if isinstance(c, Call)}
        functions = tuple(f for f in step.functions if f.name in names)
        alone = replace(step, functions=functions, body=body * repeats)
        runner = Executable(schedule, alone, compile_ir(emit(alone, target), target, keep_assembly=False))
        for name, array in parameters.items():
            runner.bind(name, array)
        wait_until_quiet(processors, 0.3)
        return fastest(lambda: runner.run(arrays, batch, threads), seconds) / repeats

    barrier = timed((Barrier(),), REPEATS)
    rows = []
    calls = [c for c in step.body if isinstance(c, Call)]
    for kernel, call in zip(schedule.kernels, calls, strict=True):
        taken = timed((call, Barrier()), 1)
        if taken < SHORT:
            taken = timed((call, Barrier()), REPEATS)
        work = flops(kernel, schedule, batch)
        rows.append(Row(kernel, max(0.0, taken - barrier), work, str(choose_tile(kernel, target))))
    return rows, timed(step.body, 1), barrier


def table(rows: list[Row], whole: float, barrier: float, most: int) -> str:
    """Slowest first."""
    total = sum(r.seconds for r in rows)
    lines = [f"{'kernel':<7} {'µs':>8} {'share':>6} {'GFLOP/s':>8}  {'tile':<46} {'layer':<16} writes"]
    for r in sorted(rows, key=lambda r: -r.seconds)[:most]:
        rate = f"{r.flops / r.seconds / 1e9:.1f}" if r.seconds > 0 else "-"
        k = r.kernel
        lines.append(
            f"{k.name:<7} {1e6 * r.seconds:8.1f} {r.seconds / total:6.1%} {rate:>8}  {r.tile:<46} "
            f"{k.scope or '-':<16} {', '.join(k.writes)}"
        )
    lines.append(
        f"{len(rows)} kernels {1e6 * total:.1f} µs; a whole step {1e6 * whole:.1f} µs; a barrier {1e6 * barrier:.2f} µs"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and print; with --write into docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", default="lenet5", help="a model of graphc.models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--inference", action="store_true", help="the inference program")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each kernel")
    parser.add_argument("--top", type=int, default=30, help="how many kernels to print")
    parser.add_argument("--kernel", help="print the schedule and the loops of this kernel too, for example k3")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args()
    program = compiled(options.model, options.inference, options.threads)
    rows, whole, barrier = measure(program, options.batch, options.threads, options.seconds)
    text = table(rows, whole, barrier, options.top)
    title = f"{options.model}, {'inference' if options.inference else 'training step'}, batch {options.batch}, "
    title += f"{options.threads} thread{'s' if options.threads > 1 else ''}, {description()}"
    print(f"{title}\n\n{text}")
    if options.kernel:
        print(f"\n{listing(program, options.kernel)}")
    if options.write:
        write(HERE.parent / "docs" / "performance.md", "kernels", f"{title}:\n\n```\n{text}\n```")


def listing(program: Any, name: str) -> str:
    """The schedule and the loops of one kernel."""
    step = program.stages["vectorise"]
    kernels = program.compiled.executable.program.kernels
    calls = [c for c in step.body if isinstance(c, Call)]
    kernel, call = next((k, c) for k, c in zip(kernels, calls, strict=True) if k.name == name)
    function = next(f for f in step.functions if f.name == call.function)
    return f"{kernel_text(kernel)}\n\n{replace(function, scope=kernel.scope)}"


if __name__ == "__main__":
    main()
