"""The processor at hand: what LLVM and the system say of it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import llvmlite.binding as llvm

from graphc.errors import LoweringError
from graphc.target import AVX2, AVX512, GENERIC, TARGETS, X86, Target

_REQUIRED = {
    "avx512": frozenset(("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma", "bmi2")),
    "avx2": frozenset(("avx2", "fma", "bmi2")),
    "generic": frozenset[str](),
}


@lru_cache(maxsize=1)
def _host_features() -> frozenset[str]:
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def runs_here(target: Target) -> bool:
    """Whether this machine's processor executes all of a target's instructions."""
    wanted = _REQUIRED.get(target.name, frozenset()) | {
        feature[1:] for feature in target.features.split(",") if feature.startswith("+")
    }
    return wanted <= _host_features() if X86 else target.name == "generic"


def host() -> Target:
    """The processor at hand, or the one that the environment variable GRAPHC_TARGET asks for.

    Raises LoweringError when GRAPHC_TARGET is unknown or beyond this processor.
    """
    return _host(os.environ.get("GRAPHC_TARGET", ""))


@lru_cache(maxsize=8)
def _host(wanted: str) -> Target:
    l1, l2, l3 = caches()
    if wanted:
        if wanted not in TARGETS:
            raise LoweringError(
                f"GRAPHC_TARGET is {wanted!r}, expected one of {', '.join(TARGETS)}",
                hint="unset it to use the processor at hand",
            )
        chosen = TARGETS[wanted]
        if not runs_here(chosen):
            missing = ", ".join(sorted(_REQUIRED[wanted] - _host_features())) or "another architecture"
            raise LoweringError(
                f"GRAPHC_TARGET is {wanted!r}, but this processor ({llvm.get_host_cpu_name()}) "
                f"cannot run it: missing {missing}",
                hint="unset it to use the processor at hand, or ask for 'generic'",
            )
        return _as_built(replace(chosen, l1=l1, l2=l2, l3=l3))
    best = next(target for target in (AVX512, AVX2, GENERIC) if runs_here(target))
    features = str(llvm.get_host_cpu_features().flatten())
    return _as_built(replace(best, cpu=llvm.get_host_cpu_name(), features=features, l1=l1, l2=l2, l3=l3))


HALVED = frozenset(("znver4",))
"""Processors that pass the halves of a 512-bit register through 256-bit units, and so start half as many."""


def _as_built(target: Target) -> Target:
    """The target with what is known of this processor's execution units."""
    halved = target.vector_bits == 512 and llvm.get_host_cpu_name() in HALVED
    return replace(target, multiply_adds=target.multiply_adds // 2) if halved else target


def caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> tuple[int, int, int]:
    """(level 1 data, level 2, level 3) in bytes as the system tells; usual sizes where it does not."""
    sizes = {1: GENERIC.l1, 2: GENERIC.l2, 3: GENERIC.l3}
    for entry in sorted(root.glob("index*")):
        try:
            level, kind = int((entry / "level").read_text()), (entry / "type").read_text().strip()
            size = (entry / "size").read_text().strip()
            scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
            found = int(size.rstrip("KMG")) * scale
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and level in sizes:
            sizes[level] = found
    return sizes[1], sizes[2], sizes[3]
