"""The processor that code is generated for: instruction set, vector registers, caches."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from graphc.types import DType

X86 = platform.machine().lower() in ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class Target:
    """A processor as the compiler sees it.

    `cpu` and `features` are in LLVM's spelling, `registers` counts vector registers of `vector_bits` bits, caches
    are in bytes: l1 and l2 of one core, l3 shared. In a cycle the core starts `multiply_adds` on whole registers and
    `loads`; a multiply-add can use the result of one that was started `latency` cycles before.
    """

    name: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    l1: int = 32 << 10
    l2: int = 512 << 10
    l3: int = 16 << 20
    multiply_adds: int = 2
    loads: int = 2
    latency: int = 4

    def lanes(self, dtype: DType) -> int:
        """Elements of one vector register."""
        return self.vector_bits // dtype.bits

    @property
    def fused(self) -> bool:
        """Whether a * b + c with one rounding is an instruction."""
        return self.name in ("avx512", "avx2") or not X86 or "+fma," in f"{self.features},"


AVX512 = Target("avx512", "x86-64-v4", "", 512, 32)
AVX2 = Target("avx2", "x86-64-v3", "", 256, 16)
GENERIC = Target("generic", "x86-64", "", 128, 16) if X86 else Target("generic", "generic", "", 128, 32)
TARGETS = {target.name: target for target in (AVX512, AVX2, GENERIC)}
