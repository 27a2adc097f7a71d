"""What a core can do at best, as LLVM IR: multiply-adds in registers, and reading of memory.

multiply_adds  void (ptr cell, i64 rounds)                      CHAINS independent chains, TURNS links in a round
read           void (ptr data, i64 blocks, i64 rounds, ptr cell)    blocks of STREAMS vectors, summed up
"""

from __future__ import annotations

from graphc.codegen.spelling import overload, spell
from graphc.target import Target
from graphc.types import DType

CHAINS, TURNS, STREAMS = 12, 8, 8


def probe(target: Target) -> str:
    """Both functions for vectors of float32."""
    lanes = target.lanes(DType.FLOAT32)
    kind = spell(DType.FLOAT32, lanes)
    fma = f"@llvm.fma.{overload(DType.FLOAT32, lanes)}"
    return "\n".join((f"declare {kind} {fma}({kind}, {kind}, {kind})", _multiply_adds(kind, fma), _read(kind)))


def _multiply_adds(kind: str, fma: str) -> str:
    count = CHAINS * TURNS

    def before(c: int) -> str:
        return f"%b{c - CHAINS}" if c >= CHAINS else f"%a{c}"

    lines = [
        "define void @multiply_adds(ptr %cell, i64 %rounds) nounwind {",
        "entry:",
        f"  %x = load {kind}, ptr %cell, align 4",
        "  br label %round",
        "round:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %round ]",
        *[f"  %a{c} = phi {kind} [ %x, %entry ], [ %b{count - CHAINS + c}, %round ]" for c in range(CHAINS)],
        *[f"  %b{c} = call {kind} {fma}({kind} %x, {kind} %x, {kind} {before(c)})" for c in range(count)],
        "  %next = add i64 %i, 1",
        "  %more = icmp slt i64 %next, %rounds",
        "  br i1 %more, label %round, label %end",
        "end:",
        *_total(kind, [f"%b{count - CHAINS + c}" for c in range(CHAINS)]),
    ]
    return "\n".join(lines)


def _read(kind: str) -> str:
    streams = range(STREAMS)
    lines = [
        "define void @read(ptr %data, i64 %blocks, i64 %rounds, ptr %cell) nounwind {",
        "entry:",
        f"  %x = load {kind}, ptr %cell, align 4",
        "  br label %round",
        "round:",
        "  %r = phi i64 [ 0, %entry ], [ %r.next, %last ]",
        *[f"  %s{k} = phi {kind} [ %x, %entry ], [ %b{k}, %last ]" for k in streams],
        "  br label %block",
        "block:",
        "  %i = phi i64 [ 0, %round ], [ %i.next, %block ]",
        *[f"  %a{k} = phi {kind} [ %s{k}, %round ], [ %b{k}, %block ]" for k in streams],
        f"  %place = mul i64 %i, {STREAMS}",
        f"  %first = getelementptr {kind}, ptr %data, i64 %place",
        *[f"  %p{k} = getelementptr {kind}, ptr %first, i64 {k}" for k in streams],
        *[f"  %v{k} = load {kind}, ptr %p{k}, align 4" for k in streams],
        *[f"  %b{k} = fadd {kind} %a{k}, %v{k}" for k in streams],
        "  %i.next = add i64 %i, 1",
        "  %more = icmp slt i64 %i.next, %blocks",
        "  br i1 %more, label %block, label %last",
        "last:",
        "  %r.next = add i64 %r, 1",
        "  %again = icmp slt i64 %r.next, %rounds",
        "  br i1 %again, label %round, label %end",
        "end:",
        *_total(kind, [f"%b{k}" for k in streams]),
    ]
    return "\n".join(lines)


def _total(kind: str, values: list[str]) -> list[str]:
    """The sum of all into the cell, so that none is left out as unused; the end of the function."""
    sums = [f"  %t{k} = fadd {kind} {f'%t{k - 1}' if k else '%x'}, {v}" for k, v in enumerate(values)]
    return [*sums, f"  store {kind} %t{len(values) - 1}, ptr %cell, align 4", "  ret void", "}", ""]
