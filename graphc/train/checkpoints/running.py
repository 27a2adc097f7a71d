"""Everything that decides about the rest of a training: out of a run into a checkpoint, and back.

    program      parameters, running averages, keys of random numbers, state of the optimiser, number of steps
    run          epoch, samples seen of it, sums of its metrics, history
    callbacks    what each of them remembers
    conditions   what must be the same: seed, batch size, samples, augmentation, weights, optimiser, metrics, formulas

The order of the samples, augmentation and random numbers are functions of the seed, the epoch and the numbers of
sample and step, so these restore them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphc
from graphc.errors import DataError
from graphc.train.checkpoints.described import (
    RATE,
    described,
    differences,
    first_different_layer,
    layers,
    without_rates,
)
from graphc.train.checkpoints.store import Saved, read, write
from graphc.train.history import Epoch

EPOCH = ("number", "training", "validation", "samples", "seconds", "steps", "lr")


SAMPLES = ("samples", "samples of an epoch")


def save_run(directory: Path, run: Any, *, keep: int = 2) -> Path:
    """Write a new checkpoint of a run into a directory; returns its .json file. Raises DataError, see `store.write`."""
    state = {
        "graphc": graphc.__version__,
        "conditions": conditions(run),
        "layers": layers(run.program.graph),
        "lr": {"given": described(run.given_lr), "now": described(run.optimizer.lr)},
        "epoch": run.epoch,
        "samples_done": run.samples_done,
        "steps": run.steps,
        "epochs": run.epochs - run.first,
        "first": run.first,
        "totals": run.totals.state(),
        "history": [{name: getattr(epoch, name) for name in EPOCH} for epoch in run.history],
        "callbacks": [{"kind": type(c).__qualname__, "state": c.state(), "arrays": c.arrays()} for c in run.callbacks],
    }
    run.origin = write(directory, state, run.program.state_dict(), keep=keep, origin=run.origin)
    return run.origin


def load_run(where: str | Path, run: Any) -> tuple[str, ...]:
    """Continue from a checkpoint, or from the newest of a directory; returns what there is to say about it.

    From a directory without any, or one that is not there yet, the run begins at the beginning. The learning rate is
    the one at which the checkpoint was made, unless `fit` was given another than then.
    Raises DataError, before anything is changed, if the checkpoint is damaged or that of another training.
    """
    saved = read(Path(where))
    if saved is None:
        return (f"{where} holds no checkpoint: training begins",)
    state = saved.state
    _check(saved, run)
    run.program.load_state_dict(saved.arrays, what=str(saved.path))
    run.epoch, run.samples_done = state["epoch"], state["samples_done"]
    asked, run.first = run.epochs - run.first, state["first"]
    run.epochs = run.first + asked
    run.history[:] = [Epoch(**epoch) for epoch in state["history"]]
    run.totals.restore(state["totals"])
    run.origin = saved.path
    done = f"{run.samples_done:,} samples of epoch {run.epoch}" if run.samples_done else f"{run.epoch - 1} epochs"
    notes = [f"{saved.path}: goes on after {done}"]
    if asked != state["epochs"]:
        notes.append(f"epochs={asked}, was {state['epochs']}")
    return (*notes, *_rate(state, run), *_callbacks(state, run), *_versions(state))


def conditions(run: Any) -> dict[str, Any]:
    """What must be the same for a training to go on as if it had never stopped."""
    return {
        "seed": run.seed,
        "batch_size": run.batch_size,
        "shuffle": run.shuffle,
        "samples": run.source.samples,
        "samples of an epoch": run.samples,
        "augmentation": _steps(run.source),
        "class weights": described(list(run.model.constants.values())),
        "metrics": list(run.metrics),
        "optimizer": without_rates(described(run.optimizer)),
    }


def _steps(source: Any) -> list[Any]:
    """The transformations that samples go through, those of the innermost source first."""
    inner = getattr(source, "source", None)
    return (_steps(inner) if inner is not None else []) + described(list(getattr(source, "steps", ())))


def _check(saved: Saved, run: Any) -> None:
    """Raises DataError for the checkpoint of another training."""
    state = saved.state
    before, now = state["conditions"], conditions(run)
    # how many samples a stream has is known after the first epoch
    unknown = [name for name in SAMPLES if None in (before.get(name), now[name])]
    before, now = ({name: c[name] for name in c if name not in unknown} for c in (before, now))
    found = list(differences(before, now))
    if not found and state["graphc"] == graphc.__version__:
        layer = first_different_layer(state["layers"], layers(run.program.graph))
        found = [layer] if layer else []
    if found:
        weights = str(saved.path.with_suffix(".safetensors"))
        raise DataError(
            f"{saved.path} belongs to another training: {'; '.join(found)}",
            hint=f"to begin a new training with its weights: model.load({weights!r})",
        )


def _rate(state: dict[str, Any], run: Any) -> list[str]:
    """Go on with the learning rate of the checkpoint, unless another one was given than for it."""
    given, now = state["lr"]["given"], state["lr"]["now"]
    if described(run.given_lr) != given:
        return list(differences(now, described(run.given_lr), RATE))
    if isinstance(now, float | int):
        run.optimizer.lr = now
    return []


def _callbacks(state: dict[str, Any], run: Any) -> list[str]:
    """Give each callback the state that one of its kind had, in their order."""
    left, notes = list(state["callbacks"]), []
    for callback in run.callbacks:
        kind = type(callback).__qualname__
        known = next((c for c in left if c["kind"] == kind), None)
        if known is not None:
            left.remove(known)
            callback.restore(known["state"], known["arrays"])
        elif callback.state():
            notes.append(f"{kind} is new")
    return notes + [f"{c['kind']} is there no longer" for c in left if c["state"]]


def _versions(state: dict[str, Any]) -> list[str]:
    now = graphc.__version__
    return [] if state["graphc"] == now else [f"it was written by graphc {state['graphc']}, this is {now}"]
