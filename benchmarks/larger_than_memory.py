"""One pass over a data set larger than memory should be: how much memory training takes beyond that of the model.

    python benchmarks/larger_than_memory.py --megabytes 4096 --dtype uint8

writes a file of so many megabytes, maps it, trains a small network on all of its rows in random order, and prints
how much the resident memory of the process grew at most.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

import graphc as gc

FEATURES = 1024
BATCH_SIZE = 256


@dataclass(frozen=True)
class Growth:
    """What one pass took."""

    file: int
    """Bytes of the file."""
    resident: int
    """Bytes of memory beyond those before training, at most."""
    rows: int
    steps: int
    seconds: float
    loss: float

    def __str__(self) -> str:
        mb = 1 << 20
        return (
            f"{self.rows:,} rows, {self.file / mb:,.0f} MB mapped; {self.steps:,} steps in {self.seconds:.1f} s "
            f"({self.file / mb / self.seconds:,.0f} MB/s); resident memory grew by {self.resident / mb:,.0f} MB; "
            f"loss {self.loss:.4f}"
        )


class Resident:
    """The largest resident memory while entered, looked at every few milliseconds (Linux)."""

    def __enter__(self) -> Resident:
        self.before, self.largest, self._ended = resident(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.002):
            self.largest = max(self.largest, resident())


def resident() -> int:
    """Bytes of this process in memory, pages of mapped files too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write(path: Path, megabytes: int, dtype: str) -> np.ndarray:
    """A file of random rows in which a tenth of the features, that of the class, is brighter; returns the classes."""
    kind = np.dtype(dtype)
    rows = (megabytes << 20) // (FEATURES * kind.itemsize)
    file = np.lib.format.open_memmap(path, "w+", kind, (rows, FEATURES))
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, rows).astype(np.int32)
    for start in range(0, rows, 4096):
        part = generator.integers(0, 196, (min(4096, rows - start), FEATURES), dtype=np.uint8)
        bright = labels[start : start + 4096, None] == np.arange(FEATURES) // (FEATURES // 10)
        part += 60 * bright.astype(np.uint8)
        file[start : start + 4096] = part if kind == np.uint8 else part / np.float32(255)
    file.flush()
    return labels


def one_pass(path: Path, labels: np.ndarray) -> Growth:
    """Train one epoch on a file in random order."""
    x = gc.data.open_npy(path)
    scale = gc.data.Normalisation(0.0, 255.0 if x.dtype == np.uint8 else 1.0)
    features = gc.input("features", (gc.BATCH, FEATURES))
    classes = gc.input("classes", (gc.BATCH,), "int32")
    logits = gc.Sequential(gc.Dense(32, "relu"), gc.Dense(10))(features)
    program = gc.compile_training(gc.cross_entropy(logits, classes), optimizer=gc.Adam(0.001))
    warm = np.asarray(x[:BATCH_SIZE], np.float32)
    program.step(features=warm, classes=labels[:BATCH_SIZE])
    source = gc.data.source_of(gc.data.augmented((x, labels), scale), None, ("features", "classes"))
    began, before, losses = perf_counter(), program.steps, []
    with Resident() as memory:
        for block in source.blocks(BATCH_SIZE, seed=0, epoch=1):
            losses.append(program.epoch(block.arrays, BATCH_SIZE, order=block.order)["loss"])
    return Growth(
        path.stat().st_size, memory.largest - memory.before, len(x), program.steps - before,
        perf_counter() - began, float(losses[-1][-1]),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=4096)
    parser.add_argument("--dtype", choices=["float32", "uint8"], default="uint8")
    parser.add_argument("--directory", default=None, help="where the file is written and removed again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "rows.npy"
        print(one_pass(path, write(path, options.megabytes, options.dtype)))


if __name__ == "__main__":
    main()
