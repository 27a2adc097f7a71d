"""The comparison as a picture: SVG without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log2

from benchmarks.measurements import Row

COLOURS = {
    "torch": "#e69f00",
    "torch channels_last": "#d55e00",
    "torch.compile": "#cc79a7",
    "jax.jit": "#0072b2",
    "onnxruntime": "#009e73",
}
"""After Okabe and Ito, who chose them to be told apart by everybody."""

MODES = {"train": "training", "infer": "inference"}
LABELS, PANEL, GAP, LINE, TOP, LEGEND = 170, 360, 24, 24, 78, 660


def chart(rows: Sequence[Row]) -> str:
    """For each number of threads and each task a dot for every peer: its time divided by that of graphc.

    The scale is logarithmic; left of the bold line at one a peer is faster. Ticks are the targets.
    """
    rows = [r for r in rows if r.peers and r.task.targets]
    panels = sorted({r.threads for r in rows})
    names = list(dict.fromkeys((r.task.name, r.mode) for r in rows))
    ratios = [r.ratio_to(p) for r in rows for p in r.peers]
    low, high = min(-1, floor(log2(min(ratios, default=1)))), max(2, ceil(log2(max(ratios, default=1))))
    width = max(LEGEND, LABELS + len(panels) * (PANEL + GAP))
    height = TOP + LINE * len(names) + 28
    peers = list(dict.fromkeys(p for r in rows for p in r.peers))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(12, 20, "Time of each peer divided by the time of graphc: right of 1, graphc is faster", weight="bold"),
        *_legend(peers),
    ]
    for k, (task, mode) in enumerate(names):
        parts.append(_text(LABELS - 12, TOP + LINE * k + 16, f"{task} {MODES[mode]}", anchor="end"))
    for column, threads in enumerate(panels):
        left = LABELS + column * (PANEL + GAP)

        def x(ratio: float, left: float = left) -> float:
            return left + PANEL * (log2(ratio) - low) / (high - low)

        parts.append(
            f'<rect x="{left}" y="{TOP}" width="{x(1) - left:.1f}" height="{LINE * len(names)}" fill="#f3e9e9"/>'
        )
        parts.append(_text(left, TOP - 8, f"{threads} thread{'s' if threads > 1 else ''}"))
        for power in range(low, high + 1):
            at, bold = x(2.0**power), power == 0
            parts.append(_line(at, TOP, at, TOP + LINE * len(names), "#000" if bold else "#ccc", 2 if bold else 1))
            parts.append(_text(at, TOP + LINE * len(names) + 16, f"{2.0**power:g}", anchor="middle"))
        for row in (r for r in rows if r.threads == threads):
            y = TOP + LINE * names.index((row.task.name, row.mode)) + LINE / 2
            if row.target:
                parts.append(_line(x(row.target), y - 8, x(row.target), y + 8, "#555", 2))
            for peer in row.peers:
                ratio = row.ratio_to(peer)
                parts.append(
                    f'<circle cx="{x(ratio):.1f}" cy="{y}" r="5" fill="{COLOURS.get(peer, "#777")}" '
                    f'fill-opacity="0.85"><title>{escape(peer)}: {ratio:.2f}</title></circle>'
                )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(peers: Sequence[str]) -> list[str]:
    """A dot and a name for each peer, then the mark of the targets."""
    parts, left = [], 18
    for peer in peers:
        parts.append(f'<circle cx="{left}" cy="40" r="5" fill="{COLOURS.get(peer, "#777")}"/>')
        parts.append(_text(left + 10, 44, peer))
        left += 34 + 7 * len(peer)
    return [*parts, _line(left, 32, left, 48, "#555", 2), _text(left + 8, 44, "target")]


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
