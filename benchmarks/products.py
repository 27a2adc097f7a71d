"""Single matrix products against torch.mm: `python benchmarks/products.py --threads 1 2`.

Inputs and results are plain C-contiguous arrays, so whatever is packed or transposed counts. Forms: NN is a @ b, NT is
a @ b.T, TN is a.T @ b of stored operands. Both contenders are called in turn in one process, and medians are compared:
"native" is one step without the checks and the copy of the result that Python makes, "call" is the whole call;
torch.mm writes into an existing result for the first and makes a new one for the second.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import graphc  # noqa: E402
from benchmarks.machine import choose_processors, description, wait_until_quiet  # noqa: E402
from graphc.codegen.target import host  # noqa: E402
from graphc.runtime.jit import compile_ir  # noqa: E402
from graphc.types import DType  # noqa: E402

FORMS = ("NN", "NT", "TN")
SHAPES = (
    (64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024),
    (64, 512, 784), (64, 256, 512), (784, 512, 64), (512, 256, 64),
)  # fmt: skip
"""Rows, columns and terms of each sum; the last four are those of an MLP's layers and of their weights' gradients."""

ROUNDS = 7
"""How often the contenders take turns."""


@dataclass(frozen=True, slots=True)
class Case:
    """One product: m x n results, k terms each."""

    m: int
    n: int
    k: int
    form: str

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.n * self.k

    def operands(self) -> tuple[np.ndarray, np.ndarray]:
        """Normal noise, stored as the form says."""
        generator = np.random.default_rng(0)
        a = (self.k, self.m) if self.form[0] == "T" else (self.m, self.k)
        b = (self.n, self.k) if self.form[1] == "T" else (self.k, self.n)
        return generator.standard_normal(a, np.float32), generator.standard_normal(b, np.float32)

    def compiled(self, threads: int, symbolic: bool = False) -> Any:
        """The program; with `symbolic` the first axis of `a` is the batch."""
        a, b = self.operands()
        first = graphc.input("a", (graphc.BATCH, a.shape[1]) if symbolic else a.shape)
        second = graphc.input("b", b.shape)
        x = first.T if self.form[0] == "T" else first
        return graphc.compile_inference(x @ (second.T if self.form[1] == "T" else second), threads=threads)


def peak(seconds: float = 0.1) -> float:
    """Floating-point operations per second of one core: independent multiply-adds on registers, nothing else."""
    target, chains, turns, steps = host(), 12, 8, 16384
    lanes = target.lanes(DType.FLOAT32)
    kind, last = f"<{lanes} x float>", chains * (turns - 1)

    def before(c: int) -> str:
        return f"%b{c - chains}" if c >= chains else f"%a{c}"

    lines = [
        f"define void @chains(ptr %out) {{\nentry:\n  %x = load {kind}, ptr %out, align 4\n  br label %loop\nloop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *[f"  %a{c} = phi {kind} [ %x, %entry ], [ %b{c + last}, %loop ]" for c in range(chains)],
        *[f"  %b{c} = call {kind} @llvm.fma({kind} %x, {kind} %x, {kind} {before(c)})" for c in range(chains * turns)],
        f"  %next = add i64 %i, 1\n  %go = icmp slt i64 %next, {steps}\n  br i1 %go, label %loop, label %end\nend:",
        *[f"  %s{c} = fadd {kind} {f'%s{c - 1}' if c else '%x'}, %b{c + last}" for c in range(chains)],
        f"  store {kind} %s{chains - 1}, ptr %out, align 4\n  ret void\n}}",
    ]
    name = f"llvm.fma.v{lanes}f32"
    text = f"declare {kind} @{name}({kind}, {kind}, {kind})\n" + "\n".join(lines).replace("@llvm.fma(", f"@{name}(")
    native = compile_ir(text, target)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native.address("chains"))
    out = np.zeros(64, np.float32)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call(out.ctypes.data)
        best = min(best, time.perf_counter() - start)
    return 2.0 * lanes * chains * turns * steps / best


def median(call: Callable[[], Any], repeats: int) -> float:
    """The median of some calls, after one that does not count."""
    times = []
    call()
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def contenders(case: Case, threads: int, symbolic: bool) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    import torch

    a, b = case.operands()
    program = case.compiled(threads, symbolic)
    result = program(a=a, b=b)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    x, y = (ta.T if case.form[0] == "T" else ta), (tb.T if case.form[1] == "T" else tb)
    out = torch.empty(case.m, case.n)
    worst = float(abs(torch.mm(x, y).numpy() - result).max())
    if worst > 1e-5 * case.k:
        raise RuntimeError(f"{case}: differs from torch.mm by {worst}")
    executable, arrays = program.compiled.executable, {"a": a, "b": b}
    batch = a.shape[0] if symbolic else 1
    return {
        "native": lambda: executable.run(arrays, batch, threads),
        "torch native": lambda: torch.mm(x, y, out=out),
        "call": lambda: program(a=a, b=b),
        "torch call": lambda: torch.mm(x, y),
    }


def measure(calls: dict[str, Callable[[], Any]], flops: float, rate: float) -> dict[str, float]:
    """The median over all rounds of each contender's median."""
    repeats = max(3, min(60, int(0.008 / (flops / rate))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            found[name].append(median(call, repeats))
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Compile everything, then measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--forms", nargs="+", default=FORMS)
    parser.add_argument("--shapes", nargs="+", help="m,n,k of the products", metavar="M,N,K")
    parser.add_argument("--symbolic", action="store_true", help="the rows of the left operand are the batch")
    options = parser.parse_args()
    shapes = [tuple(map(int, s.split(","))) for s in options.shapes] if options.shapes else SHAPES
    cases = [Case(m, n, k, form) for form in options.forms for m, n, k in shapes]
    print(description())
    for threads in options.threads:
        torch.set_num_threads(threads)
        prepared = [(case, contenders(case, threads, options.symbolic)) for case in cases]
        wait_until_quiet(choose_processors(threads), 1.0)
        top = peak()
        print(f"\n{threads} thread{'s' if threads > 1 else ''}, {top / 1e9:.1f} GFLOP/s peak of a core")
        print(f"{'form':<5}{'m,n,k':<16}{'µs':>9}{'% peak':>8}{'torch %':>9}{'native':>8}{'call':>7}")
        for case, calls in prepared:
            t = measure(calls, case.flops, top * threads)
            ours, theirs = (case.flops / t[name] / (top * threads) for name in ("native", "torch native"))
            print(
                f"{case.form:<5}{f'{case.m},{case.n},{case.k}':<16}{1e6 * t['native']:>9.1f}{ours:>8.1%}{theirs:>9.1%}"
                f"{t['torch native'] / t['native']:>8.2f}{t['torch call'] / t['call']:>7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
