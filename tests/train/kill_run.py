"""Trainings that are killed at random moments and go on: `python tests/train/kill_run.py [RUNS [SEED]]` prints.

`python tests/train/kill_run.py train DIRECTORY` is what is killed: it resumes from DIRECTORY, trains to the end, and
prints a digest of every bit of the program's state and of the history.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EPOCHS = 40
ROOT = Path(__file__).parents[2]


def train(directory: Path) -> str:
    """A network with everything that must be restored: dropout, running averages, Adam's count, shuffled samples."""
    import graphc as gc
    from graphc.train.data import load_digits

    digits = load_digits().take(range(600))
    images, labels = gc.input("images", (gc.BATCH, 1, 8, 8)), gc.input("labels", (gc.BATCH,), "int64")
    layers = gc.Flatten(), gc.Dropout(0.1), gc.Dense(48), gc.BatchNorm1d(), gc.ReLU(), gc.Dropout(0.4), gc.Dense(10)
    logits = gc.Sequential(*layers, name="net")(images)
    model = gc.Model(logits, loss=gc.cross_entropy(logits, labels), metrics=["accuracy"], x="images", y="labels")
    started = gc.LambdaCallback(on_start=lambda run: print("training", flush=True))
    model.fit(
        digits.images, digits.labels.astype("int64"), epochs=EPOCHS, batch_size=16, optimizer=gc.Adam(2e-3),
        validation_split=0.2, seed=5, threads=1, verbose=0, resume=directory,
        callbacks=[started, gc.ReduceLROnPlateau(patience=3, factor=0.9), gc.Checkpoint(directory, steps=1)],
    )  # fmt: skip
    digest = hashlib.sha256()
    for name, array in model.program.state_dict().items():
        digest.update(name.encode() + array.tobytes())
    for name in ("loss", "accuracy", "val_loss", "lr"):
        digest.update(repr(model.history[name]).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Killed:
    """One run: when it was killed, in checkpoints, what was there after each kill, and whether it ended the same."""

    moments: tuple[int, ...]
    checkpoints: tuple[str, ...]
    same: bool


def runs(count: int, kills: int = 2, seed: int = 0) -> Iterator[Killed]:
    """Train once without interruption, then `count` times with so many kills each."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        process = _start(Path(place) / "whole")
        expected, last = _end(process), _newest(Path(place) / "whole")
        for number in range(count):
            directory = Path(place) / str(number)
            moments, found = sorted(generator.choices(range(last), k=kills)), []
            for moment in moments:
                process = _start(directory)
                while _newest(directory) < moment and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(generator.uniform(0, 0.02))
                process.send_signal(signal.SIGKILL)
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
                found.append(", ".join(sorted(p.name for p in directory.iterdir())) if directory.exists() else "")
            yield Killed(tuple(moments), tuple(found), _end(_start(directory)) == expected)


def _newest(directory: Path) -> int:
    """The number of the last checkpoint, 0 before the first."""
    return max((int(path.stem[-6:]) for path in directory.glob("checkpoint-*.json")), default=0)


def _start(directory: Path) -> subprocess.Popen[str]:
    """A training that has begun."""
    command = [sys.executable, __file__, "train", str(directory)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "training\n", line
    return process


def _end(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate()
    assert process.returncode == 0
    return out.strip()


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["train"]:
        print(train(Path(arguments[1])))
        return 0
    count, seed, *_ = [*map(int, arguments), *(20, 0)[len(arguments) :]]
    different = 0
    for number, killed in enumerate(runs(count, seed=seed), 1):
        moments = " and ".join(map(str, killed.moments))
        print(
            f"{number:>3}  killed after {moments} checkpoints: {'same bits' if killed.same else 'DIFFERENT'}",
            flush=True,
        )
        for found in killed.checkpoints:
            print(f"     {found}")
        different += not killed.same
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
