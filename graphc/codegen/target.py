"""The processor that code is generated for: instruction set, vector registers, caches."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import llvmlite.binding as llvm

from graphc.errors import LoweringError
from graphc.types import DType

X86 = platform.machine().lower() in ("x86_64", "amd64")
_REQUIRED = {
    "avx512": frozenset(("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma", "bmi2")),
    "avx2": frozenset(("avx2", "fma", "bmi2")),
    "generic": frozenset[str](),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A processor as the compiler sees it.

    `cpu` and `features` are in LLVM's spelling, `registers` counts vector registers of `vector_bits` bits,
    caches are in bytes: l1 and l2 of one core, l3 shared.
    """

    name: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    l1: int = 32 << 10
    l2: int = 512 << 10
    l3: int = 16 << 20

    def lanes(self, dtype: DType) -> int:
        """Elements of one vector register."""
        return self.vector_bits // dtype.bits

    @property
    def fused(self) -> bool:
        """Whether a * b + c with one rounding is an instruction."""
        return self.name in ("avx512", "avx2") or not X86 or "+fma," in f"{self.features},"

    @property
    def runs_here(self) -> bool:
        """Whether this machine's processor executes all of the target's instructions."""
        wanted = _REQUIRED.get(self.name, frozenset()) | {
            feature[1:] for feature in self.features.split(",") if feature.startswith("+")
        }
        return wanted <= _host_features() if X86 else self.name == "generic"


@lru_cache(maxsize=1)
def _host_features() -> frozenset[str]:
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


AVX512 = Target("avx512", "x86-64-v4", "", 512, 32)
AVX2 = Target("avx2", "x86-64-v3", "", 256, 16)
GENERIC = Target("generic", "x86-64", "", 128, 16) if X86 else Target("generic", "generic", "", 128, 32)
TARGETS = {target.name: target for target in (AVX512, AVX2, GENERIC)}


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
        if not chosen.runs_here:
            missing = ", ".join(sorted(_REQUIRED[wanted] - _host_features())) or "another architecture"
            raise LoweringError(
                f"GRAPHC_TARGET is {wanted!r}, but this processor ({llvm.get_host_cpu_name()}) "
                f"cannot run it: missing {missing}",
                hint="unset it to use the processor at hand, or ask for 'generic'",
            )
        return replace(chosen, l1=l1, l2=l2, l3=l3)
    best = next(target for target in (AVX512, AVX2, GENERIC) if target.runs_here)
    features = str(llvm.get_host_cpu_features().flatten())
    return replace(best, cpu=llvm.get_host_cpu_name(), features=features, l1=l1, l2=l2, l3=l3)


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
