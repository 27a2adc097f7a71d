"""Measurements as Markdown, and their place in a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.compare import Row

MODES = {"train": "training step", "infer": "inference"}


def summary(rows: Sequence[Row], versions: Sequence[str], machine: str, rounds: int) -> str:
    """When, where and how it was measured, disturbances included."""
    bursts = sum(len(b) for r in rows for b in r.medians.values())
    disturbed = sum(r.disturbed for r in rows)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}; {', '.join(versions)}; {rounds} rounds. "
        f"{disturbed} of {bursts} bursts were disturbed by other processes."
    )


def table(rows: Sequence[Row]) -> str:
    """Milliseconds by framework, medians with the fastest call in brackets."""
    frameworks = list(dict.fromkeys(f for r in rows for f in r.medians))
    head = ["task", "threads", *[f"{f}, ms" for f in frameworks], "torch / graphc", "GFLOP/s", "compiled in"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for r in rows:
        times = [f"{1e3 * r.median(f):.3f} ({1e3 * r.fastest[f]:.3f})" if f in r.medians else "" for f in frameworks]
        ratio = f"**{r.ratio:.2f}** ({r.ratio_of_fastest:.2f})"
        rate = r.task.flops[r.mode] / r.median("graphc") / 1e9
        lines.append(
            [
                f"{r.task.name} {MODES[r.mode]}", str(r.threads), *times, ratio,
                f"{rate:.0f}", f"{r.compile_seconds:.2f} s",
            ]
        )  # fmt: skip
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- end mark -->`. Raises ValueError without them."""
    old = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- end {mark} -->"
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{page} needs {begin} and {end}, once each")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")
