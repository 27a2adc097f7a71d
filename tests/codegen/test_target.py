"""What the compiler knows about the processor."""

import pytest

from graphc.codegen import target as targets
from graphc.codegen.target import caches, host, runs_here
from graphc.errors import LoweringError
from graphc.target import AVX2, AVX512, GENERIC, TARGETS, Target
from graphc.types import DType


def test_lanes_fill_one_register():
    assert [AVX512.lanes(d) for d in DType] == [16, 8, 16, 8]
    assert [AVX2.lanes(d) for d in DType] == [8, 4, 8, 4]
    assert [GENERIC.lanes(d) for d in DType] == [4, 2, 4, 2]


def test_the_host_is_the_widest_target_that_runs_here(monkeypatch):
    monkeypatch.delenv("GRAPHC_TARGET", raising=False)
    found = host()
    widest = next(t for t in (AVX512, AVX2, GENERIC) if runs_here(t))
    assert (found.name, found.vector_bits, found.registers) == (
        widest.name,
        widest.vector_bits,
        widest.registers,
    )
    assert runs_here(found)
    assert found.cpu != widest.cpu or not targets.X86


def test_the_environment_chooses_a_target(monkeypatch):
    monkeypatch.setenv("GRAPHC_TARGET", "generic")
    assert (host().name, host().cpu, host().vector_bits) == ("generic", GENERIC.cpu, 128)


def test_an_unknown_target_is_refused(monkeypatch):
    monkeypatch.setenv("GRAPHC_TARGET", "mmx")
    with pytest.raises(LoweringError, match="GRAPHC_TARGET is 'mmx', expected one of avx512, avx2, generic"):
        host()


def test_a_target_beyond_the_processor_is_refused(monkeypatch):
    impossible = Target("impossible", "x86-64-v4", "+avx512f", 512, 32)
    monkeypatch.setitem(TARGETS, "impossible", impossible)
    monkeypatch.setitem(targets._REQUIRED, "impossible", frozenset({"time-travel"}))
    monkeypatch.setenv("GRAPHC_TARGET", "impossible")
    with pytest.raises(LoweringError, match="cannot run it: missing time-travel"):
        host()


def test_multiply_add_is_one_instruction_where_the_processor_has_it():
    assert AVX512.fused
    assert AVX2.fused
    assert GENERIC.fused is not targets.X86
    assert Target("generic", "x86-64", "+sse2,+fma,-avx2", 128, 16).fused
    assert Target("generic", "x86-64", "+fma4", 128, 16).fused is not targets.X86


def test_caches_are_read_from_the_system(tmp_path):
    for number, (level, kind, size) in enumerate(
        [
            (1, "Data", "48K"),
            (1, "Instruction", "32K"),
            (2, "Unified", "2048K"),
            (3, "Unified", "33M"),
            (4, "?", "x"),
        ]
    ):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert caches(tmp_path) == (48 << 10, 2 << 20, 33 << 20)


def test_caches_have_usual_sizes_where_the_system_is_silent(tmp_path):
    assert caches(tmp_path / "nowhere") == (32 << 10, 512 << 10, 16 << 20)
