"""The text form of a program: kernels with their formulas, what was fused, laid out, chosen, and why."""

from __future__ import annotations

from graphc.ops.text import formula_text
from graphc.schedule.program import Kernel, Memory, Program


def memory_text(memory: Memory) -> str:
    """`t5: f32[N,6,28,28] as [N,28,28,8] order 0231, slot 3`"""
    slot = f", slot {memory.slot}" if memory.slot >= 0 else ""
    layout = memory.layout.text(memory.value.type)
    return f"{memory.name}: {memory.value.type} {memory.role} as {layout}{slot}"


def kernel_text(kernel: Kernel) -> str:
    """The stages of one kernel, its lane axis, its remarks."""
    lane = f"lanes along {kernel.lane}" if kernel.lane else "one lane"
    if kernel.lane_reduces:
        lane += " (reduced)"
    split = f", {kernel.axes[0].extent} parts over {kernel.split}" if kernel.split else ""
    head = f"kernel {kernel.name}  {kernel.scope or '-'}  {lane}{split}"
    targets = dict(kernel.stores)
    lines = [head]
    for stage in kernel.stages:
        stored = targets.get(stage.name)
        note = "" if stored is None else "   stored" if stored == stage.name else f"   stored in {stored}"
        lines.append(f"  {formula_text(stage.formula, stage.name)}{note}")
    lines += [f"  # {remark}" for remark in kernel.remarks]
    return "\n".join(lines)


def program_text(program: Program) -> str:
    """All memories, then all kernels in order."""
    lines = [memory_text(m) for m in program.memories]
    lines += ["", *[kernel_text(k) for k in program.kernels]]
    if program.guard:
        lines.append(f"guard {program.guard}: no parameter changes unless it is finite")
    lines.append("return " + ", ".join(program.outputs))
    return "\n".join(lines) + "\n"
