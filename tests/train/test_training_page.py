"""docs/training.md lists everything that there is to train with."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import graphc as gc
from graphc.train.metrics.names import NAMED

PAGE = (Path(gc.__file__).parents[1] / "docs" / "training.md").read_text("utf-8")


def code_in(heading: str, level: str = "##") -> set[str]:
    """The names in backquotes below a heading, without what follows a parenthesis and without `gc.`."""
    section = PAGE.split(f"{level} {heading}\n", 1)[1].split(f"\n{level} ", 1)[0]
    text = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    return {re.sub(r"\(.*", "", name).rpartition(".")[2] for name in re.findall(r"`([^`]+)`", text)}


def test_every_optimiser_and_every_schedule_is_on_the_page() -> None:
    made = {"SGD", "Momentum", "Nesterov"} | {
        name for name in gc.optimisers.__all__ if inspect.isclass(getattr(gc, name))
    } - {"Group", "Optimizer"}
    assert made <= code_in("Optimisers")
    public = {n for n, s in vars(gc.schedules).items() if inspect.isclass(s) and s.__module__ == gc.schedules.__name__}
    assert {name for name in public if name[0].islower()} <= code_in("Optimisers")


def test_every_metric_callback_and_augmentation_is_on_the_page() -> None:
    assert {metric.__name__ for metric in NAMED.values()} <= code_in("Metrics")
    assert set(gc.callbacks.__all__) - {"Run"} <= code_in("Callbacks")
    assert set(gc.augment.__all__) - {"Augmented", "augmented"} <= code_in("Data")
