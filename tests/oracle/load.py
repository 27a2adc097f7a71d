"""Reading the expected values: `for meta, arrays in cases("module", "conv2d")`. Keys: see README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
INDEX: list[dict[str, Any]] = json.loads((HERE / "index.json").read_text(encoding="utf-8"))


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of one case by key."""
    with np.load(HERE / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def cases(kind: str | None = None, match: str = "") -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """(meta, arrays) of the cases of a kind whose name contains `match`."""
    for meta in INDEX:
        if kind in (None, meta["kind"]) and match in meta["name"]:
            yield meta, arrays(meta["name"])


def group(case: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays under a prefix, by the rest of their key: group(case, "grad.param.")["weight"]."""
    return {key.removeprefix(prefix): a for key, a in case.items() if key.startswith(prefix)}
