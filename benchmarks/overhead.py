"""What `Model.fit` costs besides the native steps: `python benchmarks/overhead.py --threads 1 2`.

Three ways through the same minibatches with the same training program, taking turns:

    step      program.step in a loop over batches that were cut before
    segments  program.segments, native code gathers the samples in the order of the epoch
    fit       Model.fit: shuffled, loss and metric of all epochs, one callback, silent

The overhead is the median over the rounds of fit / segments - 1, and of fit / step - 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import graphc as gc
from benchmarks.machine import description

EPOCHS = 2
WAYS = ("step", "segments", "fit")


@dataclass(frozen=True, slots=True)
class Case:
    """A classifier with so many minibatches an epoch."""

    title: str
    model: Callable[[], Any]
    batch: int
    batches: int


CASES = {
    "lenet64": Case("LeNet-5, batch 64", gc.models.lenet5, 64, 200),
    "mlp64": Case("MLP 784-512-256-10, batch 64", gc.models.mlp, 64, 400),
    "tiny16": Case("perceptron of 4 inputs, batch 16", lambda: gc.models.perceptron((1, 2, 2), 2), 16, 20_000),
    "tiny1": Case("the same, batch 1", lambda: gc.models.perceptron((1, 2, 2), 2), 1, 50_000),
}


def ways(case: Case, threads: int) -> Mapping[str, Callable[[], Any]]:
    """The three ways through all epochs."""
    classifier = case.model()
    model, optimizer = gc.Model(classifier), gc.SGD(1e-4, momentum=0.9)
    generator = np.random.default_rng(0)
    count = case.batch * case.batches
    x = generator.standard_normal((count, *classifier.images.shape[1:]), dtype=np.float32)
    y = generator.integers(classifier.logits.shape[1], size=count)
    program = model.compile(optimizer, threads=threads)
    order = gc.shuffled(count)
    cut = [{"images": x[rows], "labels": y[rows]} for rows in order.reshape(case.batches, case.batch)]

    def step() -> None:
        for _ in range(EPOCHS):
            for batch in cut:
                program.step(**batch)

    def segments() -> None:
        for _ in range(EPOCHS):
            for _ in program.segments({"images": x, "labels": y}, case.batch, order=order):
                pass

    def fit() -> None:
        model.fit(
            x, y, epochs=EPOCHS, batch_size=case.batch, optimizer=optimizer, threads=threads, verbose=0,
            callbacks=[gc.LambdaCallback()],
        )  # fmt: skip

    return dict(zip(WAYS, (step, segments, fit), strict=True))


def measure(case: Case, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds for a minibatch, each way, in each round; the first, which warms everything up, does not count."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    runs = ways(case, threads)
    for _ in range(rounds + 1):
        for way, run in runs.items():
            began = perf_counter()
            run()
            found[way].append((perf_counter() - began) / EPOCHS / case.batches)
    return {way: times[1:] for way, times in found.items()}


def overhead(times: Mapping[str, list[float]], way: str) -> float:
    """The median over the rounds of fit / way - 1."""
    return statistics.median(a / b for a, b in zip(times["fit"], times[way], strict=True)) - 1


def row(case: Case, threads: int, times: Mapping[str, list[float]]) -> str:
    """One line of the table."""
    each = " | ".join(f"{1e6 * statistics.median(times[way]):.2f}" for way in WAYS)
    over = " | ".join(f"{overhead(times, way):+.1%}" for way in ("segments", "step"))
    return f"| {case.title}, threads {threads} | {each} | {over} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("cases", nargs="*", default=[*CASES], help=f"of {', '.join(CASES)}; all unless given")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"there is no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    print(f"{description()}; microseconds for a minibatch, medians of {options.rounds} rounds\n")
    print("| | step | segments | fit | fit over segments | fit over step |\n|---|---|---|---|---|---|")
    for case in (CASES[name] for name in options.cases):
        for threads in options.threads:
            print(row(case, threads, measure(case, threads, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
