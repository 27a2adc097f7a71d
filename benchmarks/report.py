"""Measurements as Markdown, and their place in a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurements import OURS, Comparison, Row

MODES = {"train": "training step", "infer": "inference"}
CALL = "tiny1"
"""The task that measures the call itself."""

CALL_TARGET = 5e-6
COMPILE_TARGETS = {("lenet64", "train"): 1.5, ("resnet20_32", "train"): 4.0}
AGAIN_TARGET = 0.25


def report(found: Comparison, machine: str) -> str:
    """Everything that was measured, with a heading for each kind."""
    rows = [r for r in found.rows if r.task.name != CALL]
    calls = [r for r in found.rows if r.task.name == CALL]
    parts = [summary(found, machine)]
    if rows:
        picture = "![times of the peers divided by the time of graphc](performance.svg)"
        parts += [picture, table(rows, found.peak), *shortcomings(rows)]
    if calls:
        parts += ["### The call itself", call_table(calls)]
    if found.seconds:
        parts += ["### Until the first result", compile_table(found)]
    if found.memory:
        parts += ["### Memory of a ResNet-20 training step", memory_table(found)]
    if found.products:
        parts += ["### Single products against torch.mm", f"```\n{found.products}\n```"]
    return "\n\n".join(parts)


def summary(found: Comparison, machine: str) -> str:
    """When, where and how it was measured, disturbances included."""
    bursts = sum(len(b) for r in found.rows for b in r.medians.values())
    disturbed = sum(r.disturbed for r in found.rows)
    versions = ", ".join(dict.fromkeys(found.versions.values()))
    missing = [f"{what} is left out ({reason})." for what, reason in found.left_out.items()]
    return " ".join(
        [
            f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}; {versions};",
            f"{found.rounds} rounds. {disturbed} of {bursts} bursts were disturbed by other processes.",
            f"One core multiplies and adds at most {found.peak / 1e9:.0f} GFLOP/s.",
            *missing,
        ]
    )


def table(rows: Sequence[Row], peak: float) -> str:
    """Milliseconds by framework, the least in bold; the ratio to the best peer with that of the fastest calls."""
    frameworks = list(dict.fromkeys(f for r in rows for f in r.medians))
    head = ["task", "threads", *[f"{f}, ms" for f in frameworks], "best peer / graphc", "target", "GFLOP/s", "of peak"]
    return markdown(
        head,
        [
            [
                f"{r.task.name} {MODES[r.mode]}", str(r.threads), *milliseconds(r, frameworks),
                f"{r.ratio:.2f} ({r.ratio_of_fastest:.2f})" if r.peers else "", judged(r),
                f"{r.rate / 1e9:.0f}", f"{r.rate / (peak * r.threads):.0%}",
            ]
            for r in rows
        ],
    )  # fmt: skip


def milliseconds(row: Row, frameworks: Iterable[str]) -> list[str]:
    """A cell for each framework."""
    least = min(row.medians, key=row.median)
    cells = {f: f"{1e3 * row.median(f):.3f}" for f in row.medians} | {least: f"**{1e3 * row.median(least):.3f}**"}
    return [cells.get(f, "") for f in frameworks]


def judged(row: Row) -> str:
    """The target and whether it is met."""
    if row.target is None or not row.peers:
        return ""
    return f"{row.target:g} {'met' if row.ratio >= row.target else '**missed**'}"


def shortcomings(rows: Sequence[Row]) -> list[str]:
    """Where a peer is faster, and where a target is missed, worst first."""
    compared = sorted((r for r in rows if r.peers), key=lambda r: r.ratio)
    lost = [r for r in compared if r.ratio < 1]
    missed = sorted((r for r in compared if r.target and r.ratio < r.target), key=lambda r: r.ratio / (r.target or 1))
    return [
        _listed("A peer is faster than graphc", [f"{_case(r)} ({r.best_peer}, {r.ratio:.2f})" for r in lost]),
        _listed("Targets are missed", [f"{_case(r)} ({r.ratio:.2f} of {r.target:g})" for r in missed]),
    ]


def _case(row: Row) -> str:
    return f"{row.task.name} {MODES[row.mode]} with {row.threads} thread{'s' if row.threads > 1 else ''}"


def _listed(title: str, cases: Sequence[str]) -> str:
    return f"{title}: {'; '.join(cases) if cases else 'nowhere'}."


def call_table(rows: Sequence[Row]) -> str:
    """Microseconds of a call that computes next to nothing."""
    frameworks = list(dict.fromkeys(f for r in rows for f in r.medians))
    return markdown(
        ["", "threads", *[f"{f}, µs" for f in frameworks], "target"],
        [
            [
                MODES[r.mode], str(r.threads),
                *[f"{1e6 * r.median(f):.1f}" if f in r.medians else "" for f in frameworks],
                _within(r.median(OURS), CALL_TARGET, f"{1e6 * CALL_TARGET:g}"),
            ]
            for r in rows
        ],
    )  # fmt: skip


def compile_table(found: Comparison) -> str:
    """Seconds from tensors to the first result by framework, with nothing in a cache and for graphc once more."""
    frameworks = [f for f in found.versions if f not in ("torch", "torch channels_last")]
    lines = []
    for key in dict.fromkeys((r.task.name, r.mode) for r in found.rows):
        seconds, again = found.seconds[key], found.again.get(key)
        cold = seconds[OURS]
        verdict = ""
        if key in COMPILE_TARGETS:
            limit = COMPILE_TARGETS[key]
            verdict = f"{_within(cold, limit, f'{limit:g}')}, {_within(again, AGAIN_TARGET, f'{AGAIN_TARGET:g}')}"
        others = [f"{seconds[f]:.2f}" if f in seconds else "" for f in frameworks if f != OURS]
        name = f"{key[0]} {MODES[key[1]]}"
        lines.append([name, f"{cold:.2f}", f"{again:.3f}" if again is not None else "", verdict, *others])
    head = ["task", "graphc, s", "graphc from cache, s", "targets", *[f"{f}, s" for f in frameworks if f != OURS]]
    return markdown(head, lines)


def memory_table(found: Comparison) -> str:
    """Megabytes by framework."""
    lines = [[f, f"{m['step'] / 1e6:.0f}", f"{m['whole'] / 1e6:.0f}"] for f, m in found.memory.items()]
    text = markdown(["", "the steps, MB", "with building and compiling, MB"], lines)
    peers = [m["step"] for f, m in found.memory.items() if f != OURS]
    if OURS not in found.memory or not peers:
        return text
    ours = found.memory[OURS]["step"]
    return f"{text}\n\nTarget, half of the least peer: {_within(ours, min(peers) / 2, f'{min(peers) / 2e6:.0f} MB')}."


def _within(value: float | None, limit: float, spelled: str) -> str:
    """An upper limit and whether it is met."""
    return f"≤ {spelled} {'met' if value is not None and value <= limit else '**missed**'}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    cells = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def write(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- end mark -->`. Raises ValueError without them."""
    old = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- end {mark} -->"
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{page} needs {begin} and {end}, once each")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")
