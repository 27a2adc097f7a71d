"""Numbers and columns for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.ops.cost import Polynomial


def table(rows: Iterable[Sequence[str]], align: str) -> str:
    """Indented columns; `align` has an l or an r for each of them."""
    rows = list(rows)
    widths = [max(len(row[k]) for row in rows) for k in range(len(align))]
    lines = []
    for row in rows:
        cells = zip(row, widths, align, strict=True)
        lines.append("  " + "  ".join(f"{c:>{w}}" if a == "r" else f"{c:<{w}}" for c, w, a in cells).rstrip())
    return "\n".join(lines)


def each_sample(p: Polynomial) -> str:
    """`235 k·N + 300`"""
    powers = ["", "·N", *(f"·N^{k}" for k in range(2, len(p.coefficients)))]
    terms = [number_text(c) + power for c, power in zip(p.coefficients, powers, strict=False) if c]
    return " + ".join(reversed(terms)) or "0"


def number_text(value: int) -> str:
    """Three digits with k, M or G; numbers below ten thousand as they are."""
    for limit, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= max(limit, 10**4):
            return f"{value / limit:.4g} {suffix}" if value >= 999.5 * limit else f"{value / limit:.3g} {suffix}"
    return f"{value:,}"


def bytes_text(value: int) -> str:
    """`300 kB`, in powers of 1024."""
    for limit, suffix in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if value >= limit:
            return f"{value / limit:.4g} {suffix}" if value >= 999.5 * limit else f"{value / limit:.3g} {suffix}"
    return f"{value} B"


def time_text(seconds: float) -> str:
    """`1.23 ms`, three digits in seconds, milliseconds or microseconds."""
    for scale, suffix in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * scale:
            return f"{seconds / scale:.3g} {suffix}" if seconds < 999.5 * scale else f"{seconds / scale:,.0f} {suffix}"
    return f"{seconds * 1e6:.3g} µs" if seconds >= 0.95e-6 else f"{seconds * 1e6:.2f} µs"
